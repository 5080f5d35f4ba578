"""Morphology clusters, fitted on train features only."""

SPLITS = ["train", "val", "test"]


rule cluster:
    input:
        tilesets=expand("<results>/tilesets/real/{split}", split=SPLITS),
        features=expand("<results>/features/real/{split}/{{encoder}}.npy", split=SPLITS),
    output:
        folder=directory("<results>/clusters/{encoder}-k{k}"),
    log:
        "<logs>/cluster/{encoder}-k{k}.log",
    conda:
        "../envs/histosynth.yaml"
    threads: STUDY.threads
    resources:
        mem_mb=4000,
        runtime=120,
    params:
        config=CONFIG,
        settings=GRID.settings("cluster"),
        assign=lambda wildcards, input: [
            f"{tiles}={features}"
            for tiles, features in zip(input.tilesets[1:], input.features[1:])
        ],
    message:
        "Clustering {wildcards.encoder} features into {wildcards.k} morphology types"
    shell:
        "python scripts/cluster.py --config {params.config} --threads {threads}"
        " --train {input.tilesets[0]} --features {input.features[0]}"
        " --assign {params.assign} --output {output.folder} 2>&1 | tee {log}"
