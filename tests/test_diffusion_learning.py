"""Every architecture, join and plane encoder learns to put things where a map has them."""

from pathlib import Path

import numpy as np
import pytest
import torch

from histosynth.diffusion.latents import LatentCache, Whitening
from histosynth.diffusion.network import ConditionBatch, SignalsSpec
from histosynth.diffusion.sample import sample_latents, seeded_noise
from histosynth.diffusion.train import train_generator
from histosynth.generator_settings import GeneratorSettings

SPEC = SignalsSpec(planes={"map": 1})
SMALL = {
    "channels": [8, 16],
    "token_width": 8,
    "plane_width": 4,
    "head_width": 8,
    "steps": 80,
    "batch_size": 16,
    "learning_rate": 5e-3,
    "warmup_steps": 5,
    "flips": "none",
}
RECIPES: dict[str, dict] = {
    "concat-bilinear-velocity-min_snr": {
        "plane_encoder": "bilinear",
        "target": "velocity",
        "min_snr_gamma": 5.0,
    },
    "controlnet-convolutions-flow-l2": {"planes_join": "controlnet"},
    # predicting noise takes many more steps than a test has
    "plain-bilinear-flow-l1": {"preset": "htd", "target": "flow", "decay": "linear"},
}


def quadrants(n: int) -> np.ndarray:
    """Latents float16 (n, 1, 8, 8): each quadrant is +1 or -1."""
    signs = np.random.default_rng(0).choice([-1.0, 1.0], (n, 1, 2, 2))
    return signs.repeat(4, 2).repeat(4, 3).astype(np.float16)


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_generator_puts_things_where_the_map_says(tmp_path: Path, recipe: str):
    latents = quadrants(64)
    mean = np.broadcast_to(latents, (4, *latents.shape))
    whitening = Whitening((0.0,), (1.0,))
    rows = np.arange(len(latents))
    cache = LatentCache(tmp_path, mean, np.full_like(mean, 0.1), whitening, "a", "t", rows)

    def source(rows: np.ndarray, _flips=None, _seeds=None) -> ConditionBatch:
        planes = latents[rows].repeat(4, 2).repeat(4, 3).astype(np.float32)
        return ConditionBatch({"map": torch.from_numpy(planes)})

    network, _ = train_generator(
        cache,
        source,
        GeneratorSettings(**(SMALL | RECIPES[recipe])),
        seed=0,
        spec=SPEC,
        tile_size=32,
        state_folder=tmp_path / "state",
        log=print,
        device="cpu",
    )
    asked = np.arange(32)
    solver = "euler" if network.settings.target == "flow" else "dpmpp"
    drawn = sample_latents(
        network,
        seeded_noise(asked, (1, 8, 8)),
        source(asked),
        solver=solver,
        steps=10,
        guidance_scale=1.0,
    )
    # chance is a half
    assert np.mean(np.sign(drawn.numpy()) == latents[asked]) > 0.9
