"""Morphology types of tiles, found by k-means on the train split."""

from histosynth.clusters.balance import PromptSubset, prompt_balanced_subset, select_train_tiles
from histosynth.clusters.files import (
    kept_prompts,
    read_assignments,
    read_features,
    selected_rows,
    write_clusters,
)
from histosynth.clusters.kmeans import KMeansClusters, describe_clusters, fit_clusters

__all__ = [
    "KMeansClusters",
    "PromptSubset",
    "describe_clusters",
    "fit_clusters",
    "kept_prompts",
    "prompt_balanced_subset",
    "read_assignments",
    "read_features",
    "select_train_tiles",
    "selected_rows",
    "write_clusters",
]
