"""Score how near a tile set lies to real test tiles, in each encoder."""

import argparse
import time
from pathlib import Path

from histosynth.scripting import evaluation_arguments, features_of_sets, parser, run


def build_parser() -> argparse.ArgumentParser:
    made = parser(
        __doc__,
        example="python scripts/fidelity.py --config results/demo/config.yaml --condition map "
        "--seed 0 --synthetic results/demo/tilesets/synthetic/map/seed0 "
        "--real results/demo/tilesets/real/test --features texture=results/demo/features/real/"
        "test/texture.npy,results/demo/features/synthetic/map/seed0/texture.npy "
        "--output results/demo/metrics/map/seed0/fidelity.json",
    )
    made.add_argument("--synthetic", type=Path, required=True, help="tile set to score")
    made.add_argument("--real", type=Path, required=True, help="real test tiles")
    made.add_argument(
        "--features",
        nargs="+",
        required=True,
        metavar="ENCODER=REAL.npy,SYNTHETIC.npy",
        help="features of both sets, one pair an encoder",
    )
    made.add_argument(
        "--clusters", nargs=2, metavar=("FOLDER", "SYNTHETIC.npy"), help="score by cluster too"
    )
    return evaluation_arguments(made)


def main(args: argparse.Namespace) -> None:
    from histosynth.config import Study
    from histosynth.evaluations.fidelity_cell import fidelity_of_cell
    from histosynth.evaluations.rows import Scored, set_name, software, write_rows

    started = time.monotonic()
    study = Study.load(args.config)
    scored = Scored(study.study, args.condition, args.seed, set_name(args.synthetic), "fidelity")
    rows = fidelity_of_cell(
        scored,
        args.real,
        args.synthetic,
        study=study,
        features=features_of_sets(args.features),
        clusters=args.clusters,
    )
    seconds = time.monotonic() - started
    write_rows(args.output, rows, seconds=seconds, versions=software(), protocols=scored.protocols)


if __name__ == "__main__":
    run(main, build_parser())
