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


@pytest.mark.parametrize(
    "image",
    [
        glass(),
        np.full((160, 200, 3), 255, dtype=np.uint8),
        np.full((160, 200, 3), (250, 240, 226), dtype=np.uint8),
        np.full((1, 1, 3), 240, dtype=np.uint8),
    ],
    ids=["noisy", "white", "in warm light", "of one pixel"],
)
def test_bare_glass_has_no_tissue_and_says_why(image):
    found = find_tissue(image)
    assert not found.mask.any() and not found.pen.any() and not found.border.any()
    assert found.reason.startswith("no tissue: nothing as coloured as stain")


def test_pale_tissue_is_found_beside_dense_tissue():
    # Otsu alone would put its threshold between the two. The smoothing takes the pale rim away.
    image = glass()
    pale, dense = disk((160, 200), (80, 50), 40), disk((160, 200), (80, 150), 40)
    image[pale], image[dense] = (236, 208, 222), (125, 55, 150)
    found = find_tissue(image).mask
    assert found[pale].mean() > 0.9 and found[dense].mean() > 0.95


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


@pytest.mark.parametrize("mpp", [4.0, 8.0, 16.0])
def test_areas_count_in_micrometres_whatever_the_resolution(mpp):
    side = int(2400 / mpp)
    y, x = (np.indices((side, side)) + 0.5) * mpp
    image = glass(side, side)
    # Radii in um: 55 is half of the smallest area of tissue, 115 twice it; the holes in the ring
    # are half and twice the largest that is filled.
    small, large = (np.hypot(y - 300, x - c) < r for c, r in ((400, 55), (900, 115)))
    piece = (np.abs(y - 1400) < 700) & (np.abs(x - 1200) < 1000)
    filled, open_ = (np.hypot(y - 1400, x - c) < r for c, r in ((700, 125), (1600, 250)))
    image[(small | large | piece) & ~filled & ~open_] = (200, 110, 160)
    found = find_tissue(image, mpp=mpp).mask
    assert not found[small].any() and found[large].mean() > 0.6
    assert found[filled].all() and not found[np.hypot(y - 1400, x - 1600) < 200].any()


def test_the_same_tissue_is_found_at_every_resolution(shared_data):
    with open_slide(shared_data / "slides/CMU-1-Small-Region.svs") as slide:
        masks = [find_tissue(slide.thumbnail(mpp)[0], mpp=mpp).mask for mpp in (4.0, 8.0, 16.0)]
    size = masks[1].shape[::-1]
    fine, usual, coarse = (
        np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST)) for mask in masks
    )
    for other in (fine, coarse):
        assert (usual & other).sum() / (usual | other).sum() > 0.9


def test_a_black_field_is_no_tissue():
    image = glass()
    image[:30] = 12
    found = find_tissue(image)
    assert not found.mask.any()
    assert found.border[:30].all() and not found.border[40:].any()


def test_a_slide_scanned_in_part_only_is_no_dark_field():
    image = glass()
    image[:, :140] = 0
    piece = disk((160, 200), (80, 172), 15)
    image[piece] = (190, 90, 150)
    found = find_tissue(image)
    assert found.reason == ""
    assert found.mask[piece].mean() > 0.95 and not found.mask[:, :140].any()


def test_grey_shadows_are_no_tissue():
    image = glass()
    image[disk((160, 200), (80, 90), 40)] = (150, 148, 151)
    assert not find_tissue(image).mask.any()


def test_a_fluorescence_slide_has_no_tissue_and_says_why(shared_data):
    with open_slide(shared_data / "slides/stritt_test3_DAPI.ndpi") as slide:
        found = find_tissue(slide.thumbnail(8.0)[0])
    assert not found.mask.any()
    assert found.reason.startswith("no tissue: dark field (fluorescence?)")
    assert not find_tissue(np.zeros((50, 60, 3), np.uint8)).mask.any()


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
