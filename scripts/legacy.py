"""Score a tile set under published protocols that are kept apart (evaluation.legacy)."""

import argparse
import time
from pathlib import Path

from histosynth.scripting import evaluation_arguments, parser, run


def build_parser() -> argparse.ArgumentParser:
    made = parser(
        __doc__,
        example="python scripts/legacy.py --config results/demo/config.yaml --condition map "
        "--seed 0 --synthetic results/demo/tilesets/synthetic/map/seed0 "
        "--real results/demo/tilesets/real/test "
        "--output results/demo/metrics/map/seed0/legacy.json",
    )
    made.add_argument("--synthetic", type=Path, required=True, help="tile set to score")
    made.add_argument("--real", type=Path, required=True, help="real test tiles")
    made.add_argument(
        "--images",
        type=Path,
        metavar="FOLDER",
        help="images that the set was imported from; where they were resized, these are scored",
    )
    return evaluation_arguments(made)


def main(args: argparse.Namespace) -> None:
    import torch

    from histosynth.config import Study
    from histosynth.evaluations.legacy import legacy_of_files
    from histosynth.evaluations.rows import Scored, set_name, software, write_rows

    torch.set_num_threads(args.threads)
    started = time.monotonic()
    study = Study.load(args.config)
    scored = Scored(study.study, args.condition, args.seed, set_name(args.synthetic), "legacy")
    rows = legacy_of_files(scored, args.real, args.synthetic, study=study, images=args.images)
    seconds = time.monotonic() - started
    write_rows(args.output, rows, seconds=seconds, versions=software(), protocols=scored.protocols)


if __name__ == "__main__":
    run(main, build_parser())
