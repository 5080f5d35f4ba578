"""How far two sets of tiles differ in one number of each tile, such as its count of nuclei."""

from __future__ import annotations

from typing import Any

import numpy as np


def cohens_d(real: Any, synthetic: Any) -> np.ndarray:
    """Cohen's d, the difference of means in standard deviations; 0 where the means agree.

        d = (mean(y) - mean(x)) / s,  s^2 = ((n - 1) var(x) + (m - 1) var(y)) / (n + m - 2)

    of n real values x and m synthetic values y (Cohen 1988, "Statistical Power Analysis for the
    Behavioral Sciences"), whose words for it are small at 0.2, medium at 0.5 and large at 0.8.
    Above 0 the synthetic tiles have more.

    Parameters
    ----------
    real, synthetic
        (n,) and (m,), or (n, k) and (m, k) for k numbers of each tile.

    Returns
    -------
    float64 () or (k,); NaN where neither set varies, or one has fewer than two tiles
    """
    x, y = np.asarray(real, dtype=np.float64), np.asarray(synthetic, dtype=np.float64)
    n, m = len(x), len(y)
    if min(n, m) < 2:
        return np.full(x.shape[1:], np.nan)
    variance = ((n - 1) * x.var(axis=0, ddof=1) + (m - 1) * y.var(axis=0, ddof=1)) / (n + m - 2)
    # Rounding leaves a constant a variance near 1e-32 of its square, which is none.
    scale = np.maximum(np.abs(x).max(axis=0), np.abs(y).max(axis=0))
    varies = variance > (1e-12 * scale) ** 2
    d = (y.mean(axis=0) - x.mean(axis=0)) / np.sqrt(np.where(varies, variance, 1))
    return np.where(varies, d, np.nan)


def cohens_d_of_sums(real: Any, synthetic: Any) -> float:
    """Cohen's d of weighted values of which only sums are known, such as the areas of nuclei.

    As `cohens_d`, of values that each stand for `w` of their kind: means are sum(w x) / sum(w),
    variances those of every value taken w times, and n and m the sums of weights.

    Parameters
    ----------
    real, synthetic : (n, 3) and (m, 3), of each tile sum(w), sum(w x) and sum(w x^2)

    Returns
    -------
    float; NaN where a side weighs nothing, both together not more than 2, or nothing varies
    """
    sides = [np.asarray(s, dtype=np.float64).sum(axis=0) for s in (real, synthetic)]
    if min(side[0] for side in sides) <= 0 or sum(side[0] for side in sides) <= 2:
        return float("nan")
    (n, x, _), (m, y, _) = sides
    squares = sum(square - total**2 / weight for weight, total, square in sides)
    variance = squares / (n + m - 2)
    if variance <= 1e-12 * max(x / n, y / m) ** 2:  # what rounding leaves of sums
        return float("nan")
    return float((y / m - x / n) / np.sqrt(variance))


def histogram_distance(real: Any, synthetic: Any, *, width: float | np.ndarray) -> float:
    """1-d Wasserstein distance of two histograms over the same bins, in the values' own unit.

        W1 = sum_b width_b |F(b) - G(b)|

    with F and G the shares up to bin b: the mean way that a value has to be moved. Each bin's
    values count as one, so it is exact to half a bin. Never negative: two samples of one
    distribution are a little apart, too.

    Parameters
    ----------
    real, synthetic : (bins,) counts
    width : of every bin; or (bins - 1,), from the middle of each bin to that of the next

    Returns
    -------
    float; NaN where either histogram is empty
    """
    x, y = np.asarray(real, dtype=np.float64), np.asarray(synthetic, dtype=np.float64)
    if not x.sum() or not y.sum():
        return float("nan")
    apart = np.abs(np.cumsum(x) / x.sum() - np.cumsum(y) / y.sum())[:-1]  # all are within the last
    return float((width * apart).sum())
