"""Pictures that two splits share: a finding that the report tells, never an error."""


rule duplicates:
    input:
        tilesets=expand("<results>/tilesets/real/{split}", split=["train", "val", "test"]),
    output:
        found="<results>/tilesets/real/duplicates.json",
    log:
        "<logs>/duplicates.log",
    conda:
        "../envs/histosynth.yaml"
    threads: STUDY.threads
    resources:
        mem_mb=4000,
        runtime=120,
    params:
        config=CONFIG,
        settings=GRID.settings("duplicates"),
    message:
        "Looking for pictures that two splits share"
    shell:
        "python scripts/duplicates.py --config {params.config} --threads {threads}"
        " --tilesets {input.tilesets} --output {output.found} 2>&1 | tee {log}"
