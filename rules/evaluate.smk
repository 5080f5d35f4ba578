"""Judges trained on real tissue, and one file of metric rows a condition, seed and group."""


rule judge:
    input:
        train="<results>/tilesets/real/train",
        val="<results>/tilesets/real/val",
    output:
        folder=directory("<results>/judges/{kind}"),
    log:
        "<logs>/judge/{kind}.log",
    conda:
        "../envs/histosynth.yaml"
    threads: STUDY.threads
    resources:
        gpu=1,
        mem_mb=6000,
        runtime=240,
    params:
        config=CONFIG,
        settings=GRID.settings("judge"),
    message:
        "Training the judge ({wildcards.kind}) on real tissue"
    shell:
        "python scripts/judge.py --config {params.config} --threads {threads}"
        " --kind {wildcards.kind} --train {input.train} --val {input.val}"
        " --output {output.folder} 2>&1 | tee {log}"


rule fidelity:
    input:
        real="<results>/tilesets/real/test",
        synthetic=scored_set,
        features=feature_pairs,
        clusters=fidelity_clusters,
    output:
        rows="<results>/metrics/{condition}/seed{seed}/fidelity.json",
    log:
        "<logs>/fidelity/{condition}/seed{seed}.log",
    conda:
        "../envs/histosynth.yaml"
    threads: STUDY.threads
    resources:
        mem_mb=4000,
        runtime=120,
    params:
        config=CONFIG,
        settings=GRID.settings("fidelity"),
        features=features_option,
        clusters=clusters_option,
    message:
        "Scoring fidelity of {wildcards.condition}, seed {wildcards.seed}"
    shell:
        "python scripts/fidelity.py --config {params.config} --threads {threads}"
        " --condition {wildcards.condition} --seed {wildcards.seed} --real {input.real}"
        " --synthetic {input.synthetic} --features {params.features} {params.clusters}"
        " --output {output.rows} 2>&1 | tee {log}"


rule legacy:
    input:
        real="<results>/tilesets/real/test",
        synthetic=scored_set,
        # Of somebody else's images, whose size these protocols are about, the files themselves.
        images=lambda wildcards: (
            GRID.condition(wildcards.condition).external
            if wildcards.condition in GRID.external
            else []
        ),
    output:
        rows="<results>/metrics/{condition}/seed{seed}/legacy.json",
    log:
        "<logs>/legacy/{condition}/seed{seed}.log",
    conda:
        "../envs/histosynth.yaml"
    threads: STUDY.threads
    resources:
        gpu=1,
        mem_mb=6000,
        runtime=240,
    params:
        config=CONFIG,
        settings=GRID.legacy_settings,
        images=lambda wildcards, input: f"--images {input.images}" if input.images else "",
    message:
        "Scoring {wildcards.condition}, seed {wildcards.seed}, under published protocols"
    shell:
        "python scripts/legacy.py --config {params.config} --threads {threads}"
        " --condition {wildcards.condition} --seed {wildcards.seed} --real {input.real}"
        " --synthetic {input.synthetic} {params.images} --output {output.rows} 2>&1 | tee {log}"


rule adherence:
    input:
        train="<results>/tilesets/real/train",
        real="<results>/tilesets/real/test",
        synthetic=lambda wildcards: f"{RESULTS}/tilesets/{judged_set(wildcards)}",
        judges=expand("<results>/judges/{kind}", kind=GRID.judges),
        clusters=f"{RESULTS}/{GRID.cluster_folder}" if GRID.cluster_judge else [],
        features=cluster_judge_features,
        told_features=embedding_judge_features,
        table=lambda wildcards: (
            f"{RESULTS}/condition_table.parquet" if GRID.crop_options(wildcards.condition) else []
        ),
    output:
        rows="<results>/metrics/{condition}/seed{seed}/adherence.json",
        tiles="<results>/metrics/{condition}/seed{seed}/adherence_tiles.parquet",
    log:
        "<logs>/adherence/{condition}/seed{seed}.log",
    conda:
        "../envs/histosynth.yaml"
    threads: STUDY.threads
    resources:
        gpu=1,
        mem_mb=4000,
        runtime=120,
    params:
        config=CONFIG,
        settings=lambda wildcards: GRID.adherence_settings(wildcards.condition),
        judges=lambda wildcards, input: (
            str(Path(input.judges[0]).parent) if input.judges else f"{RESULTS}/judges"
        ),
        clusters=lambda wildcards, input: (
            f"--clusters {input.clusters} --features {GRID.cluster_judge}={','.join(input.features)}"
            if input.clusters
            else ""
        ),
        table=lambda wildcards, input: f"--table {input.table}" if input.table else "",
        told_features=lambda wildcards, input: (
            f"--told-features {GRID.embedding_judge}={','.join(input.told_features)}"
            if input.told_features
            else ""
        ),
    message:
        "Scoring adherence of {wildcards.condition}, seed {wildcards.seed}"
    shell:
        "python scripts/adherence.py --config {params.config} --threads {threads}"
        " --condition {wildcards.condition} --seed {wildcards.seed} --train {input.train}"
        " --real {input.real} --synthetic {input.synthetic} --judges {params.judges}"
        " {params.clusters} {params.told_features} {params.table} --tiles {output.tiles}"
        " --output {output.rows}"
        " 2>&1 | tee {log}"


