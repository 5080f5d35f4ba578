"""Sliced Wasserstein distance: how far tiles have to be moved, seen along random directions.

With directions t_1 .. t_L of unit length (Rabin et al. 2011; Bonneel et al. 2015; order 1),

    SW = mean_l W(t_l.x, t_l.y),    W(a, b) = integral over q in 0 .. 1 of |A(q) - B(q)|

where A and B are the quantile functions of the two samples, so that sets of different size compare
exactly. It needs no covariance and sees every shape of a difference, but each direction by itself:
a difference in a few of many directions is averaged away.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from histosynth.metrics.inputs import as_tensor_pair, check_count

_DIRECTIONS_AT_ONCE = 32


def sliced_wasserstein(real: Any, synthetic: Any, *, directions: int = 256, seed: int = 0) -> float:
    """Mean one-dimensional Wasserstein-1 distance along random directions; 0 is best.

    Parameters
    ----------
    real, synthetic
        Feature arrays (n, d) and (m, d), numpy or torch, on any device; one row is enough.
    directions
        L; their draw adds an error of about 1 / sqrt(L) of the spread over directions, the same
        for all sets compared under one seed.
    seed
        Of the directions; equal seeds and widths give equal directions.

    Returns
    -------
    float
        In units of the features. Above 0 for samples of one distribution, by about 1 / sqrt(n).

    Raises
    ------
    InputError
        NaN or infinite values, different widths, no rows, fewer than one direction.
    """
    import torch

    directions = check_count(directions, "directions", usual=256)
    real, synthetic = as_tensor_pair(real, synthetic, minimum_rows=1)
    n, m = len(real), len(synthetic)
    drawn = np.random.default_rng(seed).standard_normal((directions, real.shape[1]))
    drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
    # Both quantile functions are constant between these levels.
    levels = np.union1d(np.arange(1, n + 1) / n, np.arange(1, m + 1) / m)
    share = np.diff(levels, prepend=0)
    middle = levels - share / 2
    device = real.device
    ours = torch.from_numpy((middle * n).astype(np.int64)).to(device)
    theirs = torch.from_numpy((middle * m).astype(np.int64)).to(device)
    weights = torch.from_numpy(share).to(device)
    total = 0.0
    for start in range(0, directions, _DIRECTIONS_AT_ONCE):
        along = torch.from_numpy(drawn[start : start + _DIRECTIONS_AT_ONCE]).to(device)
        a, b = (_projected(rows, along).sort(dim=1).values for rows in (real, synthetic))
        total += float(((a[:, ours] - b[:, theirs]).abs() @ weights).sum())
    return total / directions


def _projected(rows: Any, along: Any, *, chunk: int = 8192) -> Any:
    """(directions, n) float64 places of the rows along each direction."""
    import torch

    return torch.cat([along @ some.double().T for some in rows.split(chunk)], dim=1)
