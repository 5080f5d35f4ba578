"""Conditions as the network takes them: from tiles and a condition to torch batches."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from histosynth.conditions.targets import Targets, TilePool
from histosynth.diffusion.latents import flip
from histosynth.diffusion.network import ConditionBatch, SignalsSpec

if TYPE_CHECKING:
    from histosynth.conditions.spec import ConditionSpec


def signals_spec(spec: "ConditionSpec") -> SignalsSpec:
    """What a condition feeds the network."""
    return SignalsSpec(
        spec.widths("planes"),
        spec.widths("token"),
        spec.widths("vector"),
        spec.fingerprints(),
        list(spec.added),
    )


def condition_batch(
    spec: "ConditionSpec", targets: Targets, flips: np.ndarray | None = None
) -> ConditionBatch:
    """Conditions of some targets, planes flipped as `flips` (b,) of `latents.FLIPS` say."""
    values = spec.encode(targets)
    if flips is not None:
        for name in spec.widths("planes"):
            planes = zip(values[name], flips, strict=True)
            values[name] = np.stack([flip(p, int(f), axes=(1, 2)) for p, f in planes])
    return ConditionBatch(
        {name: torch.from_numpy(value) for name, value in values.items()},
        {name: torch.from_numpy(null) for name, null in spec.nulls(targets.pool).items()},
    )


def training_source(
    spec: "ConditionSpec", pool: TilePool
) -> Callable[[np.ndarray, np.ndarray, Sequence[tuple[int, ...]]], ConditionBatch]:
    """Conditions of train tiles for `train_generator`, functions of their row, flip and seed."""

    def source(
        rows: np.ndarray, flips: np.ndarray, seeds: Sequence[tuple[int, ...]]
    ) -> ConditionBatch:
        return condition_batch(spec, Targets(pool, rows, seeds), flips)

    return source


def sampling_source(
    spec: "ConditionSpec", targets: Targets
) -> Callable[[np.ndarray], ConditionBatch]:
    """Conditions of the images of a condition table, by their positions in it."""
    return lambda positions: condition_batch(spec, targets.take(positions))
