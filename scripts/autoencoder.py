"""Train the autoencoder that all conditions share, or take a ready one in diffusers' layout."""

import argparse
from pathlib import Path

from histosynth.scripting import log, parser, run


def build_parser() -> argparse.ArgumentParser:
    made = parser(
        __doc__,
        example="python scripts/autoencoder.py --config results/demo/config.yaml "
        "--train results/demo/tilesets/real/train --val results/demo/tilesets/real/val "
        "--state results/demo/models/.autoencoder.state --output results/demo/models/autoencoder",
    )
    made.add_argument("--train", type=Path, required=True, help="tile set to train on")
    made.add_argument("--val", type=Path, required=True, help="tile set for the reported error")
    made.add_argument("--state", type=Path, required=True, help="where a killed job goes on from")
    made.add_argument("--output", type=Path, required=True, help="folder to write")
    return made


def main(args: argparse.Namespace) -> None:
    import torch

    from histosynth.config import Study
    from histosynth.device import pick_device
    from histosynth.diffusion.autoencoder_training import make_autoencoder
    from histosynth.diffusion.state import discard_state
    from histosynth.tilesets import TileSet

    torch.set_num_threads(args.threads)
    record = make_autoencoder(
        TileSet.open(args.train),
        TileSet.open(args.val),
        Study.load(args.config).autoencoder,
        state=args.state,
        output=args.output,
        device=pick_device(),
        log=log,
    )
    discard_state(args.state)
    log(f"autoencoder: {record['val']['psnr']} dB on {record['val']['tiles']} val tiles")


if __name__ == "__main__":
    run(main, build_parser())
