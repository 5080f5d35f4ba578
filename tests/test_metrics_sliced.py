"""Sliced Wasserstein: scipy's distance in one dimension, and closed forms."""

import numpy as np
import pytest
import torch
from scipy.stats import wasserstein_distance

from histosynth.errors import InputError
from histosynth.metrics import sliced_wasserstein

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(("n", "m"), [(50, 50), (37, 23), (1, 9), (60, 20)])
def test_is_scipys_distance_in_one_dimension(n, m):
    a, b = RNG.normal(size=n), RNG.normal(size=m) * 1.5 + 0.3
    found = sliced_wasserstein(a[:, None], b[:, None], directions=3)
    # The same sum over the merged quantiles, fp64.
    assert found == pytest.approx(wasserstein_distance(a, b), rel=1e-11)


def test_is_the_mean_of_scipys_distances_along_its_directions():
    a, b = RNG.normal(size=(40, 6)), RNG.normal(size=(30, 6)) + 0.2
    t = np.random.default_rng(5).standard_normal((70, 6))
    t /= np.linalg.norm(t, axis=1, keepdims=True)
    expected = np.mean([wasserstein_distance(a @ u, b @ u) for u in t])
    assert sliced_wasserstein(a, b, directions=70, seed=5) == pytest.approx(expected, rel=1e-11)


def test_a_shift_moves_it_by_the_mean_projection_of_the_shift():
    # E |t.s| over unit vectors in d = 2 is 2 |s| / pi.
    a, s = RNG.normal(size=(30, 2)), np.array([3.0, 4.0])
    found = sliced_wasserstein(a, a + s, directions=20_000)
    # 20,000 directions, standard deviation 0.31 |s|: 4 standard errors.
    assert found == pytest.approx(2 * 5 / np.pi, abs=4 * 0.31 * 5 / np.sqrt(20_000))


def test_more_rows_than_a_block_holds_are_all_counted():
    # Blocks of 8,192 rows and of 32 directions: three of each, the last ones short.
    a, b = RNG.normal(size=(20_000, 3)).astype(np.float32), RNG.normal(size=(9_000, 3)) * 1.2
    a[-1000:] += 5
    t = np.random.default_rng(0).standard_normal((70, 3))
    t /= np.linalg.norm(t, axis=1, keepdims=True)
    expected = np.mean([wasserstein_distance(a.astype(float) @ u, b @ u) for u in t])
    assert sliced_wasserstein(a, b, directions=70) == pytest.approx(expected, rel=1e-11)


def test_equal_sets_order_and_repetition():
    a, b = RNG.normal(size=(30, 5)), RNG.normal(size=(20, 5)) + 1
    assert sliced_wasserstein(a, a[::-1]) == pytest.approx(0, abs=1e-15)
    value = sliced_wasserstein(a, b)
    for x, y in (
        (RNG.permutation(a), b),
        (b, a),
        (np.repeat(a, 3, axis=0), b),
        (torch.from_numpy(a), torch.from_numpy(b)),
    ):
        assert sliced_wasserstein(x, y) == pytest.approx(value, rel=1e-11)
    assert sliced_wasserstein(a, b, seed=1) != value


def test_constant_columns_add_nothing_to_a_direction():
    a, b = RNG.normal(size=(30, 5)), RNG.normal(size=(30, 5)) + 1
    both = [np.hstack([x, np.full((30, 1), 7.0)]) for x in (a, b)]
    other = [np.hstack([x, np.full((30, 1), -2.0)]) for x in (a, b)]
    assert sliced_wasserstein(*both) == pytest.approx(sliced_wasserstein(*other), rel=1e-9)


def test_bad_features_are_named():
    a = RNG.normal(size=(10, 4))
    with pytest.raises(InputError, match="synthetic features: NaN"):
        sliced_wasserstein(a, np.where(a > 0, np.nan, a))
    with pytest.raises(InputError, match="same encoder"):
        sliced_wasserstein(a, a[:, :2])
    with pytest.raises(InputError, match="real features have too few rows: 0"):
        sliced_wasserstein(a[:0], a)
