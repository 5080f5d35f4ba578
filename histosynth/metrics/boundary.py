"""Boundary F-score: does the border of each class run where it should, within a tolerance?

IoU is ruled by the inside of large regions; this looks at their outlines alone. After Csurka,
Larlus & Perronnin (BMVC 2013): for class c, precision P is the share of predicted boundary pixels
with a true boundary pixel of c within a distance t, recall R the share of true ones with a
predicted one within t, and F = 2 P R / (P + R). They take t = 0.75 % of the image diagonal; here
it is at least 1 pixel. Unlike there, the counts are summed over all tiles of a patient or a set
before F is formed, as for IoU: a mean over tiles would have to say what F is where a class is not.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from histosynth.errors import InputError
from histosynth.metrics.segmentation import checked_labels

_AT_ONCE = 2**24  # pixels


def boundary_tolerance(height: int, width: int) -> float:
    """0.75 % of the diagonal of a tile of `height` x `width` pixels, at least 1 pixel."""
    return max(1.0, 0.0075 * float(np.hypot(height, width)))


def boundary_counts(
    true: Any,
    predicted: Any,
    *,
    n_classes: int,
    tolerance: float | None = None,
    ignore: int | None = 255,
) -> np.ndarray:
    """Count boundary pixels of every tile and class, and those met by the other side.

    A boundary pixel of class c is one of c with another class above, below, left or right of it;
    the tile's frame is no boundary.

    Parameters
    ----------
    true, predicted
        Integer label maps (n, H, W), numpy or torch; classes are 0 .. n_classes - 1.
    tolerance
        Largest distance in pixels at which two boundary pixels meet; default
        :func:`boundary_tolerance`.
    ignore
        Value of `true` whose pixels belong to no class on either side, nor bound any.

    Returns
    -------
    ndarray (n, n_classes, 4) int64
        Predicted boundary pixels that meet a true one, all predicted ones, true ones that meet a
        predicted one, all true ones.

    Raises
    ------
    InputError
        Shapes differ, values are not integers, a value stands for no class, or a tolerance that is
        no number of pixels.
    """
    true, predicted, known = checked_labels(true, predicted, n_classes=n_classes, ignore=ignore)
    if true.ndim != 3:
        raise InputError(f"label maps have shape {true.shape}; expected (tiles, height, width)")
    if tolerance is None:
        tolerance = boundary_tolerance(*true.shape[1:])
    if not 0 <= tolerance < np.inf:
        raise InputError(
            f"tolerance = {tolerance}; expected pixels, 0 or more (0.75 % of the diagonal is usual)"
        )
    counts = np.zeros((len(true), n_classes, 4), dtype=np.int64)
    step = max(1, _AT_ONCE // max(1, true[0].size if len(true) else 1))
    for start in range(0, len(true), step):
        part = slice(start, start + step)
        for c in range(n_classes):
            theirs, ours = (
                _boundary(labels[part] == c, known[part]) for labels in (true, predicted)
            )
            pixels = (
                ours & _near(theirs, tolerance),
                ours,
                theirs & _near(ours, tolerance),
                theirs,
            )
            counts[part, c] = np.stack([p.sum(axis=(1, 2)) for p in pixels], axis=1)
    return counts


def boundary_f(counts: Any) -> np.ndarray:
    """Boundary F-score of counts (..., 4) as :func:`boundary_counts` orders them, summed or not.

    Returns
    -------
    ndarray (...) float64
        Within 0 .. 1; NaN where neither side has any boundary, 0 where one side has none.
    """
    met_predicted, predicted, met_true, true = np.moveaxis(np.asarray(counts, float), -1, 0)
    precision = met_predicted / np.maximum(predicted, 1)
    recall = met_true / np.maximum(true, 1)
    total = precision + recall
    score = 2 * precision * recall / np.where(total > 0, total, 1)
    return np.where(predicted + true > 0, score, np.nan)


def mean_boundary_f(counts: Any) -> float:
    """Mean boundary F-score over the classes with a boundary, of counts (C, 4); NaN without."""
    scores = boundary_f(counts)
    present = ~np.isnan(scores)
    return float(scores[present].mean()) if present.any() else float("nan")


def _boundary(inside: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Pixels of masks (n, H, W) with a known pixel outside the mask right beside them."""
    outside = known & ~inside
    beside = np.zeros_like(inside)
    beside[:, 1:] |= outside[:, :-1]
    beside[:, :-1] |= outside[:, 1:]
    beside[:, :, 1:] |= outside[:, :, :-1]
    beside[:, :, :-1] |= outside[:, :, 1:]
    return inside & known & beside


def _near(mask: np.ndarray, tolerance: float) -> np.ndarray:
    """Pixels within `tolerance` of a pixel of masks (n, H, W): the union of shifted masks."""
    reach = int(tolerance)
    height, width = mask.shape[1:]
    padded = np.pad(mask, ((0, 0), (reach, reach), (reach, reach)))
    near = np.zeros_like(mask)
    for dy in range(-reach, reach + 1):
        for dx in range(-reach, reach + 1):
            if dy * dy + dx * dx <= tolerance**2:
                rows, columns = reach + dy, reach + dx
                near |= padded[:, rows : rows + height, columns : columns + width]
    return near
