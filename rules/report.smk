"""All rows in one table, and the page to browse."""

METRICS = [
    f"{RESULTS}/metrics/{cell.condition}/seed{cell.seed}/{cell.group}.json" for cell in GRID.cells()
]


rule summary:
    input:
        rows=METRICS,
    output:
        parquet="<results>/summary.parquet",
        csv=report("<results>/summary.csv", category="Scores"),
    log:
        "<logs>/summary.log",
    conda:
        "../envs/histosynth.yaml"
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        config=CONFIG,
    message:
        "Collecting every metric row"
    shell:
        "python scripts/summary.py --config {params.config} --metrics {input.rows}"
        " --output {output.parquet} 2>&1 | tee {log}"


rule comparison:
    input:
        rows=METRICS,
    output:
        pairs="<results>/comparison.json",
    log:
        "<logs>/comparison.log",
    conda:
        "../envs/histosynth.yaml"
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        config=CONFIG,
        settings=GRID.settings("comparison"),
    message:
        "Comparing every pair of conditions"
    shell:
        "python scripts/comparison.py --config {params.config} --metrics {input.rows}"
        " --output {output.pairs} 2>&1 | tee {log}"


rule selftest:
    input:
        real="<results>/tilesets/real/test",
        train="<results>/tilesets/real/train",
    output:
        page=report("<reports>/selftest.html", category="Report"),
    log:
        "<logs>/selftest.log",
    conda:
        "../envs/histosynth.yaml"
    resources:
        gpu=gpus_of(STUDY.evaluation.encoders[0]),
        mem_mb=4000,
        runtime=60,
    params:
        config=CONFIG,
        settings=GRID.selftest_settings,
    message:
        "Planting faults in real tiles to see which scores see them"
    shell:
        "python scripts/selftest.py --config {params.config} --threads {threads}"
        " --real {input.real} --train {input.train} --output {output.page} 2>&1 | tee {log}"


rule report:
    input:
        selftest="<reports>/selftest.html",
        comparison="<results>/comparison.json",
        summary="<results>/summary.parquet",
        duplicates="<results>/tilesets/real/duplicates.json",
    output:
        page=report("<reports>/index.html", category="Report"),
    log:
        "<logs>/report.log",
    conda:
        "../envs/histosynth.yaml"
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        # a function: a prompt's "{label}" is no wildcard
        settings=lambda wildcards: GRID.settings("report", study=STUDY.dump()),
        results=subpath(input.summary, parent=True),
    message:
        "Writing the report"
    shell:
        "python scripts/report.py --results {params.results} --output {output.page} 2>&1 | tee {log}"
