"""Synthetic tile sets: ours, reference sets made of real tiles, and somebody else's images."""


rule condition_table:
    input:
        test="<results>/tilesets/real/test",
        train="<results>/tilesets/real/train",
        clusters=f"{RESULTS}/{GRID.cluster_folder}" if GRID.cluster_folder else [],
    output:
        table="<results>/condition_table.parquet",
    log:
        "<logs>/condition_table.log",
    conda:
        "../envs/histosynth.yaml"
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        config=CONFIG,
        settings=GRID.settings("condition_table", maps=GRID.asks_for_maps),
        clusters=clusters_option,
    message:
        "Drawing the held-out conditions that every variant samples from"
    shell:
        "python scripts/condition_table.py --config {params.config} --test {input.test}"
        " --train {input.train} {params.clusters} --output {output.table} 2>&1 | tee {log}"


# One job samples a set, or several a part each, which one more job joins by links.
SAMPLED = "synthetic/{condition}/seed{seed}"
if GRID.parts > 1:
    SAMPLED = "parts/{condition}/seed{seed}/{part}"


rule sample:
    input:
        condition=lambda wildcards: (
            f"{RESULTS}/conditions/{condition_of(wildcards.condition)}.yaml"
        ),
        model=lambda wildcards: (
            f"{RESULTS}/models/{condition_of(wildcards.condition)}/seed{wildcards.seed}"
        ),
        autoencoder="<results>/models/autoencoder",
        latents="<results>/latents",
        table="<results>/condition_table.parquet",
        test="<results>/tilesets/real/test",
        clusters=clusters_of,
        features=conditioning_features("test"),
    output:
        folder=directory(f"<results>/tilesets/{SAMPLED}"),
    log:
        f"<logs>/sample/{SAMPLED}.log",
    wildcard_constraints:
        condition=GRID.sampled_pattern,
    priority: 40
    conda:
        "../envs/histosynth.yaml"
    threads: STUDY.threads
    resources:
        gpu=1,
        mem_mb=GRID.generator_memory_mb,
        runtime=240,
    params:
        config=CONFIG,
        settings=lambda wildcards: GRID.sample_settings(wildcards.condition),
        clusters=clusters_option,
        features=conditioning_option,
        part=lambda wildcards: f"{wildcards.get('part', 0)} {GRID.parts}",
    message:
        "Sampling {wildcards.condition}, seed {wildcards.seed}"
    shell:
        "python scripts/sample.py --config {params.config} --threads {threads}"
        " --condition {input.condition} --name {wildcards.condition} --model {input.model} --autoencoder {input.autoencoder}"
        " --latents {input.latents} --table {input.table} --test {input.test} {params.clusters}"
        " {params.features} --seed {wildcards.seed} --part {params.part} --output {output.folder} 2>&1 | tee {log}"


if GRID.parts > 1:

    rule join_parts:
        input:
            parts=expand(
                "<results>/tilesets/parts/{{condition}}/seed{{seed}}/{part}",
                part=range(GRID.parts),
            ),
        output:
            folder=directory("<results>/tilesets/synthetic/{condition}/seed{seed}"),
        log:
            "<logs>/join_parts/{condition}/seed{seed}.log",
        wildcard_constraints:
            condition=GRID.sampled_pattern,
        conda:
            "../envs/histosynth.yaml"
        resources:
            mem_mb=2000,
            runtime=30,
        message:
            "Joining the parts of {wildcards.condition}, seed {wildcards.seed}"
        shell:
            "python scripts/join_parts.py --parts {input.parts} --output {output.folder}"
            " 2>&1 | tee {log}"


rule roundtrip:
    input:
        autoencoder="<results>/models/autoencoder",
        test="<results>/tilesets/real/test",
    output:
        folder=directory("<results>/tilesets/synthetic/autoencoder/seed{seed}"),
    log:
        "<logs>/roundtrip/seed{seed}.log",
    conda:
        "../envs/histosynth.yaml"
    threads: STUDY.threads
    resources:
        gpu=1,
        mem_mb=6000,
        runtime=120,
    params:
        config=CONFIG,
        settings=GRID.settings("roundtrip"),
    message:
        "Passing the test tiles through the autoencoder: the floor of every condition"
    shell:
        "python scripts/roundtrip.py --config {params.config} --threads {threads}"
        " --autoencoder {input.autoencoder} --tileset {input.test} --output {output.folder}"
        " 2>&1 | tee {log}"


rule reference:
    input:
        test="<results>/tilesets/real/test",
    output:
        folder=directory("<results>/tilesets/synthetic/{reference}/seed{seed}"),
    log:
        "<logs>/reference/{reference}/seed{seed}.log",
    wildcard_constraints:
        reference=GRID.reference_pattern,
    conda:
        "../envs/histosynth.yaml"
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        settings=GRID.settings("reference"),
    message:
        "Making the reference set {wildcards.reference} of the test tiles"
    shell:
        "python scripts/reference.py --reference {wildcards.reference} --tileset {input.test}"
        " --output {output.folder} 2>&1 | tee {log}"


rule external:
    input:
        images=lambda wildcards: GRID.condition(wildcards.condition).external,
    output:
        folder=directory("<results>/tilesets/synthetic/{condition}/seed{seed}"),
    log:
        "<logs>/external/{condition}/seed{seed}.log",
    wildcard_constraints:
        condition=GRID.external_pattern,
    conda:
        "../envs/histosynth.yaml"
    resources:
        mem_mb=4000,
        runtime=120,
    params:
        settings=GRID.settings("external"),
        size=STUDY.tiling.size,
    message:
        "Importing {wildcards.condition} from {input.images}"
    shell:
        "python scripts/import_images.py --images {input.images} --size {params.size}"
        " --output {output.folder} 2>&1 | tee {log}"
