"""Slides are read at the resolution asked for, and what cannot be read says so."""

import numpy as np
import pytest
from PIL import Image
from slide_files import TILE, damage_tile, halve, noise, write_slide

from histosynth.errors import InputError
from histosynth.slides import open_slide
from histosynth.slides.readers import on_white
from histosynth.slides.resolution import slide_mpp


@pytest.fixture(scope="module")
def pixels():
    return noise(320, 448)


@pytest.fixture(scope="module")
def slide(tmp_path_factory, pixels):
    with open_slide(write_slide(tmp_path_factory.mktemp("s") / "a.tiff", pixels)) as opened:
        yield opened


def test_a_region_at_the_scans_resolution_is_the_pixels_written(slide, pixels):
    assert slide.dimensions == (448, 320)
    assert slide.mpp == pytest.approx(1.0)
    region = slide.read_region(33, 71, 64, 1.0)
    assert region.dtype == np.uint8
    np.testing.assert_array_equal(region, pixels[71:135, 33:97])


def test_a_region_at_a_levels_resolution_is_that_levels_pixels(slide, pixels):
    np.testing.assert_array_equal(
        slide.read_region(64, 32, 100, 2.0), halve(pixels)[16:116, 32:132]
    )


def test_a_region_between_levels_comes_from_the_next_finer_one(slide, pixels):
    # Oracle: Pillow's resize of the whole level, by 1.6 from the level of 2 um a pixel.
    whole = Image.fromarray(halve(pixels)).resize((140, 100), Image.Resampling.BICUBIC)
    region = slide.read_region(64, 96, 50, 3.2)
    expected = np.asarray(whole)[30:80, 20:70].astype(int)
    # One grey value: Pillow rounds its fixed-point weights per position.
    assert np.abs(region.astype(int) - expected).max() <= 1


def test_detail_finer_than_the_result_is_averaged_not_aliased(tmp_path):
    checkers = np.where(np.indices((512, 512)).sum(axis=0) % 2, 255, 0).astype(np.uint8)
    path = write_slide(tmp_path / "c.tiff", np.dstack([checkers] * 3), levels=1)
    with open_slide(path) as slide:
        region = slide.read_region(100, 100, 50, 5.0)
    # The filter leaves under two grey values of a frequency five times above the limit.
    assert np.abs(region.astype(int) - 127.5).max() <= 2


def test_neighbouring_tiles_join_without_a_seam(slide):
    together = slide.read_region(10, 20, 80, 1.6)
    beside = slide.read_region(10 + 40 * 1.6, 20, 40, 1.6)
    assert np.abs(together[:40, 40:].astype(int) - beside).max() <= 1  # fixed-point weights


def test_outside_the_slide_is_white(slide, pixels):
    region = slide.read_region(448 - 20, 0, 64, 1.0)
    np.testing.assert_array_equal(region[:, :20], pixels[:64, -20:])
    assert (region[:, 20:] == 255).all()


def test_transparency_is_blended_on_white():
    half = Image.new("RGBA", (1, 1), (0, 100, 200, 128))
    # a = 128 / 255: 255 (1 - a) + c a
    assert on_white(half).getpixel((0, 0)) == pytest.approx((127, 177, 227), abs=1)


def test_mpp_is_openslides_then_the_vendors_then_the_tiff_tags_then_the_cohorts():
    own = {"openslide.mpp-x": "0.25", "openslide.mpp-y": "0.26"}
    tags = {
        "tiff.XResolution": "20000",
        "tiff.YResolution": "20000",
        "tiff.ResolutionUnit": "centimeter",
    }
    inch = {**tags, "tiff.ResolutionUnit": "inch"}
    mirax = "mirax.LAYER_0_LEVEL_0_SECTION.MICROMETER_PER_PIXEL"
    assert slide_mpp({**tags, **own, "aperio.MPP": "0.4"}, fallback=9.0) == pytest.approx(0.255)
    assert slide_mpp({**tags, "aperio.MPP": "0.4"}, fallback=9.0) == 0.4
    assert slide_mpp({f"{mirax}_X": "0.23", f"{mirax}_Y": "0.23"}, fallback=9.0) == 0.23
    assert slide_mpp(tags, fallback=9.0) == pytest.approx(0.5)
    assert slide_mpp(inch, fallback=9.0) == pytest.approx(1.27)
    assert slide_mpp({}, fallback=0.3) == 0.3


