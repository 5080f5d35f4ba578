"""What is random in a training step: rows, flips, times, noise, what is withheld."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from histosynth.diffusion.latents import FLIP_COUNTS, LatentCache
from histosynth.diffusion.process import Process
from histosynth.diffusion.randomness import SampleRandom
from histosynth.diffusion.state import EpochOrder


@dataclass(frozen=True)
class StepDraw:
    """Everything random in some samples of a step; `drop` is bool (b, S), a column a signal.

    `seeds` are b tuples, from which signals draw what is random in a sample's conditions.
    """

    rows: np.ndarray
    flips: np.ndarray
    latents: torch.Tensor
    noise: torch.Tensor
    times: torch.Tensor
    drop: torch.Tensor
    seeds: Sequence[tuple[int, ...]]

    def pinned(self) -> "StepDraw":
        """In page-locked memory, which a CUDA device copies from without waiting."""
        parts = ("latents", "noise", "times", "drop")
        return replace(self, **{name: getattr(self, name).pin_memory() for name in parts})


def draw_step(
    cache: LatentCache,
    order: EpochOrder,
    process: Process,
    signals: Sequence[str],
    *,
    seed: int,
    step: int,
    positions: Sequence[int],
) -> StepDraw:
    """Draw the samples at some positions of a step's batch, functions of (seed, step, position)."""
    settings = process.settings
    rows = order.rows(step)[list(positions)]
    random = SampleRandom(seed, step, positions, stream=1)
    n = len(rows)
    flips = random.integers(FLIP_COUNTS[settings.flips], size=n)
    times = process.draw_times(n, random)
    alone = np.array([settings.signal_dropout.get(name, 0.0) for name in signals])
    drop = random.random((n, len(signals))) < alone
    drop |= random.random((n, 1)) < settings.condition_dropout
    latents = cache.sample(rows, flips, random)
    noise = random.standard_normal(latents.shape, dtype=np.float32)
    return StepDraw(
        rows,
        flips,
        torch.from_numpy(latents),
        torch.from_numpy(noise),
        torch.from_numpy(times),
        torch.from_numpy(drop),
        [(seed, 2, step, place) for place in positions],
    )
