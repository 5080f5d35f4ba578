"""The 95 % intervals hold 90-99 % of a truth that is known in closed form, at 500 and 2,000 tiles.

Patients have looks of their own, so their tiles are not independent. Scores without a closed form
are simulated in bench/coverage.py.
"""

import numpy as np
import pytest

from histosynth.metrics import (
    KernelStatistic,
    cluster_bootstrap,
    frechet_distance,
    frechet_distance_inf,
    jackknife_interval,
    recentred,
)

LOOK, KEPT, NOISE, SHIFT = 0.5, 0.8, 0.9, 0.1  # of patients; of a generator
WIDTH, SIGMA = 16, 4.0


def pairs(variance, shift=0.0):
    """Mean RBF kernel of Gaussian rows whose difference has this variance and mean a feature."""
    scale = SIGMA**2 + variance
    return (SIGMA**2 / scale) ** (WIDTH / 2) * np.exp(-WIDTH * shift**2 / (2 * scale))


def expected_kernel_distance(sizes, shared):
    """Of patients of these sizes: pairs of one patient are nearer than pairs of two."""
    n = sizes.sum()
    within = (sizes * (sizes - 1)).sum() / (n * (n - 1))
    across = (sizes**2).sum() / n**2 if shared else 0.0
    real, made = LOOK**2, (KEPT * LOOK) ** 2
    of_real = within * pairs(2.0) + (1 - within) * pairs(2 + 2 * real)
    of_made = within * pairs(2 * NOISE**2) + (1 - within) * pairs(2 * NOISE**2 + 2 * made)
    own = pairs(1 + NOISE**2 + (1 - KEPT) ** 2 * LOOK**2, SHIFT)
    other = pairs(1 + NOISE**2 + real + made, SHIFT)
    return of_real + of_made - 2 * (across * own + (1 - across) * other)


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize(("tiles", "draws"), [(500, 200), (2000, 100)])
def test_kernel_distance_of_patients(tiles, draws, shared):
    rng = np.random.default_rng(tiles + shared)
    patients = np.repeat(np.arange(20), (np.linspace(0.5, 1.5, 20) * tiles / 20).astype(int))
    truth = expected_kernel_distance(np.bincount(patients), shared)
    statistic = KernelStatistic("rbf", sigma=SIGMA)
    held, values = 0, []
    for _ in range(draws):
        looks = LOOK * rng.normal(size=(2, 20, WIDTH))
        noise = rng.normal(size=(2, len(patients), WIDTH))
        real = looks[0][patients] + noise[0]
        asked = looks[0 if shared else 1][patients]
        made = KEPT * asked + NOISE * noise[1] + SHIFT
        found = jackknife_interval(
            real,
            made,
            real_groups=patients,
            synthetic_groups=patients if shared else patients + 20,
            statistic=statistic,
        )
        held += found.ci_low <= truth <= found.ci_high
        values.append(found.value)
    spread = np.std(values, ddof=1)
    assert abs(np.mean(values) - truth) < 4 * spread / draws**0.5  # the closed form is right
    assert 0.90 <= held / draws <= 0.99


@pytest.mark.parametrize(("tiles", "draws"), [(500, 150), (2000, 60)])
def test_extrapolated_frechet_distance_of_independent_tiles(tiles, draws):
    rng = np.random.default_rng(tiles)
    truth = WIDTH * (SHIFT**2 + (1 - NOISE) ** 2)
    held = held_by_plain = 0
    for _ in range(draws):
        real, made = rng.normal(size=(2, tiles, WIDTH))
        made = NOISE * made + SHIFT
        plain = jackknife_interval(
            real, made, real_groups=np.arange(tiles), statistic=frechet_distance
        )
        found = recentred(plain, frechet_distance_inf(real, made))
        held += found.ci_low <= truth <= found.ci_high
        held_by_plain += plain.ci_low <= truth <= plain.ci_high
    assert 0.90 <= held / draws <= 0.99
    assert held_by_plain / draws < 0.90  # its bias is what the extrapolation takes off


@pytest.mark.parametrize("patients", [8, 20])
@pytest.mark.parametrize("tiles", [500, 2000])
def test_accuracy_by_patients(tiles, patients):
    """Patients' own accuracies are beta-distributed about 0.8."""
    rng = np.random.default_rng(tiles + patients)
    groups = np.arange(tiles) % patients
    held = 0
    for _ in range(300):
        right = rng.random(tiles) < rng.beta(8, 2, size=patients)[groups]
        found = cluster_bootstrap(right.astype(float), groups, n_resamples=400)
        held += found.ci_low <= 0.8 <= found.ci_high
    assert 0.90 <= held / 300 <= 0.99
