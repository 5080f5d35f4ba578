"""Train a judge on real train tiles: a segmenter of maps, or a classifier of labels."""

import argparse
from pathlib import Path

from histosynth.scripting import log, parser, run


def build_parser() -> argparse.ArgumentParser:
    made = parser(
        __doc__,
        example="python scripts/judge.py --config results/demo/config.yaml --kind segmenter "
        "--train results/demo/tilesets/real/train --val results/demo/tilesets/real/val "
        "--output results/demo/judges/segmenter",
    )
    made.add_argument("--kind", choices=["segmenter", "classifier"], required=True)
    made.add_argument("--train", type=Path, required=True, help="real train tiles")
    made.add_argument("--val", type=Path, required=True, help="real val tiles, for its own score")
    made.add_argument("--output", type=Path, required=True, help="folder to write")
    return made


def main(args: argparse.Namespace) -> None:
    import torch

    from histosynth.config import Study
    from histosynth.device import pick_device
    from histosynth.judges.judge import make_judge
    from histosynth.tilesets import TileSet

    torch.set_num_threads(args.threads)
    record = make_judge(
        args.kind,
        TileSet.open(args.train),
        TileSet.open(args.val),
        Study.load(args.config),
        output=args.output,
        device=pick_device(),
    )
    log(f"{args.kind}: {record['val']} on {record['val_tiles']} val tiles")


if __name__ == "__main__":
    run(main, build_parser())
