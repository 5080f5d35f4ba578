"""Fit morphology types on train features, and assign the tiles of other sets to them."""

import argparse
from pathlib import Path

from histosynth.scripting import log, parser, run


def build_parser() -> argparse.ArgumentParser:
    made = parser(
        __doc__,
        example="python scripts/cluster.py --config results/demo/config.yaml "
        "--train results/demo/tilesets/real/train "
        "--features results/demo/features/real/train/texture.npy "
        "--assign results/demo/tilesets/real/test=results/demo/features/real/test/texture.npy "
        "--output results/demo/clusters/texture-k8",
    )
    made.add_argument("--train", type=Path, required=True, help="tile set to fit on")
    made.add_argument("--features", type=Path, required=True, help="its features (.npy)")
    made.add_argument(
        "--assign", nargs="*", default=[], metavar="SET=FEATURES", help="sets to assign as well"
    )
    made.add_argument("--output", type=Path, required=True, help="folder to write")
    return made


def main(args: argparse.Namespace) -> None:
    from histosynth import clusters as fits
    from histosynth.config import Study
    from histosynth.errors import InputError
    from histosynth.tilesets import TileSet

    settings = Study.load(args.config).clusters
    if settings is None:
        raise InputError(f"{args.config}: `clusters` is not configured; add an encoder and k")
    train = TileSet.open(args.train)
    features = fits.read_features(args.features, train)
    clusters = fits.fit_clusters(features, settings.k, seed=settings.seed)
    groups = {name: train.table[name].to_numpy() for name in ("site", "patient_id")}
    summary = fits.describe_clusters(clusters, features, groups=groups, seed=settings.seed)
    sets = [(train, features)]
    for tiles, _, path in (pair.rpartition("=") for pair in args.assign):
        sets.append((tileset := TileSet.open(tiles), fits.read_features(path, tileset)))
    fits.write_clusters(
        args.output,
        clusters,
        sets,
        {**settings.model_dump(), **summary},
        subset=fits.select_train_tiles(train, clusters.assign(features), settings),
    )
    shared = summary["normalized_mutual_information"]
    log(f"{settings.k} clusters of {len(train)} tiles; mutual information {shared}")


if __name__ == "__main__":
    run(main, build_parser())
