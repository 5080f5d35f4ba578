"""Scores of confusion matrices, with intervals over patients.

A label is treated as a map of one pixel, so accuracy and IoU share everything here.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from histosynth.errors import InputError
from histosynth.metrics import Interval, cluster_bootstrap, iou_from_confusion, sum_by_group

if TYPE_CHECKING:
    from histosynth.tilesets import TileSet

Score = Callable[[np.ndarray], float]
"""From one confusion matrix (C, C), rows true or requested, to a score; NaN where undefined."""


def accuracy(confusion: np.ndarray) -> float:
    """Share of counts on the diagonal."""
    total = confusion.sum()
    return float(np.trace(confusion) / total) if total else float("nan")


def iou_of(c: int) -> Score:
    """IoU of class c."""
    return lambda confusion: float(iou_from_confusion(confusion)[c])


def recall_of(c: int) -> Score:
    """Share of the tiles that should be class c which are."""

    def recall(confusion: np.ndarray) -> float:
        total = confusion[c].sum()
        return float(confusion[c, c] / total) if total else float("nan")

    return recall


def score_interval(counts: np.ndarray, groups: np.ndarray, score: Score, *, seed: int) -> Interval:
    """The score of summed confusion matrices (n, C, C), resampling their patients (n,)."""
    names, sums = sum_by_group(counts, groups)
    return cluster_bootstrap(lambda index: score(sums[index].sum(axis=0)), names, seed=seed)


def ratio_interval(
    counts: np.ndarray,
    groups: np.ndarray,
    reference: np.ndarray,
    reference_groups: np.ndarray,
    score: Score,
    *,
    seed: int,
) -> Interval:
    """The score of `counts` over that of `reference`, resampling the patients of both at once.

    A patient drawn counts on both sides, as requests come from the very patients of the reference.
    """
    names = np.unique(np.concatenate([groups, reference_groups]))

    def by_patient(counts: np.ndarray, groups: np.ndarray) -> np.ndarray:
        present, sums = sum_by_group(counts, groups)
        spread = np.zeros((len(names), *sums.shape[1:]), dtype=np.int64)
        spread[np.searchsorted(names, present)] = sums
        return spread

    above, below = by_patient(counts, groups), by_patient(reference, reference_groups)

    def ratio(index: np.ndarray) -> float:
        divisor = score(below[index].sum(axis=0))
        return score(above[index].sum(axis=0)) / divisor if divisor > 0 else float("nan")

    return cluster_bootstrap(ratio, names, seed=seed)


def patients(tiles: "TileSet") -> np.ndarray:
    """The patient of every tile as text; where some are unknown, every tile stands for itself."""
    table = tiles.table
    if "patient_id" not in table or table["patient_id"].isna().any():
        return table["tile_id"].astype(str).to_numpy()
    return table["patient_id"].astype(str).to_numpy()


def derangement(n: int, *, seed: int) -> np.ndarray:
    """A seeded permutation of n items that leaves none in place: one random cycle.

    Raises
    ------
    InputError
        n < 2.
    """
    if n < 2:
        raise InputError(f"{n} tile(s): requests cannot be shuffled between fewer than two")
    order = np.random.default_rng(seed).permutation(n)
    cycle = np.empty(n, dtype=np.int64)
    cycle[order] = np.roll(order, 1)
    return cycle
