"""Compare every pair of conditions, paired by patient: which differences are more than chance."""

import argparse
from pathlib import Path

from histosynth.scripting import log, parser, run


def build_parser() -> argparse.ArgumentParser:
    made = parser(
        __doc__,
        example="python scripts/comparison.py --config results/demo/config.yaml "
        "--metrics results/demo/metrics/*/seed*/*.json --output results/demo/comparison.json",
    )
    made.add_argument("--metrics", type=Path, nargs="+", required=True, help="files of rows")
    made.add_argument("--output", type=Path, required=True, help=".json")
    return made


def main(args: argparse.Namespace) -> None:
    from histosynth.config import Study
    from histosynth.evaluations.comparison import compare, write_comparison
    from histosynth.grid import Grid

    study = Study.load(args.config)
    grid = Grid(study)
    ranked = [name for name in study.conditions if not grid.shows_target(name)]
    told = {encoder: grid.told_of(encoder) for encoder in study.evaluation.encoders}
    made = compare(args.metrics, ranked, told=told)
    write_comparison(args.output, made)
    real = sum(bool(row.better) for row in made)
    log(f"{len(made)} comparisons of {len(ranked)} conditions, {real} of them more than chance")


if __name__ == "__main__":
    run(main, build_parser())
