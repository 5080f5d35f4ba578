"""Slides to tile sets: cohort table, tiling in chunks, one tile set a split."""

CHUNKS = range(STUDY.tiling.chunks)


rule phantom:
    output:
        folder=directory("<results>/phantom"),
    log:
        "<logs>/phantom.log",
    conda:
        "../envs/histosynth.yaml"
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        config=CONFIG,
        settings=GRID.settings("phantom"),
    message:
        "Drawing the phantom slides"
    shell:
        "python scripts/phantom.py --config {params.config} --output {output.folder} 2>&1 | tee {log}"


rule cohort:
    input:
        phantom="<results>/phantom" if STUDY.cohort.kind == "phantom" else [],
    output:
        table="<results>/cohort.parquet",
    log:
        "<logs>/cohort.log",
    conda:
        "../envs/histosynth.yaml"
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        config=CONFIG,
        settings=GRID.settings("cohort"),
        table=lambda wildcards, input: (
            f"--table {input.phantom}/cohort.csv" if input.phantom else ""
        ),
    message:
        "Reading the cohort and splitting it by patient"
    shell:
        "python scripts/cohort.py --config {params.config} {params.table} --output {output.table}"
        " 2>&1 | tee {log}"


rule tile:
    input:
        cohort="<results>/cohort.parquet",
    output:
        folder=directory("<results>/tiles/chunk{chunk}"),
    log:
        "<logs>/tile/chunk{chunk}.log",
    conda:
        "../envs/histosynth.yaml"
    resources:
        mem_mb=4000,
        runtime=240,
    params:
        config=CONFIG,
        settings=GRID.settings("tile"),
        chunks=STUDY.tiling.chunks,
    message:
        "Tiling chunk {wildcards.chunk} of the slides"
    shell:
        "python scripts/tile.py --config {params.config} --cohort {input.cohort}"
        " --chunk {wildcards.chunk} --chunks {params.chunks} --output {output.folder}"
        " 2>&1 | tee {log}"


rule split:
    input:
        chunks=expand("<results>/tiles/chunk{chunk}", chunk=CHUNKS),
    output:
        train=directory("<results>/tilesets/real/train"),
        val=directory("<results>/tilesets/real/val"),
        test=directory("<results>/tilesets/real/test"),
        summary="<results>/tilesets/real/summary.json",
    log:
        "<logs>/split.log",
    conda:
        "../envs/histosynth.yaml"
    resources:
        mem_mb=4000,
        runtime=120,
    params:
        config=CONFIG,
        settings=GRID.settings("split"),
        tiles=lambda wildcards, input: Path(input.chunks[0]).parent,
        chunks=STUDY.tiling.chunks,
        folder=subpath(output.summary, parent=True),
    message:
        "Gathering the tiles into train, val and test"
    shell:
        "python scripts/split.py --config {params.config} --tiles {params.tiles}"
        " --chunks {params.chunks} --output {params.folder} 2>&1 | tee {log}"
