"""What every score refuses: features that would overflow or lose a part, settings out of range."""

import numpy as np
import pytest
import torch

from histosynth.errors import InputError
from histosynth.metrics import (
    Reference,
    classifier_auc,
    clipped_scores,
    cluster_occupancy,
    frechet_distance,
    frechet_distance_inf,
    kernel_distance,
    median_distance,
    nearest_distances,
    prdc,
    sliced_wasserstein,
    vendi_score,
)
from histosynth.metrics.inputs import as_features, as_tensor, canonical_order, check_count

RNG = np.random.default_rng(0)
REAL, SYNTHETIC = RNG.normal(size=(2, 40, 6))
SCORES = [
    frechet_distance,
    frechet_distance_inf,
    kernel_distance,
    sliced_wasserstein,
    nearest_distances,
    classifier_auc,
    lambda a, b: vendi_score(a, name="real"),
]


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy])
def test_features_whose_products_overflow_are_refused_instead_of_scored(score, kind):
    # Cubes of products of these are beyond float32: the kernel distance was NaN without a word.
    with pytest.raises(InputError, match=r"values as large as [0-9.]+e\+14 in float32"):
        score(kind((REAL * 1e14).astype(np.float32)), kind((SYNTHETIC * 1e14).astype(np.float32)))
    with pytest.raises(InputError, match=r"in float64, and their products would overflow"):
        score(kind(REAL * 1e16), kind(SYNTHETIC * 1e16))


def test_the_largest_features_taken_have_finite_scores():
    apart = 5e5 * np.array([1, -1], np.float32)[:, None, None] * np.ones((2, 2100, 2), np.float32)
    # In float64 it is 4 (5e5^2)^3, near enough. A block's row sum is 2,048 times a quarter of that.
    assert kernel_distance(*apart) == pytest.approx(4 * 5e5**6, rel=1e-6)
    found = Reference(apart[0]).scores(apart[1])
    assert found["kernel_distance"] == pytest.approx(4 * 5e5**6, rel=1e-6)
    assert np.isfinite(list(found.values())).all()


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy])
def test_complex_features_are_refused_and_not_cut_to_their_real_part(score, kind):
    with pytest.raises(InputError, match="complex128 values; expected real ones"):
        score(kind(REAL + 1j), kind(SYNTHETIC + 1j))


@pytest.mark.parametrize("take", [as_features, as_tensor])
def test_a_bad_row_is_named_and_the_other_kinds_of_number_are_taken(take):
    broken = REAL.copy()
    broken[7, 2] = -np.inf
    with pytest.raises(InputError, match=r"real features: NaN or infinite values in 1 of 40 .*7"):
        take(broken, name="real")
    for kind in (np.int16, np.float16, bool):
        given = (REAL * 3).astype(kind)
        np.testing.assert_array_equal(np.asarray(take(given, name="real")), given.astype(float))


@pytest.mark.parametrize("wrong", [0, -1, 2.5, "4", None, True, float("nan")])
@pytest.mark.parametrize(
    ("score", "setting"),
    [
        (kernel_distance, "chunk"),
        (nearest_distances, "chunk"),
        (prdc, "chunk"),
        (clipped_scores, "chunk"),
        (lambda a, _, **told: Reference(a, **told), "chunk"),
        (lambda a, _, **told: Reference(a, **told), "k"),
        (frechet_distance_inf, "repeats"),
        (sliced_wasserstein, "directions"),
        (classifier_auc, "folds"),
        (lambda a, b, **told: median_distance(a, **told), "most"),
        (lambda a, b, **told: cluster_occupancy([0], [0], **told), "k"),
    ],
)
def test_counts_out_of_range_are_named(score, setting, wrong):
    with pytest.raises(InputError, match=rf"{setting} = .*; expected a whole number of at least"):
        score(REAL, SYNTHETIC, **{setting: wrong})


@pytest.mark.parametrize("k", [2.5, "4", None, -1])
def test_neighbours_are_a_whole_number(k):
    with pytest.raises(InputError, match="k = .*; expected a whole number"):
        prdc(REAL, SYNTHETIC, k=k)


def test_a_count_of_numpy_is_a_count():
    assert check_count(np.int64(3), "chunk") == 3
    assert type(check_count(np.uint8(3), "chunk")) is int
    with pytest.raises(InputError, match=r"folds = 1; .* at least 2 \(5 is usual\)"):
        classifier_auc(REAL, SYNTHETIC, folds=1)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_canonical_order_hangs_on_the_rows_alone(dtype):
    rows = RNG.normal(size=(3000, 5)).astype(dtype)  # three blocks
    rows[17], rows[18, 0] = rows[16], -0.0
    order = canonical_order(torch.from_numpy(rows))
    assert sorted(order) == list(range(3000))
    assert not (order == np.arange(3000)).all()
    mixed = RNG.permutation(3000)
    again = rows[mixed] + dtype(0)  # -0 becomes 0
    np.testing.assert_array_equal(
        again[canonical_order(torch.from_numpy(again))], rows[order] + dtype(0)
    )
    widened = torch.from_numpy(rows.astype(np.float64))
    np.testing.assert_array_equal(canonical_order(widened), order)


def test_rows_that_differ_in_their_last_bit_or_by_a_swap_have_places_of_their_own():
    base = RNG.normal(size=(1, 5)).astype(np.float32)
    rows = np.repeat(base, 500, axis=0)
    for i in range(1, 500):
        rows[i] = np.nextafter(rows[i - 1], np.float32(np.inf))
    rows = np.concatenate([rows, rows[:, ::-1]])
    order = canonical_order(torch.from_numpy(rows))
    mixed = RNG.permutation(len(rows))
    again = canonical_order(torch.from_numpy(rows[mixed]))
    np.testing.assert_array_equal(rows[mixed][again], rows[order])
