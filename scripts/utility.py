"""Train small downstream models on real, synthetic or mixed tiles; test them on real patients."""

import argparse
import time
from functools import partial
from pathlib import Path

from histosynth.scripting import evaluation_arguments, parser, run


def build_parser() -> argparse.ArgumentParser:
    made = parser(
        __doc__,
        example="python scripts/utility.py --config results/demo/config.yaml --condition map "
        "--seed 0 --synthetic results/demo/tilesets/synthetic/map/seed0 "
        "--train results/demo/tilesets/real/train --test results/demo/tilesets/real/test "
        "--output results/demo/metrics/map/seed0/utility.json",
    )
    made.add_argument("--synthetic", type=Path, help="tile set to learn from; none for `real`")
    made.add_argument("--train", type=Path, required=True, help="real train tiles")
    made.add_argument("--test", type=Path, required=True, help="real test tiles")
    return evaluation_arguments(made)


def main(args: argparse.Namespace) -> None:
    import torch

    from histosynth.config import Study
    from histosynth.device import pick_device
    from histosynth.evaluations.rows import Scored, set_name, software, write_rows
    from histosynth.evaluations.utility import METRICS, utility_of_files

    torch.set_num_threads(args.threads)
    started = time.monotonic()
    study = Study.load(args.config)
    name = set_name(args.synthetic or args.train)
    scored = Scored(study.study, args.condition, args.seed, name, "utility")
    sets = {"train": args.train, "test": args.test, "synthetic": args.synthetic}
    rows = []
    for task, metric in METRICS.items():
        rows += scored.guarded(
            [metric],
            partial(utility_of_files, scored, task, study=study, device=pick_device(), **sets),
        )
    seconds = time.monotonic() - started
    write_rows(args.output, rows, seconds=seconds, versions=software(), protocols=scored.protocols)


if __name__ == "__main__":
    run(main, build_parser())
