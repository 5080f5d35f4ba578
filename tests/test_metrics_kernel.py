"""Kernel distance: the unbiased statistic, term by term and against torch-fidelity."""

import numpy as np
import pytest
import torch
from torch_fidelity.metric_kid import kid_features_to_metric

from histosynth.errors import InputError
from histosynth.metrics import kernel_distance, median_distance

RNG = np.random.default_rng(0)


def test_equals_the_sum_over_all_pairs():
    x, y = RNG.normal(size=(7, 5)), RNG.normal(size=(9, 5)) + 0.5

    def k(a, b):
        return (sum(a[i] * b[i] for i in range(5)) / 5 + 1) ** 3

    xx = sum(k(x[i], x[j]) for i in range(7) for j in range(7) if i != j) / (7 * 6)
    yy = sum(k(y[i], y[j]) for i in range(9) for j in range(9) if i != j) / (9 * 8)
    xy = sum(k(a, b) for a in x for b in y) / (7 * 9)
    # The same 159 terms in another order, all fp64.
    assert kernel_distance(x, y) == pytest.approx(xx + yy - 2 * xy, rel=1e-12)


def test_agrees_with_torch_fidelity_on_the_one_full_subset():
    x, y = RNG.normal(size=(200, 48)), RNG.normal(size=(200, 48)) * 1.2 + 0.1
    theirs = kid_features_to_metric(
        torch.from_numpy(x),
        torch.from_numpy(y),
        kid_subsets=1,
        kid_subset_size=200,
        kid_kernel="poly",
        verbose=False,
    )["kernel_inception_distance_mean"]
    # One subset holding every row is the full statistic; fp64 sums near 1 cancel to about 0.1.
    assert kernel_distance(x, y) == pytest.approx(theirs, rel=1e-11)


def test_the_chunk_and_the_order_of_rows_do_not_matter():
    x, y = RNG.normal(size=(53, 16)), RNG.normal(size=(41, 16)) + 0.3
    expected = kernel_distance(x, y)
    for chunk in (1, 7, 41, 53, 1000):
        assert kernel_distance(x, y, chunk=chunk) == pytest.approx(expected, rel=1e-11)
    assert kernel_distance(x[::-1], RNG.permutation(y)) == pytest.approx(expected, rel=1e-11)
    assert kernel_distance(y, x) == pytest.approx(expected, rel=1e-11)


def test_equal_distributions_average_to_zero():
    draws = [
        kernel_distance(RNG.normal(size=(30, 8)), RNG.normal(size=(40, 8))) for _ in range(400)
    ]
    standard_error = np.std(draws) / np.sqrt(len(draws))
    # Unbiased: within 4 standard errors of 0 (1 in 16,000 by chance; the seed is fixed).
    assert abs(np.mean(draws)) < 4 * standard_error
    assert min(draws) < 0 < max(draws)


@pytest.mark.parametrize(("g", "h", "tiles"), [(5, 5, 60), (5, 5, 300), (20, 8, 80)])
def test_patients_add_what_their_tiles_have_in_common_and_more_tiles_do_not_help(g, h, tiles):
    # Looks and tiles of variance 1 / 2 each, of one population: nothing differs but the patients.
    # The mean kernel of two rows of variance 1 a feature whose difference has variance v.
    d, sigma, same, other = 6, 3.0, 1.0, 2.0
    r = np.subtract(*[(sigma**2 / (sigma**2 + v)) ** (d / 2) for v in (same, other)])
    found = []
    for _ in range(400):
        sets = [
            (RNG.normal(size=(p, d))[np.arange(tiles) % p] + RNG.normal(size=(tiles, d))) / 2**0.5
            for p in (g, h)
        ]
        found.append(kernel_distance(*sets, kernel="rbf", sigma=sigma))
    pairs = sum((tiles / p - 1) / (tiles - 1) for p in (g, h))  # nearly 1 / g + 1 / h
    assert np.mean(found) == pytest.approx(r * pairs, abs=4 * np.std(found) / 20)
    assert r * pairs > 10 * np.std(found) / 20


def test_a_set_against_itself_is_slightly_negative():
    # The cross term holds the n pairs of a row with itself, which the within terms leave out.
    x = RNG.normal(size=(100, 16))
    gram = (x @ x.T / 16 + 1) ** 3
    mean_off_diagonal = (gram.sum() - np.trace(gram)) / (100 * 99)
    assert kernel_distance(x, x) == pytest.approx(2 * (mean_off_diagonal - gram.mean()), rel=1e-10)
    assert -0.5 < kernel_distance(x, x) < 0


def test_grows_with_a_mean_shift():
    x, y = RNG.normal(size=(100, 16)), RNG.normal(size=(100, 16))
    distances = [kernel_distance(x, y + shift) for shift in (0, 0.2, 0.5, 1.0)]
    assert distances == sorted(distances)


