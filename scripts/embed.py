"""Embed every tile of a set with one of the study's encoders."""

import argparse
from pathlib import Path

from histosynth.scripting import log, parser, run


def build_parser() -> argparse.ArgumentParser:
    made = parser(
        __doc__,
        example="python scripts/embed.py --config results/demo/config.yaml "
        "--tileset results/demo/tilesets/real/test --encoder texture "
        "--output results/demo/features/real/test/texture.npy",
    )
    made.add_argument("--tileset", type=Path, required=True, help="tiles to embed")
    made.add_argument("--encoder", required=True, help="its name under `encoders` of the study")
    made.add_argument("--output", type=Path, required=True, help=".npy; a .json goes beside it")
    return made


def main(args: argparse.Namespace) -> None:
    from histosynth.config import Study
    from histosynth.encoders import features as stored
    from histosynth.encoders import load_encoder
    from histosynth.errors import InputError
    from histosynth.tilesets import TileSet

    study = Study.load(args.config)
    if args.encoder not in study.encoders:
        raise InputError(
            f"--encoder {args.encoder}: no such encoder; `encoders` of {args.config} has: "
            f"{', '.join(study.encoders)}"
        )
    settings = study.encoders[args.encoder]
    if settings.kind != "texture":  # torch is slow to import, and texture does without
        import torch

        torch.set_num_threads(args.threads)
    tiles = TileSet.open(args.tileset)
    encoder = load_encoder(args.encoder, settings)
    fingerprint = stored.features_fingerprint(encoder, tiles)
    if stored.features_current(args.output, fingerprint):
        log(f"{args.output} is up to date")
        return
    features = stored.embed_tileset(tiles, encoder, batch_size=settings.batch_size, progress=True)
    stored.save_features(args.output, features, fingerprint=fingerprint)
    log(f"{len(features)} tiles, {features.shape[1]} features each")


if __name__ == "__main__":
    run(main, build_parser())