rule utility:
    input:
        train="<results>/tilesets/real/train",
        test="<results>/tilesets/real/test",
        synthetic=lambda wildcards: [] if wildcards.condition == "real" else scored_set(wildcards),
    output:
        rows="<results>/metrics/{condition}/seed{seed}/utility.json",
    log:
        "<logs>/utility/{condition}/seed{seed}.log",
    conda:
        "../envs/histosynth.yaml"
    threads: STUDY.threads
    resources:
        gpu=1,
        mem_mb=6000,
        runtime=480,
    params:
        config=CONFIG,
        settings=GRID.settings("utility"),
        synthetic=lambda wildcards, input: (
            f"--synthetic {input.synthetic}" if input.synthetic else ""
        ),
    message:
        "Training downstream models on {wildcards.condition}, seed {wildcards.seed}"
    shell:
        "python scripts/utility.py --config {params.config} --threads {threads}"
        " --condition {wildcards.condition} --seed {wildcards.seed} --train {input.train}"
        " --test {input.test} {params.synthetic} --output {output.rows} 2>&1 | tee {log}"


rule tissue:
    input:
        real="<results>/tilesets/real/test",
        synthetic=scored_set,
        judge="<results>/judges/segmenter" if "segmenter" in GRID.judges else [],
    output:
        rows="<results>/metrics/{condition}/seed{seed}/tissue.json",
    log:
        "<logs>/tissue/{condition}/seed{seed}.log",
    conda:
        "../envs/histosynth.yaml"
    threads: STUDY.threads
    resources:
        mem_mb=4000,
        runtime=120,
    params:
        config=CONFIG,
        settings=GRID.settings("tissue"),
        judge=lambda wildcards, input: f"--judge {input.judge}" if input.judge else "",
    message:
        "Measuring the tissue of {wildcards.condition}, seed {wildcards.seed}"
    shell:
        "python scripts/tissue.py --config {params.config} --threads {threads}"
        " --condition {wildcards.condition} --seed {wildcards.seed} --real {input.real}"
        " --synthetic {input.synthetic} {params.judge} --output {output.rows} 2>&1 | tee {log}"


rule memorization:
    input:
        train="<results>/tilesets/real/train",
        test="<results>/tilesets/real/test",
        synthetic=lambda wildcards: [] if wildcards.condition == "real" else scored_set(wildcards),
        features=neighbour_features,
        table=lambda wildcards: (
            f"{RESULTS}/condition_table.parquet" if GRID.shows_crops(wildcards.condition) else []
        ),
    output:
        rows="<results>/metrics/{condition}/seed{seed}/memorization.json",
    log:
        "<logs>/memorization/{condition}/seed{seed}.log",
    conda:
        "../envs/histosynth.yaml"
    threads: STUDY.threads
    resources:
        mem_mb=8000,
        runtime=240,
    params:
        config=CONFIG,
        settings=GRID.settings("memorization"),
        synthetic=lambda wildcards, input: (
            f"--synthetic {input.synthetic}" if input.synthetic else ""
        ),
        table=lambda wildcards, input: f"--table {input.table}" if input.table else "",
        features=features_option,
    message:
        "Scoring memorization of {wildcards.condition}, seed {wildcards.seed}"
    shell:
        "python scripts/memorization.py --config {params.config} --threads {threads}"
        " --condition {wildcards.condition} --seed {wildcards.seed} --train {input.train}"
        " --test {input.test} {params.synthetic} --features {params.features} {params.table}"
        " --output {output.rows} 2>&1 | tee {log}"
