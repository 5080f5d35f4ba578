"""Masks mean what their slide's site says, fit their slide, and are whole."""

import numpy as np
import pytest
import tifffile
from annotation_files import CLASSES, opened
from PIL import Image

from histosynth.cohort_settings import TissueClass
from histosynth.errors import InputError
from histosynth.slides.annotations import Mask, to_classes

KAROLINSKA, RADBOUD = np.arange(3, dtype=np.uint8), np.arange(6, dtype=np.uint8)
PANDA = [
    TissueClass(name="background", values={"karolinska": [0], "radboud": [0]}),
    TissueClass(name="benign", values={"karolinska": [1], "radboud": [1, 2]}),
    TissueClass(name="cancer", values={"karolinska": [2], "radboud": [3, 4, 5]}),
]


def test_mask_values_mean_what_they_do_at_the_slides_site(tmp_path):
    # Clipping Radboud's values to 0..2, as the papers' code does, calls benign glands cancer.
    for site, values, expected in (
        ("karolinska", KAROLINSKA, [0, 1, 2]),
        ("radboud", RADBOUD, [0, 1, 1, 2, 2, 2]),
    ):
        path = tmp_path / f"{site}.tiff"
        tifffile.imwrite(path, values[:, None].repeat(len(values), axis=1))
        with opened(path, PANDA, side=len(values), site=site) as annotation:
            found = annotation.region(0, 0, len(values), scale=1.0)
        np.testing.assert_array_equal(found[:, 0], expected)
        found = to_classes(values[None], PANDA, slide_id="S1", site=site)
        np.testing.assert_array_equal(found[0], expected)


def test_a_site_or_a_value_that_nobody_knows_there_is_named(tmp_path):
    path = tmp_path / "mask.png"
    Image.fromarray(RADBOUD[:, None].repeat(6, axis=1)).save(path)
    with pytest.raises(
        InputError,
        match="S1: no class has mask values for site 'Radboud'; .* the sites: karolinska, radboud",
    ):
        opened(path, PANDA, side=6, site="Radboud")
    with (
        opened(path, PANDA, side=6, site="karolinska") as annotation,
        pytest.raises(
            InputError,
            match=r"S1: mask value 3, 4, 5 has no class at site 'karolinska'; known: 0 \(back",
        ),
    ):
        annotation.region(0, 0, 6, scale=1.0)


@pytest.mark.parametrize("value", [-1, 65536])
def test_class_values_that_no_mask_can_hold_are_refused(value):
    classes = [TissueClass(name="a", values=[value])]
    with pytest.raises(InputError, match=rf"class a: mask value {value}; expected 0 to 65535"):
        to_classes(np.zeros((2, 2), np.uint8), classes, slide_id="S1")


@pytest.mark.parametrize("factor", [1, 2, 3.7, 16, 64])
@pytest.mark.parametrize("rounding", [np.floor, np.rint, np.ceil])
def test_a_mask_scaled_with_any_rounding_fits_its_slide(tmp_path, factor, rounding):
    dimensions = (9001, 1777)
    size = [int(rounding(side / factor)) for side in dimensions]
    tifffile.imwrite(tmp_path / "mask.tiff", np.zeros(size[::-1], np.uint8))
    Mask(tmp_path / "mask.tiff", dimensions=dimensions, classes=CLASSES, slide_id="S1").close()


@pytest.mark.parametrize("size", [(8960, 1777), (9216, 1792), (8960, 1536), (1777, 9001)])
def test_a_mask_that_is_cropped_or_padded_is_refused_not_stretched(tmp_path, size):
    tifffile.imwrite(tmp_path / "mask.tiff", np.zeros(size[::-1], np.uint8), compression="deflate")
    with pytest.raises(InputError, match=rf"mask .* is {size[0]} x {size[1]} .* aspect ratio"):
        Mask(tmp_path / "mask.tiff", dimensions=(9001, 1777), classes=CLASSES, slide_id="S1")


LAYOUTS = [{"tile": (64, 64), "compression": "deflate"}, {"tile": (32, 64)}, {"rowsperstrip": 16}]


@pytest.mark.parametrize("options", LAYOUTS)
@pytest.mark.parametrize("share", [0.99, 0.5, 0.02])
def test_a_mask_that_is_cut_off_is_refused_when_opened(tmp_path, options, share):
    path = tmp_path / "mask.tiff"
    values = np.random.default_rng(0).integers(0, 3, (200, 200), dtype=np.uint8)
    tifffile.imwrite(path, values, **options)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(InputError, match=r"S1: mask .*mask\.tiff cannot be opened: .*cut off"):
        opened(path, side=200)
