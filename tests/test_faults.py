"""Pen, black borders and lost focus are found where they were put, and nowhere else.

Faults are drawn on real tissue and on phantoms, so that where they are is known.
"""

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy import ndimage
from slide_cohorts import make_study, one_slide, tiling
from slide_files import noise, tissue

from histosynth.slides import open_slide
from histosynth.slides.chunks import tile_chunk
from histosynth.slides.faults import focus_score, image_fault, overview_faults
from histosynth.slides.phantom import render_slide
from histosynth.slides.tissue import find_tissue
from histosynth.tilesets import TileSet

ALL = ("pen", "border", "blurred")
SIDE = 16  # overview pixels of a tile: 128 um
INKS = {"black": (20, 20, 25), "blue": (25, 45, 160), "green": (10, 120, 60), "red": (200, 20, 40)}


@pytest.fixture(scope="module")
def slide(shared_data):
    with open_slide(shared_data / "slides/CMU-1-Small-Region.svs") as opened:
        yield opened


@pytest.fixture(scope="module")
def overviews(slide):
    """The real slide's and a phantom's overview at 8 um a pixel."""
    drawn, _ = render_slide(512, 384, mpp=4.0, seed=3, site=0, patient=0, difficulty=0.5)
    return {
        "real": slide.thumbnail(8.0)[0],
        "phantom": np.asarray(Image.fromarray(drawn).reduce(2)),
    }


@pytest.fixture(scope="module")
def ebhi(shared_data):
    """Every twelfth of EBHI-Seg's images; at 400x a pixel is about 0.4 um."""
    files = sorted((shared_data / "ebhi_seg/images").rglob("*.png"))[::12]
    return [np.asarray(Image.open(file).convert("RGB")) for file in files]


@pytest.fixture(scope="module")
def tiles(slide, overviews, ebhi):
    """Tissue in focus and its um a pixel: tiles of the real slide and of a phantom, EBHI-Seg."""
    found = find_tissue(overviews["real"]).mask
    real = [
        (slide.read_region(x, y, 256, slide.mpp), slide.mpp)
        for x, y in np.argwhere(blocks(found) > 0.5)[:, ::-1] * 256
    ]
    drawn, _ = render_slide(768, 512, mpp=1.0, seed=3, site=1, patient=1, difficulty=0.5)
    cut = [drawn[y : y + 128, x : x + 128] for y in range(0, 512, 128) for x in range(0, 768, 128)]
    return {
        "real": real,
        "phantom": [(tile, 1.0) for tile in cut if (tile.min(axis=2) < 215).mean() > 0.5],
        "ebhi": [(image, 0.4) for image in ebhi],
    }


