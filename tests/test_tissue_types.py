"""Tiles across a border of tissues are told from those within one, without any annotation."""

import numpy as np
import pytest

from histosynth.slides.tissue_types import tissue_types, type_entropy

BOX = 16


def two_tissues(*, seed: int = 0) -> np.ndarray:
    """Left: an even pink. Right: the same colours on average, but speckled as with nuclei."""
    rng = np.random.default_rng(seed)
    image = np.full((128, 128, 3), (222, 150, 190), dtype=float)
    speckle = rng.random((128, 64)) < 0.3
    image[:, 64:][speckle] = (110, 60, 150)
    return np.clip(image + rng.normal(0, 2, image.shape), 0, 255).astype(np.uint8)


def boxes_at(columns: list[int]) -> np.ndarray:
    return np.array([[x, y, x + BOX, y + BOX] for y in range(0, 112, BOX) for x in columns], float)


TISSUE = np.ones((128, 128), dtype=bool)


def test_a_box_across_two_tissues_has_more_entropy_than_one_within():
    image = two_tissues()
    within = type_entropy(image, TISSUE, boxes_at([0, 24, 40]), types=2)
    other = type_entropy(image, TISSUE, boxes_at([80, 100]), types=2)
    across = type_entropy(image, TISSUE, boxes_at([56]), types=2)
    assert across.min() > 2 * max(np.median(within), np.median(other))
    assert across.mean() == pytest.approx(np.log(2), abs=0.05)  # half and half


def test_entropy_is_that_of_the_shares_of_types():
    image = two_tissues()
    kinds = tissue_types(image, TISSUE, types=3)
    left, top = 56, 32
    shares = np.bincount(kinds[top : top + BOX, left : left + BOX].ravel(), minlength=3) / BOX**2
    shares = shares[shares > 0]
    found = type_entropy(image, TISSUE, np.array([[left, top, left + BOX, top + BOX]]), types=3)
    assert found == pytest.approx([-(shares * np.log(shares)).sum()])


def test_only_tissue_counts_and_a_box_without_any_has_no_entropy():
    image = two_tissues()
    tissue = TISSUE.copy()
    tissue[:, :64] = False
    assert set(np.unique(tissue_types(image, tissue, types=4)[:, :64])) == {-1}
    boxes = np.array([[0.0, 0, 16, 16], [56, 0, 72, 16], [64, 0, 72, 16]])
    found = type_entropy(image, tissue, boxes, types=4)
    assert np.isnan(found[0])
    assert found[1] == pytest.approx(found[2])  # the half that is no tissue changes nothing


def test_it_depends_on_the_seed_alone_and_not_on_the_order_of_boxes():
    image, boxes = two_tissues(), boxes_at([0, 24, 56, 80])
    first = type_entropy(image, TISSUE, boxes, seed=3)
    order = np.random.default_rng(0).permutation(len(boxes))
    np.testing.assert_array_equal(type_entropy(image, TISSUE, boxes, seed=3), first)
    np.testing.assert_array_equal(type_entropy(image, TISSUE, boxes[order], seed=3), first[order])


def test_one_colour_is_one_type_without_entropy():
    image = np.full((32, 32, 3), 180, dtype=np.uint8)
    found = type_entropy(image, np.ones((32, 32), bool), np.array([[0.0, 0, 32, 32]]))
    assert found == pytest.approx([0.0])


def test_a_slide_without_tissue_has_no_entropy_anywhere():
    image = np.full((32, 32, 3), 240, dtype=np.uint8)
    found = type_entropy(image, np.zeros((32, 32), bool), np.array([[0.0, 0, 32, 32]]))
    assert np.isnan(found).all()
