"""What crops bring: conditions that differ in their crops alone, or nearly so, side by side."""

import pytest
from conftest import ROOT
from report_files import Page, folder_of, row, study

from histosynth.config import Study
from histosynth.report.collect import collect
from histosynth.report.crop_sources import crop_tables, difference_words, twins
from histosynth.report.pages import render


def crop(source, **more):
    return {"kind": "crop", "source": source, **more}


def color(source, **more):
    return {"kind": "crop_color", "source": source, **more}


def groups(conditions) -> list[dict[str, str]]:
    """Source by name of each group."""
    found = twins(study(conditions=conditions))
    return [{twin.name: twin.source for twin in group} for group in found]


SAME = {"signals": ["map", crop("same_image")]}


@pytest.mark.parametrize(
    "ours",
    [
        {"signals": [crop("other_slide"), "map"]},
        {"signals": ["map", crop("other_slide", training_source="other_slide")]},
    ],
)
def test_twins_are_alike_in_all_but_the_source_of_their_crops(ours):
    made = study(conditions={"b": SAME, "a": ours})
    (group,) = twins(made)
    assert [(twin.name, twin.source) for twin in group] == [
        ("a", "other_slide"),
        ("b", "same_image"),
    ]
    assert difference_words(group) == ""


@pytest.mark.parametrize(
    "ours",
    [
        {"signals": ["map"]},
        {"signals": ["map", crop("same_image", training_source="same_slide")]},  # of one source
        {"signals": ["map", "label", crop("other_slide")]},
        {"signals": ["map", crop("other_slide", rule="htd")]},
        {"signals": ["map", crop("other_slide")], "guidance_scale": 3.0},
        {"signals": ["map", crop("other_slide")], "steps": 7},
        {"signals": [{"kind": "map", "values": "binary"}, crop("other_slide")]},
    ],
)
def test_what_differs_in_anything_else_is_no_pair(ours):
    assert groups({"a": ours, "b": SAME}) == []


def test_near_twins_stand_side_by_side_and_it_is_said_what_else_differs():
    whose = {"source": "other_slide", "training_source": "same_slide"}
    near = {"signals": ["map", {"kind": "crop"} | whose, {"kind": "crop_color"} | whose]}
    (group,) = twins(study(conditions={"a": near, "b": SAME}))
    assert [twin.name for twin in group] == ["a", "b"]
    assert difference_words(group) == (
        "These are no twins: a was trained with crops of the same slide and was told the mean "
        "colour of its crops; b was neither. So what sets them apart need not be the "
        "source of the crops alone."
    )


def test_where_there_are_twins_near_ones_are_left_out():
    conditions = {
        "near": {"signals": ["map", crop("other_slide", training_source="same_slide")]},
        "twin": {"signals": ["map", crop("other_slide")]},
        "same": SAME,
    }
    assert groups(conditions) == [{"twin": "other_slide", "same": "same_image"}]


def test_twins_that_are_told_the_colour_of_their_own_crops_are_twins():
    conditions = {
        source: {"signals": ["map", crop(source), color(source)]}
        for source in ("same_image", "other_slide")
    }
    (group,) = twins(study(conditions=conditions))
    assert [twin.source for twin in group] == ["other_slide", "same_image"]
    assert difference_words(group) == ""


def test_all_sources_of_one_kind_of_condition_stand_in_one_group():
    sources = ("shuffled_class", "other_slide", "same_slide")
    (group,) = groups({s: {"signals": ["map", crop(s)]} for s in sources})
    assert list(group) == ["other_slide", "same_slide", "shuffled_class"]


def test_the_demo_sets_crops_of_other_slides_beside_those_of_the_very_tile():
    (group,) = twins(Study.load(ROOT / "config.yaml"))
    assert [twin.source for twin in group] == ["other_slide", "same_image"]
    assert "trained with crops of the same slide" in difference_words(group)


def test_count_fidelity_copying_and_nearness_stand_side_by_side(tmp_path):
    near = "memorized_share_1pct"
    rows = [
        row("map_crop", "fidelity", "frechet_distance", 9.25),
        row("map_crop_same", "fidelity", "frechet_distance", 1.25, n_synthetic=7),
        row("real", "fidelity", "frechet_distance", 0.5),
        row("map_crop", "memorization", "copied_inside", 0.125),
        row("map_crop_same", "memorization", "copied_inside", 0.75, protocol="p2"),
        row("map_crop~shuffled", "memorization", "copied_inside", 0.0625),
        row("map_crop", "memorization", near, 0.375, encoder="pixels"),
        row("map_crop_same", "memorization", near, 0.875, encoder="texture"),
    ]
    results = collect(folder_of(tmp_path, study(), rows))
    (table,) = crop_tables(results)
    assert table.heads == (
        ("map_crop", "other slides"),
        ("map_crop_same", "the very tile"),
        ("real", ""),
    )
    found = {
        (heading, line.label): [c.value if c.status == "ok" else None for c in line.cells]
        for heading, lines in table.groups
        for line in lines
    }
    assert found["Images", "scored"] == [12, 7, 12]
    by_label = {label.split("\u00a0")[0]: values for (_, label), values in found.items()}
    assert by_label["Fréchet distance"] == [9.25, 1.25, 0.5]
    copied = found["Copy-through of crops", "Copied inside\u00a0↓"]
    assert copied == [0.125, 0.75, None]
    shuffled = found["Copy-through of crops", "Copied inside, shuffled"]
    assert shuffled[0] == 0.0625
    nearest = {
        heading: next(v for (h, label), v in found.items() if h == heading and "1 %" in label)
        for heading, _ in table.groups
        if heading.startswith("Nearest")
    }
    assert nearest["Nearest training tile in pixels"] == [0.375, None, None]
    assert nearest["Nearest training tile in texture features"] == [None, 0.875, None]
    line = next(
        line for _, lines in table.groups for line in lines if line.label == "Copied inside\u00a0↓"
    )
    assert [cell.protocol_letter for cell in line.cells[:2]] == ["a", "b"]
    html = render(results)
    assert "What crops bring" in Page(html).text
    assert "map_crop_same<small>crops: the very tile</small>" in html
