"""What the report tells of the data: rules, readers, sheets, shared pictures, the split's unit."""

import re

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from report_files import (
    FRECHET,
    Page,
    browse,
    folder_of,
    row,
    slide_entry,
    study,
    write_results,
    write_tiles,
)

from histosynth.evaluations.protocol import (
    adherence_protocol,
    fidelity_protocol,
    utility_protocol,
)
from histosynth.evaluations.rows import Scored, split_remark
from histosynth.files import read_json, short_hash, write_json
from histosynth.report import data, leaderboard
from histosynth.report.cells import fill
from histosynth.report.collect import collect
from histosynth.report.data import shown_sheets
from histosynth.report.duplicates import SHOWN_PAIRS, shown_pairs
from histosynth.report.pages import render, trouble_list
from histosynth.tilesets import TileSet

REAL = "tilesets/real"
SUMMARY = {
    "reasons": {
        "accepted": 27,
        "over_patient_cap": 5,
        "little_tissue": 300,
        "pen": 4,
        "one_class": 60,
        "outlier_grey": 2,
    },
    "readers": {"tifffile (aperio)": 2, "openslide 4 (aperio)": 31},
    "mpp_sources": {"slide": 30, "study": 3},
    "failed_slides": [slide_entry("torn", status="failed", reason="the file ends too early")],
}


def text_of(page: str) -> str:
    """The page's words, with a space between table cells."""
    return " ".join(Page(re.sub(r"(</t[hd]>|<small>)", r" \1", page)).text.split())


def told(folder) -> str:
    return text_of(render(collect(folder)))


def write_sheets(folder, sizes: dict[str, int]) -> None:
    """Contact sheets of at least so many bytes (of noise, which does not compress)."""
    for name, size in sizes.items():
        path = folder / "tiles" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        side = int((size / 3) ** 0.5) + 8
        noise = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
        Image.fromarray(noise).save(path, quality=100, subsampling=0)


def plant(folder, pairs: int) -> None:
    """Say that so many train tiles are in the test too."""
    path = folder / REAL / "duplicates.json"
    found = read_json(path)
    found["pairs"] = [
        {
            "split_a": "train",
            "tile_a": f"train{i % 9}",
            "patient_a": f"train-p{i % 3}",
            "split_b": "test",
            "tile_b": f"test{i % 9}",
            "patient_b": f"test-p{i % 3}",
            "distance": 2,
            "correlation": 0.99 - 0.01 * i,
            "turned": i % 2 == 1,
        }
        for i in range(pairs)
    ]
    found["counts"] |= {"train-test": pairs}
    write_json(path, found)


def make(folder, *, split_unit: str = "patient", pairs: int = 0):
    """Results with all that tiling can tell."""
    write_results(folder, study(), split_unit=split_unit)
    write_json(folder / REAL / "summary.json", SUMMARY)
    write_sheets(folder, {"chunk0/contact_sheet-000.jpg": 9000})
    if pairs:
        plant(folder, pairs)
    if split_unit != "patient":
        mark_rows(folder, split_unit)
    return folder


def mark_rows(folder, unit: str) -> None:
    """Give every computed row its remark, as `Scored.row` does."""
    rows = pd.read_parquet(folder / "summary.parquet")
    good = (rows["status"] == "ok") & rows["value"].notna()
    said = rows["reason"].where(rows["reason"] == "", rows["reason"] + "; ") + split_remark(unit)
    rows["reason"] = rows["reason"].mask(good, said)
    rows.to_parquet(folder / "summary.parquet")


# Tiles


def test_rules_stand_in_their_order_with_what_each_left(tmp_path):
    text = told(make(tmp_path / "small"))
    section = text.split("Tiles taken away by each rule, in the order of the rules")[1]
    numbers = [int(word) for word in section.split("Slides")[0].split() if word.isdigit()]
    assert numbers == [398, 4, 394, 300, 94, 60, 34, 2, 32, 5, 27]
    assert "tiling.min_tissue" in section and "tiling.max_tiles_per_patient" in section


def test_readers_and_sources_of_resolution_are_counted_most_first(tmp_path):
    text = told(make(tmp_path / "small"))
    assert "Readers reader slides openslide 4 (aperio) 31 tifffile (aperio) 2" in text
    assert "the slide’s own file 30" in text
    assert "cohort.mpp of the study, as neither file nor table says 3" in text
    assert "torn: failed the file ends too early" in text


