"""Scores of sets too large for forty repetitions of each: the same numbers, fewer intervals."""

import numpy as np
import pytest

from histosynth.evaluations import sides
from histosynth.settings import Evaluation


@pytest.fixture(scope="module")
def both():
    rng = np.random.default_rng(0)
    scales = (1 + np.arange(24)) ** -0.5
    real = (rng.normal(size=(240, 24)) * scales).astype(np.float32)
    synthetic = (rng.normal(size=(200, 24)) * scales * 1.1 + 0.05).astype(np.float32)
    patients = np.repeat(np.arange(20), 12).astype(str)
    return sides.Sides(real, synthetic, patients, None, Evaluation(encoders=["mine"]))


def value(found):
    return getattr(found, "value", found)


def test_large_sets_get_the_numbers_of_small_ones(both, monkeypatch):
    assert not both.many
    small = both.distances(), both.neighbour_scores(), both.further()
    small = small[0], small[1], {name: compute() for name, compute in small[2].items()}
    monkeypatch.setattr(sides, "_INTERVAL_PAIRS", 10)
    assert both.many
    large = both.distances(), both.neighbour_scores(), both.further()
    kernel, narrow = (found[0]["kernel_distance"] for found in (small, large))
    # float32 products: within 1e-6 of the mean kernel, which is about 1; the interval is kept.
    for part in ("value", "ci_low", "ci_high"):
        assert getattr(narrow, part) == pytest.approx(getattr(kernel, part), abs=1e-6)
    for name, found in small[1].items():  # who is in whose ball is decided in float64
        for part in ("value", "ci_low", "ci_high"):
            assert getattr(large[1][name], part) == pytest.approx(getattr(found, part), rel=1e-9)
    for name, compute in large[2].items():
        assert value(compute()) == pytest.approx(value(small[2][name]), rel=1e-4, abs=1e-6)


def test_the_width_of_the_gaussian_kernel_is_the_real_tiles_own(both):
    apart = np.linalg.norm(both.real[:, None] - both.real, axis=2)[np.triu_indices(240, 1)]
    assert both.sigma == pytest.approx(np.median(apart), rel=1e-6)
    assert both.subset(np.arange(240) < 100, np.arange(200) < 90).sigma != both.sigma
