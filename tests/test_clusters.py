"""Clusters: fitted on train tiles alone, the same by seed, and honest about what they follow."""

from pathlib import Path

import numpy as np
import pytest

from histosynth.clusters import KMeansClusters, describe_clusters, fit_clusters
from histosynth.errors import InputError


def blobs(*, n: int = 60, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Three well separated groups of falling size, the second dimension 1000 times the first."""
    random = np.random.default_rng(seed)
    group = np.repeat([0, 1, 2], [n // 2, n // 3, n - n // 2 - n // 3])
    centres = np.array([[0, 0], [10, 10_000], [20, 0]])
    features = centres[group] + random.standard_normal((n, 2)) * [1, 1000]
    return features.astype(np.float32), group


def test_clusters_are_the_groups_that_are_there_by_falling_size() -> None:
    features, group = blobs()
    clusters = fit_clusters(features, 3)
    assert clusters.assign(features).tolist() == group.tolist()


def test_a_dimensions_unit_does_not_matter() -> None:
    features, _ = blobs()
    scaled = features * np.array([1000, 0.001], np.float32) + np.array([5, -3], np.float32)
    assert np.array_equal(
        fit_clusters(features, 3).assign(features), fit_clusters(scaled, 3).assign(scaled)
    )


def test_the_same_seed_gives_the_same_bits() -> None:
    features = np.random.default_rng(1).standard_normal((300, 8)).astype(np.float32)
    one, two = fit_clusters(features, 6, seed=4), fit_clusters(features, 6, seed=4)
    assert np.array_equal(one.centroids, two.centroids)
    assert not np.array_equal(one.centroids, fit_clusters(features, 6, seed=5).centroids)


def test_assigning_agrees_with_scikit_learns_nearest_centroid() -> None:
    from sklearn.metrics import pairwise_distances_argmin

    random = np.random.default_rng(2)
    train, test = random.standard_normal((2, 5000, 6)).astype(np.float32)
    clusters = fit_clusters(train[:400], 7)
    nearest = pairwise_distances_argmin(clusters.standardize(test), clusters.centroids)
    assert np.array_equal(clusters.assign(test), nearest)


def test_a_saved_fit_assigns_alike(tmp_path: Path) -> None:
    features, _ = blobs()
    clusters = fit_clusters(features, 3)
    clusters.save(tmp_path)
    assert np.array_equal(KMeansClusters.load(tmp_path).assign(features), clusters.assign(features))


def test_fewer_distinct_tiles_than_clusters_are_refused() -> None:
    features, _ = blobs()
    with pytest.raises(InputError, match=r"clusters\.k: 8 clusters .* found 5; lower k"):
        fit_clusters(features[:5], 8)
    with pytest.raises(InputError, match="found 1"):
        fit_clusters(np.repeat(features[:1], 20, 0), 8)


def test_features_of_another_encoder_or_with_nan_are_refused() -> None:
    features, _ = blobs()
    with pytest.raises(InputError, match="use the encoder that the clusters were fitted with"):
        fit_clusters(features, 3).assign(np.zeros((4, 5)))
    features[3, 1] = np.nan
    with pytest.raises(InputError, match="NaN"):
        fit_clusters(features, 3)


def test_a_constant_dimension_does_no_harm() -> None:
    features, group = blobs()
    padded = np.column_stack([features, np.full(len(features), 7.0, np.float32)])
    assert fit_clusters(padded, 3).assign(padded).tolist() == group.tolist()


def test_the_summary_tells_clusters_that_follow_the_site_from_those_that_do_not() -> None:
    features, group = blobs()
    clusters = fit_clusters(features, 3)
    alternating = np.arange(len(features)) % 2
    summary = describe_clusters(
        clusters,
        features,
        groups={"site": group, "patient_id": alternating, "one": np.zeros(len(features))},
    )
    shared = summary["normalized_mutual_information"]
    assert shared["site"] == pytest.approx(1)
    assert shared["patient_id"] < 0.05  # by construction nearly independent of the groups
    assert shared["one"] is None
    assert summary["sizes"] == [30, 20, 10]
    assert summary["silhouette"] > 0.5
    standardized = clusters.standardize(features)
    spread = sum(
        np.square(standardized[group == c] - standardized[group == c].mean(0)).sum()
        for c in range(3)
    )
    assert summary["inertia"] == pytest.approx(spread, rel=1e-4)  # float32 centroids
