"""Cluster occupancy: does a synthetic set hold the tissue types in the shares of real tissue?

With p and q the shares of the k clusters in the two sets and r = (p + q) / 2, the Jensen-Shannon
divergence (Lin 1991), in bits, is

    JS = sum_c (p_c log2(p_c / r_c) + q_c log2(q_c / r_c)) / 2

0 where the shares agree, 1 where no cluster occurs in both. Estimated from n and m tiles of one
distribution it is about (k - 1) (1 / n + 1 / m) / (8 ln 2) instead of 0: read it beside real tiles.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from histosynth.errors import InputError
from histosynth.metrics.inputs import check_count


def cluster_occupancy(real: Any, synthetic: Any, *, k: int) -> float:
    """Jensen-Shannon divergence of two sets' cluster shares, in bits; 0 is best.

    Parameters
    ----------
    real, synthetic
        (n,) and (m,) cluster numbers 0 .. k - 1, numpy or torch on any device, such as the row
        of the nearest centroid that :func:`nearest_distances` gives.
    k
        Number of clusters.

    Returns
    -------
    float
        Within 0 .. 1.

    Raises
    ------
    InputError
        An empty set, numbers that are no cluster, or k below 1.
    """
    k = check_count(k, "k")
    p, q = (_shares(x, k, who) for x, who in ((real, "real"), (synthetic, "synthetic")))
    middle = (p + q) / 2
    used = middle > 0
    divergence = sum(
        (x[used] * np.log2(np.where(x[used] > 0, x[used] / middle[used], 1))).sum() for x in (p, q)
    )
    return float(np.clip(divergence / 2, 0, 1))


def _shares(assigned: Any, k: int, who: str) -> np.ndarray:
    if hasattr(assigned, "detach"):
        assigned = assigned.detach().cpu()
    assigned = np.asarray(assigned)
    if assigned.ndim != 1 or not len(assigned) or assigned.dtype.kind not in "iu":
        raise InputError(
            f"{who} clusters: {assigned.dtype} of shape {assigned.shape}; expected (n,) whole "
            "numbers, at least one"
        )
    if assigned.min() < 0 or assigned.max() >= k:
        raise InputError(
            f"{who} clusters run from {assigned.min()} to {assigned.max()}; expected 0 .. {k - 1}"
        )
    return np.bincount(assigned, minlength=k) / len(assigned)
