"""Make a reference set of real test tiles: through JPEG and back, or noise of their colours."""

import argparse
from pathlib import Path

from histosynth.scripting import log, parser, run


def build_parser() -> argparse.ArgumentParser:
    made = parser(
        __doc__,
        example="python scripts/reference.py --reference jpeg90 "
        "--tileset results/demo/tilesets/real/test "
        "--output results/demo/tilesets/synthetic/jpeg90/seed0",
        study=False,
    )
    made.add_argument("--reference", required=True, help="jpeg90 or noise")
    made.add_argument("--tileset", type=Path, required=True, help="the real tiles")
    made.add_argument("--output", type=Path, required=True, help="tile set to write")
    return made


def main(args: argparse.Namespace) -> None:
    from histosynth.evaluations.reference_sets import write_reference_set
    from histosynth.tilesets import TileSet

    made = write_reference_set(args.reference, TileSet.open(args.tileset), args.output)
    log(f"{args.reference}: {len(made)} tiles")


if __name__ == "__main__":
    run(main, build_parser())
