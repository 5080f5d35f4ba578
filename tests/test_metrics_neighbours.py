"""Precision, recall, density, coverage: parity at both conventions, and the sanity of each."""

import numpy as np
import pytest
import torch
from prdc import compute_prdc
from scipy.stats import betabinom
from torch_fidelity.metric_prc import prc_features_to_metric

from histosynth.errors import InputError
from histosynth.metrics import clipped_scores, prdc

RNG = np.random.default_rng(0)


def clusters(n, d=8, modes=2, seed=0):
    """Rows in `modes` well-separated equal clusters, in order of their cluster."""
    rng = np.random.default_rng(seed)
    centres = 50 * np.eye(d)[:modes]
    return np.repeat(centres, n // modes, axis=0) + rng.normal(size=(n // modes * modes, d))


def brute_force(real, synthetic, k, inclusive):
    def inside(distance, radius):
        return distance <= radius if inclusive else distance < radius

    def radii(rows):
        return [sorted(np.linalg.norm(rows - row, axis=1))[k] for row in rows]

    r, s = radii(real), radii(synthetic)
    d = [[np.linalg.norm(x - y) for y in synthetic] for x in real]
    n, m = len(real), len(synthetic)
    return {
        "precision": np.mean([any(inside(d[i][j], r[i]) for i in range(n)) for j in range(m)]),
        "recall": np.mean([any(inside(d[i][j], s[j]) for j in range(m)) for i in range(n)]),
        "density": sum(inside(d[i][j], r[i]) for i in range(n) for j in range(m)) / (k * m),
        "coverage": np.mean([any(inside(d[i][j], r[i]) for j in range(m)) for i in range(n)]),
    }


@pytest.mark.parametrize("inclusive", [False, True])
@pytest.mark.parametrize("k", [1, 3])
def test_equals_the_definition_row_by_row(k, inclusive):
    real, synthetic = RNG.normal(size=(25, 3)), RNG.normal(size=(30, 3)) * 0.8 + 0.3
    # Counts over counts: equal but for the last bit of a division.
    assert prdc(real, synthetic, k=k, inclusive=inclusive) == pytest.approx(
        brute_force(real, synthetic, k, inclusive), rel=1e-14
    )


@pytest.mark.parametrize(("n", "m", "d"), [(300, 300, 12), (250, 180, 64)])
def test_agrees_with_the_prdc_package_at_k_5(n, m, d, capsys):
    real, synthetic = RNG.normal(size=(n, d)), RNG.normal(size=(m, d)) * 0.9 + 0.2
    theirs = compute_prdc(real, synthetic, nearest_k=5)
    # The same comparisons of the same fp64 distances; no ties in continuous data.
    assert prdc(real, synthetic) == pytest.approx(theirs, rel=1e-12)


def test_agrees_with_torch_fidelity_at_k_3_inclusive():
    real, synthetic = RNG.normal(size=(300, 16)), RNG.normal(size=(260, 16)) * 0.9 + 0.2
    theirs = prc_features_to_metric(
        torch.from_numpy(synthetic),  # there the generated set comes first
        torch.from_numpy(real),
        prc_neighborhood=3,
        prc_batch_size=10000,
        save_cpu_ram=False,
        verbose=False,
    )
    ours = prdc(real, synthetic, k=3, inclusive=True)
    # Their shares pass through a float32 mean.
    assert ours["precision"] == pytest.approx(theirs["precision"], rel=1e-6)
    assert ours["recall"] == pytest.approx(theirs["recall"], rel=1e-6)


def test_the_chunk_and_the_order_of_rows_do_not_matter():
    real, synthetic = RNG.normal(size=(53, 6)), RNG.normal(size=(41, 6)) + 0.3
    expected = prdc(real, synthetic, k=3)
    for chunk in (1, 7, 53, 1000):
        assert prdc(real, synthetic, k=3, chunk=chunk) == expected
    assert prdc(real[::-1], RNG.permutation(synthetic), k=3) == expected


@pytest.mark.parametrize("chunk", [5, 17, 1024])
def test_identical_sets_are_perfect_whatever_the_rounding(chunk):
    real = RNG.normal(size=(60, 24)) + 1000  # far from the origin, so rounding is large
    strict = prdc(real, real[::-1], k=4, chunk=chunk)
    # Each ball strictly holds its own row and k - 1 neighbours; the k-th lies on the sphere.
    assert strict == {"precision": 1, "recall": 1, "density": 1, "coverage": 1}
    inclusive = prdc(real, real[::-1], k=4, inclusive=True, chunk=chunk)
    assert inclusive == pytest.approx(
        {"precision": 1, "recall": 1, "density": 5 / 4, "coverage": 1}, rel=1e-12
    )


def test_a_dropped_mode_lowers_recall_and_coverage_but_not_precision():
    real, full = clusters(200, seed=1), clusters(200, seed=2)
    whole, dropped = prdc(real, full), prdc(real, np.vstack([full[:100], full[:100] + 0.01]))
    assert dropped["precision"] >= whole["precision"] - 0.05
    # Half of the real rows lie in the mode that is gone.
    assert dropped["recall"] <= 0.5
    assert dropped["coverage"] <= 0.5 < whole["coverage"]


def test_an_invented_mode_lowers_precision_and_density_but_not_coverage():
    real = clusters(200, seed=1)
    invented = np.vstack([clusters(200, seed=2), clusters(300, modes=3, seed=3)[200:]])
    without, scores = prdc(real, invented[:200]), prdc(real, invented)
    assert scores["precision"] <= 2 / 3
    assert scores["density"] == pytest.approx(without["density"] * 2 / 3, rel=1e-12)
    assert scores["coverage"] == without["coverage"]


def test_one_real_outlier_inflates_precision_but_hardly_density():
    # Naeem et al. 2020: the outlier's huge ball covers far samples; it counts 1/k of a ball each.
    real = RNG.normal(size=(200, 4))
    far = RNG.normal(size=(200, 4)) + 20
    outlier = np.vstack([real, np.full((1, 4), 22.0)])
    assert prdc(real, far)["precision"] == 0
    assert prdc(outlier, far)["precision"] > 0.9
    assert prdc(outlier, far)["density"] <= 1 / 5


def test_duplicates_have_empty_balls_when_strict():
    real = np.repeat(RNG.normal(size=(10, 4)), 4, axis=0)  # 3 twins each, so the radius at k=3 is 0
    assert prdc(real, real, k=3)["precision"] == 0
    assert prdc(real, real, k=3, inclusive=True)["precision"] == 1


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("seed", range(40))
def test_copied_rows_are_at_no_distance_whatever_the_rounding(seed, dtype):
    rng = np.random.default_rng(seed)
    real = np.repeat(rng.normal(size=(10, 16)), 6, axis=0).astype(dtype)  # every k-th radius is 0
    blank = rng.normal(size=(50, 16)).astype(dtype)
    blank[:30] = blank[0]  # more than half, so the median radius is 0
    for first, second in ((real, real), (blank, blank), (blank, real)):
        found = clipped_scores(first, second, k=5)
        d = np.linalg.norm(first[:, None].astype(float) - second, axis=2)
        own = np.linalg.norm(first[:, None].astype(float) - first, axis=2)
        radii = np.sort(own, axis=1)[:, 5]
        clipped = np.minimum(radii, np.median(radii))[:, None]
        around = np.minimum((d <= clipped).sum(axis=0), 5).mean()
        most = np.minimum((own <= clipped).sum(axis=0) - 1, 5).mean()
        assert found["clipped_density"] == pytest.approx(min(around / most, 1), rel=1e-12)
    assert prdc(real, real, k=5) == dict.fromkeys(("precision", "recall", "density", "coverage"), 0)


@pytest.mark.parametrize("far", [1e4, 5e5])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_one_row_far_away_changes_no_other_rows_neighbours(far, dtype):
    rng = np.random.default_rng(0)
    real, synthetic = rng.normal(size=(2, 200, 8)).astype(dtype)
    real[7] = far
    theirs = compute_prdc(real.astype(float), synthetic.astype(float), nearest_k=5)
    assert prdc(real, synthetic) == pytest.approx(theirs)


def test_constant_columns_change_nothing():
    real, synthetic = RNG.normal(size=(40, 4)), RNG.normal(size=(40, 4))
    constant = np.full((40, 2), 3.0)
    assert prdc(np.hstack([real, constant]), np.hstack([synthetic, constant])) == prdc(
        real, synthetic
    )


def test_torch_float32_is_accepted():
    real = torch.randn(40, 8, generator=torch.Generator().manual_seed(0))
    assert prdc(real, real + 0.1) == prdc(real.numpy(), (real + 0.1).numpy())


def test_too_few_tiles_for_k_is_an_error_with_the_cure():
    real = RNG.normal(size=(20, 4))
    with pytest.raises(InputError, match=r"20 real, 5 synthetic\); take k <= 4"):
        prdc(real, real[:5], k=5)
    with pytest.raises(InputError, match="k = 0; expected a whole number of at least 1"):
        prdc(real, real, k=0)
    with pytest.raises(InputError, match="synthetic features: NaN"):
        prdc(real, np.where(real > 0, np.nan, real))


# Clipped density and coverage


@pytest.mark.parametrize(
    ("seed", "n", "m", "d", "k", "scale", "shift", "density", "coverage"),
    [
        # Printed by the authors' program (github.com/nicolassalvy/ClippedDensityCoverage).
        (0, 200, 150, 6, 5, 0.9, 0.2, 1.0, 0.9006622516556292),
        (2, 201, 160, 4, 5, 1.3, 0.5, 0.5293896321070235, 0.546583850931677),
        (3, 90, 90, 3, 1, 1.0, 0.0, 1.0, 1.0),
        (4, 80, 70, 5, 5, 1.0, 9.0, 0.0, 0.0),
    ],
)
def test_clipped_scores_are_those_of_the_authors_program(
    seed, n, m, d, k, scale, shift, density, coverage
):
    rng = np.random.default_rng(seed)
    real, synthetic = rng.normal(size=(n, d)), rng.normal(size=(m, d)) * scale + shift
    if seed == 2:
        real[:5] += 30  # outliers, whose balls would hold everything
    found = clipped_scores(real, synthetic, k=k)
    assert found == pytest.approx(
        {"clipped_density": density, "clipped_coverage": coverage}, rel=1e-13
    )


@pytest.mark.parametrize(("n", "m", "k"), [(25, 30, 3), (24, 40, 2)])
def test_clipped_scores_equal_their_definition(n, m, k):
    real, synthetic = RNG.normal(size=(n, 3)), RNG.normal(size=(m, 3)) * 1.2 + 0.3
    d = np.linalg.norm(real[:, None] - synthetic, axis=2)
    own = np.linalg.norm(real[:, None] - real, axis=2)
    radii = np.sort(own, axis=1)[:, k]
    clipped = np.minimum(radii, np.median(radii))
    of_synthetic = np.minimum((d <= clipped[:, None]).sum(axis=0), k).mean()
    of_real = np.minimum((own <= clipped[:, None]).sum(axis=0) - 1, k).mean()
    found = clipped_scores(real, synthetic, k=k)
    assert found["clipped_density"] == pytest.approx(min(of_synthetic / of_real, 1), rel=1e-12)
    covered = np.minimum((d < radii[:, None]).sum(axis=1), k).mean() / k
    levels = [
        sum(min(j, k) * betabinom.pmf(j, good, k, n - k) for j in range(good + 1)) / k
        for good in range(m + 1)
    ]
    reached = next((i for i in range(k, m + 1) if levels[i] >= covered), m + 1)
    assert found["clipped_coverage"] == pytest.approx(reached / (m + 1), rel=1e-12)


def test_clipped_scores_fall_with_the_share_of_good_tiles():
    # What they are for: 1 - p of the tiles replaced by far ones leaves a score of p.
    real, good = RNG.normal(size=(1500, 4)), RNG.normal(size=(1500, 4))
    for share in (0.25, 0.5, 0.75, 1.0):
        synthetic = good.copy()
        synthetic[: int((1 - share) * 1500)] += 100
        found = clipped_scores(real, synthetic)
        # 1,500 tiles: about 0.02 of sampling error, twice over.
        assert found["clipped_density"] == pytest.approx(share, abs=0.05)
        assert found["clipped_coverage"] == pytest.approx(share, abs=0.08)


def test_outliers_raise_density_but_not_clipped_density():
    real = RNG.normal(size=(200, 4))
    outliers = np.vstack([real, RNG.normal(size=(10, 4)) * 30])
    far = RNG.normal(size=(200, 4)) * 5 + 20
    assert prdc(outliers, far)["density"] > 0.2
    assert clipped_scores(outliers, far)["clipped_density"] == 0
