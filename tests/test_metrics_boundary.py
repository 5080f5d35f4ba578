"""Boundary F-score: agrees with distances computed one by one, and with shifts worked by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import zoom
from scipy.spatial.distance import cdist

from histosynth.errors import InputError
from histosynth.metrics import boundary_counts, boundary_f, boundary_tolerance, mean_boundary_f


def brute_force(true, predicted, c, tolerance, ignore=255):
    """The four counts of one tile, pixel by pixel and pair by pair."""
    height, width = true.shape

    def boundary(labels):
        found = []
        for y in range(height):
            for x in range(width):
                if true[y, x] == ignore or labels[y, x] != c:
                    continue
                for dy, dx in ((0, 1), (1, 0), (0, -1), (-1, 0)):
                    v, u = y + dy, x + dx
                    inside = 0 <= v < height and 0 <= u < width
                    if inside and true[v, u] != ignore and labels[v, u] != c:
                        found.append((y, x))
                        break
        return np.array(found, float).reshape(-1, 2)

    ours, theirs = boundary(predicted), boundary(true)
    if not (len(ours) and len(theirs)):
        return [0, len(ours), 0, len(theirs)]
    near = cdist(ours, theirs) <= tolerance
    return [near.any(1).sum(), len(ours), near.any(0).sum(), len(theirs)]


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10**6), st.sampled_from([0.5, 1.0, 1.5, 2.3, 4.0]))
def test_agrees_with_brute_force(seed, tolerance):
    rng = np.random.default_rng(seed)
    true, predicted = (zoom(rng.integers(0, 4, (2, 4, 5)), (1, 4, 3), order=0) for _ in range(2))
    true[rng.random(true.shape) < 0.05] = 255
    counts = boundary_counts(true, predicted, n_classes=4, tolerance=tolerance)
    for i in range(2):
        for c in range(4):
            assert counts[i, c].tolist() == brute_force(true[i], predicted[i], c, tolerance)


def half(column, *, height=16, width=40):
    """A tile whose class 1 begins at a column."""
    labels = np.zeros((1, height, width), np.uint8)
    labels[:, :, column:] = 1
    return labels


@pytest.mark.parametrize(("shift", "expected"), [(0, 1), (1, 1), (2, 1), (3, 0), (10, 0)])
def test_a_straight_border_shifted_within_the_tolerance_is_found(shift, expected):
    counts = boundary_counts(half(20), half(20 + shift), n_classes=2, tolerance=2)
    assert boundary_f(counts)[0].tolist() == [expected, expected]
    assert mean_boundary_f(counts.sum(axis=0)) == expected


def test_a_shifted_square_keeps_two_of_its_sides():
    """Moved 3 to the right at tolerance 1, upper and lower side still meet, left and right not."""
    true, predicted = np.zeros((2, 1, 40, 40), np.uint8)
    true[0, 10:20, 10:20] = 1
    predicted[0, 10:20, 13:23] = 1
    met, all_predicted, *_ = boundary_counts(true, predicted, n_classes=2, tolerance=1)[0, 1]
    assert all_predicted == 36
    # The sides span 13..22; true pixels of the same rows end at 19, so 13..20 are met within 1.
    # The left side meets only where it is next to the upper or lower side, rows 10, 11, 18, 19;
    # the right side's column 22 is 3 away.
    assert met == 2 * 8 + 2


def test_the_score_is_two_pr_over_p_plus_r():
    counts = np.array([[3, 4, 1, 2], [0, 0, 0, 0], [0, 5, 0, 0], [0, 5, 0, 7]])
    np.testing.assert_allclose(boundary_f(counts), [2 * 0.75 * 0.5 / 1.25, np.nan, 0, 0])
    assert mean_boundary_f(counts) == pytest.approx(0.6 / 3)
    assert np.isnan(mean_boundary_f(counts[1:2]))


def test_the_frame_and_unlabelled_pixels_bound_nothing():
    one_class = np.ones((1, 8, 8), np.uint8)
    assert boundary_counts(one_class, one_class, n_classes=2).sum() == 0
    true = one_class.copy()
    true[:, :, 4:] = 255  # the prediction's border lies where nobody knows
    predicted = one_class.copy()
    predicted[:, :, 5:] = 0
    assert boundary_counts(true, predicted, n_classes=2).sum() == 0


def test_the_tolerance_is_a_share_of_the_diagonal_but_never_less_than_a_pixel():
    assert boundary_tolerance(64, 64) == 1
    assert boundary_tolerance(300, 400) == pytest.approx(3.75)
    true, predicted = half(200, height=300, width=400), half(203, height=300, width=400)
    assert boundary_f(boundary_counts(true, predicted, n_classes=2))[0, 0] == 1
    predicted = half(204, height=300, width=400)
    assert boundary_f(boundary_counts(true, predicted, n_classes=2))[0, 0] == 0


def test_tiles_do_not_depend_on_what_they_are_counted_with(monkeypatch):
    rng = np.random.default_rng(0)
    true, predicted = zoom(rng.integers(0, 3, (2, 7, 4, 4)), (1, 1, 4, 4), order=0)
    whole = boundary_counts(true, predicted, n_classes=3)
    monkeypatch.setattr("histosynth.metrics.boundary._AT_ONCE", 2 * 16 * 16)
    np.testing.assert_array_equal(boundary_counts(true, predicted, n_classes=3), whole)


def test_bad_maps_are_named():
    zeros = np.zeros((2, 4, 4), np.uint8)
    with pytest.raises(InputError, match="predicted labels contain"):
        boundary_counts(zeros, zeros + 2, n_classes=2)
    with pytest.raises(InputError, match=r"shape \(4, 4\); expected \(tiles, height, width\)"):
        boundary_counts(zeros[0], zeros[0], n_classes=2)
    for tolerance in (-1, float("nan"), float("inf")):
        with pytest.raises(InputError, match="tolerance = .*; expected pixels, 0 or more"):
            boundary_counts(zeros, zeros, n_classes=2, tolerance=tolerance)
