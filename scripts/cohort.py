"""Read and check a study's cohort, and give every patient a split."""

import argparse
from pathlib import Path

from histosynth.scripting import log, parser, run


def build_parser() -> argparse.ArgumentParser:
    made = parser(
        "Read a study's cohort, check it (columns, ids, files, labels), split it by patient, and\n"
        "write one row a slide.",
        example="python scripts/cohort.py --config config.yaml "
        "--table results/demo/phantom/cohort.csv --output results/demo/cohort.parquet",
    )
    made.add_argument("--table", type=Path, help="kind phantom: the table that phantom.py wrote")
    made.add_argument("--output", type=Path, required=True, help="the cohort, as Parquet")
    return made


def main(args: argparse.Namespace) -> None:
    from histosynth.config import Study
    from histosynth.files import atomic_file
    from histosynth.slides.chunks import check_annotations
    from histosynth.slides.cohorts import load_cohort

    study = Study.load(args.config)
    cohort = load_cohort(study, table=args.table)
    check_annotations(cohort, study)
    with atomic_file(args.output) as partial:
        cohort.to_parquet(partial, index=False)
    unit = cohort["split_unit"].iloc[0]
    counts = cohort.groupby("split")["patient_id"].nunique()
    told = ", ".join(f"{name} {counts[name]}" for name in ("train", "val", "test"))
    log(f"cohort: {len(cohort)} slides; {unit}s: {told}")
    if unit != "patient":
        log(
            f"cohort: split by {unit}, not by patient: the cohort does not tell patients, so no "
            "split can keep them apart; every score is optimistic, and is marked so"
        )


if __name__ == "__main__":
    run(main, build_parser())
