"""An annotation that lies beside the tissue is noticed; one drawn wide around it is not."""

import re

import numpy as np
import pandas as pd
import pytest
from scipy import ndimage
from slide_cohorts import make_study, one_slide, tiling
from slide_files import tissue

from histosynth.slides.annotations import open_annotation
from histosynth.slides.chunks import tile_chunk
from histosynth.slides.placement import misplaced

CLASSES = [
    {"name": "rest", "values": [0]},
    {"name": "tumour", "values": [2]},
]
SIDE = 512
DISC = np.hypot(*(np.indices((SIDE, SIDE)) - 160)) < 130  # of tissue; the rest is glass


def said_of(folder, mask, classes=CLASSES):
    study = make_study(classes=classes, label=None)
    row = one_slide(folder, mask=mask.astype(np.uint8))
    with open_annotation(
        row["annotation"], dimensions=(SIDE, SIDE), classes=study.classes, slide_id="S"
    ) as annotation:
        return misplaced(
            annotation,
            DISC[::8, ::8],
            dimensions=(SIDE, SIDE),
            background=0 if classes is CLASSES else 255,
        )


@pytest.mark.parametrize("shift", [90, 150, 250])
def test_the_share_on_glass_is_told_where_most_of_a_mask_lies_there(tmp_path, shift):
    mask = np.roll(DISC, shift, axis=1)
    share = 100 * (mask & ~DISC).sum() / mask.sum()
    said = said_of(tmp_path, 2 * mask)
    if share < 50:
        assert said == ""
    else:
        told = int(re.match(r"(\d+) % of the annotated area lies on glass", said)[1])
        assert told == pytest.approx(share, abs=3 * 50 / np.sqrt(500 * mask.mean()))


def test_outlines_drawn_wide_masks_of_everything_and_specks_are_left_alone(tmp_path):
    assert said_of(tmp_path / "wide", 2 * ndimage.binary_dilation(DISC, iterations=30)) == ""
    assert said_of(tmp_path / "all", np.full((SIDE, SIDE), 2)) == ""
    speck = np.zeros((SIDE, SIDE))
    speck[400:420, 400:420] = 2  # on glass, but two points at most tell of it
    assert said_of(tmp_path / "speck", speck) == ""


def test_without_a_class_for_the_rest_nothing_can_be_told(tmp_path):
    classes = [{"name": "stroma", "values": [1]}, {"name": "tumour", "values": [2]}]
    assert said_of(tmp_path, np.where(DISC, 1, 2), classes) == ""


def test_the_slide_is_tiled_and_its_line_asks_whether_the_mask_is_shifted(tmp_path):
    glass = np.full((SIDE, SIDE, 3), 243, np.uint8)
    image = np.where(DISC[..., None], tissue(SIDE, SIDE), glass)
    row = one_slide(tmp_path, image=image, mask=2 * np.roll(DISC, 200, axis=1).astype(np.uint8))
    study = make_study(classes=CLASSES, label=None, tiling=tiling(reject=[]))
    (slide,) = tile_chunk(pd.DataFrame([row]), study, tmp_path / "out", progress=False)
    assert slide["status"] == "ok"
    assert "lies on glass: is the annotation shifted" in slide["reason"]