def test_float32_products_stay_within_the_stated_tolerance():
    x = RNG.normal(size=(600, 256)).astype(np.float32) + 1
    y = (RNG.normal(size=(500, 256)) + 1.1).astype(np.float32)
    expected = kernel_distance(x.astype(np.float64), y.astype(np.float64))
    mean_kernel = ((x.astype(np.float64) @ x.T / 256 + 1) ** 3).mean()
    assert mean_kernel > 7  # the two terms that cancel are hundreds of times the distance
    assert kernel_distance(x, y) == pytest.approx(expected, abs=1e-6 * mean_kernel)
    assert kernel_distance(torch.from_numpy(x), torch.from_numpy(y)) == kernel_distance(x, y)
    # One float64 side makes everything float64.
    assert kernel_distance(x.astype(np.float64), y) == pytest.approx(expected, rel=1e-12)


# The Gaussian kernel


def test_rbf_equals_the_sum_over_all_pairs():
    x, y = RNG.normal(size=(7, 5)), RNG.normal(size=(9, 5)) + 0.5

    def k(a, b):
        return np.exp(-((a - b) ** 2).sum() / (2 * 1.7**2))

    xx = sum(k(x[i], x[j]) for i in range(7) for j in range(7) if i != j) / (7 * 6)
    yy = sum(k(y[i], y[j]) for i in range(9) for j in range(9) if i != j) / (9 * 8)
    xy = sum(k(a, b) for a in x for b in y) / (7 * 9)
    found = kernel_distance(x, y, kernel="rbf", sigma=1.7)
    assert found == pytest.approx(xx + yy - 2 * xy, rel=1e-11)


@pytest.mark.parametrize("sigma", [0.5, 2.0, 10.0])
def test_rbf_is_unbiased_for_gaussians_whose_distance_is_known(sigma):
    # E k of independent N(m, s^2 I) and N(m', s'^2 I) in d dimensions, with v = sigma^2 + s^2 +
    # s'^2: (sigma^2 / v)^(d / 2) exp(-|m - m'|^2 / (2 v)).
    d, s, shift = 3, 1.4, 0.5

    def mean_kernel(s1, s2, apart):
        v = sigma**2 + s1**2 + s2**2
        return (sigma**2 / v) ** (d / 2) * np.exp(-(apart**2) * d / (2 * v))

    truth = mean_kernel(1, 1, 0) + mean_kernel(s, s, 0) - 2 * mean_kernel(1, s, shift)
    found = [
        kernel_distance(
            RNG.normal(size=(60, d)),
            RNG.normal(size=(80, d)) * s + shift,
            kernel="rbf",
            sigma=sigma,
        )
        for _ in range(200)
    ]
    assert abs(np.mean(found) - truth) < 4 * np.std(found) / np.sqrt(200)


def test_rbf_does_not_depend_on_chunk_order_or_origin():
    x, y = RNG.normal(size=(53, 16)), RNG.normal(size=(41, 16)) + 0.3
    expected = kernel_distance(x, y, kernel="rbf", sigma=4)
    for a, b, chunk in ((x, y, 7), (y, x, 2048), (x[::-1], y, 2048), (x + 100, y + 100, 10)):
        found = kernel_distance(a, b, kernel="rbf", sigma=4, chunk=chunk)
        assert found == pytest.approx(expected, rel=1e-9)
    single = kernel_distance(x.astype(np.float32), y.astype(np.float32), kernel="rbf", sigma=4)
    assert single == pytest.approx(expected, abs=1e-6)  # kernels are at most 1


def test_median_distance_is_that_of_all_pairs_and_of_a_subset_about_the_same():
    x = RNG.normal(size=(400, 6))
    apart = [np.linalg.norm(a - b) for i, a in enumerate(x) for b in x[:i]]
    assert median_distance(x) == pytest.approx(np.median(apart), rel=1e-12)
    assert median_distance(x, most=150) == pytest.approx(np.median(apart), rel=0.05)
    with pytest.raises(InputError, match="half of all pairs of tiles are at distance 0"):
        median_distance(np.ones((5, 3)))


def test_a_kernel_without_a_width_or_unknown_is_refused():
    x = RNG.normal(size=(10, 4))
    for sigma in (None, 0, -1, float("nan"), float("inf")):
        with pytest.raises(InputError, match="needs a finite width above 0"):
            kernel_distance(x, x, kernel="rbf", sigma=sigma)
    with pytest.raises(InputError, match="expected polynomial or rbf"):
        kernel_distance(x, x, kernel="linear")


def test_bad_features_are_named():
    x = RNG.normal(size=(10, 4))
    with pytest.raises(InputError, match="synthetic features have too few rows: 1"):
        kernel_distance(x, x[:1])
    with pytest.raises(InputError, match="same encoder"):
        kernel_distance(x, x[:, :2])
    with pytest.raises(InputError, match="real features: NaN"):
        kernel_distance(np.full((5, 4), np.nan), x)
