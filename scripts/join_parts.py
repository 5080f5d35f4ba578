"""Join the parts of a synthetic set, sampled by several jobs, by links to their files."""

import argparse
from pathlib import Path

from histosynth.scripting import log, parser, run


def build_parser() -> argparse.ArgumentParser:
    made = parser(
        __doc__,
        example="python scripts/join_parts.py "
        "--parts results/demo/tilesets/parts/map/seed0/0 results/demo/tilesets/parts/map/seed0/1 "
        "--output results/demo/tilesets/synthetic/map/seed0",
        study=False,
    )
    made.add_argument("--parts", type=Path, nargs="+", required=True, help="all, in their order")
    made.add_argument("--output", type=Path, required=True, help="tile set to write")
    return made


def main(args: argparse.Namespace) -> None:
    from histosynth.diffusion.joining import join_parts

    log(f"{join_parts(args.parts, args.output)} images of {len(args.parts)} parts")


if __name__ == "__main__":
    run(main, build_parser())
