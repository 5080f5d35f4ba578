"""Pass a tile set through the autoencoder: what no condition that samples in it can beat."""

import argparse
from pathlib import Path

from histosynth.scripting import log, parser, run

SHARD = 1024  # tiles in memory at once


def build_parser() -> argparse.ArgumentParser:
    made = parser(
        __doc__,
        example="python scripts/roundtrip.py --config results/demo/config.yaml "
        "--autoencoder results/demo/models/autoencoder "
        "--tileset results/demo/tilesets/real/test "
        "--output results/demo/tilesets/synthetic/autoencoder/seed0",
    )
    made.add_argument("--autoencoder", type=Path, required=True, help="folder of the autoencoder")
    made.add_argument("--tileset", type=Path, required=True, help="the real tiles")
    made.add_argument("--output", type=Path, required=True, help="tile set to write")
    return made


def main(args: argparse.Namespace) -> None:
    import numpy as np
    import torch

    from histosynth.device import pick_device
    from histosynth.diffusion.autoencoder import (
        autoencoder_fingerprint,
        load_autoencoder,
        round_trip,
    )
    from histosynth.diffusion.synthetic import add_tiles, synthetic_row
    from histosynth.tilesets import TileSet, TileSetWriter

    torch.set_num_threads(args.threads)
    real = TileSet.open(args.tileset)
    model = load_autoencoder(args.autoencoder, device=pick_device())
    provenance = {"autoencoder": autoencoder_fingerprint(model), "source": real.fingerprint}
    made = {"condition": "autoencoder", "seed": 0, "provides": {"maps", "labels"}}
    with TileSetWriter(args.output, classes=real.classes, provenance=provenance) as writer:
        for start in range(0, len(real), SHARD):
            rows = np.arange(start, min(start + SHARD, len(real)))
            table = [
                synthetic_row(real.table.iloc[i], tile_id=f"autoencoder-{i:06d}", **made)
                for i in rows
            ]
            add_tiles(writer, round_trip(model, real.images(rows)), table, real, rows)
    log(f"{len(real)} tiles went through the autoencoder")


if __name__ == "__main__":
    run(main, build_parser())
