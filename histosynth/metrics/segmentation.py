"""Confusion matrices and intersection over union (IoU) from integer counts.

IoU of class c = TP / (TP + FP + FN), from one matrix summed over all pixels of a patient or a
set, never a mean over images: an image without the class would then count as 0, 1 or -1,
depending on the tool. A class that neither side contains has no IoU: it is NaN.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from histosynth.errors import InputError


def confusion_matrix(
    true: Any, predicted: Any, *, n_classes: int, ignore: int | None = 255
) -> np.ndarray:
    """Count pixels by true and predicted class.

    Parameters
    ----------
    true, predicted
        Integer arrays of one shape (any), numpy or torch.
    n_classes
        Classes are 0 .. n_classes - 1.
    ignore
        Value of `true` whose pixels are left out; None counts every pixel.

    Returns
    -------
    ndarray (n_classes, n_classes) int64
        Rows are true classes, columns predicted ones.

    Raises
    ------
    InputError
        Shapes differ, values are not integers, or a value stands for no class.
    """
    true, predicted = _as_labels(true, "true")[None], _as_labels(predicted, "predicted")[None]
    return tile_confusions(true, predicted, n_classes=n_classes, ignore=ignore)[0]


def tile_confusions(
    true: Any, predicted: Any, *, n_classes: int, ignore: int | None = 255
) -> np.ndarray:
    """One confusion matrix a tile: (n, H, W) label maps to (n, n_classes, n_classes) int64.

    Arguments and errors as :func:`confusion_matrix`; the first axis counts tiles.
    """
    true, predicted, kept = checked_labels(true, predicted, n_classes=n_classes, ignore=ignore)
    n = len(true)
    true = true.reshape(n, -1).astype(np.int64)
    predicted = predicted.reshape(n, -1).astype(np.int64)
    tile = np.arange(n)[:, None]
    cell = (tile * n_classes + true) * n_classes + predicted
    counts = np.bincount(cell[kept.reshape(n, -1)], minlength=n * n_classes * n_classes)
    return counts.reshape(n, n_classes, n_classes).astype(np.int64)


def sum_by_group(confusions: np.ndarray, groups: Any) -> tuple[np.ndarray, np.ndarray]:
    """Add up the confusion matrices of each group (patient, slide).

    Parameters
    ----------
    confusions
        (n, C, C) integers, one matrix a tile.
    groups
        (n,) group names.

    Returns
    -------
    names : ndarray (g,)
        Sorted group names.
    sums : ndarray (g, C, C) int64
    """
    confusions, groups = np.asarray(confusions), np.asarray(groups)
    if len(confusions) != len(groups):
        raise InputError(f"{len(confusions)} confusion matrices but {len(groups)} group names")
    names, index = np.unique(groups, return_inverse=True)
    sums = np.zeros((len(names), *confusions.shape[1:]), dtype=np.int64)
    np.add.at(sums, index, confusions)
    return names, sums


def iou_from_confusion(confusion: Any) -> np.ndarray:
    """IoU of every class.

    Parameters
    ----------
    confusion
        (..., C, C) counts, rows true, columns predicted.

    Returns
    -------
    ndarray (..., C) float64
        Within 0 .. 1; NaN for a class that neither side contains.
    """
    confusion = np.asarray(confusion)
    hits = np.diagonal(confusion, axis1=-2, axis2=-1)
    union = confusion.sum(axis=-1) + confusion.sum(axis=-2) - hits
    return np.where(union > 0, hits / np.maximum(union, 1), np.nan)


def mean_iou(confusion: Any) -> float:
    """Mean IoU over the classes that occur on either side; NaN where none does.

    Which classes were left out is for the caller to say: they are the NaNs of
    :func:`iou_from_confusion`.
    """
    iou = iou_from_confusion(confusion)
    present = ~np.isnan(iou)
    return float(iou[present].mean()) if present.any() else float("nan")


def checked_labels(
    true: Any, predicted: Any, *, n_classes: int, ignore: int | None = 255
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Both label arrays as numpy, and where they count: bool, False where `true` is `ignore`.

    Raises
    ------
    InputError
        Shapes differ, values are not integers, or a value stands for no class.
    """
    true, predicted = _as_labels(true, "true"), _as_labels(predicted, "predicted")
    if true.shape != predicted.shape:
        raise InputError(
            f"true labels have shape {true.shape[1:]}, predicted labels {predicted.shape[1:]} "
            f"(whole arrays {true.shape} and {predicted.shape}); they must be the same"
        )
    kept = np.ones_like(true, dtype=bool) if ignore is None else true != ignore
    for name, labels in (("true", true), ("predicted", predicted)):
        wrong = np.unique(labels[kept & ((labels < 0) | (labels >= n_classes))])
        if wrong.size:
            raise InputError(
                f"{name} labels contain {wrong[:5].tolist()}, which is no class: expected "
                f"0 .. {n_classes - 1}" + (f" or {ignore} (ignored)" if ignore is not None else "")
            )
    return true, predicted, kept


def _as_labels(labels: Any, name: str) -> np.ndarray:
    if hasattr(labels, "detach"):
        labels = labels.detach().cpu().numpy()
    labels = np.asarray(labels)
    if not (np.issubdtype(labels.dtype, np.integer) or labels.dtype == bool):
        raise InputError(f"{name} labels are {labels.dtype}; expected integer class numbers")
    return labels
