"""Fréchet distance: agrees with closed forms and other tools, and names bad input."""

import numpy as np
import pytest
import scipy.linalg
import torch
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

from histosynth.errors import InputError
from histosynth.metrics import FeatureStatistics, frechet_distance

RNG = np.random.default_rng(0)


def features(n, d, *, shift=0.0, scale=1.0, seed=0):
    """Correlated Gaussian features."""
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(99).normal(size=(d, d)) / np.sqrt(d) + np.eye(d)
    return (rng.normal(size=(n, d)) * scale) @ mixing + shift


def with_moments(mean, covariance, n, seed=0):
    """n rows whose sample mean and covariance (ddof=1) are exactly the given ones."""
    raw = np.random.default_rng(seed).normal(size=(n, len(mean)))
    raw -= raw.mean(axis=0)
    whitened = raw @ np.linalg.inv(np.linalg.cholesky(np.cov(raw.T))).T
    return whitened @ np.linalg.cholesky(covariance).T + mean


def sqrtm_distance(a, b):
    s1, s2 = np.cov(a.T), np.cov(b.T)
    root = scipy.linalg.sqrtm(s1 @ s2)
    shift = a.mean(axis=0) - b.mean(axis=0)
    return shift @ shift + np.trace(s1 + s2 - 2 * root.real)


def test_equals_the_closed_form_for_diagonal_covariances():
    # Bures distance of commuting Gaussians: |m1-m2|^2 + sum (sqrt(v1) - sqrt(v2))^2.
    d = 12
    means, variances = RNG.normal(size=(2, d)), RNG.uniform(0.1, 4, size=(2, d))
    a = with_moments(means[0], np.diag(variances[0]), 200, seed=1)
    b = with_moments(means[1], np.diag(variances[1]), 150, seed=2)
    expected = ((means[0] - means[1]) ** 2).sum()
    expected += ((np.sqrt(variances[0]) - np.sqrt(variances[1])) ** 2).sum()
    # fp64 throughout; the planted moments themselves are right to about 1e-14.
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-11)


def test_equals_the_closed_form_for_two_dimensions():
    # In two dimensions tr sqrt(S1 S2) = sqrt(tr(S1 S2) + 2 sqrt(det S1 det S2)).
    s1, s2 = np.array([[2.0, 0.6], [0.6, 1.0]]), np.array([[0.5, -0.3], [-0.3, 0.9]])
    a, b = with_moments(np.zeros(2), s1, 40, seed=1), with_moments(np.ones(2), s2, 50, seed=2)
    root = np.sqrt(np.trace(s1 @ s2) + 2 * np.sqrt(np.linalg.det(s1) * np.linalg.det(s2)))
    expected = 2 + np.trace(s1) + np.trace(s2) - 2 * root
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-11)


@pytest.mark.parametrize(
    ("n", "m", "d"),
    [(300, 250, 24), (1200, 1100, 64), (20, 25, 40), (20, 300, 40), (300, 20, 40), (40, 40, 40)],
)
def test_agrees_with_sqrtm_and_torch_fidelity(n, m, d):
    a, b = features(n, d, seed=1), features(m, d, shift=0.2, scale=1.3, seed=2)
    ours = frechet_distance(a, b)
    theirs = fid_statistics_to_metric(
        fid_features_to_statistics(torch.from_numpy(a)),
        fid_features_to_statistics(torch.from_numpy(b)),
        verbose=False,
    )["frechet_inception_distance"]
    # At full rank all forms agree to rounding. With n <= d theirs take square roots of rounding
    # errors (1e-16 of the largest eigenvalue becomes 1e-8) in place of exact zeros.
    tolerance = 1e-10 if min(n, m) > d else 1e-6
    assert ours == pytest.approx(theirs, rel=tolerance)
    assert ours == pytest.approx(sqrtm_distance(a, b), rel=tolerance)


def test_large_full_rank_covariances_agree_with_torch_fidelity():
    # Above 1024 features the singular values come from a squared matrix.
    d = 1100
    a, b = RNG.normal(size=(1400, d)), RNG.normal(size=(1300, d)) * 1.1
    theirs = fid_statistics_to_metric(
        fid_features_to_statistics(torch.from_numpy(a)),
        fid_features_to_statistics(torch.from_numpy(b)),
        verbose=False,
    )["frechet_inception_distance"]
    assert frechet_distance(a, b) == pytest.approx(theirs, rel=1e-9)


