"""Scores of crops hold for every source, placement and rule."""

import numpy as np
import pytest
from metric_rows import only
from shapes import CLASSES, SIZE, draw
from test_adherence_crops import N, scored, stained, study_with_crops

from histosynth.conditions import TilePool, get_signal
from histosynth.conditions.table import condition_table, table_targets
from histosynth.config import Study
from histosynth.evaluations.adherence_crop import crop_rows
from histosynth.evaluations.copy_through import copy_through_rows
from histosynth.tilesets import TileSet, TileSetWriter

SOURCES = ("other_slide", "same_slide", "shuffled_class")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Test tiles in a stain of their own each, their requests, and where they lie."""
    folder, rng = tmp_path_factory.mktemp("sources"), np.random.default_rng(0)
    base = np.array([[232, 180, 205], [140, 70, 160], [70, 80, 190]], float)
    tints = base + rng.uniform(-45, 22, (N, 3, 3))
    with TileSetWriter(folder / "test", classes=CLASSES) as writer:
        for i in range(N):
            _, tissue = draw(rng, 1 + i % 2)
            row = {"tile_id": f"t{i}", "slide_id": f"s{i % 8}", "patient_id": f"p{i % 8}"}
            writer.add(stained(tissue, tints[i], rng), row | {"label": None}, tissue)
    test = TileSet.open(folder / "test")
    table = condition_table(test, study_with_crops().sampling)
    table.to_parquet(folder / "table.parquet")
    return folder, test, tints, table_targets(table, TilePool.of(test, {"images", "maps"}), CLASSES)


def study_of(**options) -> Study:
    settings = study_with_crops().model_dump()
    settings["conditions"] = {"crops": {"signals": ["map", {"kind": "crop", **options}]}}
    return Study.parse(settings)


def write(folder, test, rows, images) -> TileSet:
    with TileSetWriter(folder, classes=CLASSES) as writer:
        for i, (row, image) in enumerate(zip(rows.tolist(), images, strict=True)):
            told = test.table.iloc[row][["slide_id", "patient_id"]].to_dict() | {"label": None}
            told |= {"tile_id": f"m{i}", "source_tile_id": f"t{row}"}
            writer.add(image, told, test.map(row))
    return TileSet.open(folder)


@pytest.mark.parametrize("source", SOURCES)
def test_who_follows_crops_of_any_source_is_told_from_who_does_not(place, source, tmp_path) -> None:
    folder, test, tints, targets = place
    rng, donors = np.random.default_rng(1), targets.donors[source]
    tinted = tints[np.maximum(donors.rows, 0), donors.classes]
    images = [
        stained(test.map(row), tint, rng)
        for row, tint in zip(targets.rows.tolist(), tinted, strict=True)
    ]
    told = {"study": study_of(source=source), "real": test, "table": folder / "table.parquet"}
    obeys = write(tmp_path / "obeys", test, targets.rows, images)
    rows, _ = crop_rows(scored("crops"), synthetic=obeys, **told)
    assert only(rows, condition="crops", subset="all").value > 0.9
    assert abs(only(rows, condition="crops~shuffled").value - 0.5) < 0.1
    dealt = write(tmp_path / "ignores", test, targets.rows, [images[i - 7] for i in range(N)])
    ignored, _ = crop_rows(scored("crops"), synthetic=dealt, **told)
    # Chance, within 3 standard deviations of some 90 pieces; maps and images no longer agree.
    assert abs(only(ignored, condition="crops", subset="all").value - 0.5) < 0.15


def test_crops_of_a_whole_region_are_scored_as_squares_are(place) -> None:
    folder, test, _, _ = place
    study = study_of(source="same_image", rule="htd")
    rows, _ = crop_rows(
        scored("real"), study, real=test, synthetic=test, table=folder / "table.parquet"
    )
    assert only(rows, subset="all").value > 0.9  # tiles against a crop of themselves


@pytest.mark.parametrize("options", [{"placement": "centred"}, {"rule": "htd"}, {"size": 0.3}])
def test_what_was_shown_is_found_where_it_was_pasted(place, options, tmp_path) -> None:
    folder, test, _, targets = place
    signal = get_signal("crop", {"source": "same_image", **options}, study_with_crops())
    images, area = [], []
    for planes in signal.encode(targets):
        image = np.random.default_rng(0).integers(0, 255, (SIZE, SIZE, 3)).astype(np.uint8)
        for crop in planes.reshape(-1, 3, SIZE, SIZE):
            there = (crop != 0).any(0)
            image[there] = np.rint((crop[:, there].T + 1) * 127.5)
        images.append(image)
        area.append((planes != 0).any(0))
    rows = copy_through_rows(
        scored("crops"),
        study_of(source="same_image", **options),
        test=test,
        synthetic=write(tmp_path / "made", test, targets.rows, images),
        table=folder / "table.parquet",
    )
    assert only(rows, metric="copied_inside", condition="crops").value == pytest.approx(1)
    assert only(rows, metric="copied_outside", condition="crops").value < 0.2
    share = only(rows, metric="handed_over_share").value
    assert share == pytest.approx(signal.shown_share(targets).mean())
    if "placement" not in options:  # in place, what is shown lies where it came from
        assert share == pytest.approx(np.mean(area))
