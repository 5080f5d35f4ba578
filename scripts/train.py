"""Train one condition's latent diffusion model; a killed job goes on where it stopped."""

import argparse
from pathlib import Path

from histosynth.scripting import conditioning_features, features_argument, log, parser, run


def build_parser() -> argparse.ArgumentParser:
    made = parser(
        __doc__,
        example="python scripts/train.py --config results/demo/config.yaml "
        "--condition results/demo/conditions/map.yaml --train results/demo/tilesets/real/train "
        "--latents results/demo/latents --seed 0 --state results/demo/models/map/.seed0.state "
        "--output results/demo/models/map/seed0",
    )
    made.add_argument("--condition", type=Path, required=True, help="YAML of the condition")
    made.add_argument("--train", type=Path, required=True, help="the real train tiles")
    made.add_argument("--latents", type=Path, required=True, help="their latents")
    made.add_argument("--clusters", type=Path, help="folder of scripts/cluster.py")
    features_argument(made, "train")
    made.add_argument("--base", type=Path, help="the trained model that `init_from` names")
    made.add_argument("--seed", type=int, default=0, help="generator seed (default: 0)")
    made.add_argument("--state", type=Path, required=True, help="where a killed job goes on from")
    made.add_argument("--output", type=Path, required=True, help="folder to write")
    return made


def main(args: argparse.Namespace) -> None:
    import torch

    from histosynth.conditions import ConditionSpec
    from histosynth.config import Study
    from histosynth.device import pick_device
    from histosynth.diffusion.condition_training import train_condition
    from histosynth.diffusion.state import discard_state
    from histosynth.tilesets import TileSet

    torch.set_num_threads(args.threads)
    study = Study.load(args.config)
    record = train_condition(
        ConditionSpec.load(args.condition, study),
        TileSet.open(args.train),
        study,
        latents=args.latents,
        clusters=args.clusters,
        features=conditioning_features(args),
        base=args.base,
        seed=args.seed,
        state=args.state,
        output=args.output,
        device=pick_device(),
        log=log,
    )
    discard_state(args.state)
    log(f"{record['steps']} steps, {record['images_per_second']} images/s, {record['device']}")


if __name__ == "__main__":
    run(main, build_parser())
