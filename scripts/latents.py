"""Encode a tile set once: latents in their flips, and the whitening fitted on them."""

import argparse
from pathlib import Path

from histosynth.scripting import log, parser, run


def build_parser() -> argparse.ArgumentParser:
    made = parser(
        __doc__,
        example="python scripts/latents.py --config results/demo/config.yaml "
        "--autoencoder results/demo/models/autoencoder "
        "--tileset results/demo/tilesets/real/train --output results/demo/latents",
    )
    made.add_argument("--autoencoder", type=Path, required=True, help="folder of the autoencoder")
    made.add_argument("--tileset", type=Path, required=True, help="the train tile set")
    made.add_argument("--output", type=Path, required=True, help="folder to write")
    return made


def main(args: argparse.Namespace) -> None:
    import torch

    from histosynth.conditions.targets import tile_images
    from histosynth.config import Study
    from histosynth.device import pick_device
    from histosynth.diffusion.autoencoder import load_autoencoder
    from histosynth.diffusion.latents import write_latents
    from histosynth.tilesets import TileSet

    torch.set_num_threads(args.threads)
    tiles = TileSet.open(args.tileset)
    cache = write_latents(
        args.output,
        load_autoencoder(args.autoencoder, device=pick_device()),
        tile_images(tiles),
        tiles_fingerprint=tiles.fingerprint,
        flips=Study.load(args.config).cached_flips,
    )
    size = cache.bytes_per_tile / 1024
    log(f"{len(cache)} tiles as latents of {cache.latent_shape}, {size:g} KiB a tile")


if __name__ == "__main__":
    run(main, build_parser())
