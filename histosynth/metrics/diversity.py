"""Vendi score: the effective number of different tiles in one set (Friedman & Dieng 2023).

With K_ij = x_i.x_j / (|x_i| |x_j|), the cosine similarity of rows, and l the eigenvalues of K / n,
which are not negative and add up to 1,

    VS = exp(-sum_i l_i ln l_i)

between 1 (all tiles alike) and n (all orthogonal). For unit rows X, K / n = X X^T / n has the same
nonzero eigenvalues as X^T X / n, so the smaller of the two is taken. It grows with n and depends on
the encoder, whose features may all point one way: compare at equal n, beside real tiles.
"""

from __future__ import annotations

from typing import Any

from histosynth.errors import InputError
from histosynth.metrics.inputs import as_tensor

_ROWS_AT_ONCE = 4096


def vendi_score(features: Any, *, name: str = "synthetic") -> float:
    """Effective number of different rows, by cosine similarity.

    Parameters
    ----------
    features
        (n, d), numpy or torch, on any device; one row is enough, and scores 1.
    name
        What to call the array in an error.

    Returns
    -------
    float
        Within 1 .. min(n, d).

    Raises
    ------
    InputError
        NaN or infinite values, or a row of zeros, whose direction is undefined.
    """
    import torch

    rows = as_tensor(features, name=name, minimum_rows=1)
    n, width = rows.shape
    lengths = torch.linalg.vector_norm(rows, dim=1, dtype=torch.float64)
    if not bool((lengths > 0).all()):
        raise InputError(
            f"{name} features: row {int(lengths.argmin())} is all zeros and has no direction; "
            "cosine similarity needs one. Look at that tile, or use another encoder"
        )
    if n <= width:
        unit = rows / lengths[:, None]
        gram = unit @ unit.T
    else:
        gram = torch.zeros((width, width), dtype=torch.float64, device=rows.device)
        for start in range(0, n, _ROWS_AT_ONCE):
            block = slice(start, start + _ROWS_AT_ONCE)
            unit = rows[block] / lengths[block, None]
            gram.addmm_(unit.T, unit)
    values = torch.linalg.eigvalsh(gram / n).clamp(min=0)
    return float(torch.special.entr(values).sum().exp())
