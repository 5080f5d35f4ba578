"""Train one condition's latent diffusion model; a killed job goes on where it stopped."""

import argparse
from pathlib import Path

from histosynth.scripting import conditioning_features, features_argument, log, parser, run

GIVEN = {
    "condition": "YAML of the condition",
    "train": "real train tiles",
    "latents": "their latents",
    "state": "where a killed job goes on from",
    "output": "folder to write",
}
OPTIONAL = {
    "clusters": "folder of scripts/cluster.py",
    "base": "the trained model that the condition's `init_from` names",
    "val": "real validation tiles to score weights on; without, the first average is taken",
    "autoencoder": "the model that made the latents; --val needs it",
}


def build_parser() -> argparse.ArgumentParser:
    made = parser(
        __doc__,
        example="python scripts/train.py --config results/demo/config.yaml "
        "--condition results/demo/conditions/map.yaml --train results/demo/tilesets/real/train "
        "--latents results/demo/latents --state results/map.state --output results/map",
    )
    for name, words in (GIVEN | OPTIONAL).items():
        made.add_argument(f"--{name}", type=Path, required=name in GIVEN, help=words)
    features_argument(made, "train")
    features_argument(made, "val", option="--val-features")
    made.add_argument("--seed", type=int, default=0, help="generator seed (default: 0)")
    return made


def main(args: argparse.Namespace) -> None:
    import torch

    from histosynth.config import Study
    from histosynth.diffusion.condition_training import train_condition
    from histosynth.diffusion.processes import Processes

    torch.set_num_threads(args.threads)
    record = train_condition(
        Study.load(args.config),
        **{name: getattr(args, name) for name in GIVEN | OPTIONAL},
        features=conditioning_features(args),
        val_features=conditioning_features(args, option="--val-features"),
        seed=args.seed,
        processes=Processes.join(),
        log=log,
    )
    log(f"{record['steps']} steps, {record['images_per_second']} images/s, {record['device']}")


if __name__ == "__main__":
    run(main, build_parser())
