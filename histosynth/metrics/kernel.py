"""Kernel distance: the squared maximum mean discrepancy, with a cubic or a Gaussian kernel.

With all n real rows x and all m synthetic rows y, the unbiased U-statistic of Gretton et al. 2012,
equation (3), is

    KD = sum_{i != j} k(x_i, x_j) / (n (n - 1)) + sum_{i != j} k(y_i, y_j) / (m (m - 1))
         - 2 sum_{i, j} k(x_i, y_j) / (n m)

    polynomial   k(x, y) = (x.y / d + 1)^3                     Bińkowski et al. 2018 (there: KID)
    rbf          k(x, y) = exp(-|x - y|^2 / (2 sigma^2))       Jayasumana et al. 2024 (there: CMMD)

Unbiased at every n and m where tiles are independent: equal distributions then give values around
0, below it as often as above. So it leads where tiles are few. But tiles of one patient are alike,
and such pairs lie within the sets, none between them. Two sets of one population, of g and of h
equal patients, no patient in both, are apart on average by r / g + r / h, where r is how much
larger k is for two tiles of a patient than for tiles of two patients. More tiles of the same
patients take nothing off. So read it beside the `real` row, whose tiles are of other patients, too
(docs/uncertainty.md has figures). Other tools average random subsets and print their spread, which
is no confidence interval; here every pair counts once, and the interval comes from
:mod:`histosynth.metrics.uncertainty`. CMMD is the biased form times 1,000, at sigma = 10 for CLIP
features of unit length; a sigma that suits other features is their :func:`median_distance`.

float64 features are summed in float64. float32 features are multiplied in float32, which moves
the value by less than 1e-6 of the mean kernel (see :mod:`histosynth.metrics.pairwise`).
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from histosynth.errors import InputError
from histosynth.metrics.frechet import column_means
from histosynth.metrics.inputs import as_features, as_tensor_pair, check_count

if TYPE_CHECKING:
    from torch import Tensor

    from histosynth.metrics.pairwise import Kernel, Points


def kernel_distance(
    real: Any,
    synthetic: Any,
    *,
    kernel: Literal["polynomial", "rbf"] = "polynomial",
    sigma: float | None = None,
    chunk: int = 2048,
) -> float:
    """Squared MMD, unbiased for independent tiles; 0 is best, slightly negative is fine.

    Parameters
    ----------
    real, synthetic
        Feature arrays (n, d) and (m, d), numpy or torch, on any device.
    kernel
        ``polynomial``: sees the first three moments, in units of the features.
        ``rbf``: sees any difference at the scale `sigma`; the value lies below 2.
    sigma
        Width of the rbf kernel, in units of the features; distances of another sigma do not
        compare.
    chunk
        Rows a block: memory is O(chunk^2 + (n + m) d); the value does not depend on it but for
        rounding.

    Returns
    -------
    float

    Raises
    ------
    InputError
        Fewer than two rows, NaN or infinite values, different widths, no finite sigma above 0 for
        rbf, a chunk below 1.
    """
    from histosynth.metrics.pairwise import compare_between, compare_within

    chunk = check_count(chunk, "chunk", usual=2048)
    real, synthetic = as_tensor_pair(real, synthetic)
    a, b = points_of(real, synthetic)
    summed = kernel_named(kernel, sigma)
    within = [compare_within(points, kernel=summed, chunk=chunk).kernel_mean for points in (a, b)]
    between = compare_between(a, b, kernel=summed, chunk=chunk).kernel_mean
    return sum(within) - 2 * between


def median_distance(features: Any, *, most: int = 2000, seed: int = 0) -> float:
    """Median distance between two different rows: the usual width of an rbf kernel.

    Parameters
    ----------
    features : (n, d), numpy or torch
    most : with more rows than this, a seeded subset of as many
    seed : of the subset

    Raises
    ------
    InputError
        Fewer than two rows, NaN or infinite values, or a median of 0: copies of one tile.
    """
    from scipy.spatial.distance import pdist

    most = check_count(most, "most", least=2, usual=2000)
    array = as_features(features, name="real")
    if len(array) > most:
        array = array[np.random.default_rng(seed).choice(len(array), most, replace=False)]
    median = float(np.median(pdist(array)))
    if median == 0:
        raise InputError(
            "real features: half of all pairs of tiles are at distance 0; expected different "
            "tiles. Remove the copies, or give sigma yourself"
        )
    return median


def points_of(real: Tensor, synthetic: Tensor) -> tuple[Points, Points]:
    """Both sets about the real mean; in float32 only where both are."""
    import torch

    from histosynth.metrics.pairwise import Points

    origin = column_means(real)
    dtype = torch.promote_types(real.dtype, synthetic.dtype)
    return Points(real, origin, dtype=dtype), Points(synthetic, origin, dtype=dtype)


def kernel_named(kernel: str, sigma: float | None) -> Kernel:
    """The kernel as a function of a block of products."""
    if kernel == "polynomial":
        return polynomial
    if kernel != "rbf":
        raise InputError(f"kernel = {kernel!r}; expected polynomial or rbf")
    if sigma is None or not 0 < sigma < np.inf:
        raise InputError(
            f"sigma = {sigma}; the rbf kernel needs a finite width above 0, in units of the "
            "features: state one (median_distance of the real features is usual)"
        )
    return partial(_gaussian, sigma)


def polynomial(made: Tensor, a: Points, rows: slice, b: Points, columns: slice) -> Tensor:
    """(x.y / d + 1)^3 of a block."""
    import torch

    width = torch.full((), 1 / a.rows.shape[1], dtype=made.dtype, device=made.device)
    left = a.along[rows, None] / a.rows.shape[1] + 1
    base = torch.addcmul(left.to(made.dtype), made, width, out=made)
    base += (b.along[columns] / a.rows.shape[1]).to(made.dtype)
    return (base * base).mul_(base)  # ** 3 calls pow for every entry


def _gaussian(
    sigma: float, made: Tensor, a: Points, rows: slice, b: Points, columns: slice
) -> Tensor:
    """exp(-|x - y|^2 / (2 sigma^2)) of a block."""
    from histosynth.metrics.pairwise import squared_distances

    distances = squared_distances(made, a, rows, b, columns)
    return distances.mul_(-0.5 / sigma**2).exp_()