def test_before_the_splits_are_gathered_the_chunks_are_counted(tmp_path):
    (tmp_path / "config.yaml").write_text(study().dump(), encoding="utf-8")
    for chunk in (0, 1):
        entries = [slide_entry(f"s{chunk}", counts={"accepted": 5, "one_class": 2})]
        entries += [slide_entry(f"b{chunk}", status="failed", reason="torn", reader=None)]
        (tmp_path / "tiles" / f"chunk{chunk}").mkdir(parents=True)
        write_json(tmp_path / "tiles" / f"chunk{chunk}" / "slides.json", entries)
    results = collect(tmp_path, partial=True)
    assert [(r.rule, r.taken, r.left) for r in results.data.rules] == [
        ("grid", 0, 14),
        ("one_class", 4, 10),
    ]
    assert results.data.readers == {"openslide 4 (aperio)": 2}
    assert results.data.failed_slides == (("b0", "torn"), ("b1", "torn"))
    assert "have not been compared yet" in text_of(render(results))


def test_results_of_an_older_kind_still_make_a_page(tmp_path):
    folder = tmp_path / "small"
    write_results(folder, study())
    old = {"slide_id": "x", "status": "ok", "reason": "", "counts": {"accepted": 27}}
    write_json(folder / "tiles" / "chunk0" / "slides.json", [old])
    write_json(folder / REAL / "summary.json", {"reasons": {"accepted": 27}, "slides": [old]})
    (folder / REAL / "duplicates.json").unlink()
    results = collect(folder)
    assert results.data.readers == {} and results.split_unit == "patient"
    assert any("near-duplicates: no such file" in item for item in results.absent)
    text = text_of(render(results))
    assert "No rule took a tile away" in text and "Readers" not in text


def test_first_contact_sheets_are_shown_and_the_others_named(tmp_path, monkeypatch):
    names = [f"chunk{c}/contact_sheet-{n:03d}.jpg" for c in (0, 2, 10) for n in range(3)]
    write_sheets(tmp_path, dict.fromkeys(names, 3000))
    facts = data.data_facts(tmp_path, [])
    shown, others = shown_sheets(facts)
    assert [p.note for p in shown][-1] == "chunk2, contact sheet 002" and len(shown) == 6
    assert [str(path.relative_to(tmp_path / "tiles")) for path in others] == names[6:]
    assert shown[0].source.startswith("data:image/jpeg;base64,")
    size = facts.sheets[0].stat().st_size
    monkeypatch.setattr(data, "SHEET_BYTES", 2 * size + 10)
    assert len(shown_sheets(facts)[0]) == 2
    monkeypatch.setattr(data, "SHEET_BYTES", 10)
    assert len(shown_sheets(facts)[0]) == 1  # one is shown, however large


# Shared pictures


def test_no_shared_picture_is_said_plainly(tmp_path):
    results = collect(make(tmp_path / "small"))
    text = text_of(render(results))
    assert "No pair found: no two splits share a picture." in text
    assert "Splits share pictures" not in text
    assert not any("same picture" in item["reason"] for item in _troubles(results))


def test_shared_pictures_are_counted_shown_side_by_side_and_a_trouble(tmp_path):
    results = collect(make(tmp_path / "small", pairs=12))
    pairs = shown_pairs(results)
    assert len(pairs) == SHOWN_PAIRS
    assert [p.note for p in pairs[0].pictures] == ["train, train-p0", "test, test-p0"]
    assert pairs[-1].words == "correlation 0.88, turned"  # from the most alike to the least
    page = render(results)
    text = text_of(page)
    assert "12 pairs found." in text and "train and test 12" in text
    assert "pairs of nearly the same tile: 12 between train and test" in text  # in the answer
    assert any(
        item["name"] == "train and test" and item["where"] == "12 pairs of tiles"
        for item in _troubles(results)
    )
    assert all(p.source in page for pair in pairs for p in pair.pictures)


def test_a_sample_is_called_one(tmp_path):
    folder = make(tmp_path / "small")
    path = folder / REAL / "duplicates.json"
    found = read_json(path)
    found["tiles"]["train"] = {"tiles": 900000, "compared": 299999, "plain": 1}
    write_json(path, found)
    assert "Of train’s 900000 tiles a random 300000 were compared" in told(folder)


def _troubles(results):
    return trouble_list(results, leaderboard.build(results, leaderboard.main_columns(results)))


# The split's unit