def test_a_desktop_resolution_is_not_taken_for_the_scanners(shared_data):
    # boxes.tiff says 72 dpi, as image editors write by default: 353 um a pixel.
    with open_slide(shared_data / "slides/boxes.tiff", mpp=0.5) as slide:
        assert slide.mpp == 0.5


def test_mpp_is_never_guessed_from_the_magnification():
    with pytest.raises(InputError, match=r"slide S7: .*`mpp` column"):
        slide_mpp({"openslide.objective-power": "40"}, slide_id="S7")


def test_unequal_resolutions_are_refused_past_five_percent(tmp_path):
    image = noise(64, 64)
    with open_slide(write_slide(tmp_path / "near.tiff", image, mpp=(0.50, 0.52))) as slide:
        assert slide.mpp == pytest.approx(0.51, rel=1e-3)
    with pytest.raises(InputError, match=r"far\.tiff: 0\.5 um a pixel in x but 0\.53 in y"):
        open_slide(write_slide(tmp_path / "far.tiff", image, mpp=(0.50, 0.53)))


def test_detail_the_scan_does_not_hold_is_refused(slide):
    slide.check_mpp(0.9)  # within the spread of scanners of one nominal magnification
    with pytest.raises(InputError, match=r"tiling\.mpp asks for 0\.5 .* scanned at 1"):
        slide.check_mpp(0.5)


def test_a_path_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(InputError, match=r"slide S1: no such file .*absent\.svs"):
        open_slide(tmp_path / "absent.svs", slide_id="S1")


def test_a_file_that_is_no_slide_is_named(tmp_path, shared_data):
    (tmp_path / "text.svs").write_text("not a slide")
    for path in (tmp_path / "text.svs", shared_data / "slides/broken.svs"):
        with pytest.raises(InputError, match=rf"OpenSlide cannot open .*{path.name}"):
            open_slide(path)


def test_a_slide_that_opens_but_fails_on_read_is_named(shared_data):
    with (
        open_slide(shared_data / "slides/unreadable.svs") as slide,
        pytest.raises(InputError, match=r"unreadable\.svs cannot be read at level-0 pixel"),
    ):
        slide.read_region(0, 0, 16, slide.mpp)


def test_a_damaged_region_leaves_the_others_readable(tmp_path, pixels):
    path = write_slide(tmp_path / "hurt.tiff", pixels, levels=1)
    damage_tile(path, 0)
    with open_slide(path) as slide:
        with pytest.raises(InputError, match=r"hurt\.tiff cannot be read"):
            slide.read_region(0, 0, 32, 1.0)
        np.testing.assert_array_equal(
            slide.read_region(TILE, 0, 64, 1.0), pixels[:64, TILE : TILE + 64]
        )


def test_a_thumbnail_marks_what_cannot_be_read_and_keeps_the_rest(tmp_path):
    image = noise(64, 2048)
    path = write_slide(tmp_path / "hurt.tiff", image, levels=1)
    damage_tile(path, 31)  # the last of the row
    with open_slide(path) as slide:
        thumbnail, unreadable = slide.thumbnail(1.0)
    assert unreadable[:, -TILE:].all()
    assert not unreadable[:, : 2048 - 512].any()  # blocks are 512 pixels wide
    kept = ~unreadable
    np.testing.assert_array_equal(thumbnail[kept], image[kept])
    assert (thumbnail[unreadable] == 255).all()


def test_a_thumbnail_in_blocks_has_no_seams(tmp_path):
    ramp = np.dstack([np.tile(np.linspace(0, 255, 1600), (900, 1))] * 3).astype(np.uint8)
    with open_slide(write_slide(tmp_path / "ramp.tiff", ramp, levels=1)) as slide:
        thumbnail, _ = slide.thumbnail(1.25)
    steps = np.diff(thumbnail[..., 0].astype(int), axis=1)
    assert steps.min() >= 0 and steps.max() <= 1  # 0.2 grey values a pixel, rounded
