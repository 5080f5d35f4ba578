"""Paired differences: textbook values, symmetry, and what pairing gains where truth is known."""

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from histosynth.metrics import (
    Contributions,
    Interval,
    cluster_bootstrap,
    frechet_distance,
    holm,
    jackknife_interval,
    paired_difference,
)
from histosynth.metrics.contributions import deletion_parts


def scored(values: np.ndarray, patients: np.ndarray) -> Interval:
    return cluster_bootstrap(values, patients, n_resamples=50)


def test_of_means_it_is_the_paired_t_test():
    rng = np.random.default_rng(0)
    hard = rng.normal(size=12)  # what both conditions find hard
    a, b = hard + 0.1 * rng.normal(size=12), hard + 0.1 * rng.normal(size=12) - 0.05
    found = paired_difference({0: scored(a, np.arange(12))}, {0: scored(b, np.arange(12))})
    expected = scipy.stats.ttest_rel(a, b)
    # The jackknife of a mean is exact; fp64 rounding only.
    assert found.value == pytest.approx((a - b).mean(), rel=1e-10)
    assert found.p == pytest.approx(expected.pvalue, rel=1e-8)
    low, high = expected.confidence_interval()
    assert (found.ci_low, found.ci_high) == pytest.approx((low, high), rel=1e-8)


def test_of_other_patients_it_is_welchs_t_test():
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=9), 2 * rng.normal(size=14)
    own = (
        Interval(a.mean(), contributions=Contributions(own=(parts_of_mean(a),))),
        Interval(b.mean(), contributions=Contributions(own=(parts_of_mean(b),))),
    )
    found = paired_difference({0: own[0]}, {0: own[1]})
    assert found.p == pytest.approx(scipy.stats.ttest_ind(a, b, equal_var=False).pvalue, rel=1e-10)


def parts_of_mean(values: np.ndarray) -> tuple[float, ...]:
    n = len(values)
    return tuple((values - values.mean()) / np.sqrt(n * (n - 1)))


def features(rng, n_patients: int, *, shift: float, noise: np.ndarray | None = None):
    """Tiles (10 a patient) of a condition: the patient's own look, the generator's shift."""
    groups = np.repeat(np.arange(n_patients), 10)
    between = rng.normal(size=(n_patients, 4))
    made = rng.normal(size=(len(groups), 4)) if noise is None else noise
    return made + between[groups] + shift, groups


@given(seed=st.integers(0, 10_000), shift=st.floats(0, 2))
@settings(deadline=None, max_examples=20)
def test_the_order_of_two_conditions_only_turns_the_sign(seed, shift):
    rng = np.random.default_rng(seed)
    real, patients = features(rng, 5, shift=0)
    sides = []
    for move in (0.5, shift):
        images, sources = features(rng, 5, shift=move)
        sides.append(
            jackknife_interval(
                real,
                images,
                real_groups=patients,
                synthetic_groups=sources,
                statistic=frechet_distance,
            )
        )
    forth = paired_difference({0: sides[0]}, {0: sides[1]})
    back = paired_difference({0: sides[1]}, {0: sides[0]})
    assert (forth.value, forth.ci_low, forth.ci_high) == (-back.value, -back.ci_high, -back.ci_low)
    assert (forth.p, forth.se) == pytest.approx((back.p, back.se), rel=1e-12)
    same = paired_difference({0: sides[0]}, {0: sides[0]})
    assert (same.value, same.se, same.p) == (0, 0, 1)


def test_a_better_condition_is_told_apart_where_the_two_intervals_overlap():
    """The worse one shrinks all variety to 0.75, the better to 0.85."""
    rng = np.random.default_rng(3)
    look = rng.normal(size=(12, 4))  # of the patients that both tiles and requests come from
    patients = np.repeat(np.arange(12), 20)
    real, images = (look[patients] + rng.normal(size=(240, 4)) for _ in range(2))
    better, worse = (
        jackknife_interval(
            real,
            factor * images,
            real_groups=patients,
            synthetic_groups=patients,
            statistic=frechet_distance,
        )
        for factor in (0.85, 0.75)
    )
    assert better.value < worse.value and better.ci_high > worse.ci_low  # tells nobody apart
    found = paired_difference({0: better}, {0: worse})
    assert found.ci_high < 0 and found.p < 0.01
    unpaired = np.hypot(better.se, worse.se)
    assert found.se < 0.8 * unpaired


