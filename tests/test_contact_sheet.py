"""A contact sheet shows every slide: its tissue, its tiles by what became of them, or why not."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from slide_cohorts import make_study, one_slide, tiling

from histosynth.slides.chunks import tile_chunk
from histosynth.slides.contact_sheet import (
    COLOURS,
    KEPT,
    PAGE,
    PICTURE_WIDTH,
    WORDS,
    Panel,
    contact_sheets,
    panel_lines,
    slide_picture,
    wrap,
)
from histosynth.slides.tiling import LITTLE_TISSUE, OVER_CAP

PINK = (214, 140, 180)
REASON = (
    "slide S1: OpenSlide cannot open /archive/pathology/2019/"
    + "a-very-long-folder-name-" * 8
    + "S1.svs: Unsupported or missing image file. Expected a whole slide image; copy the file again"
)


def picture(reasons=(), boxes=(), *, tissue=None, width=240):
    """A pink slide of 120 x 80 pixels, by default tissue all over, drawn at twice its size."""
    overview = np.full((80, 120, 3), PINK, dtype=np.uint8)
    tissue = np.ones((80, 120), dtype=bool) if tissue is None else tissue
    boxes = np.array(boxes, dtype=float).reshape(-1, 4)
    return slide_picture(overview, tissue, boxes=boxes, reasons=reasons, width=width)


def dark(sheet):
    """bool (H, W): where words are, on white or on an empty panel."""
    return np.asarray(sheet).min(axis=2) < 200


# --- a slide's picture


@pytest.mark.parametrize(
    ("reason", "colour"),
    [
        ("", KEPT),
        ("pen", COLOURS["pen"]),
        ("border", COLOURS["border"]),
        ("blurred", COLOURS["blurred"]),
        ("outlier_dark", COLOURS["outlier"]),
        ("unreadable: Bogus marker length: at 3", COLOURS["unreadable"]),
    ],
)
def test_a_tile_is_framed_and_tinted_in_the_colour_of_what_became_of_it(reason, colour):
    drawn = picture([reason], [(10, 20, 30, 40)]).astype(float)
    for y, x in ((40, 20), (40, 59), (79, 20), (79, 59), (40, 35)):  # corners, and an edge
        assert tuple(drawn[y, x]) == colour
    inside, outside = drawn[60, 40], drawn[60, 62]
    assert tuple(outside) == PINK
    way = np.array(colour) - PINK
    share = (inside - PINK) @ way / (way @ way)
    assert inside == pytest.approx(PINK + share * way, abs=0.6)  # grey levels are whole
    assert 0.1 < share < 0.4  # the tissue is still seen


def test_tiles_over_the_cap_have_a_frame_that_is_seen_and_nothing_over_their_tissue():
    plain = picture().astype(int)
    drawn = picture([OVER_CAP], [(10, 20, 30, 40)]).astype(int)
    assert (np.abs(drawn[40, 20:60] - plain[40, 20:60]).max(axis=1) > 50).all()
    assert (drawn[41:79, 21:59] == plain[41:79, 21:59]).all()


def test_tiles_too_small_for_a_frame_are_tinted():
    boxes = [(0, 0, 1, 1), (40, 0, 41, 1), (80, 0, 81, 1)]
    drawn = picture(["", "pen", OVER_CAP], boxes).astype(int)
    for left in (0, 80, 160):
        assert np.abs(drawn[:2, left : left + 2] - PINK).max(axis=2).min() > 15
        assert (drawn[2:4, left : left + 2] == PINK).all()


def test_tiles_with_little_tissue_are_not_drawn():
    assert (picture([LITTLE_TISSUE], [(10, 20, 30, 40)]) == picture()).all()


def test_kept_tiles_lie_on_top():
    drawn = picture(["", OVER_CAP, "pen"], [(10, 20, 30, 40)] * 3)
    assert tuple(drawn[40, 20]) == KEPT


def test_the_outline_runs_where_the_tissue_ends_and_what_is_outside_fades():
    tissue = np.zeros((80, 120), dtype=bool)
    tissue[20:60, 30:] = True
    drawn = picture(tissue=tissue, width=120)
    edge = np.zeros_like(tissue)
    edge[[20, 59], 30:] = True
    edge[20:60, 30] = True  # not on the right, where the slide ends
    assert (drawn[edge] == (29, 27, 34)).all()
    assert (drawn[tissue & ~edge] == PINK).all()
    assert (drawn[~tissue] == np.rint(0.35 * np.array(PINK) + 0.65 * 255)).all()


@pytest.mark.parametrize("shape", [(1000, 300), (300, 1000), (1, 700), (40, 30)])
def test_the_longer_side_of_a_picture_is_as_asked_for(shape):
    overview, tissue = np.full((*shape, 3), 240, np.uint8), np.ones(shape, dtype=bool)
    drawn = slide_picture(overview, tissue, boxes=np.empty((0, 4)), reasons=[], width=200)
    assert max(drawn.shape[:2]) == 200


# --- a page


def test_pages_hold_24_slides_and_a_legend_of_every_colour():
    small = picture()
    pages = contact_sheets([Panel(f"S{i}", "", small) for i in range(2 * PAGE + 1)])
    assert len(pages) == 3
    assert max(page.width for page in pages) < 1600
    assert pages[0].height > 7 * len(small) > 2 * pages[2].height
    legend = {tuple(c) for c in np.asarray(pages[2])[16:29].reshape(-1, 3)}
    assert legend >= {KEPT, *COLOURS.values()}
    assert set(WORDS) == set(COLOURS)


def test_no_slides_make_no_page():
    assert contact_sheets([]) == []


@pytest.mark.parametrize(
    "name", ["x" * 300, "Schnitt Ä-Ω 病理切片 " * 20, "a\nb\tc", "", "TCGA-A1-A0SB-01Z " * 30]
)
def test_names_and_subtitles_of_any_length_stay_within_their_panel(name):
    (page,) = contact_sheets([Panel(name, name, picture()), Panel("S2", "fine", picture())])
    below_legend = dark(page)[45:]
    between = slice(16 + PICTURE_WIDTH + 1, 2 * 16 + PICTURE_WIDTH - 1)
    assert not below_legend[:, between].any()
    assert below_legend[: -len(picture()) - 16, : 16 + PICTURE_WIDTH].any() == bool(name)


def test_a_failed_slide_shows_every_word_of_its_reason_within_its_panel():
    panel = Panel("S1", "failed", None, words=REASON)
    lines = panel_lines(panel)
    assert "".join(lines) == REASON
    assert len(lines) > 4
    (page,) = contact_sheets([panel])
    grey = (np.asarray(page) == (241, 239, 244)).all(axis=2)
    rows, columns = np.flatnonzero(grey.any(axis=1)), np.flatnonzero(grey.any(axis=0))
    assert columns[-1] - columns[0] + 1 == PICTURE_WIDTH
    words = dark(page)[rows[0] : rows[-1] + 1]
    text = np.flatnonzero(words.any(axis=1))
    # From the first line to the last: all are drawn, with paper around them.
    assert text[0] > 0 and text[-1] < len(words) - 1
    assert (np.diff(text) > 1).sum() >= len(lines) - 1
    assert not words[:, : columns[0] + 5].any() and not words[:, columns[-1] - 4 :].any()


def test_a_failed_slide_beside_a_picture_is_as_tall_as_it():
    failed, drawn = Panel("S1", "failed", None, words="gone"), Panel("S2", "", picture())
    (page,) = contact_sheets([failed, drawn])
    grey = (np.asarray(page) == (241, 239, 244)).all(axis=2)
    assert grey.any(axis=1).sum() == len(picture())


@settings(deadline=None, max_examples=60)
@given(st.text(max_size=400), st.integers(60, 460))
def test_wrapped_lines_are_the_text_and_fit(text, width):
    from PIL import ImageFont

    lines = wrap(text, width)
    assert "".join(lines) == " ".join(text.split())
    assert all(ImageFont.load_default(13).getlength(line.rstrip()) <= width for line in lines)


def test_a_reason_without_end_is_cut_off_and_says_where_the_rest_is():
    words = "".join(wrap("no " * 40_000, 460))
    assert words.startswith("no no no") and words.endswith("… (the rest is in slides.json)")
    (page,) = contact_sheets([Panel("S1", "failed", None, words="no " * 40_000)])
    assert page.height < 2000


# --- of a chunk


def test_the_sheet_of_a_chunk_tells_of_slides_that_failed_or_have_no_tissue(shared_data, tmp_path):
    names = {"dapi": "stritt_test3_DAPI.ndpi", "broken": "broken.svs"}
    rows = [one_slide(tmp_path, "S1")]
    for name, file in names.items():
        path = str(shared_data / "slides" / file)
        rows.append(rows[0] | {"slide_id": name, "image": path, "annotation": ""})
    study = make_study(tiling=tiling(size=128))
    entries = tile_chunk(pd.DataFrame(rows), study, tmp_path / "chunk", progress=False)
    drawn = pd.read_parquet(tmp_path / "chunk/thumbnails.parquet").set_index("slide_id")
    assert drawn.loc["S1", "subtitle"] == "4 of 4 tiles kept"
    assert drawn.loc["dapi", "subtitle"].startswith("0 of ")
    assert "no tissue: dark field (fluorescence?)" in drawn.loc["dapi", "subtitle"]
    assert [entry["status"] for entry in entries] == ["ok", "ok", "failed"]
    assert list(drawn.index) == ["S1", "dapi"]
    with Image.open(tmp_path / "chunk/contact_sheet-000.jpg") as sheet:
        third = dark(sheet)[120:, 16 + 2 * (PICTURE_WIDTH + 16) :]
    assert third.any()  # the broken slide's reason
