"""Import a folder of images as a tile set."""

import argparse
from pathlib import Path

from histosynth.scripting import log, parser, run


def build_parser() -> argparse.ArgumentParser:
    made = parser(
        "Import a folder of images, with labels and masks where there are some, as a tile set.",
        example="python scripts/import_images.py --images theirs/png --labels theirs/labels.csv "
        "--masks theirs/masks --classes background,tumour --output results/demo/theirs",
        study=False,
    )
    made.add_argument("--images", type=Path, required=True, help="folder, searched with subfolders")
    made.add_argument("--labels", type=Path, help="table with the columns image and label")
    made.add_argument("--masks", type=Path, help="folder of masks named as the images")
    made.add_argument("--classes", default="", help="names of mask values 0, 1, ..., by commas")
    made.add_argument("--size", type=int, help="resize (antialiased) to this side in pixels")
    made.add_argument("--output", type=Path, required=True, help="folder of the tile set")
    return made


def main(args: argparse.Namespace) -> None:
    from histosynth.imports import import_images

    tiles = import_images(
        args.images,
        args.output,
        labels=args.labels,
        masks=args.masks,
        classes=[name.strip() for name in args.classes.split(",") if name.strip()],
        size=args.size,
    )
    log(f"import_images: {len(tiles)} tiles of {tiles.size[1]} x {tiles.size[0]} pixels")


if __name__ == "__main__":
    run(main, build_parser())