def test_seeds_add_their_own_spread_to_the_error():
    rng = np.random.default_rng(5)
    patients = np.arange(10)
    base = rng.normal(size=10)
    steady = {s: scored(base, patients) for s in range(3)}
    jumping = {s: scored(base + jump, patients) for s, jump in enumerate((0.0, 0.1, 0.2))}
    found = paired_difference(jumping, steady)
    # All of the difference is between seeds, none between patients: a t test of three numbers.
    expected = scipy.stats.ttest_1samp([0.0, 0.1, 0.2], 0)
    assert found.value == pytest.approx(0.1)
    assert found.seed_sd == pytest.approx(0.1)
    assert found.p == pytest.approx(expected.pvalue, rel=1e-6)
    assert np.isnan(paired_difference({0: jumping[1]}, {0: steady[1]}).seed_sd)
    # An outside set comes with one seed: only our own seeds can spread.
    assert paired_difference(jumping, {0: steady[0]}).seed_sd == pytest.approx(0.1)


def test_what_has_no_known_error_has_no_p_value():
    known = scored(np.arange(5.0), np.arange(5))
    found = paired_difference({0: Interval(1.0)}, {0: known})
    assert found.value == -1 and np.isnan([found.p, found.se]).all()


def test_holm_by_hand():
    # 4 x 0.01, 3 x 0.02, 2 x 0.03, 1 x 0.04; each at least the one before it.
    assert holm(np.array([0.04, 0.01, 0.03, 0.02])) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm(np.array([0.5, 0.001, 0.4])) == pytest.approx([0.8, 0.003, 0.8])
    # What could not be tested neither counts nor changes.
    assert holm(np.array([np.nan, 0.01, 0.04])) == pytest.approx([np.nan, 0.02, 0.04], nan_ok=True)
    assert holm(np.array([])).shape == (0,)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
@settings(deadline=None, max_examples=50)
def test_holm_lies_between_the_p_value_and_bonferroni(p_values):
    p = np.array(p_values)
    corrected = holm(p)
    assert (corrected >= p).all() and (corrected <= np.minimum(len(p) * p, 1)).all()
    # By definition: the least level at which the step-down procedure still rejects.
    order = np.argsort(p, kind="stable")
    assert (np.diff(corrected[order]) >= 0).all()


def test_null_differences_are_claimed_as_rarely_as_the_level_says():
    """Two equal generators over the same patients: 5 % of raw p-values below 0.05."""
    rng = np.random.default_rng(6)
    patients = np.repeat(np.arange(10), 8)
    trials, false = 120, 0
    for _ in range(trials):
        look = rng.normal(size=(10, 3))[patients]
        real, *made = (look + rng.normal(size=look.shape) for _ in range(3))
        a, b = (
            jackknife_interval(
                real,
                images + 0.3,
                real_groups=patients,
                synthetic_groups=patients,
                statistic=frechet_distance,
            )
            for images in made
        )
        false += paired_difference({0: a}, {0: b}).p < 0.05
    # 5 % of 120 is 6; a binomial exceeds 13 once in 300 runs.
    assert false <= 13


def test_the_paired_interval_covers_the_expected_difference():
    rng = np.random.default_rng(8)
    found = []
    for _ in range(80):
        sizes = np.maximum(3, rng.gamma(2.0, size=12) * 6).astype(int)
        patients = np.repeat(np.arange(12), sizes)
        look = 0.5 * rng.normal(size=(12, 3))[patients]
        real, noise = (rng.normal(size=look.shape) for _ in range(2))
        a, b = (
            jackknife_interval(
                real + look,
                factor * look + noise + 0.2,
                real_groups=patients,
                synthetic_groups=patients,
                statistic=frechet_distance,
            )
            for factor in (0.9, 0.5)
        )
        found.append(paired_difference({0: a}, {0: b}))
    expected = np.mean([pair.value for pair in found])
    # 95 % nominal: fewer than 70 of 80 once in 300 runs.
    assert sum(pair.ci_low <= expected <= pair.ci_high for pair in found) >= 70
    # A jackknife errs on the wide side (Efron & Stein 1981); the spread is known to 8 %.
    error = np.sqrt(np.mean([pair.se**2 for pair in found]))
    assert 0.8 < error / np.std([pair.value for pair in found]) < 1.6


def test_the_variance_is_unbiased_where_patients_differ_in_size():
    rng = np.random.default_rng(9)
    shares = np.array([40, 10, 10, 5, 5]) / 70
    means = rng.normal(size=(5, 4000))  # every patient's own mean, in 4,000 studies
    score = shares @ means
    without = (score - shares[:, None] * means) / (1 - shares[:, None])
    parts = deletion_parts(score, without, shares)
    # The variance of sum_j s_j x_j is sum_j s_j^2; its mean over 4,000 draws is known to 2 %.
    assert (parts**2).sum(axis=0).mean() == pytest.approx((shares**2).sum(), rel=0.06)
