"""Confusion matrices and IoU: agree with scikit-learn; absent classes are NaN, not 0 or 1."""

import numpy as np
import pytest
import sklearn.metrics
import torch

from histosynth.errors import InputError
from histosynth.metrics import (
    confusion_matrix,
    iou_from_confusion,
    mean_iou,
    sum_by_group,
    tile_confusions,
)

RNG = np.random.default_rng(0)


def test_agrees_with_sklearn():
    true, predicted = RNG.integers(0, 4, size=(2, 6, 16, 16), dtype=np.uint8)
    confusion = confusion_matrix(true, predicted, n_classes=5)
    assert confusion.dtype == np.int64
    expected = sklearn.metrics.confusion_matrix(true.ravel(), predicted.ravel(), labels=range(5))
    np.testing.assert_array_equal(confusion, expected)
    jaccard = sklearn.metrics.jaccard_score(
        true.ravel(), predicted.ravel(), labels=range(4), average=None
    )
    # One division of equal integers.
    np.testing.assert_allclose(iou_from_confusion(confusion)[:4], jaccard, rtol=1e-15)
    assert mean_iou(confusion) == pytest.approx(jaccard.mean(), rel=1e-15)


def test_a_class_absent_from_both_sides_is_nan_and_left_out_of_the_mean():
    true = np.array([[0, 0, 1, 1]])
    predicted = np.array([[0, 0, 0, 3]])
    iou = iou_from_confusion(confusion_matrix(true, predicted, n_classes=4))
    # Class 2 occurs nowhere. Class 3 was only predicted, so it scores 0.
    np.testing.assert_array_equal(iou, [2 / 3, 0, np.nan, 0])
    assert mean_iou(confusion_matrix(true, predicted, n_classes=4)) == pytest.approx(2 / 9)
    assert np.isnan(mean_iou(np.zeros((3, 3), dtype=int)))


def test_ignored_pixels_count_nowhere():
    true = np.array([[0, 1, 255, 255]], dtype=np.uint8)
    predicted = np.array([[0, 1, 0, 1]], dtype=np.uint8)
    assert confusion_matrix(true, predicted, n_classes=2).tolist() == [[1, 0], [0, 1]]


def test_tiles_sum_to_the_whole_and_group_by_patient():
    true, predicted = RNG.integers(0, 3, size=(2, 10, 8, 8))
    true[4, :3] = 255
    tiles = tile_confusions(true, predicted, n_classes=3)
    assert tiles.shape == (10, 3, 3)
    np.testing.assert_array_equal(tiles[4], confusion_matrix(true[4], predicted[4], n_classes=3))
    patients = np.array(list("bbabbaaabb"))
    names, sums = sum_by_group(tiles, patients)
    assert names.tolist() == ["a", "b"]
    np.testing.assert_array_equal(
        sums[0],
        confusion_matrix(true[patients == "a"], predicted[patients == "a"], n_classes=3),
    )
    np.testing.assert_array_equal(sums.sum(axis=0), confusion_matrix(true, predicted, n_classes=3))
    assert iou_from_confusion(sums).shape == (2, 3)


def test_torch_maps_are_accepted():
    true = torch.tensor([[0, 1], [1, 1]])
    assert confusion_matrix(true, true, n_classes=2).tolist() == [[1, 0], [0, 3]]


def test_bad_maps_are_named():
    zeros = np.zeros((4, 4), dtype=np.uint8)
    with pytest.raises(InputError, match=r"true labels have shape \(4, 4\), predicted .*\(3, 4\)"):
        confusion_matrix(zeros, zeros[:3], n_classes=2)
    with pytest.raises(InputError, match=r"predicted labels contain \[7\]"):
        confusion_matrix(zeros, zeros + 7, n_classes=2)
    with pytest.raises(InputError, match=r"true labels contain \[255\]"):
        confusion_matrix(zeros + 255, zeros, n_classes=2, ignore=None)
    with pytest.raises(InputError, match="true labels are float64"):
        confusion_matrix(zeros / 2, zeros, n_classes=2)
    with pytest.raises(InputError, match="2 confusion matrices but 3 group names"):
        sum_by_group(np.zeros((2, 3, 3)), ["a", "b", "c"])
