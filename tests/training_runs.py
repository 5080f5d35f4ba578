"""A small training: random tiles, their latents, conditions that are drawn anew in each step."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from histosynth.diffusion.autoencoder import build_autoencoder
from histosynth.diffusion.latents import LatentCache, write_latents
from histosynth.diffusion.network import ConditionBatch, SignalsSpec
from histosynth.generator_settings import AutoencoderSettings, GeneratorSettings

STEPS = 60
AUTOENCODER = AutoencoderSettings(channels=[8, 8, 8], latent_channels=2, crop=16, batch_size=2)
GENERATOR = GeneratorSettings(
    channels=[8, 16], token_width=8, plane_width=4, steps=STEPS, batch_size=4, warmup_steps=5
)
SPEC = SignalsSpec(planes={"map": 1}, tokens={"label": 2})


def tiles(n: int = 12, size: int = 32) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (n, size, size, 3), dtype=np.uint8)


def conditions(
    rows: np.ndarray, _flips: np.ndarray, seeds: Sequence[tuple[int, ...]]
) -> ConditionBatch:
    draws = [np.random.default_rng(seed).uniform(-1, 1, (1, 32, 32)) for seed in seeds]
    planes = np.stack(draws).astype(np.float32)
    return ConditionBatch({"map": torch.from_numpy(planes), "label": torch.from_numpy(rows % 2)})


def latent_cache(folder: Path) -> LatentCache:
    return write_latents(folder, build_autoencoder(AUTOENCODER), tiles(), tiles_fingerprint="t")


class Stop(Exception):
    """What ends a training in its middle."""


class StoppingImages:
    """The same tiles, whose reading fails once, as a full disk or a kill would end a training."""

    def __init__(self, reads: int) -> None:
        self.left, self.tiles = reads, tiles()

    def __len__(self) -> int:
        return len(self.tiles)

    def __getitem__(self, i: int) -> np.ndarray:
        self.left -= 1
        if self.left < 0:
            raise Stop
        return self.tiles[i]
