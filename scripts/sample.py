"""Sample a synthetic tile set: image i from row i of the condition table and its own noise seed."""

import argparse
from pathlib import Path

from histosynth.scripting import conditioning_features, features_argument, log, parser, run


def build_parser() -> argparse.ArgumentParser:
    made = parser(
        __doc__,
        example="python scripts/sample.py --config results/demo/config.yaml "
        "--condition results/demo/conditions/map.yaml --model results/demo/models/map/seed0 "
        "--autoencoder results/demo/models/autoencoder --latents results/demo/latents "
        "--table results/demo/condition_table.parquet --test results/demo/tilesets/real/test "
        "--output results/demo/tilesets/synthetic/map/seed0",
    )
    made.add_argument("--condition", type=Path, required=True, help="YAML of the condition")
    made.add_argument("--model", type=Path, required=True, help="folder of scripts/train.py")
    made.add_argument("--autoencoder", type=Path, required=True, help="folder of the autoencoder")
    made.add_argument("--latents", type=Path, required=True, help="train latents (their whitening)")
    made.add_argument("--table", type=Path, required=True, help="the condition table")
    made.add_argument("--test", type=Path, required=True, help="the test tiles it was drawn from")
    made.add_argument("--clusters", type=Path, help="folder of scripts/cluster.py")
    features_argument(made, "test")
    made.add_argument("--seed", type=int, default=0, help="generator seed (default: 0)")
    made.add_argument("--name", help="of the set: CONDITION~gSCALE for a point of a guidance sweep")
    made.add_argument("--part", type=int, nargs=2, default=(0, 1), help="part K of 0..N-1, and N")
    made.add_argument("--output", type=Path, required=True, help="tile set to write")
    return made


def main(args: argparse.Namespace) -> None:
    import torch

    from histosynth.conditions import ConditionSpec
    from histosynth.config import Study
    from histosynth.device import pick_device
    from histosynth.diffusion.condition_sampling import Generator, sample_condition
    from histosynth.diffusion.manifest import FILES, manifest
    from histosynth.diffusion.requests import FEATURES, Requests
    from histosynth.tilesets import TileSet

    torch.set_num_threads(args.threads)
    study = Study.load(args.config)
    spec = ConditionSpec.load(args.condition, study)
    name = args.name or spec.name
    test = TileSet.open(args.test)
    files = {key: getattr(args, key) for key in FILES}
    files |= {FEATURES + encoder: path for encoder, path in conditioning_features(args).items()}
    generator = Generator.load(spec, test, files, device=pick_device())
    requests = Requests.read(spec, test, study, files, seed=args.seed, name=name)
    about = manifest(generator, requests, files, root=args.config.parent)
    made = sample_condition(generator, requests, about, args.part, output=args.output, log=log)
    log(f"{len(made)} images of {name}, seed {args.seed}")


if __name__ == "__main__":
    run(main, build_parser())
