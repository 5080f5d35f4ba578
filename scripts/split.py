"""Gather tiled chunks into one tile set a split."""

import argparse
from pathlib import Path

from histosynth.scripting import log, parser, run


def build_parser() -> argparse.ArgumentParser:
    made = parser(
        "Gather tiled chunks into the tile sets train, val and test (no patient in two), with a\n"
        "summary of what was kept, what was not, and why. Images are linked, not copied.",
        example="python scripts/split.py --config config.yaml "
        "--tiles results/demo/tiles --chunks 2 --output results/demo/tilesets/real",
    )
    made.add_argument("--tiles", type=Path, required=True, help="folder of the chunks")
    made.add_argument("--chunks", type=int, required=True, help="number of chunks in it")
    made.add_argument("--output", type=Path, required=True, help="folder of the three tile sets")
    return made


def main(args: argparse.Namespace) -> None:
    from histosynth.config import Study
    from histosynth.slides.gather import gather_splits

    folders = [args.tiles / f"chunk{chunk}" for chunk in range(args.chunks)]
    summary = gather_splits(folders, Study.load(args.config), args.output)
    for name, counts in summary["splits"].items():
        labels = ", ".join(f"{label} {n}" for label, n in counts["labels"].items())
        log(f"split: {name}: {counts['tiles']} tiles of {counts['patients']} patients ({labels})")
    for slide in summary["failed_slides"]:
        log(f"split: slide {slide['slide_id']} failed: {slide['reason']}")


if __name__ == "__main__":
    run(main, build_parser())
