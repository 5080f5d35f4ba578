"""Look for tiles of different splits that are nearly the same picture."""

import argparse
from pathlib import Path

from histosynth.scripting import log, parser, run


def build_parser() -> argparse.ArgumentParser:
    made = parser(
        "Look for tiles of different splits that are nearly the same picture, be it turned,\n"
        "mirrored, stored as JPEG again, or a little brighter. Finding some is a result, no error.",
        example="python scripts/duplicates.py --config results/demo/config.yaml --tilesets "
        "results/demo/tilesets/real/train results/demo/tilesets/real/val "
        "results/demo/tilesets/real/test --output results/demo/tilesets/real/duplicates.json",
    )
    made.add_argument(
        "--tilesets", type=Path, nargs="+", required=True, help="one folder a split, of its name"
    )
    made.add_argument(
        "--limit", type=int, default=300_000, help="compare a sample of this many tiles of a split"
    )
    made.add_argument("--output", type=Path, required=True, help="what was found, as JSON")
    return made


def main(args: argparse.Namespace) -> None:
    from histosynth.files import write_json
    from histosynth.slides.duplicates import find_duplicates
    from histosynth.tilesets import TileSet

    splits = {folder.name: TileSet.open(folder) for folder in args.tilesets}
    found = find_duplicates(splits, limit=args.limit, threads=args.threads)
    write_json(args.output, found)
    for name, tiles in found["tiles"].items():
        if tiles["compared"] < tiles["tiles"]:
            log(
                f"duplicates: {name}: {tiles['compared']} of {tiles['tiles']} tiles compared, "
                f"{tiles['plain']} too plain to be told apart"
            )
    for names, count in found["counts"].items():
        log(f"duplicates: {names}: {count} pair(s) of nearly the same picture")


if __name__ == "__main__":
    run(main, build_parser())