@pytest.mark.parametrize("copies", [1, 40])
def test_many_rows_of_wide_features_agree_with_singular_values_copied_tiles_or_not(copies):
    """Fewer rows than columns, and so many rows that squares of singular values are taken."""
    rng = np.random.default_rng(0)
    d = 1300
    scales = (1 + np.arange(d)) ** -0.5
    real = rng.normal(size=(1200, d)) * scales
    synthetic = np.repeat(rng.normal(size=(1120 // copies, d)), copies, axis=0) * scales
    factors = [(x - x.mean(0)) / np.sqrt(len(x) - 1) for x in (real, synthetic)]
    singular = np.linalg.svd(factors[0] @ factors[1].T, compute_uv=False)
    expected = np.sum((real.mean(0) - synthetic.mean(0)) ** 2) - 2 * singular.sum()
    expected += sum(np.square(factor).sum() for factor in factors)
    assert frechet_distance(real, synthetic) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("n", "d"), [(200, 16), (10, 30)])
def test_identical_sets_are_at_distance_zero(n, d):
    a = features(n, d)
    # fp64 rounding of two traces that cancel.
    assert frechet_distance(a, a[::-1]) <= 1e-12 * np.trace(np.cov(a.T))


@pytest.mark.parametrize("n", [200, 10])
def test_a_mean_shift_adds_its_square(n):
    a, step = features(n, 16), RNG.normal(size=16)
    distances = [frechet_distance(a, a + factor * step) for factor in (0, 0.5, 1, 2)]
    assert distances[1:] == pytest.approx([f * f * step @ step for f in (0.5, 1, 2)], rel=1e-9)


def test_order_of_rows_and_order_of_sets_do_not_matter():
    a, b = features(60, 32, seed=1), features(70, 32, shift=0.5, seed=2)
    shuffled = RNG.permutation(b)
    # Sums in another order: rounding only.
    assert frechet_distance(a, shuffled) == pytest.approx(frechet_distance(a, b), rel=1e-12)
    assert frechet_distance(b, a) == pytest.approx(frechet_distance(a, b), rel=1e-12)


@pytest.mark.parametrize("n", [400, 12])
def test_constant_columns_and_duplicates_change_nothing(n):
    a, b = features(n, 16, seed=1), features(n, 16, shift=0.3, seed=2)
    expected = frechet_distance(a, b)
    constant = np.full((n, 3), 7.0)
    assert frechet_distance(np.hstack([a, constant]), np.hstack([b, constant])) == pytest.approx(
        expected, rel=1e-9
    )  # the covariance is singular now: the eigh fallback
    twice = frechet_distance(np.repeat(a, 2, axis=0), np.repeat(b, 2, axis=0))
    # Duplicates leave the mean alone and scale both covariances by (2n - 2) / (2n - 1).
    shift = a.mean(axis=0) - b.mean(axis=0)
    scaled = shift @ shift + (expected - shift @ shift) * (2 * n - 2) / (2 * n - 1)
    assert twice == pytest.approx(scaled, rel=1e-9)


def test_a_set_without_variance_is_scored():
    a, b = features(50, 8), np.ones((5, 8))
    shift = a.mean(axis=0) - 1
    expected = shift @ shift + np.trace(np.cov(a.T))
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-12)
    assert frechet_distance(b, b) == 0


def test_a_mean_far_from_the_origin_costs_no_precision():
    a, b = features(100, 8, seed=1), features(100, 8, seed=2)
    # 1e6 away, fp64 keeps 1e-10 of each value; uncentred sums would lose all of it in fp32.
    assert frechet_distance(a + 1e6, b + 1e6) == pytest.approx(frechet_distance(a, b), rel=1e-7)


def test_statistics_float32_and_torch_inputs_give_the_same_number():
    a, b = features(80, 24, seed=1), features(90, 24, shift=0.1, seed=2)
    expected = frechet_distance(a, b)
    assert frechet_distance(FeatureStatistics.from_features(a), b) == expected
    assert frechet_distance(torch.from_numpy(a), torch.from_numpy(b)) == expected
    # Only the storage is fp32 (1e-7 a value); the sums are fp64.
    single = frechet_distance(a.astype(np.float32), b.astype(np.float32))
    assert single == pytest.approx(expected, rel=1e-5)


def test_bad_features_are_named():
    a = features(20, 4)
    broken = a.copy()
    broken[[3, 7], 1] = np.nan, np.inf
    with pytest.raises(InputError, match=r"synthetic features: NaN or infinite values in 2 of 20"):
        frechet_distance(a, broken)
    with pytest.raises(InputError, match=r"real features have too few rows: 1 tiles"):
        frechet_distance(a[:1], a)
    with pytest.raises(InputError, match=r"real features have width 4, synthetic .* width 3"):
        frechet_distance(a, a[:, :3])
    with pytest.raises(InputError, match=r"real features have shape \(80,\)"):
        frechet_distance(a.ravel(), a)
    with pytest.raises(InputError, match="not numbers"):
        frechet_distance(a, np.array([["x", "y"]]))
