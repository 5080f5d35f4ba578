"""Draw the phantom cohort of a study: slides, masks and their table."""

import argparse
from pathlib import Path

from histosynth.scripting import parser, run


def build_parser() -> argparse.ArgumentParser:
    made = parser(
        "Draw the phantom cohort: procedural H&E slides with exact masks and a table of them.",
        example="python scripts/phantom.py --config config.yaml --output results/demo/phantom",
    )
    made.add_argument("--output", type=Path, required=True, help="folder for slides, masks, table")
    return made


def main(args: argparse.Namespace) -> None:
    from histosynth.cohort_settings import PhantomCohort
    from histosynth.config import Study
    from histosynth.errors import InputError
    from histosynth.files import atomic_folder
    from histosynth.slides.phantom import write_phantom_cohort

    study = Study.load(args.config)
    if not isinstance(study.cohort, PhantomCohort):
        raise InputError(
            f"{args.config}: cohort.kind is {study.cohort.kind}; only kind phantom is drawn"
        )
    with atomic_folder(args.output) as partial:
        write_phantom_cohort(partial, study.cohort)


if __name__ == "__main__":
    run(main, build_parser())
