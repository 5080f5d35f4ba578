"""Intervals: textbook values where there are any, coverage where the truth is known."""

import numpy as np
import pytest
import scipy.stats
from sklearn.metrics import roc_auc_score

from histosynth.errors import InputError
from histosynth.metrics import (
    Interval,
    cluster_bootstrap,
    frechet_distance,
    frechet_distance_inf,
    iou_from_confusion,
    jackknife_interval,
    kernel_distance,
    prdc,
    recentred,
    tile_confusions,
)

RNG = np.random.default_rng(0)


def mean_difference(real, synthetic):
    return float(synthetic[:, 0].mean() - real[:, 0].mean())


def test_of_a_mean_with_groups_of_one_it_is_welchs_t_interval():
    real, synthetic = RNG.normal(size=(12, 1)), RNG.normal(size=(15, 1)) * 2
    interval = jackknife_interval(
        real,
        synthetic,
        real_groups=np.arange(12),
        synthetic_groups=100 + np.arange(15),
        statistic=mean_difference,
    )
    welch = scipy.stats.ttest_ind(synthetic[:, 0], real[:, 0], equal_var=False)
    low, high = welch.confidence_interval()
    # The jackknife of a mean is exact; fp64 rounding only.
    assert (interval.ci_low, interval.ci_high) == pytest.approx((low, high), rel=1e-10)
    se = np.sqrt(real.var(ddof=1) / 12 + synthetic.var(ddof=1) / 15)
    assert interval.se == pytest.approx(se, rel=1e-10)


def patients(rng, n_patients, d, *, between, unequal=False):
    """Features and groups with a random effect of each patient."""
    sizes = rng.integers(4, 20, size=n_patients) if unequal else np.full(n_patients, 10)
    groups = np.repeat(np.arange(n_patients), sizes)
    return rng.normal(size=(len(groups), d)) + between * rng.normal(size=(n_patients, d))[
        groups
    ], groups


def test_covers_the_true_mean_difference_where_patients_differ():
    rng = np.random.default_rng(1)
    hits = naive_hits = 0
    trials = 400
    for _ in range(trials):
        real, groups = patients(rng, 12, 1, between=1.0, unequal=True)
        synthetic = rng.normal(size=(80, 1))
        interval = jackknife_interval(
            real, synthetic, real_groups=groups, statistic=mean_difference
        )
        hits += interval.ci_low <= 0 <= interval.ci_high
        naive = jackknife_interval(
            real,
            synthetic,
            real_groups=np.arange(len(real)),
            statistic=mean_difference,
        )
        naive_hits += naive.ci_low <= 0 <= naive.ci_high
    # 95 % nominal; 90-99 % allows for 12 unequal patients and 400 trials (2 s.e. = 2 %).
    assert 0.90 <= hits / trials <= 0.99
    # And tiles taken for independent would have been far too sure.
    assert naive_hits / trials < 0.7


def test_covers_the_expected_kernel_distance_where_patients_differ():
    rng = np.random.default_rng(2)

    def draw(n_patients, shift):
        features, groups = patients(rng, n_patients, 4, between=0.5)
        return features + shift, groups

    values, trials = [], 80
    intervals = []
    for _ in range(trials):
        (real, groups), (synthetic, sources) = draw(12, 0.0), draw(12, 0.4)
        interval = jackknife_interval(
            real,
            synthetic,
            real_groups=groups,
            synthetic_groups=100 + sources,
            statistic=kernel_distance,
        )
        intervals.append(interval)
        values.append(interval.value)
    expectation = np.mean(values)  # the interval is for the expectation at these numbers of tiles
    hits = sum(i.ci_low <= expectation <= i.ci_high for i in intervals)
    # 95 % nominal: fewer than 70 of 80 once in 300 runs.
    assert hits >= 70


def test_standard_error_of_the_frechet_distance_matches_its_spread():
    rng = np.random.default_rng(3)
    estimates, errors = [], []
    for _ in range(60):
        real, groups = patients(rng, 20, 6, between=0.3)
        synthetic = rng.normal(size=(200, 6)) * 1.2 + 0.3
        interval = jackknife_interval(
            real, synthetic, real_groups=groups, statistic=frechet_distance, max_groups=10
        )
        estimates.append(interval.value)
        errors.append(interval.se)
    # The spread itself is known to 9 % from 60 repeats; the jackknife errs on the large side.
    assert 0.75 < np.sqrt(np.mean(np.square(errors))) / np.std(estimates, ddof=1) < 1.5


