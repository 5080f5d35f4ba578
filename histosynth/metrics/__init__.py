"""Scores as pure functions of feature arrays, label maps and group names; no file is read here.

Conventions shared by all: features are (n, d), one row a tile; the real set comes first; anything
that cannot be scored is a :class:`histosynth.errors.InputError` that names the array at fault.
"""

from histosynth.metrics.frechet import FeatureStatistics, frechet_distance
from histosynth.metrics.kernel import kernel_distance
from histosynth.metrics.neighbours import prdc
from histosynth.metrics.segmentation import (
    confusion_matrix,
    iou_from_confusion,
    mean_iou,
    sum_by_group,
    tile_confusions,
)
from histosynth.metrics.uncertainty import Interval, cluster_bootstrap, jackknife_interval

__all__ = [
    "FeatureStatistics",
    "Interval",
    "cluster_bootstrap",
    "confusion_matrix",
    "frechet_distance",
    "iou_from_confusion",
    "jackknife_interval",
    "kernel_distance",
    "mean_iou",
    "prdc",
    "sum_by_group",
    "tile_confusions",
]
