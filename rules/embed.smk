"""Tile sets to feature arrays."""


rule embed:
    input:
        tileset="<results>/tilesets/{set}",
    output:
        features="<results>/features/{set}/{encoder}.npy",
        fingerprint="<results>/features/{set}/{encoder}.json",
    log:
        "<logs>/embed/{set}/{encoder}.log",
    conda:
        "../envs/histosynth.yaml"
    threads: STUDY.threads
    resources:
        gpu=lambda wildcards: gpus_of(wildcards.encoder),
        mem_mb=4000,
        runtime=240,
    params:
        config=CONFIG,
        settings=lambda wildcards: GRID.encoder_settings(wildcards.encoder),
    message:
        "Embedding {wildcards.set} with {wildcards.encoder}"
    shell:
        "python scripts/embed.py --config {params.config} --threads {threads}"
        " --tileset {input.tileset} --encoder {wildcards.encoder} --output {output.features}"
        " 2>&1 | tee {log}"
