"""The autoencoder, its latents, and one latent diffusion model a condition and seed."""


rule autoencoder:
    input:
        train="<results>/tilesets/real/train",
        val="<results>/tilesets/real/val",
    output:
        folder=directory("<results>/models/autoencoder"),
    log:
        "<logs>/autoencoder.log",
    priority: 100
    conda:
        "../envs/histosynth.yaml"
    threads: STUDY.threads
    resources:
        gpu=1,
        mem_mb=8000,
        runtime=720,
    params:
        config=CONFIG,
        settings=GRID.settings("autoencoder"),
        state=f"{RESULTS}/models/.autoencoder.state",
    message:
        "Training the autoencoder"
    shell:
        "python scripts/autoencoder.py --config {params.config} --threads {threads}"
        " --train {input.train} --val {input.val}"
        " --state {params.state} --output {output.folder} 2>&1 | tee {log}"


rule latents:
    input:
        autoencoder="<results>/models/autoencoder",
        tileset="<results>/tilesets/real/train",
    output:
        folder=directory("<results>/latents"),
    log:
        "<logs>/latents.log",
    priority: 100
    conda:
        "../envs/histosynth.yaml"
    threads: STUDY.threads
    resources:
        gpu=1,
        mem_mb=8000,
        runtime=240,
    params:
        config=CONFIG,
        settings=GRID.latents_settings,
    message:
        "Encoding the train tiles into latents"
    shell:
        "python scripts/latents.py --config {params.config} --threads {threads}"
        " --autoencoder {input.autoencoder} --tileset {input.tileset} --output {output.folder}"
        " 2>&1 | tee {log}"


rule condition:
    output:
        "<results>/conditions/{condition}.yaml",
    log:
        "<logs>/condition/{condition}.log",
    conda:
        "../envs/histosynth.yaml"
    params:
        variant=lambda wildcards: GRID.condition_yaml(wildcards.condition),
    shell:
        "printf %s {params.variant:q} > {output} 2> {log}"


rule train:
    input:
        condition="<results>/conditions/{condition}.yaml",
        train="<results>/tilesets/real/train",
        val="<results>/tilesets/real/val",
        autoencoder="<results>/models/autoencoder",
        latents="<results>/latents",
        clusters=clusters_of,
        features=conditioning_features("train"),
        val_features=conditioning_features("val"),
        base=base_of,
    output:
        folder=directory("<results>/models/{condition}/seed{seed}"),
    log:
        "<logs>/train/{condition}/seed{seed}.log",
    wildcard_constraints:
        condition=GRID.trained_pattern,
    priority: 50
    conda:
        "../envs/histosynth.yaml"
    threads: STUDY.threads * STUDY.generator.processes
    resources:
        gpu=STUDY.generator.processes,
        mem_mb=GRID.generator_memory_mb * STUDY.generator.processes,
        runtime=1440,
    params:
        config=CONFIG,
        settings=lambda wildcards: GRID.train_settings(wildcards.condition),
        state=lambda wildcards: (
            f"{RESULTS}/models/{wildcards.condition}/.seed{wildcards.seed}.state"
        ),
        clusters=clusters_option,
        features=conditioning_option,
        val_features=val_features_option,
        base=base_option,
        threads=STUDY.threads,
        launch=launcher(STUDY.generator.processes),
    message:
        "Training {wildcards.condition}, seed {wildcards.seed}"
    shell:
        "{params.launch}python scripts/train.py --config {params.config}"
        " --threads {params.threads}"
        " --condition {input.condition} --train {input.train} --val {input.val}"
        " --autoencoder {input.autoencoder} --latents {input.latents} {params.clusters}"
        " {params.features} {params.val_features} {params.base} --seed {wildcards.seed}"
        " --state {params.state} --output {output.folder} 2>&1 | tee {log}"
