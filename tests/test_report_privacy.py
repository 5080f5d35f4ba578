"""The report on privacy: twins with other crops stand side by side, and copiers are named."""

import pytest
from report_files import Page, folder_of, row, study

from histosynth.report import leaderboard, privacy
from histosynth.report.collect import collect
from histosynth.report.crop_sources import crop_tables, twins
from histosynth.report.pages import render


def crop(source, **more):
    return {"kind": "crop", "source": source, **more}


@pytest.mark.parametrize(
    ("ours", "theirs", "alike"),
    [
        (
            {"signals": ["map", crop("same_image", training_source="same_slide")]},
            {"signals": ["map", crop("other_slide")]},
            False,
        ),
        ({"signals": [crop("other_slide"), "map"]}, {"signals": ["map", crop("same_image")]}, True),
        ({"signals": ["map"]}, {"signals": ["map", crop("same_image")]}, False),
        (
            {"signals": ["map", "label", crop("other_slide")]},
            {"signals": ["map", crop("same_image")]},
            False,
        ),
        (
            {"signals": [crop("other_slide")], "guidance_scale": 3.0},
            {"signals": [crop("same_image")]},
            False,
        ),
    ],
)
def test_twins_are_alike_in_all_but_the_source_of_their_crops(ours, theirs, alike):
    made = study(conditions={"a": ours, "b": theirs})
    assert twins(made) == ([{"other_slide": "a", "same_image": "b"}] if alike else [])


def test_all_sources_of_one_kind_of_condition_stand_in_one_group():
    sources = ("shuffled_class", "other_slide", "same_slide")
    made = study(conditions={s: {"signals": ["map", crop(s)]} for s in sources})
    (group,) = twins(made)
    assert list(group.items()) == [(s, s) for s in ("other_slide", "same_slide", "shuffled_class")]


def test_twins_are_shown_side_by_side_with_real_tiles_in_every_main_score(tmp_path):
    rows = [
        row("map_crop", "fidelity", "frechet_distance", 9.25),
        row("map_crop_same", "fidelity", "frechet_distance", 1.25),
        row("real", "fidelity", "frechet_distance", 0.5),
        row("map_crop", "memorization", "copied_inside", 0.3, encoder=""),
    ]
    results = collect(folder_of(tmp_path, study(), rows))
    (table,) = crop_tables(results)
    assert len(table.heads) == len(leaderboard.main_columns(results))
    assert [head.split(":")[0] for head, _, _ in table.rows] == [
        "map_crop",
        "map_crop_same",
        "real",
    ]
    assert [cells[0].value for _, _, cells in table.rows] == [9.25, 1.25, 0.5]
    page = Page(render(results)).text
    assert "map_crop_same: the very tile" in page and "map_crop: other slides" in page


def test_a_condition_whose_interval_lies_above_chance_is_named_as_copying(tmp_path):
    rows = [
        row("map", "memorization", "memorized_share_1pct", 0.3, encoder="pixels"),
        row("unconditional", "memorization", "memorized_share_1pct", 0.02, encoder="pixels"),
    ]
    results = collect(folder_of(tmp_path, study(), rows))
    board = leaderboard.build(results, leaderboard.main_columns(results))
    assert privacy.flagged(board) == ["map"]
    assert "beyond doubt: `map`" in privacy.sentence(board)
    assert "beyond doubt" in Page(render(results)).text


def test_who_was_told_an_encoders_features_is_not_ranked_by_it(tmp_path):
    encoders = {"texture": {}, "random": {"kind": "timm", "model": "resnet18", "weights": "random"}}
    told = {"signals": [{"kind": "embedding", "encoder": "texture"}]}
    made = study(
        encoders=encoders,
        evaluation={"encoders": ["texture", "random"]},
        conditions={"told": told, "map": {"signals": ["map"]}, "none": {"signals": []}},
    )
    values = {"told": 1.0, "map": 5.0, "none": 9.0}
    rows = [
        row(c, "fidelity", "frechet_distance", value, encoder=encoder)
        for c, value in values.items()
        for encoder in encoders
    ]
    results = collect(folder_of(tmp_path, made, rows))
    columns = leaderboard.main_columns(results)
    assert columns[0].encoder == "random"  # no generator was told of it: it leads
    board = leaderboard.build(results, columns)
    for encoder, told_of in (("texture", True), ("random", False)):
        (column,) = [c for c in columns if (c.metric, c.encoder) == ("frechet_distance", encoder)]
        cell = board.cell("told", column)
        assert ("not independent" in cell.reason) == told_of
        assert (cell.rank is None) == told_of and cell.value == 1.0
        assert board.cell("map", column).mark == ("best" if told_of else "")
        assert not board.cell("map", column).reason
