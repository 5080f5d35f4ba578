"""The benchmark's graph. `snakemake --cores 2` runs the demo; `--configfile studies/X.yaml` another."""

import sys
from pathlib import Path

from snakemake.utils import min_version

min_version("9.19")

ROOT = Path(workflow.basedir)
sys.path.insert(0, str(ROOT))
# A prefix replaces Snakemake's own, so strict mode is said again; scripts import this checkout.
shell.prefix(f"set -euo pipefail; export PYTHONPATH={ROOT} TQDM_MININTERVAL=10; ")

from histosynth.grid import Grid
from histosynth.sweeps import PATTERN, condition_of

if "study" not in config:  # a --configfile is a whole study: nothing of the demo is mixed in

    configfile: "config.yaml"


GRID = Grid.from_config(config)
STUDY = GRID.study


RESULTS = f"results/{STUDY.study}"
CONFIG = f"{RESULTS}/config.yaml"  # the resolved study; what a job depends on stands in its params


pathvars:
    results=RESULTS,
    reports=f"reports/{STUDY.study}",
    logs=f"{RESULTS}/logs",


wildcard_constraints:
    condition=PATTERN,
    encoder="[A-Za-z0-9_]+",
    set="(real|synthetic)/.+",
    seed=r"\d+",
    chunk=r"\d+",
    part=r"\d+",
    split="train|val|test",
    kind="segmenter|classifier",


include: "rules/common.smk"
include: "rules/tile.smk"
include: "rules/duplicates.smk"
include: "rules/embed.smk"
include: "rules/cluster.smk"
include: "rules/train.smk"
include: "rules/sample.smk"
include: "rules/evaluate.smk"
include: "rules/report.smk"


localrules:
    all,
    condition,


rule all:
    default_target: True
    input:
        # After a failure a partial report stands in its place: what it lacks is still to be made.
        "<reports>/index.html",
        "<reports>/selftest.html",
        "<results>/summary.parquet",
        "<results>/comparison.json",


onstart:
    GRID.write_config(CONFIG)


onerror:
    print("A job failed; the report is built from what there is, failed cells marked.")
    shell(GRID.partial_report_command)
