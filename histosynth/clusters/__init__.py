"""Morphology types of tiles, found by k-means on the train split."""

from histosynth.clusters.kmeans import KMeansClusters, describe_clusters, fit_clusters

__all__ = ["KMeansClusters", "describe_clusters", "fit_clusters"]
