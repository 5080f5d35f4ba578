"""The report: honest ranking, nothing hidden, one page that needs nothing beside itself."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from conftest import ROOT
from report_files import (
    FRECHET,
    REASON,
    Page,
    browse,
    folder_of,
    row,
    study,
    write_metrics,
    write_results,
    write_tiles,
)

from histosynth.config import Study
from histosynth.errors import InputError
from histosynth.grid import Grid
from histosynth.report import answer, figures, leaderboard
from histosynth.report.cells import Cell, Column, fill
from histosynth.report.collect import collect
from histosynth.report.gallery import crop_image, nearest_rows
from histosynth.report.leaderboard import rank
from histosynth.report.pages import counts, render


@pytest.fixture(scope="module")
def results_folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("study") / "results" / "small"
    write_results(folder, study())
    return folder


@pytest.fixture(scope="module")
def page(results_folder) -> str:
    return render(collect(results_folder))


def cell(value: float, width: float = 0.1, **more) -> Cell:
    return Cell("ok", value, value - width, value + width, protocol=more.pop("p", "p1"), **more)


# Ranking


def test_overlapping_intervals_share_a_rank_and_a_gap_makes_a_leader():
    ranked = rank({"a": cell(1.0), "b": cell(1.15), "c": cell(2.0)}, higher_is_better=False)
    assert [ranked[n].rank for n in "abc"] == [1, 1, 3]
    assert [ranked[n].mark for n in "abc"] == ["shares", "shares", ""]
    ranked = rank({"a": cell(1.0), "c": cell(2.0)}, higher_is_better=True)
    assert [(ranked[n].rank, ranked[n].mark) for n in "ac"] == [(2, ""), (1, "best")]


def test_nothing_is_marked_where_no_two_conditions_are_told_apart():
    for cells in (
        {"a": cell(1.0), "b": cell(1.1)},
        {"a": cell(1.0)},
        {"a": Cell("ok", 1.0), "b": Cell("ok", 9.0)},  # no intervals at all
    ):
        assert {c.mark for c in rank(cells, higher_is_better=True).values()} == {""}


def test_numbers_of_different_protocols_are_never_ranked_together():
    cells = {"a": cell(1.0), "b": cell(2.0), "c": cell(99.0, p="p2")}
    ranked = rank(cells, higher_is_better=True)
    assert ranked["b"].mark == "best"
    assert ranked["c"].mark == "" and ranked["c"].rank is None
    lettered = leaderboard.letter_protocols(cells)
    assert [lettered[n].protocol_letter for n in "abc"] == ["a", "a", "b"]


def test_mixed_protocols_are_marked_on_the_page_and_refused_in_the_answer(tmp_path):
    made = study()
    rows = [
        row("map", "fidelity", "frechet_distance", 1.0),
        row("unconditional", "fidelity", "frechet_distance", 9.0, protocol="p2"),
    ]
    results = collect(folder_of(tmp_path, made, rows))
    board = leaderboard.build(results, [FRECHET])
    assert "different protocols" in answer.leaders(board, FRECHET)
    lettered = re.findall(r'title="protocol (p\d)">([ab])</sup>', render(results))
    assert set(lettered) == {("p2", "a"), ("p1", "b")}


def test_a_condition_that_sees_its_target_is_never_ranked(results_folder):
    board = leaderboard.build(collect(results_folder), [FRECHET])
    apart = board.cell("map_crop_same", FRECHET)
    assert apart.value < board.cell("map", FRECHET).value  # it would lead
    assert apart.rank is None and apart.mark == ""
    assert board.cell("map", FRECHET).mark == "best"


def test_the_answer_names_a_leader_only_where_intervals_part(tmp_path):
    for gap, leads in ((0.05, False), (0.5, True)):
        rows = [
            row("map", "fidelity", "frechet_distance", 1.0),
            row("unconditional", "fidelity", "frechet_distance", 1.0 + gap),
        ]
        results = collect(folder_of(tmp_path / str(gap), study(), rows))
        told = answer.leaders(leaderboard.build(results, [FRECHET]), FRECHET)
        assert ("leads" in told) == leads
        assert ("not ranked" in told) != leads


# Cells


def test_spread_over_seeds_and_sampling_error_are_kept_apart(tmp_path):
    rows = [
        row("map", "fidelity", "frechet_distance", value, seed=seed, se=se)
        for seed, value, se in ((0, 1.0, 0.02), (1, 1.2, 0.04))
    ]
    results = collect(folder_of(tmp_path, study(seeds=[0, 1]), rows))
    found = fill(results, "map", FRECHET)
    assert found.value == pytest.approx(1.1)
    # Standard deviation of 1.0 and 1.2, and the mean of their standard errors.
    assert (found.seed_sd, found.se) == (pytest.approx(0.02**0.5), pytest.approx(0.03))
    assert (found.ci_low, found.ci_high) == (pytest.approx(0.95), pytest.approx(1.25))
    page = Page(render(results))
    assert "SD 0.14, SE 0.03" in page.text and "spread over seeds (SD)" in page.text


def test_a_failed_seed_is_told_beside_the_mean_of_the_others(tmp_path):
    rows = [
        row("map", "fidelity", "frechet_distance", 1.0),
        row("map", "fidelity", "frechet_distance", None, seed=1, status="failed", reason="no disk"),
    ]
    results = collect(folder_of(tmp_path, study(seeds=[0, 1]), rows))
    found = fill(results, "map", FRECHET)
    assert (found.status, found.value, found.reason) == ("ok", 1.0, "seed 1: failed: no disk")
    assert "seed 1: failed: no disk" in Page(render(results)).text


def test_a_shuffled_row_is_absent_for_the_reason_its_condition_is(tmp_path):
    told = "the set has no maps: the condition does not request any"
    rows = [
        row("label", "adherence", "map_iou_ratio", None, status="not_applicable", reason=told),
        row("label", "adherence", "label_accuracy_ratio", 0.8),
        row("label~shuffled", "adherence", "label_accuracy_ratio", 0.5),
    ]
    made = study(conditions={"label": {"signals": ["label"]}})
    results = collect(folder_of(tmp_path, made, rows))
    found = fill(results, "label~shuffled", Column("adherence", "map_iou_ratio"))
    assert (found.status, found.reason) == ("not_applicable", told)
    assert fill(results, "label~shuffled", Column("adherence", "label_accuracy_ratio")).value == 0.5


def test_utility_is_the_difference_to_real_and_only_within_one_protocol(tmp_path):
    column = Column("utility", "downstream_iou", arm="synthetic", minus_real=True)
    for protocol, difference in (("p1", -0.2), ("p2", None)):
        rows = [
            row("real", "utility", "downstream_iou", 0.8, arm="real"),
            row("map", "utility", "downstream_iou", 0.6, arm="synthetic", protocol=protocol),
        ]
        results = collect(folder_of(tmp_path / protocol, study(), rows))
        found = fill(results, "map", column)
        if difference is None:
            assert np.isnan(found.difference) and "another protocol" in found.reason
        else:
            assert found.difference == pytest.approx(difference)


def test_a_value_that_is_not_a_number_is_a_failed_cell(results_folder):
    found = fill(collect(results_folder), "map", Column("fidelity", "recall", "texture"))
    assert (found.status, found.reason) == ("failed", "the value is not a number")


# The page


def test_the_page_parses_and_refers_to_nothing_outside_itself(page):
    parsed = Page(page)
    for _, attributes in parsed.tags:
        for name in ("src", "href", "srcset", "data", "action", "poster"):
            address = attributes.get(name)
            assert address is None or address.startswith(("data:", "#")), address
    anchors = {a["href"][1:] for a in parsed.all("a")}
    assert anchors <= {attributes.get("id") for _, attributes in parsed.tags}
    assert not re.search(r"url\(|@import|https?://", page)
    assert len(page.encode()) < 10 * 2**20


def test_every_image_and_plot_has_words_and_every_table_a_caption(page):
    parsed = Page(page)
    assert parsed.all("img") and all(image.get("alt") for image in parsed.all("img"))
    assert parsed.all("svg") and all(plot.get("aria-label") for plot in parsed.all("svg"))
    assert len(parsed.all("caption")) == len(parsed.all("table"))
    levels = [int(tag[1]) for tag, _ in parsed.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(b - a <= 1 for a, b in zip(levels, levels[1:], strict=False))


def test_every_condition_cell_and_failure_is_on_the_page_with_its_reason(page, results_folder):
    text = " ".join(Page(page).text.split())
    for name in study().conditions:
        assert name in text
    assert REASON in text  # as text, not as markup
    assert "<b>only</b>" not in page
    assert f"no result file: {results_folder}/metrics/map_crop/seed0/utility.json" in text
    assert "unconditional is given no map" in text
    assert "broken: failed not a slide: a ZIP archive" in text
    assert "the value is not a number" in text
    assert not re.search(r"\b(nan|None|inf)\b", text.split("Provenance")[1].split("study:")[0])
    assert not re.search(r">\s*(nan|None)\s*<", page)


def test_the_gallery_shows_the_same_requests_in_every_row(results_folder):
    from histosynth.report.gallery import build

    gallery = build(collect(results_folder))
    titles = [strip.title for strip in gallery.strips]
    assert titles.count("nearest real") == 4 and titles.count("crops given") == 2
    assert {len(strip.cells) for strip in gallery.strips} == {len(gallery.heads)} == {8}
    assert not gallery.remarks


def test_a_study_with_nothing_but_its_config_still_has_a_report(tmp_path):
    made = study()
    (tmp_path / "config.yaml").write_text(made.dump(), encoding="utf-8")
    results = collect(tmp_path, partial=True)
    text = Page(render(results)).text
    board = leaderboard.build(results, leaderboard.main_columns(results))
    ours = [c for line in board.of_kind("ranked") for c in line.cells]
    assert ours and {c.status for c in ours} == {"missing"}
    for cell in Grid(made).cells():
        assert f"no result file: {results.metrics_path(*cell)}" in text
    assert "before the study was finished" in text


def test_an_external_set_in_a_study_without_classes_or_labels_is_reported(tmp_path):
    theirs = tmp_path / "their_images"
    made = study(
        classes=[],
        label=None,
        clusters=None,
        downstream=None,
        seeds=[0, 1],
        conditions={"ours": {"signals": []}, "theirs": {"external": str(theirs)}},
    )
    rows = [row("theirs", "fidelity", "frechet_distance", 1.0)]
    folder = folder_of(tmp_path / "results", made, rows)
    write_tiles(folder / "tilesets/synthetic/theirs/seed0", "theirs", 5, maps=False, seed=0)
    results = collect(folder)
    found = fill(results, "theirs", FRECHET)
    assert (found.status, found.value, found.reason) == ("ok", 1.0, "")  # one seed is all there is
    text = Page(render(results)).text
    assert "somebody else’s images (their_images), which answer no request" in text
    assert "adherence" not in {c.group for c in leaderboard.main_columns(results)}


def test_a_partial_report_reads_the_metrics_that_are_there(tmp_path):
    made = study()
    (tmp_path / "config.yaml").write_text(made.dump(), encoding="utf-8")
    write_metrics(tmp_path, made, skip="map/fidelity")
    results = collect(tmp_path, partial=True)
    assert fill(results, "unconditional", FRECHET).status == "ok"
    assert fill(results, "map", FRECHET).status == "missing"


def test_the_script_names_a_folder_that_holds_no_study(tmp_path):
    command = [sys.executable, ROOT / "scripts" / "report.py", "--results", tmp_path]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    ended = subprocess.run(
        [*command, "--output", tmp_path / "index.html"],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert ended.returncode == 2
    assert f"{tmp_path}: no config.yaml" in ended.stderr and "Traceback" not in ended.stderr
    assert not (tmp_path / "index.html").exists()
    with pytest.raises(InputError, match="no config.yaml"):
        collect(tmp_path)


# Parts


def test_the_nearest_tile_is_that_of_an_exhaustive_search_in_scaled_features():
    random = np.random.default_rng(0)
    train = random.normal(size=(40, 6)) * [1, 1, 1, 1, 1, 1000] + 5
    chosen = random.normal(size=(9, 6)) * [1, 1, 1, 1, 1, 1000] + 5
    expected = [
        int(np.argmin([np.linalg.norm((row - other) / train.std(0)) for other in train]))
        for row in chosen
    ]
    assert nearest_rows(train, chosen) == expected


def test_crop_planes_become_the_very_pixels_and_nothing_elsewhere():
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    planes = np.zeros((6, 32, 32), np.float32)
    planes[3:, 4:12, 20:28] = pixels.transpose(2, 0, 1) / np.float32(127.5) - 1
    image = crop_image(planes)
    assert np.array_equal(image[4:12, 20:28, :3], pixels)
    assert image[..., 3].sum() == 255 * 64


@pytest.mark.parametrize("name", ["map", "label_map_crop_same", "a_name_longer_than_anybody_needs"])
def test_a_plot_makes_room_for_its_longest_label(name):
    dots = [figures.Dot(label=n, value=1.0, low=0.5, high=1.5, color=0) for n in ("map", name)]
    svg = str(figures.dot_plot("title", dots, []))
    shown = re.findall(r'<text x="([\d.]+)" y="[\d.]+" text-anchor="end" class="row">(.*?)<', svg)
    assert len(shown) == 2
    for x, label in shown:
        assert float(x) >= 7 * len(label)  # DejaVu Sans at 12 px: 7 a letter at the most
        assert float(x) < figures.WIDTH / 2


@pytest.mark.parametrize("low, high", [(0, 1), (-0.3, 0.02), (12.5, 913), (1e-5, 3e-5)])
def test_ticks_are_round_and_lie_within_the_axis(low, high):
    marks = figures.ticks(low, high)
    steps = np.diff(marks)
    assert 2 <= len(marks) <= 6 and low <= marks[0] and marks[-1] <= high
    assert np.allclose(steps, steps[0])
    assert f"{steps[0]:e}"[0] in "125"


# In a browser


@pytest.mark.browser
@pytest.mark.parametrize("width", [390, 1440])
def test_the_page_fits_its_window_shows_its_images_and_sorts(chromium, tmp_path, page, width):
    seen = browse(chromium, tmp_path, page, width)
    assert seen["wide"] <= seen["inner"] <= width
    assert seen["missing"] == 0
    assert seen["plots"] and min(seen["plots"]) > 200
    assert seen["focused"]
    # Best first on the first press, the failed cell last either way.
    assert seen["first"] == ["ascending", ["map", "unconditional", "map_crop"]]
    assert seen["second"] == ["descending", ["unconditional", "map", "map_crop"]]


def test_the_config_on_the_page_is_the_whole_resolved_study(page):
    text = Page(page).text
    shown = text[text.index("study: small") :].split("\nGlossary")[0]
    assert Study.parse(yaml.safe_load(shown)) == study()


def test_the_count_under_a_name_is_of_scored_images_not_of_those_trained_on():
    columns = (Column("fidelity", "frechet_distance"), Column("utility", "downstream_iou"))
    cells = (cell(1.0, n_real=600, n_synthetic=256), cell(0.5, n_real=0, n_synthetic=1800))
    line = leaderboard.Line("map", "", "ranked", cells)
    assert counts(line, leaderboard.Leaderboard(columns, (line,), (), ())) == "256 scored, 600 real"


def test_what_rounds_to_zero_has_no_sign():
    shown = [figures.fixed(value, 2) for value in (-0.001, 0.001, -0.006, -1.5)]
    assert shown == ["0.00", "0.00", "−0.01", "−1.50"]
