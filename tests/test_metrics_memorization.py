"""Memorization scores: exact neighbours, expectation without copies, power with them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist
from scipy.stats import binomtest, mannwhitneyu, norm
from sklearn.metrics import roc_auc_score

from histosynth.errors import InputError
from histosynth.metrics import (
    authenticity,
    copying_z,
    heldout_quantile,
    memorized_share,
    nearest_distances,
    nearest_train_auc,
)
from histosynth.metrics import memorization as module


@settings(deadline=None, max_examples=40)
@given(
    m=st.integers(1, 40),
    n=st.integers(2, 60),
    chunk=st.integers(1, 50),
    block=st.integers(1, 70),
    shift=st.floats(-1e4, 1e4),
    seed=st.integers(0, 10**6),
)
def test_neighbours_are_those_of_scipy_whatever_the_blocks(m, n, chunk, block, shift, seed):
    rng = np.random.default_rng(seed)
    queries, references = (rng.normal(size=(k, 5)) + shift for k in (m, n))
    expected = cdist(queries, references)
    before, module._REFERENCES_AT_ONCE = module._REFERENCES_AT_ONCE, block
    try:
        distance, index = nearest_distances(queries, references, chunk=chunk)
        own = rng.integers(n, size=m)
        others = nearest_distances(queries, references, chunk=chunk, leave_out=own)
    finally:
        module._REFERENCES_AT_ONCE = before
    # the search is in float32, so of two neighbours that near each other either may be found
    np.testing.assert_allclose(distance, expected.min(axis=1), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(distance, expected[np.arange(m), index], rtol=1e-9, atol=1e-9)
    assert (others[1] != own).all()
    expected[np.arange(m), own] = np.inf
    np.testing.assert_allclose(others[0], expected.min(axis=1), rtol=1e-4, atol=1e-4)


def test_a_copy_is_at_exactly_zero_and_points_to_its_original():
    references = (np.random.default_rng(0).normal(size=(300, 64)) + 1000).astype(np.float32)
    distance, index = nearest_distances(references[[7, 290]], references)
    assert distance.tolist() == [0, 0] and index.tolist() == [7, 290]


@pytest.mark.parametrize(("held", "quantile"), [(99, 0.01), (300, 0.01), (1999, 0.001)])
def test_without_memorization_the_share_is_the_quantile_itself(held, quantile):
    """Over many draws from one distribution; a plain quantile of 99 values gives twice 1 %."""
    rng = np.random.default_rng(1)
    shares = [
        (rng.gamma(9, size=4000) < heldout_quantile(rng.gamma(9, size=held), quantile)).mean()
        for _ in range(2000)
    ]
    error = np.std(shares) / np.sqrt(len(shares))
    assert abs(np.mean(shares) - quantile) < 4 * error
    assert 4 * error < 0.15 * quantile


def test_the_share_finds_a_few_copies_that_the_auc_overlooks():
    rng = np.random.default_rng(2)
    heldout, generated = rng.gamma(9, size=800), rng.gamma(9, size=800)
    generated[:40] = 0.01  # one in twenty
    patients = np.arange(800) % 25
    told = {"generated_groups": patients, "heldout_groups": patients}
    share = memorized_share(generated, heldout, quantile=0.01, **told)
    assert 0.05 <= share.value < 0.08 and share.ci_low > 0.04
    auc = nearest_train_auc(generated, heldout, **told)
    assert auc.ci_low < 0.5 < auc.ci_high


def test_the_auc_is_that_of_scikit_learn_with_ties_half():
    rng = np.random.default_rng(3)
    generated, heldout = rng.integers(0, 9, 70), rng.integers(1, 9, 50)
    expected = roc_auc_score([1] * 70 + [0] * 50, -np.concatenate([generated, heldout]))
    assert nearest_train_auc(generated, heldout).value == pytest.approx(expected, abs=1e-12)


def test_tiles_of_one_patient_widen_the_interval():
    rng = np.random.default_rng(4)
    patients = np.repeat(np.arange(10), 40)
    effect = rng.normal(size=10)[patients]
    generated, heldout = (effect + 0.3 * rng.normal(size=400) + 9 for _ in range(2))
    alone = nearest_train_auc(generated, heldout)
    apart = nearest_train_auc(
        generated, heldout, generated_groups=patients, heldout_groups=patients + 10
    )
    assert apart.se > 2 * alone.se


def test_c_t_is_the_z_of_the_mann_whitney_test():
    rng = np.random.default_rng(5)
    generated, heldout = rng.normal(9, 1, 90), rng.normal(9.4, 1, 120)
    u, p = mannwhitneyu(generated, heldout, alternative="less", method="asymptotic")
    z = copying_z(generated, heldout)
    assert z < -1
    assert norm.cdf(z) == pytest.approx(p, rel=0.02)  # scipy corrects for continuity
    assert z == pytest.approx((u - 5400) / np.sqrt(5400 * 2 * 211 / 12))


def test_authenticity_is_one_half_for_new_rows_and_zero_for_copies():
    rng = np.random.default_rng(6)
    train, new = rng.normal(size=(600, 3)), rng.normal(size=(600, 3))
    for made, low, high in ((new, 0.35, 0.65), (train[:200], 0, 0)):
        distance, nearest = nearest_distances(made, train)
        own, _ = nearest_distances(train[nearest], train, leave_out=nearest)
        assert low <= authenticity(distance, own).value <= high


def test_a_quantile_that_cannot_be_told_is_refused_with_the_number_it_takes():
    with pytest.raises(InputError, match="98 held-out tiles.*it takes 99"):
        memorized_share(np.ones(5), np.arange(98.0), quantile=0.01)
    with pytest.raises(InputError, match="it takes 999"):
        heldout_quantile(np.arange(500.0), 0.001)
    with pytest.raises(InputError, match="exact copies of training tiles"):
        memorized_share(np.ones(5), np.zeros(200), quantile=0.01)


@pytest.mark.parametrize("patients", [2, 6, 50])
def test_a_share_of_zero_or_one_is_bounded_as_so_many_patients_allow(patients):
    """By the exact binomial interval of SciPy, whatever the number of images of each patient."""
    heldout = np.arange(1.0, 301)
    told = {
        "quantile": 0.01,
        "generated_groups": np.arange(100) % patients,
        "heldout_groups": np.arange(300) % patients,
    }
    for distance, near in ((0.0, patients), (999.0, 0)):
        found = memorized_share(np.full(100, distance), heldout, **told)
        exact = binomtest(near, patients).proportion_ci(method="exact")
        assert found.value == near / patients
        assert found.ci_low == pytest.approx(exact.low, abs=1e-3)
        assert found.ci_high == pytest.approx(exact.high, abs=1e-3)
    assert memorized_share(np.zeros(100), heldout, **told).ci_low > told["quantile"]


@pytest.mark.parametrize("truth", [0.1, 0.4, 0.6, 0.9])
def test_the_bound_of_a_share_holds_for_patients_whose_images_are_all_alike(truth):
    """A generator that copies for a share of patients, for each all images or none."""
    told = {"generated_groups": np.repeat(np.arange(4), 25), "heldout_groups": np.arange(400) % 4}
    none, every = (
        memorized_share(np.full(100, d), np.arange(1.0, 401), quantile=0.01, **told)
        for d in (999.0, 0.0)
    )
    copied = (np.random.default_rng(7).random((20_000, 4)) < truth).sum(axis=1)
    missed = (copied == 4).mean() * (truth < every.ci_low)
    missed += (copied == 0).mean() * (truth > none.ci_high)
    assert missed <= 0.03  # 2.5 % on a side, and chance


def test_few_patients_on_either_side_or_one_large_one_weaken_the_bound():
    images, heldout = np.zeros(60), np.arange(1.0, 301)

    def low(ours, theirs):
        told = {"generated_groups": ours, "heldout_groups": theirs}
        return memorized_share(images, heldout, quantile=0.01, **told).ci_low

    twenty = np.arange(60) % 20
    many, few = low(twenty, np.arange(300) % 20), low(twenty, np.arange(300) % 4)
    assert many == pytest.approx(0.025 ** (1 / 20))
    assert few == pytest.approx(0.025 ** (1 / 4))
    one_large = np.where(np.arange(60) < 41, 0, np.arange(60))
    assert low(one_large, np.arange(300) % 20) < few


def test_authenticity_of_none_claims_no_certainty_and_of_one_patient_nothing():
    none = authenticity(np.zeros(40), np.ones(40), groups=np.arange(40) % 4)
    assert none.value == none.ci_low == 0
    assert none.ci_high == pytest.approx(1 - 0.025 ** (1 / 4))
    assert np.isnan(authenticity(np.zeros(40), np.ones(40), groups=np.zeros(40)).ci_high)


def test_distances_without_a_neighbour_are_refused():
    with pytest.raises(InputError, match="add training tiles"):
        nearest_distances(np.ones((2, 3)), np.ones((1, 3)), leave_out=[0, 0])
    with pytest.raises(InputError, match="width 3"):
        nearest_distances(np.ones((2, 4)), np.ones((2, 3)))


def test_one_patient_on_a_side_gives_no_interval():
    """Its resamples are all alike: an interval of no width would pass for certainty."""
    rng = np.random.default_rng(0)
    made, heldout = rng.random(40), rng.random(60)
    for groups in ((["a"] * 40, ["b", "c"] * 30), (["a", "d"] * 20, ["b"] * 60)):
        told = {"generated_groups": groups[0], "heldout_groups": groups[1]}
        for found in (
            nearest_train_auc(made, heldout, **told),
            memorized_share(made, heldout, quantile=0.1, **told),
        ):
            assert 0 < found.value < 1 and np.isnan([found.ci_low, found.ci_high]).all()
        near = memorized_share(np.zeros(40), heldout, quantile=0.1, **told)
        assert near.value == 1 and np.isnan(near.ci_low)
