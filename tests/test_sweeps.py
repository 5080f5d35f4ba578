"""A list of guidance scales: further sets of one model, scored for fidelity and ranked nowhere."""

import re

import numpy as np
import pytest
from report_files import Page, folder_of, row, study

from histosynth.config import Study
from histosynth.errors import InputError
from histosynth.grid import Cell, Grid
from histosynth.report.collect import collect
from histosynth.report.leaderboard import build, main_columns
from histosynth.report.pages import render
from histosynth.report.sweep import section
from histosynth.sweeps import PATTERN, condition_of, is_point, point_name

CONDITIONS = {
    "unconditional": {"signals": []},
    "label": {"signals": ["label"], "guidance_scale": [4.0, 1, 7.5]},
    "map": {"signals": ["map"]},
}


def swept(**more) -> Study:
    return study(conditions=CONDITIONS, **more)


def test_the_first_scale_is_the_conditions_own_and_the_others_are_sets_beside_it():
    made = swept(sampling={"n": 12, "guidance_scale": 2.0})
    assert made.sweep_of("label") == {"label~g1": 1, "label~g7.5": 7.5}
    scales = {n: made.sampling_of(n).guidance_scale for n in ("label", "label~g1", "label~g7.5")}
    assert scales == {"label": 4.0, "label~g1": 1.0, "label~g7.5": 7.5}
    assert made.sampling_of("map").guidance_scale == 2.0 and not made.sweep_of("map")
    with pytest.raises(InputError, match=r"label~g2: no such point.*label~g1, label~g7\.5"):
        made.sampling_of("label~g2")


def test_the_studys_own_list_sweeps_every_condition_that_has_a_signal():
    made = study(conditions={**CONDITIONS, "label": {"signals": ["label"]}})
    made = Study.parse(made.model_dump() | {"sampling": {"guidance_scale": [2, 5]}})
    assert Grid(made).swept == ["label~g5", "map~g5"]  # nothing to guide the unconditional by


def test_a_sweep_adds_fidelity_cells_alone_and_every_seed_has_them():
    plain = study(conditions=CONDITIONS | {"label": {"signals": ["label"]}}, seeds=[0, 1])
    before, after = (list(Grid(made).cells()) for made in (plain, swept(seeds=[0, 1])))
    assert [cell for cell in after if cell in before] == before
    added = {cell for cell in after if cell not in before}
    points = ("label~g1", "label~g7.5")
    assert added == {Cell(name, seed, "fidelity") for name in points for seed in (0, 1)}


def test_a_points_jobs_are_those_of_its_conditions_model():
    grid = Grid(swept())
    assert grid.trained == list(CONDITIONS)
    for name in (*grid.trained, *grid.swept):
        assert re.fullmatch(grid.sampled_pattern, name) and re.fullmatch(PATTERN, name)
    assert not re.fullmatch(grid.trained_pattern, "label~g1")
    assert not re.fullmatch(grid.sampled_pattern, "label~g7x5")  # a dot is a dot
    assert grid.tileset("label~g7.5", 0) == "synthetic/label~g7.5/seed0"
    assert not grid.by_cluster("label~g1") and not grid.needs_clusters("label~g1")
    own, point = (grid.sample_settings(name) for name in ("label", "label~g1"))
    assert own.replace('"guidance_scale": 4.0', '"guidance_scale": 1.0') == point
    assert own == Grid(
        study(conditions=CONDITIONS | {"label": {"signals": ["label"], "guidance_scale": 4.0}})
    ).sample_settings("label")  # a sweep added to a study leaves its sets alone


def test_names_of_points_lead_back_to_their_conditions():
    for scale in (0, 1.5, 12, 1e-05):
        name = point_name("map_crop", scale)
        assert condition_of(name) == "map_crop" and is_point(name)
        assert re.fullmatch(PATTERN, name)
    assert not is_point("map~shuffled") and condition_of("map~shuffled") == "map~shuffled"


@pytest.mark.parametrize(
    ("scales", "told"),
    [
        ([2, 2.0], r"conditions\.label\.guidance_scale: 2 is given more than once"),
        ([], "List should have at least 1 item"),
        ([1, -2], "greater than or equal to 0"),
        ([1, "strong"], "should be a valid number"),
    ],
)
def test_a_bad_list_is_refused_with_its_key(scales, told):
    with pytest.raises(InputError, match=told):
        study(conditions={"label": {"signals": ["label"], "guidance_scale": scales}})


def test_every_scale_of_a_sweep_needs_the_dropout_that_guidance_does():
    with pytest.raises(InputError, match=r"(?s)label.*condition_dropout"):
        study(
            conditions={"label": {"signals": ["label"], "guidance_scale": [1, 3]}},
            generator={"condition_dropout": 0},
        )


# --- the report

SCORES = {  # set -> precision, recall
    "label": (0.6, 0.5),
    "label~g1": (0.3, 0.7),
    "label~g7.5": (0.8, 0.1),
    "map": (0.5, 0.55),
    "unconditional": (0.2, 0.4),
}


@pytest.fixture
def results(tmp_path):
    rows = []
    for name, (precision, recall) in SCORES.items():
        rows += [
            row(name, "fidelity", "precision", precision),
            row(name, "fidelity", "recall", recall),
            row(name, "fidelity", "frechet_distance", 5 - precision),
            row(name, "fidelity", "kernel_distance", 1 - precision),
        ]
    return collect(folder_of(tmp_path / "small", swept(), rows))


def test_points_are_on_the_curve_of_their_condition_and_in_no_ranking(results):
    board = build(results, main_columns(results))
    assert not [line.name for line in board.lines if is_point(line.name)]
    shown = section(results)
    assert shown.conditions == ("label",)
    (table,) = shown.tables
    at = table.heads.index("Precision\u00a0↑")
    told = [(name, scale, cells[at].value) for name, scale, cells in table.rows]
    assert told == [
        ("label", "1", 0.3),
        ("label", "4, all other scores", 0.6),
        ("label", "7.5", 0.8),
    ]
    (plot,) = shown.plots
    path = re.search(r'<polyline points="([^"]+)"', plot.svg)[1]
    drawn = np.array([[float(v) for v in pair.split(",")] for pair in path.split()])
    # by scale: recall (to the right) falls, precision (upwards) rises
    assert (np.diff(drawn[:, 0]) < 0).all() and (np.diff(drawn[:, 1]) < 0).all()
    assert re.findall(r'class="label">([^<]+)<', plot.svg) == ["1", "4", "7.5"]


def test_the_page_has_the_section_only_where_there_is_a_sweep(results, tmp_path):
    page = Page(render(results))
    anchors = [a.get("href") for a in page.all("a")]
    assert "#guidance" in anchors and "how hard to push" in page.text
    assert "4, all other scores" in page.text
    plain = folder_of(tmp_path / "plain", study(), [row("map", "fidelity", "precision", 0.5)])
    page = Page(render(collect(plain)))
    assert "#guidance" not in [a.get("href") for a in page.all("a")]
    assert section(collect(plain)) is None


def test_a_point_without_scores_is_told_of_and_leaves_the_curve(results):
    rows = results.rows
    rows.loc[rows["condition"] == "label~g1", "status"] = "failed"
    rows.loc[rows["condition"] == "label~g1", "reason"] = "no room"
    shown = section(results)
    assert {cell.status for cell in shown.tables[0].rows[0][2]} == {"failed"}
    assert re.findall(r'class="label">([^<]+)<', shown.plots[0].svg) == ["4", "7.5"]
