"""Osorio's rules: each takes the patches that it is for, by the measures that OpenCV would give."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image
from skimage.measure import euler_number

from histosynth.slides.outliers import (
    OUTLIER_RULES,
    count_contours,
    laplacian_variance,
    osorio_outlier,
)


def from_hsv(hue, saturation, value) -> np.ndarray:
    """uint8 (96, 96, 3) of planes (96, 96) or numbers, 0-255."""
    planes = [np.broadcast_to(p, (96, 96)).astype(np.uint8) for p in (hue, saturation, value)]
    return np.asarray(Image.fromarray(np.dstack(planes), "HSV").convert("RGB"))


def noise(low: int, high: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(low, high, (96, 96))


def ramp(low: int, high: int) -> np.ndarray:
    return np.linspace(low, high, 96)[None].repeat(96, axis=0)


TISSUE = (noise(200, 240, 0), noise(40, 140, 1), noise(110, 255, 2))


@pytest.mark.parametrize(
    ("reason", "image"),
    [
        ("", from_hsv(*TISSUE)),
        ("outlier_dark", from_hsv(*TISSUE[:2], noise(0, 130, 2))),
        ("outlier_grey", from_hsv(0, 0, noise(110, 255, 2))),
        ("outlier_flat_brightness", from_hsv(*TISSUE[:2], 200)),
        ("outlier_flat_saturation", from_hsv(TISSUE[0], 100, TISSUE[2])),
        ("outlier_flat_hue", from_hsv(0, *TISSUE[1:])),
        ("outlier_blurred", from_hsv(ramp(200, 240), ramp(40, 140), ramp(110, 255).T)),
        ("outlier_empty", from_hsv(TISSUE[0], noise(0, 30, 1), noise(200, 255, 2))),
    ],
)
def test_each_rule_takes_the_patches_it_is_for(reason, image):
    assert osorio_outlier(image) == reason
    assert reason in {"", *OUTLIER_RULES}


def test_the_first_broken_rule_is_told():
    black = np.zeros((96, 96, 3), np.uint8)  # breaks all of them
    assert osorio_outlier(black) == next(iter(OUTLIER_RULES))


def test_thresholds_are_those_of_the_paper():
    values = np.where(np.indices((96, 96)).sum(axis=0) % 2, 0, 138)  # mean 69
    for add, dark in ((0, True), (2, False)):  # mean 70 is not below 70
        image = from_hsv(TISSUE[0], TISSUE[1], values + add)
        assert (osorio_outlier(image) == "outlier_dark") == dark


def test_a_tile_of_another_size_is_judged_as_its_96_pixels():
    image = from_hsv(*TISSUE)
    larger = image.repeat(4, axis=0).repeat(4, axis=1)
    assert osorio_outlier(larger) == osorio_outlier(image) == ""
    fine = np.random.default_rng(0).integers(0, 255, (960, 960, 3)).astype(np.uint8)
    assert osorio_outlier(fine) != ""  # antialiased away, not sampled


def test_the_laplacian_by_hand():
    # One bright pixel in the middle: -4 there, 1 at its four sides, 0 elsewhere.
    grey = np.zeros((5, 5), np.uint8)
    grey[2, 2] = 1
    assert laplacian_variance(grey) == pytest.approx((16 + 4) / 25 - 0)
    # At the corner the mirrored neighbours are those inside: -4, and 2 at each of two sides.
    grey = np.zeros((5, 5), np.uint8)
    grey[0, 0] = 1
    values = np.array([-4, 1, 1])  # the sides see the corner once, the corner nothing of itself
    assert laplacian_variance(grey) == pytest.approx(
        (values**2).sum() / 25 - (values.sum() / 25) ** 2
    )


@pytest.mark.parametrize(
    ("drawn", "contours"),
    [
        (["....", "....", "...."], 0),
        (["####", "####", "####"], 1),  # cut off by the edge on all sides
        (["#..#", "....", "#..#"], 4),
        (["#...", ".#..", "..#."], 1),  # joined over corners
        (["###.", "#.#.", "###."], 2),  # a shape and its hole
        ([".#..", "#.#.", ".#.."], 2),  # a hole closed by corners
        (["###.", "#.#.", "#.#."], 1),  # open at the edge: no hole
        (["#####", "#...#", "#.#.#", "#...#", "#####"], 3),  # a shape in a hole
    ],
)
def test_contours_are_boundaries_of_shapes_and_of_their_holes(drawn, contours):
    mask = np.array([[c == "#" for c in line] for line in drawn])
    assert count_contours(mask) == contours


@settings(max_examples=50, deadline=None)
@given(arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=12)))
def test_contours_agree_with_the_euler_number(mask):
    # The Euler number is shapes minus holes, found by counting corners and not by labelling.
    from scipy.ndimage import label

    shapes = label(mask, structure=np.ones((3, 3)))[1]
    assert count_contours(mask) == 2 * shapes - euler_number(mask, connectivity=2)


def test_measures_are_opencvs():
    random = np.random.default_rng(0)
    for size in (3, 17, 96):
        grey = random.integers(0, 256, (size, size)).astype(np.uint8)
        mask = (grey > 150).astype(np.uint8)
        found, _ = cv2.findContours(mask, cv2.RETR_TREE, cv2.CHAIN_APPROX_NONE)
        assert count_contours(mask > 0) == len(found)
        assert laplacian_variance(grey) == pytest.approx(cv2.Laplacian(grey, cv2.CV_64F).var())
