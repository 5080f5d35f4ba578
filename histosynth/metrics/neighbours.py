"""Precision, recall, density and coverage from k-nearest-neighbour balls.

Precision and recall follow Kynkäänniemi et al. 2019, density and coverage Naeem et al. 2020. Let
B(x) be the ball around x whose radius is the distance to its k-th nearest neighbour in its own
set, itself not counted:

    precision = share of synthetic rows inside at least one real ball
    recall    = share of real rows inside at least one synthetic ball
    density   = mean over synthetic rows of (number of real balls it lies in) / k
    coverage  = share of real balls with at least one synthetic row inside

Two conventions are about, and they give different numbers: the prdc package takes k = 5 and
"inside" as distance < radius (the default here); torch-fidelity takes k = 3 and
distance <= radius (``k=3, inclusive=True``).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from histosynth.errors import InputError
from histosynth.metrics.inputs import as_feature_pair

# Distances come from |x|^2 + |y|^2 - 2 x.y, whose rounding depends on how the rows were cut into
# chunks. Squared distances nearer than this share of the largest squared norm count as equal, so
# ties (duplicates, equal sets) fall the same way whatever the chunk and the order of rows.
_TIE = 1e-12


def prdc(
    real: Any, synthetic: Any, *, k: int = 5, inclusive: bool = False, chunk: int = 1024
) -> dict[str, float]:
    """Precision, recall, density and coverage of a synthetic set.

    Parameters
    ----------
    real, synthetic
        Feature arrays (n, d) and (m, d), numpy or torch.
    k
        Which nearest neighbour, the row itself not counted, gives a ball its radius.
    inclusive
        Whether a row exactly on the sphere is inside (``<=`` instead of ``<``).
    chunk
        Rows compared at a time: memory is O(chunk * max(n, m)); no influence on the values.

    Returns
    -------
    dict
        ``precision``, ``recall``, ``density``, ``coverage``. Density may exceed 1. All four
        depend on n, m and k: compare at equal n, m and k only.

    Raises
    ------
    InputError
        k < 1, k not smaller than both numbers of rows, NaN or infinite values, different widths.
    """
    real, synthetic = as_feature_pair(real, synthetic)
    smallest = min(len(real), len(synthetic))
    if not 1 <= k < smallest:
        raise InputError(
            f"k = {k} nearest neighbours: k must be at least 1 and smaller than the number of "
            f"tiles ({len(real)} real, {len(synthetic)} synthetic); take k <= {smallest - 1} or "
            "add tiles"
        )
    # Distances do not change with the origin, but near it their rounding is smallest.
    origin = real.mean(axis=0, dtype=np.float64)
    real, synthetic = _Points(real, origin), _Points(synthetic, origin)
    tie = _TIE * max(real.squares.max(), synthetic.squares.max())
    margin = tie if inclusive else -tie
    # Squared radii, moved by the margin, so that "inside" below is a plain comparison.
    real_radii = _squared_radii(real, k, chunk) + margin
    synthetic_radii = _squared_radii(synthetic, k, chunk) + margin

    balls_around = np.zeros(len(synthetic), dtype=np.int64)
    recalled = covered = 0
    for start in range(0, len(real), chunk):
        rows = slice(start, start + chunk)
        distances = real.squared_distances(rows, synthetic)
        balls_around += (distances <= real_radii[rows, None]).sum(axis=0)
        recalled += (distances <= synthetic_radii).any(axis=1).sum()
        covered += (distances.min(axis=1) <= real_radii[rows]).sum()
    return {
        "precision": float((balls_around > 0).mean()),
        "recall": float(recalled / len(real)),
        "density": float(balls_around.mean() / k),
        "coverage": float(covered / len(real)),
    }


class _Points:
    """Rows with their squared norms about a common origin."""

    def __init__(self, features: np.ndarray, origin: np.ndarray):
        self.features = features - origin  # fp64
        self.squares = np.einsum("ij,ij->i", self.features, self.features)

    def __len__(self) -> int:
        return len(self.features)

    def squared_distances(self, rows: slice, other: _Points) -> np.ndarray:
        """Squared distances (rows, all of other), not clipped at zero: only compared."""
        distances = self.features[rows] @ other.features.T
        distances *= -2
        distances += self.squares[rows, None]
        distances += other.squares
        return distances


def _squared_radii(points: _Points, k: int, chunk: int) -> np.ndarray:
    """Squared distance from each row to its k-th nearest other row, shape (n,)."""
    import torch  # its topk takes a twentieth of the time of numpy's partition

    radii = np.empty(len(points))
    for start in range(0, len(points), chunk):
        rows = slice(start, start + chunk)
        distances = points.squared_distances(rows, points)
        own = np.arange(len(distances))
        distances[own, start + own] = np.inf
        nearest = torch.from_numpy(distances).topk(k, dim=1, largest=False, sorted=True)
        radii[rows] = nearest.values[:, -1].numpy()
    return radii
