"""The Fréchet distance of infinitely many tiles, from the two numbers of tiles that there are.

The estimate from n real and m synthetic tiles is too large by about a / n + b / m (Chong & Forsyth
2020, who extrapolate in the number of generated images alone). Halving both sets at once doubles
all of that bias, whatever a and b are, so that

    FD_inf = 2 FD(n, m) - mean over random halves of FD(n / 2, m / 2)

is rid of it to first order (Richardson's extrapolation; the part in 1 / n^2 stays). Extrapolating
the synthetic set alone would keep the bias of the real one.

It takes two things for granted. Halves must have as many tiles as the features are wide
(:func:`extrapolates`): below, the bias does not fall like 1 / n, and the value is mostly bias. And
tiles must be independent: halving the tiles leaves their patients where they are, so what patients
add to the distance stays (docs/uncertainty.md has figures for both).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from histosynth.metrics.frechet import FeatureStatistics, frechet_distance
from histosynth.metrics.inputs import as_tensor_pair, canonical_order, check_count


def extrapolates(n: int, m: int, width: int) -> bool:
    """Whether n real and m synthetic tiles with so many features are enough to extrapolate from.

    They are where half of either set has as many tiles as there are features, min(n, m) >= 2 d.
    Below that the value is given, but no interval about it is: its error is bias.
    """
    return min(n, m) >= 2 * width


def frechet_distance_inf(
    real: Any,
    synthetic: Any,
    *,
    statistics: FeatureStatistics | None = None,
    repeats: int = 3,
    seed: int = 0,
) -> float:
    """Fréchet distance extrapolated to infinite sets, jointly in both numbers of tiles.

    Where half a set has fewer tiles than the features are wide, bias is left (`extrapolates`): a
    quarter of it or more where half has far fewer. More levels than two do not help there: they
    start lower.

    Parameters
    ----------
    real, synthetic
        Feature arrays (n, d) and (m, d), numpy or torch, on any device. The order of rows does not
        matter: halves are drawn from rows sorted by what they hold.
    statistics
        Those of the real set, where they are at hand.
    repeats
        How often both sets are halved at random; each time all four halves count, in two pairs.
    seed
        Of the halves: the same tiles and seed are always halved alike.

    Returns
    -------
    float
        In squared units of the features; slightly negative values are as likely as positive ones
        where the sets do not differ.

    Raises
    ------
    InputError
        Fewer than four rows, NaN or infinite values, different widths, fewer than one repeat.
    """
    repeats = check_count(repeats, "repeats", usual=3)
    real, synthetic = as_tensor_pair(real, synthetic, minimum_rows=4)
    whole = frechet_distance(statistics or real, synthetic)
    rng = np.random.default_rng(seed)
    orders = [canonical_order(x) for x in (real, synthetic)]
    halves = []
    for _ in range(repeats):
        ours, theirs = (np.array_split(rng.permutation(order), 2) for order in orders)
        halves += [
            frechet_distance(real[i], synthetic[j]) for i, j in zip(ours, theirs, strict=True)
        ]
    return 2 * whole - sum(halves) / len(halves)