def protocols(real: TileSet) -> list[dict]:
    return [
        fidelity_protocol(real, encoder={"model": "m"}, width=4, n_real=9, n_synthetic=9),
        adherence_protocol(real, judge="j"),
        utility_protocol(real, real, training={}, seeds=[0], mixed_ratio=1.0, n_synthetic=9),
    ]


def test_a_split_that_is_not_by_patient_is_another_protocol_and_marks_every_row(tmp_path):
    hashes = {}
    for unit in ("", "patient", "slide", "image"):
        provenance = {"split_unit": unit} if unit else {}
        folder = tmp_path / (unit or "old")
        write_tiles(folder, "test", 9, maps=True, seed=0, provenance=provenance)
        made = protocols(TileSet.open(folder))
        hashes[unit] = [short_hash(p) for p in made]
        scored = Scored("s", "map", 0, "x", "fidelity")
        for protocol in made:
            plain = scored.row("precision", 0.5, protocol=protocol)
            remarked = scored.row("precision", 0.5, protocol=protocol, reason="few tiles")
            broken = scored.row("precision", float("nan"), protocol=protocol)
            said = f"split by {unit}, not by patient" if unit in ("slide", "image") else ""
            assert (plain.status, plain.reason) == ("ok", said)
            assert remarked.reason == "; ".join(filter(None, ["few tiles", said]))
            assert (broken.status, broken.reason) == ("failed", "the value is not a finite number")
    assert hashes[""] == hashes["patient"]
    for kind in zip(hashes["patient"], hashes["slide"], hashes["image"], strict=True):
        assert len(set(kind)) == 3


@pytest.fixture(scope="module")
def by_image(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study") / "results" / "small"
    return collect(make(folder, split_unit="image", pairs=3))


def test_the_page_opens_with_what_a_split_by_image_means(by_image):
    text = text_of(render(by_image))
    opening = text.split("What was compared")[0]
    assert "This study is split by image, not by patient." in opening
    assert "optimistic" in opening and "name them in the cohort" in opening
    assert "images never cross a split" in text and "patients never cross a split" not in text
    assert "real training tiles of other images" in text
    assert "held-out tiles of three images" in opening


def test_every_number_is_marked_and_the_remark_stands_once_among_the_notes(by_image):
    page = render(by_image)
    board = leaderboard.build(by_image, leaderboard.main_columns(by_image))
    good = [c for line in board.lines for c in line.cells if c.status == "ok"]
    assert good and {c.caveat for c in good} == {"split by image, not by patient"}
    assert all("split by" not in c.reason for c in good)
    # The broken values and absent cells have reasons of their own, and no mark.
    assert {c.caveat for line in board.lines for c in line.cells if c.status != "ok"} == {""}
    assert page.count('title="split by image, not by patient">†') >= len(good)
    notes = [item for item in trouble_list(by_image, board) if "split by" in item["reason"]]
    assert [(n["name"], n["status"]) for n in notes] == [("every score marked †", "note")]


def test_a_remark_of_one_cell_stays_a_remark_beside_that_of_all(tmp_path):
    remark = split_remark("slide")
    rows = [
        row("map", "fidelity", "frechet_distance", 1.0, reason=f"only 12 tiles; {remark}"),
        row("unconditional", "fidelity", "frechet_distance", 2.0, reason=remark),
    ]
    folder = folder_of(tmp_path, study(), rows)
    write_tiles(
        folder / REAL / "test", "test", 9, maps=True, seed=0, provenance={"split_unit": "slide"}
    )
    results = collect(folder)
    assert fill(results, "map", FRECHET).reason == "only 12 tiles"
    assert fill(results, "unconditional", FRECHET).reason == ""
    assert {fill(results, n, FRECHET).caveat for n in ("map", "unconditional")} == {remark}
    reasons = [i["reason"] for i in _troubles(results) if i["status"] == "note"]
    assert reasons == [remark, "only 12 tiles"]


def test_a_study_by_patient_speaks_of_patients_and_has_no_mark(tmp_path):
    page = render(collect(make(tmp_path / "small")))
    assert "†" not in page and "not by patient" not in page
    assert "patients never cross a split" in page


@pytest.mark.browser
@pytest.mark.parametrize("width", [390, 1440])
def test_the_page_fits_its_window_with_all_of_it(chromium, tmp_path, by_image, width):
    seen = browse(chromium, tmp_path, render(by_image), width)
    assert seen["wide"] <= seen["inner"] <= width
    assert seen["missing"] == 0
