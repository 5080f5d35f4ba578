"""Cluster occupancy: scipy's Jensen-Shannon distance, squared."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import jensenshannon

from histosynth.errors import InputError
from histosynth.metrics import cluster_occupancy, nearest_distances

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("k", [2, 5, 40])
def test_is_the_square_of_scipys_distance(k):
    a, b = RNG.integers(0, k, 200), RNG.integers(0, max(k - 1, 1), 90)
    shares = [np.bincount(x, minlength=k) / len(x) for x in (a, b)]
    expected = jensenshannon(*shares, base=2) ** 2
    assert cluster_occupancy(a, b, k=k) == pytest.approx(expected, rel=1e-10)
    tensors = map(torch.from_numpy, (a, b))
    assert cluster_occupancy(*tensors, k=k) == cluster_occupancy(a, b, k=k)


def test_runs_from_equal_shares_to_no_common_cluster():
    a = np.array([0, 0, 1, 2])
    assert cluster_occupancy(a, np.repeat(a[::-1], 3), k=9) == pytest.approx(0, abs=1e-15)
    assert cluster_occupancy(a, np.full(5, 3), k=9) == 1


def test_chance_gives_about_what_its_documentation_says():
    k, n, m = 8, 300, 200
    found = [
        cluster_occupancy(RNG.integers(0, k, n), RNG.integers(0, k, m), k=k) for _ in range(300)
    ]
    expected = (k - 1) * (1 / n + 1 / m) / (8 * np.log(2))
    assert np.mean(found) == pytest.approx(expected, rel=0.15)


def test_clusters_come_from_the_nearest_centroid():
    centroids = np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    rows = np.repeat(centroids, [5, 3, 2], axis=0) + RNG.normal(size=(10, 2))
    clusters = nearest_distances(rows, centroids)[1]
    lost = np.repeat(centroids[:2], [5, 5], axis=0)
    p, q = [0.5, 0.3, 0.2], [0.5, 0.5, 0]
    found = cluster_occupancy(clusters, nearest_distances(lost, centroids)[1], k=3)
    assert found == pytest.approx(jensenshannon(p, q, base=2) ** 2, rel=1e-12)


def test_what_is_no_cluster_is_named():
    with pytest.raises(InputError, match=r"synthetic clusters run from -1 to 2; expected 0 .. 2"):
        cluster_occupancy([0, 1], [-1, 2], k=3)
    with pytest.raises(InputError, match="real clusters: float64"):
        cluster_occupancy([0.5, 1], [1, 2], k=3)
    with pytest.raises(InputError, match="at least one"):
        cluster_occupancy([1], np.array([], dtype=int), k=3)
