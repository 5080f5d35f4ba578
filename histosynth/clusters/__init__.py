"""Morphology types of tiles, found by k-means on the train split."""

from histosynth.clusters.files import read_assignments, read_features, write_clusters
from histosynth.clusters.kmeans import KMeansClusters, describe_clusters, fit_clusters

__all__ = [
    "KMeansClusters",
    "describe_clusters",
    "fit_clusters",
    "read_assignments",
    "read_features",
    "write_clusters",
]
