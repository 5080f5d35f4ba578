"""The extrapolated Fréchet distance: its bias against a known truth, and that of the plain one."""

import numpy as np
import pytest
import torch

from histosynth.errors import InputError
from histosynth.metrics import (
    FeatureStatistics,
    extrapolates,
    frechet_distance,
    frechet_distance_inf,
)

SCALES = (1 + np.arange(64)) ** -0.5
# Gaussians of diagonal covariance: |m1 - m2|^2 + sum (s1 - s2)^2.
TRUTH = 64 * 0.03**2 + ((0.2 * SCALES) ** 2).sum()


def draw(n, m, seed):
    rng = np.random.default_rng(seed)
    real = rng.normal(size=(n, 64)) * SCALES
    return real, rng.normal(size=(m, 64)) * SCALES * 1.2 + 0.03


@pytest.mark.parametrize(("n", "m"), [(400, 400), (800, 300)])
def test_it_is_right_where_the_plain_distance_is_far_too_large(n, m):
    pairs = [draw(n, m, seed) for seed in range(12)]
    plain = np.mean([frechet_distance(*pair) for pair in pairs])
    values = [frechet_distance_inf(*pair) for pair in pairs]
    assert plain > 1.5 * TRUTH
    # Four standard errors of the mean, and the part in 1 / n^2 that stays.
    reach = 4 * np.std(values) / np.sqrt(12) + 0.03 * TRUTH
    assert abs(np.mean(values) - TRUTH) < reach < 0.25 * TRUTH


def test_extrapolating_one_set_alone_would_stay_biased():
    # The same rule with the real set kept whole: half of the bias is left.
    errors = []
    for seed in range(6):
        real, synthetic = draw(400, 400, seed)
        halves = [frechet_distance(real, synthetic[part::2]) for part in (0, 1)]
        errors.append(2 * frechet_distance(real, synthetic) - np.mean(halves) - TRUTH)
    assert np.mean(errors) > 0.2 * TRUTH


def test_equal_distributions_average_to_zero():
    values = []
    for seed in range(16):
        rng = np.random.default_rng(seed)
        values.append(frechet_distance_inf(*(rng.normal(size=(2, 300, 8)))))
    assert abs(np.mean(values)) < 4 * np.std(values) / 4 + 1e-3
    assert min(values) < 0 < max(values)


def test_the_seed_decides_and_statistics_and_torch_change_nothing():
    real, synthetic = draw(200, 150, 0)
    value = frechet_distance_inf(real, synthetic, seed=3)
    assert frechet_distance_inf(real, synthetic, seed=3) == value
    assert frechet_distance_inf(real, synthetic, seed=4) != value
    kept = FeatureStatistics.from_features(real)
    assert frechet_distance_inf(real, synthetic, seed=3, statistics=kept) == value
    assert frechet_distance_inf(*map(torch.from_numpy, (real, synthetic)), seed=3) == value


def test_the_order_of_rows_does_not_matter():
    real, synthetic = (x.astype(np.float32) for x in draw(201, 150, 0))
    value = frechet_distance_inf(real, synthetic)
    rng = np.random.default_rng(1)
    for _ in range(3):
        mixed = rng.permutation(real), rng.permutation(synthetic)
        # The same halves, row by row; only the whole is summed in another order.
        assert frechet_distance_inf(*mixed) == pytest.approx(value, rel=1e-9)
    assert frechet_distance_inf(real[::-1], synthetic) == pytest.approx(value, rel=1e-9)


@pytest.mark.parametrize(("n", "most", "least"), [(32, 20, 4), (64, 5, 2), (128, 0.15, -0.15)])
def test_two_tiles_a_feature_are_enough_and_one_is_not(n, most, least):
    # Errors as a share of the truth; the scales are equal, which is hardest.
    truth = 64 * (0.2**2 + 0.03**2)
    errors = []
    for seed in range(24):
        rng = np.random.default_rng(seed)
        real, synthetic = rng.normal(size=(2, n, 64))
        errors.append(frechet_distance_inf(real, 1.2 * synthetic + 0.03) / truth - 1)
    assert least < np.mean(errors) < most
    assert extrapolates(n, n, 64) == (n == 128)
    assert not extrapolates(1000, n - 1, 64) and not extrapolates(n - 1, 1000, 64)


def test_bad_features_are_named():
    real, synthetic = draw(20, 20, 0)
    with pytest.raises(InputError, match="synthetic features have too few rows: 3 tiles"):
        frechet_distance_inf(real, synthetic[:3])
    with pytest.raises(InputError, match="real features: NaN"):
        frechet_distance_inf(np.where(real > 0, np.nan, real), synthetic)
    with pytest.raises(InputError, match="same encoder"):
        frechet_distance_inf(real, synthetic[:, :3])
