"""Resizing is Pillow's bicubic within a grey value, whichever code computes it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from histosynth import resizing
from histosynth.resizing import resize


def error_against_pillow(found, image, size, box):
    whole, bicubic = Image.fromarray(image), Image.Resampling.BICUBIC
    expected = whole.resize(size, bicubic, box=box)
    # Pillow picks the order of its passes by the shape, and clips between them: here across first.
    left, top, right, bottom = box
    across = whole.resize((size[0], image.shape[0]), bicubic, (left, 0, right, image.shape[0]))
    in_order = across.resize(size, bicubic, (0, top, size[0], bottom))
    off = [np.abs(found.astype(int) - np.asarray(of)) for of in (expected, in_order)]
    assert np.minimum(*off).max() <= 1  # weights of 22 bits against 16
    return off[0].mean()


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_every_part_of_an_image_is_resized_as_by_pillow(data):
    factor = data.draw(st.sampled_from([1, 2, 3, 4, 8, 1.5, 0.8]))
    width, height = data.draw(st.tuples(st.integers(1, 12), st.integers(1, 12)))
    margins = [data.draw(st.integers(0, 20)) for _ in range(4)]
    shape = [int(np.ceil(side * factor)) for side in (height, width)]
    shape = (shape[0] + margins[1] + margins[3], shape[1] + margins[0] + margins[2], 3)
    image = np.random.default_rng(data.draw(st.integers(0, 9))).integers(0, 256, shape, np.uint8)
    left, top = margins[:2]
    box = (left, top, left + width * factor, top + height * factor)
    found = resize(image, (width, height), box)
    error_against_pillow(found, image, (width, height), box)


@pytest.mark.parametrize("factor", [2, 4])
def test_whole_factors_take_the_fast_path(monkeypatch, factor):
    image = np.random.default_rng(0).integers(0, 256, (540, 560, 3), np.uint8)
    side = 512 // factor
    box = (9, 9, 9 + 512, 9 + 512)
    with monkeypatch.context() as without:
        without.setattr(resizing, "Image", None)  # not there to be asked
        found = resize(image, (side, side), box)
    assert error_against_pillow(found, image, (side, side), box) < 1e-3  # one value in a thousand


def test_an_image_of_the_size_asked_for_is_left_as_it_is():
    image = np.zeros((4, 6, 3), np.uint8)
    assert resize(image, (6, 4)) is image
