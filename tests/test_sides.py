"""Scores of sets too large for forty repetitions of each: the same numbers, fewer intervals."""

import numpy as np
import pytest
from metric_rows import only

from histosynth.evaluations import sides
from histosynth.evaluations.fidelity import whole_rows
from histosynth.evaluations.rows import Scored
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
    part = both.subset(np.arange(240) < 100, np.arange(200) < 90)
    assert part.sigma == both.taking(np.arange(50)).sigma == both.sigma  # one for all subsets


def test_the_classifier_counts_the_tiles_that_it_was_given(both, monkeypatch):
    monkeypatch.setattr(sides, "_CLASSIFIED", 210)
    assert both.counts("classifier_auc") == {"n_real": 210, "n_synthetic": 200}
    assert both.counts("vendi") == {"n_real": 240, "n_synthetic": 200}
    scored = Scored("s", "mine", 0, "mine", "fidelity")
    rows = whole_rows(scored, both, encoder="mine", protocol=lambda **counts: counts)
    found = only(rows, metric="classifier_auc")
    assert (found.n_real, found.n_synthetic) == (210, 200)
    assert scored.protocols[found.protocol]["n_real"] == 210
    assert only(rows, metric="vendi").n_real == 240


def test_a_neighbour_scores_protocol_says_k_and_what_is_inside(both):
    told = {name: both.ingredients(name) for name in sides.INSIDE}
    assert {of["k"] for of in told.values()} == {5}
    assert {name for name, of in told.items() if "<=" in of["inside"]} == {"clipped_density"}
    assert both.ingredients("vendi") == {}


def test_the_extrapolated_distance_has_an_interval_with_two_tiles_a_feature(both):
    rows = np.arange(240) < 48  # two of each of 24 features
    enough, few = (
        both.subset(rows, rows[:200]),
        both.subset(rows, rows[:200] & (rows[:200].cumsum() < 48)),
    )
    found = enough.further()["frechet_distance_inf"]()
    assert found.ci_low < found.value < found.ci_high and found.contributions is not None
    assert not enough.remark("frechet_distance_inf")
    scored = Scored("s", "mine", 0, "mine", "fidelity")
    told = whole_rows(scored, few, encoder="mine", protocol=lambda **counts: counts)
    row = only(told, metric="frechet_distance_inf")
    assert row.status == "ok" and np.isfinite(row.value)
    # Without an interval no rank is made of it, without contributions no pair.
    assert np.isnan([row.ci_low, row.ci_high, row.se]).all() and row.contributions is None
    assert "47 tiles are too few to extrapolate from with 24 features, it takes 48" in row.reason
    assert scored.protocols[row.protocol]["score_version"] == 2
