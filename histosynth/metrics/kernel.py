"""Kernel distance: the squared maximum mean discrepancy with a cubic kernel.

Bińkowski et al. 2018 (there: KID) use k(x, y) = (x.y / d + 1)^3. With all n real rows x and all m
synthetic rows y, the unbiased U-statistic of Gretton et al. 2012, equation (3), is

    KD = sum_{i != j} k(x_i, x_j) / (n (n - 1)) + sum_{i != j} k(y_i, y_j) / (m (m - 1))
         - 2 sum_{i, j} k(x_i, y_j) / (n m)

Unbiased at every n, so it leads where tiles are few; equal distributions give values around 0,
below it as often as above. Other tools average random subsets and print their spread, which is no
confidence interval; here every pair counts once, and the interval comes from
:mod:`histosynth.metrics.uncertainty`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from histosynth.metrics.inputs import as_feature_pair


def kernel_distance(real: Any, synthetic: Any, *, chunk: int = 2048) -> float:
    """Unbiased squared MMD with the kernel (x.y / d + 1)^3; 0 is best, slightly negative is fine.

    Parameters
    ----------
    real, synthetic
        Feature arrays (n, d) and (m, d), numpy or torch.
    chunk
        Rows a block: memory is O(chunk * (chunk + d)); the value does not depend on it but for
        rounding (fp64).

    Returns
    -------
    float

    Raises
    ------
    InputError
        Fewer than two rows, NaN or infinite values, different widths.
    """
    real, synthetic = as_feature_pair(real, synthetic)
    n, m = len(real), len(synthetic)
    within_real = _sum_within(real, chunk) / (n * (n - 1))
    within_synthetic = _sum_within(synthetic, chunk) / (m * (m - 1))
    between = sum(
        _kernel(a, b).sum() for a in _blocks(real, chunk) for b in _blocks(synthetic, chunk)
    ) / (n * m)
    return float(within_real + within_synthetic - 2 * between)


def _sum_within(features: np.ndarray, chunk: int) -> float:
    """Sum of k(x_i, x_j) over i != j; blocks below the diagonal equal those above it."""
    total = 0.0
    for i, a in enumerate(_blocks(features, chunk)):
        diagonal = _kernel(a, a)
        total += diagonal.sum() - np.trace(diagonal)
        total += 2 * sum(_kernel(a, b).sum() for b in _blocks(features[(i + 1) * chunk :], chunk))
    return total


def _kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    base = a @ b.T
    base /= a.shape[1]
    base += 1
    return base * base * base  # numpy's ** 3 calls pow for every entry


def _blocks(features: np.ndarray, chunk: int):
    for start in range(0, len(features), chunk):
        yield features[start : start + chunk].astype(np.float64, copy=False)