def test_a_bias_of_order_one_over_n_does_not_pass_for_spread():
    # A statistic that only depends on the number of rows has no sampling error at all.
    real, groups = patients(RNG, 8, 2, between=0, unequal=True)
    interval = jackknife_interval(
        real,
        RNG.normal(size=(40, 2)),
        real_groups=groups,
        statistic=lambda a, b: 5 + 3 / len(a) + 2 / len(b),
    )
    # Exactly 0 in theory; differences of numbers near 5 times up to 20 groups in fp64.
    assert interval.se == pytest.approx(0, abs=1e-12)


def test_all_four_neighbour_scores_come_from_one_run():
    real, groups = patients(RNG, 10, 4, between=0.2)
    synthetic = RNG.normal(size=(100, 4))
    intervals = jackknife_interval(
        real, synthetic, real_groups=groups, statistic=prdc, bounds=(0, np.inf)
    )
    assert {name: i.value for name, i in intervals.items()} == prdc(real, synthetic)
    for interval in intervals.values():
        assert 0 <= interval.ci_low <= interval.value <= interval.ci_high
        assert interval.se > 0


def test_many_patients_are_merged_so_the_cost_is_bounded():
    calls = []

    def counted(real, synthetic):
        calls.append((len(real), len(synthetic)))
        return mean_difference(real, synthetic)

    real, groups = patients(RNG, 60, 1, between=1.0, unequal=True)
    merged = jackknife_interval(
        real, RNG.normal(size=(100, 1)), real_groups=groups, statistic=counted, max_groups=10
    )
    assert len(calls) == 21
    left_out = len(real) - np.array([n for n, _ in calls[1:11]])
    assert left_out.sum() == len(real)
    assert left_out.max() - left_out.min() <= 20  # nearly equal groups, no patient cut in two
    full = jackknife_interval(
        real,
        RNG.normal(size=(100, 1)),
        real_groups=groups,
        statistic=mean_difference,
        max_groups=60,
    )
    # Ten groups know a standard error to about 1/sqrt(18) = 24 %; two such, with 2 s.e.
    assert 0.5 < merged.se / full.se < 2


def test_one_patient_gives_a_value_without_an_interval():
    real, synthetic = RNG.normal(size=(20, 3)), RNG.normal(size=(20, 3))
    interval = jackknife_interval(
        real, synthetic, real_groups=["p1"] * 20, statistic=frechet_distance
    )
    assert interval.value == pytest.approx(frechet_distance(real, synthetic))
    assert np.isnan([interval.ci_low, interval.ci_high, interval.se]).all()


def test_a_score_undefined_without_one_patient_has_no_interval():
    # Without the large patient, 4 rows are left: too few for k = 5.
    real, synthetic = RNG.normal(size=(24, 3)), RNG.normal(size=(24, 3))
    intervals = jackknife_interval(
        real, synthetic, real_groups=["big"] * 20 + ["small"] * 4, statistic=prdc
    )
    assert np.isnan(intervals["precision"].se)
    assert intervals["precision"].value == prdc(real, synthetic)["precision"]


def test_group_names_must_match_the_rows():
    real = RNG.normal(size=(20, 3))
    with pytest.raises(InputError, match=r"real_groups has shape \(19,\)"):
        jackknife_interval(real, real, real_groups=["a"] * 19, statistic=frechet_distance)
    with pytest.raises(InputError, match=r"synthetic_groups has shape \(3,\)"):
        jackknife_interval(
            real,
            real,
            real_groups=["a"] * 20,
            synthetic_groups=[1, 2, 3],
            statistic=frechet_distance,
        )
    with pytest.raises(InputError, match="values but"):
        cluster_bootstrap([1.0, 2.0], ["a"])
    with pytest.raises(InputError, match="at least one"):
        cluster_bootstrap([], [])


def test_cluster_bootstrap_of_a_mean_matches_the_between_patient_error():
    rng = np.random.default_rng(4)
    values, groups = patients(rng, 50, 1, between=2.0)
    interval = cluster_bootstrap(values[:, 0], groups, n_resamples=2000)
    means = np.array([values[groups == g].mean() for g in range(50)])
    # Equal patients: the error of a mean of 50 patient means (bootstrap: 1/n, not 1/(n-1)).
    expected = means.std() / np.sqrt(50)
    # A standard deviation from 2,000 resamples is known to 1.6 %; 4 of those.
    assert interval.se == pytest.approx(expected, rel=0.065)
    assert interval.value == pytest.approx(values.mean(), rel=1e-12)
    assert interval.ci_low < interval.value < interval.ci_high


