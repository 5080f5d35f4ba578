"""Scores as pure functions of feature arrays, label maps and group names; no file is read here.

Conventions shared by all: features are (n, d), one row a tile; the real set comes first; anything
that cannot be scored is a :class:`histosynth.errors.InputError` that names the array at fault.
"""

from histosynth.metrics.boundary import (
    boundary_counts,
    boundary_f,
    boundary_tolerance,
    mean_boundary_f,
)
from histosynth.metrics.contributions import Contributions, recentred
from histosynth.metrics.diversity import vendi_score
from histosynth.metrics.effect import cohens_d, cohens_d_of_sums, histogram_distance
from histosynth.metrics.extrapolation import extrapolates, frechet_distance_inf
from histosynth.metrics.frechet import FeatureStatistics, frechet_distance
from histosynth.metrics.kernel import kernel_distance, median_distance
from histosynth.metrics.leave_out import FrechetStatistic, KernelStatistic
from histosynth.metrics.memorization import (
    authenticity,
    copying_z,
    heldout_quantile,
    memorized_share,
    nearest_distances,
    nearest_train_auc,
)
from histosynth.metrics.neighbour_parts import NeighbourStatistic
from histosynth.metrics.neighbours import clipped_scores, prdc
from histosynth.metrics.occupancy import cluster_occupancy
from histosynth.metrics.paired import Difference, holm, paired_difference
from histosynth.metrics.reference import Reference
from histosynth.metrics.segmentation import (
    confusion_matrix,
    iou_from_confusion,
    mean_iou,
    sum_by_group,
    tile_confusions,
)
from histosynth.metrics.sliced import sliced_wasserstein
from histosynth.metrics.two_sample import classifier_auc
from histosynth.metrics.uncertainty import Interval, cluster_bootstrap, jackknife_interval

__all__ = [
    "Contributions",
    "Difference",
    "FeatureStatistics",
    "FrechetStatistic",
    "Interval",
    "KernelStatistic",
    "NeighbourStatistic",
    "Reference",
    "authenticity",
    "boundary_counts",
    "boundary_f",
    "boundary_tolerance",
    "classifier_auc",
    "clipped_scores",
    "cluster_bootstrap",
    "cluster_occupancy",
    "cohens_d",
    "cohens_d_of_sums",
    "confusion_matrix",
    "copying_z",
    "extrapolates",
    "frechet_distance",
    "frechet_distance_inf",
    "heldout_quantile",
    "histogram_distance",
    "holm",
    "iou_from_confusion",
    "jackknife_interval",
    "kernel_distance",
    "mean_boundary_f",
    "mean_iou",
    "median_distance",
    "memorized_share",
    "nearest_distances",
    "nearest_train_auc",
    "paired_difference",
    "prdc",
    "recentred",
    "sliced_wasserstein",
    "sum_by_group",
    "tile_confusions",
    "vendi_score",
]