def blocks(values):
    """Means over tiles of SIDE x SIDE overview pixels: an oracle without integral images."""
    rows, columns = (side // SIDE for side in values.shape)
    return np.array(
        [
            [values[i * SIDE :][:SIDE, j * SIDE :][:, :SIDE].mean() for j in range(columns)]
            for i in range(rows)
        ]
    )


def fault_blocks(image, reject=ALL):
    """The overview's tiles: which fault each has, in the layout of `blocks`."""
    rows, columns = (side // SIDE for side in image.shape[:2])
    top, left = (i.ravel() * SIDE for i in np.indices((rows, columns)))
    boxes = np.stack([left, top, left + SIDE, top + SIDE], axis=1).astype(float)
    return overview_faults(find_tissue(image), boxes, reject).reshape(rows, columns)


def stroke(shape):
    """bool: a slanting stroke of 320 um over tissue and glass."""
    y, x = np.indices(shape)
    return np.abs(y - 0.25 * shape[0] - 0.5 * x) < 22


def inked(image, cover, colour, opacity=0.9):
    """`image` seen through dye of which `opacity` of the light takes the colour; soft rims."""
    soft = ndimage.gaussian_filter(cover.astype(float), 3)[..., None]
    return np.rint(image * (1 - opacity * soft * (1 - np.array(colour) / 255))).astype(np.uint8)


def blurred(image, sigma):
    """Out of focus, and noise of the camera on it."""
    soft = ndimage.gaussian_filter(image.astype(np.float32), (sigma, sigma, 0), truncate=3)
    grain = np.random.default_rng(0).normal(0, 1.5, image.shape)
    return (soft + grain).round().clip(0, 255).astype(np.uint8)


# --- pen


@pytest.mark.parametrize("ground", ["real", "phantom"])
@pytest.mark.parametrize("colour", INKS.values(), ids=INKS)
def test_a_pen_stroke_over_tissue_is_caught(overviews, ground, colour):
    image = overviews[ground]
    cover = stroke(image.shape[:2])
    hit = (blocks(cover) > 0.1) & (blocks(find_tissue(image).mask) > 0.5)
    assert hit.sum() >= 8
    found = fault_blocks(inked(image, cover, colour))
    assert (found[hit] == "pen").mean() >= 0.95
    # Soft rims and what is taken in around them reach 100 um: no tile further off is lost.
    near = ndimage.distance_transform_edt(~cover) < 12.5
    assert (found[blocks(near) == 0] == "").all()


@pytest.mark.parametrize("colour", [*INKS.values(), (250, 225, 30), (40, 130, 210)])
def test_no_tile_of_ink_on_glass_is_taken(colour):
    glass = np.random.default_rng(0).normal(243, 2, (160, 200, 3)).clip(0, 255).astype(np.uint8)
    image = inked(glass, stroke((160, 200)), colour)
    taken = (blocks(find_tissue(image).mask) >= 0.5) & (fault_blocks(image) == "")
    assert not taken.any()


def test_faint_ink_on_glass_has_tissues_colours_but_nothing_in_focus():
    glass = np.random.default_rng(0).normal(243, 2, (128, 128, 3)).clip(0, 255).astype(np.uint8)
    for colour in ((200, 20, 40), (95, 35, 135), (25, 45, 160)):
        tile = inked(glass, np.ones((128, 128), dtype=bool), colour, opacity=0.4)
        assert image_fault(tile, mpp=1.0, reject=ALL) == "blurred"
        tile[20:26, 30:33] = tile[90:94, 50:58] = (60, 40, 50)  # dust on the glass is sharp
        assert focus_score(tile, mpp=1.0) == 0


@pytest.mark.parametrize("ground", ["real", "phantom"])
@pytest.mark.parametrize("dose", [1.0, 1.5], ids=["as stained", "half as dense again"])
def test_tissue_is_neither_pen_nor_border_even_where_overstained(overviews, ground, dose):
    dense = 255 * (np.maximum(overviews[ground], 1) / 255) ** dose
    assert (fault_blocks(np.rint(dense).astype(np.uint8)) == "").all()


def test_tissue_rich_in_haematoxylin_is_not_pen(ebhi):
    # The sixteen images that let through least red, at 8 um a pixel, side by side.
    rich = sorted(ebhi, key=lambda image: image[..., 0].mean())[:16]
    small = [np.asarray(Image.fromarray(i).resize((11, 11), Image.Resampling.BOX)) for i in rich]
    field = np.vstack([np.hstack(small[i : i + 4]) for i in range(0, 16, 4)])
    assert field[..., 0].mean() < 120
    image = np.full((160, 160, 3), 240, dtype=np.uint8)
    image[40:128, 40:128] = np.tile(field, (2, 2, 1))
    found = find_tissue(image)
    assert not found.pen.any()
    assert found.mask[44:124, 44:124].all()


def test_a_lake_of_blood_is_not_red_ink(shared_data):
    path = shared_data / "ebhi_seg/images/polyp/GTXC2100474-1-400-005.png"
    image = np.asarray(Image.open(path).convert("RGB"))
    cells = image[155:175, 97:113]  # a vessel full of red cells
    red, green, blue = cells.reshape(-1, 3).mean(axis=0)
    assert red > 1.3 * blue > 1.3 * green
    field = np.tile(cells, (60, 75, 1))
    small = np.asarray(Image.fromarray(field).resize((60, 60), Image.Resampling.BOX))
    overview = np.full((160, 160, 3), 235, dtype=np.uint8)
    overview[50:110, 50:110] = small
    assert not find_tissue(overview).pen.any()


# --- black borders


@pytest.mark.parametrize("grain", [0.0, 1.0])
@pytest.mark.parametrize("edge", ["left", "right", "top", "bottom"])
def test_a_black_border_is_caught_and_what_is_beside_it_kept(overviews, edge, grain):
    image = overviews["real"].copy()
    strip = {
        "left": np.s_[:, :72],
        "right": np.s_[:, -72:],
        "top": np.s_[:50],
        "bottom": np.s_[-50:],
    }
    black = np.zeros(image.shape[:2], dtype=bool)
    black[strip[edge]] = True
    image[black] = np.random.default_rng(0).normal(8, grain, (black.sum(), 3)).clip(0, 255)
    found = fault_blocks(image)
    assert (found[blocks(black) > 0.05] == "border").all()
    assert (found[blocks(ndimage.binary_dilation(black, iterations=8)) == 0] == "").all()
    assert not find_tissue(image).mask[black].any()


def test_black_marker_is_pen_and_not_a_border(overviews):
    image = overviews["real"]
    found = fault_blocks(inked(image, stroke(image.shape[:2]), (20, 20, 25)))
    assert (found == "pen").any()
    assert not (found == "border").any()


def test_only_the_faults_asked_for_are_looked_for(overviews):
    image = inked(overviews["real"], stroke(overviews["real"].shape[:2]), INKS["green"])
    image[:40] = 0
    assert set(fault_blocks(image).ravel()) == {"", "pen", "border"}
    assert set(fault_blocks(image, ("pen",)).ravel()) == {"", "pen"}
    assert set(fault_blocks(image, ("blurred",)).ravel()) == {""}
    assert image_fault(blurred(noise(128, 128), 8), mpp=1.0, reject=("pen",)) == ""


# --- focus


@pytest.mark.parametrize("source", ["real", "phantom", "ebhi"])
def test_tissue_in_focus_is_not_called_blurred(tiles, source):
    assert len(tiles[source]) >= 10
    assert not any(image_fault(tile, mpp=mpp, reject=ALL) for tile, mpp in tiles[source])


@pytest.mark.parametrize("sigma", [4, 20])  # um; by 20 hardly any detail is left
@pytest.mark.parametrize("source", ["real", "phantom", "ebhi"])
def test_tissue_out_of_focus_is_caught(tiles, source, sigma):
    found = [image_fault(blurred(t, sigma / mpp), mpp=mpp, reject=ALL) for t, mpp in tiles[source]]
    assert found.count("blurred") >= 0.9 * len(found)


def test_sharpness_does_not_depend_on_stain_or_light(tiles):
    for tile, mpp in tiles["real"]:
        pale = np.rint(120 + tile / 2).astype(np.uint8)
        # Half the contrast leaves less above the noise that is taken off: a few per cent.
        assert focus_score(pale, mpp=mpp) == pytest.approx(focus_score(tile, mpp=mpp), rel=0.05)


def test_focus_is_not_judged_where_nothing_can_be_said():
    sharp = noise(256, 256)
    soft = blurred(sharp, 8)
    assert image_fault(soft, mpp=1.0, reject=ALL) == "blurred"
    assert image_fault(soft, mpp=np.nan, reject=ALL) == ""
    assert image_fault(soft, mpp=2.5, reject=ALL) == ""  # coarser than what is looked at
    assert image_fault(soft[:40, :40], mpp=1.0, reject=ALL) == ""  # too small
    glass = np.random.default_rng(0).normal(240, 1, (128, 128, 3)).astype(np.uint8)
    assert image_fault(glass, mpp=1.0, reject=ALL) == ""


# --- through the tiler


def test_tiles_with_pen_border_or_blur_are_left_out_with_the_reason(tmp_path):
    image = tissue(512, 512) // 2 + noise(512, 512) // 3
    image[:, 64:128] = (10, 110, 60)
    image[384:] = 0
    image[128:256, 256:] = blurred(image, 8)[128:256, 256:]
    study = make_study(tiling=tiling(size=64, mpp=1.0))
    cohort = pd.DataFrame([one_slide(tmp_path, image=image)])
    (entry,) = tile_chunk(cohort, study, tmp_path / "out", progress=False)
    assert {"pen", "border", "blurred"} < set(entry["counts"])
    kept = TileSet.open(tmp_path / "out/train").table
    assert not kept["x"].between(1, 127).any() and (kept["y"] <= 320).all()
    assert not (kept["y"].isin([128, 192]) & (kept["x"] >= 256)).any()
    rejected = pd.read_parquet(tmp_path / "out/rejected.parquet")
    assert set(rejected.loc[rejected["x"] == 64, "reason"]) <= {"pen", "border"}