def test_cluster_bootstrap_covers_the_auc_where_a_tile_bootstrap_does_not():
    rng = np.random.default_rng(5)
    truth = scipy.stats.norm.cdf(1.0 / np.sqrt(2 * (1 + 1.0**2)))  # two patients' tiles differ
    hits = tile_hits = 0
    trials = 60
    for _ in range(trials):
        label = np.repeat(np.arange(40) % 2, 10)
        patient = np.repeat(np.arange(40), 10)
        score = label + rng.normal(size=40)[patient] + rng.normal(size=400)

        def auc(index, label=label, score=score):
            return _auc(label[index], score[index])

        interval = cluster_bootstrap(auc, patient, n_resamples=100)
        hits += interval.ci_low <= truth <= interval.ci_high
        tiles = cluster_bootstrap(auc, np.arange(400), n_resamples=100)
        tile_hits += tiles.ci_low <= truth <= tiles.ci_high
    # 95 % nominal, 40 patients and 100 resamples: fewer than 52 of 60 once in 150 runs.
    assert hits / trials >= 0.86
    assert tile_hits / trials < 0.75


def _auc(label, score):
    """Mann-Whitney AUC; NaN without both classes."""
    positive = label == 1
    n, m = positive.sum(), (~positive).sum()
    if n == 0 or m == 0:
        return np.nan
    ranks = scipy.stats.rankdata(score)
    return (ranks[positive].sum() - n * (n + 1) / 2) / (n * m)


def test_bootstrap_values_are_those_of_sklearn_and_of_the_summed_matrix():
    label, score = RNG.integers(0, 2, 60), RNG.normal(size=60)
    groups = np.repeat(np.arange(12), 5)
    interval = cluster_bootstrap(
        lambda i: roc_auc_score(label[i], score[i]), groups, n_resamples=50
    )
    assert interval.value == roc_auc_score(label, score)

    true, predicted = RNG.integers(0, 3, size=(2, 60, 4, 4))
    tiles = tile_confusions(true, predicted, n_classes=3)
    iou = cluster_bootstrap(
        lambda i: iou_from_confusion(tiles[i].sum(axis=0))[1], groups, n_resamples=50
    )
    assert iou.value == iou_from_confusion(tiles.sum(axis=0))[1]
    assert 0 < iou.ci_low < iou.value < iou.ci_high < 1


def test_resamples_without_a_score_are_dropped_and_one_patient_gives_no_interval():
    label = np.array([0, 0, 1, 1, 1, 0])
    score = np.array([0.1, 0.4, 0.3, 0.9, 0.8, 0.2])
    # A single-class resample has no AUC: 2 of 2^3 draws per ordering; the rest still count.
    interval = cluster_bootstrap(
        lambda i: _auc(label[i], score[i]), ["a", "a", "b", "b", "c", "c"], n_resamples=200
    )
    assert np.isfinite([interval.value, interval.ci_low, interval.ci_high]).all()
    alone = cluster_bootstrap(score, ["a"] * 6)
    assert alone.value == pytest.approx(score.mean()) and np.isnan(alone.se)


def test_the_same_seed_gives_the_same_interval():
    values, groups = patients(RNG, 8, 1, between=1.0)
    first = cluster_bootstrap(values[:, 0], groups, n_resamples=100, seed=3)
    assert first == cluster_bootstrap(values[:, 0], groups, n_resamples=100, seed=3)
    assert first != cluster_bootstrap(values[:, 0], groups, n_resamples=100, seed=4)
    assert isinstance(first, Interval)


def test_the_extrapolated_distance_with_the_distances_error_covers_the_truth():
    rng = np.random.default_rng(7)
    d, trials, hits, naive_hits = 16, 25, 0, 0
    # Equal covariances up to the factor 0.85 ** 2: the Bures term is (1 - 0.85)^2 tr S.
    truth = d * 0.15**2 + d * (1 - 0.85) ** 2
    for _ in range(trials):
        real, synthetic = rng.normal(size=(300, d)), 0.85 * rng.normal(size=(300, d)) + 0.15
        patients = np.arange(300)
        plain = jackknife_interval(
            real,
            synthetic,
            real_groups=patients,
            synthetic_groups=1000 + patients,
            statistic=frechet_distance,
        )
        corrected = recentred(plain, frechet_distance_inf(real, synthetic))
        hits += corrected.ci_low <= truth <= corrected.ci_high
        naive_hits += plain.ci_low <= truth <= plain.ci_high
    # 95 % nominal: fewer than 20 of 25 once in 300 runs. The plain distance is all bias here.
    assert hits >= 20
    assert naive_hits <= 15


def test_a_score_that_no_patient_moves_has_no_interval():
    # All of 60 images inside: an error of 0 was not measured, it was not seen.
    interval = jackknife_interval(
        RNG.normal(size=(60, 2)),
        RNG.normal(size=(60, 2)),
        real_groups=np.repeat(np.arange(6), 10),
        statistic=lambda a, b: 1.0,
    )
    assert interval.value == 1 and np.isnan([interval.ci_low, interval.ci_high]).all()
