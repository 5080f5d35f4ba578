"""Tissue is what is stained; glass, dust and dark fields are not."""

import numpy as np
import pytest
from PIL import Image

from histosynth.slides import open_slide
from histosynth.slides.tissue import box_means, find_tissue


def glass(height=160, width=200, *, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(243, 2, (height, width, 3)).clip(0, 255).astype(np.uint8)


def disk(shape, centre, radius):
    y, x = np.indices(shape)
    return (y - centre[0]) ** 2 + (x - centre[1]) ** 2 <= radius**2


def test_a_stained_disk_on_glass_is_found():
    image, truth = glass(), disk((160, 200), (80, 90), 50)
    image[truth] = [220, 170, 195]  # pale eosin
    found = find_tissue(image).mask
    # The smoothing blurs the outline by a pixel, 4 % of the area of this disk.
    assert (found & truth).sum() / (found | truth).sum() > 0.95


def test_bare_glass_has_no_tissue_and_says_why():
    found = find_tissue(glass())
    assert not found.mask.any()
    assert found.reason.startswith("no tissue: nothing as coloured as stain")


def test_tissue_from_edge_to_edge_is_all_tissue(shared_data):
    # At 400x an image is some 90 um wide: one of them, enlarged, stands for a slide of tissue only.
    path = shared_data / "ebhi_seg/images/adenocarcinoma/GT2001838-1-400-001.png"
    image = np.asarray(Image.open(path).convert("RGB").resize((100, 100), Image.Resampling.BOX))
    assert find_tissue(image).mask.mean() > 0.99


def test_dust_is_dropped_and_a_lumen_is_filled():
    image = glass()
    body = disk((160, 200), (80, 90), 40)
    image[body & ~disk((160, 200), (80, 90), 8)] = [200, 110, 160]
    dust = disk((160, 200), (20, 180), 4)
    image[dust] = [120, 60, 160]
    found = find_tissue(image).mask
    assert found[80, 90]
    assert not found[dust].any()


def test_black_ink_is_no_tissue():
    image = glass()
    image[:30] = 12
    assert not find_tissue(image).mask.any()


def test_a_fluorescence_slide_has_no_tissue_and_says_why(shared_data):
    with open_slide(shared_data / "slides/stritt_test3_DAPI.ndpi") as slide:
        found = find_tissue(slide.thumbnail(8.0)[0])
    assert not found.mask.any()
    assert "dark field" in found.reason


def test_the_real_slides_tissue_covers_as_many_tiles_as_its_provenance_says(shared_data):
    # PROVENANCE.txt: of 88 full 256-px tiles 33 are more than half coloured tissue. Theirs counts
    # coloured pixels, ours fills lumina and clefts too, so ours may only be a few more.
    with open_slide(shared_data / "slides/CMU-1-Small-Region.svs") as slide:
        overview, _ = slide.thumbnail(8.0)
        scale = slide.dimensions[0] / overview.shape[1], slide.dimensions[1] / overview.shape[0]
        corners = [(x, y) for y in range(0, 2816, 256) for x in range(0, 2048, 256)]
        boxes = np.array([[x, y, x + 256, y + 256] for x, y in corners]) / (scale * 2)
        assert len(boxes) == 88
        tiles = (box_means(find_tissue(overview).mask, boxes) > 0.5).sum()
    assert 31 <= tiles <= 38


def test_box_means_equal_the_mean_of_the_pixels():
    rng = np.random.default_rng(1)
    values = rng.random((23, 31))
    left, top = rng.integers(0, 20, 50), rng.integers(0, 12, 50)
    right, bottom = left + rng.integers(1, 11, 50), top + rng.integers(1, 11, 50)
    expected = [
        values[t:b, le:r].mean() for le, t, r, b in zip(left, top, right, bottom, strict=True)
    ]
    means = box_means(values, np.stack([left, top, right, bottom], axis=1))
    np.testing.assert_allclose(means, expected, rtol=1e-12)  # float64 sums


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((0.5, 0, 1.5, 1), 0.5),  # half of a set pixel
        ((0.25, 0.25, 0.75, 0.75), 1.0),  # inside it
        ((-1, 0, 1, 1), 0.5),  # outside counts as 0
        ((3, 3, 4, 4), 1.0),  # the last pixel
    ],
)
def test_box_means_weigh_parts_of_pixels(box, expected):
    values = np.zeros((4, 4), dtype=bool)
    values[0, 0] = values[3, 3] = True
    assert box_means(values, np.array([box]))[0] == pytest.approx(expected)
