"""The report on adherence: controls stand below their condition and rank nobody."""

import pytest
from report_files import folder_of, row, study

from histosynth.evaluations.rows import write_rows
from histosynth.report import adherence, leaderboard
from histosynth.report.collect import collect
from histosynth.report.pages import render

CONDITIONS = {"label_cluster": {"signals": ["label"]}, "label": {"signals": ["label"]}}
COUNTS = [[6, 2], [0, 0]]


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    values = {"label_cluster": 0.6, "label_cluster~shuffled": 0.2, "label_cluster~wrong_class": 0.1}
    rows = [
        row(who, "adherence", metric, value)
        for who, value in (values | {"real": 0.8}).items()
        for metric in ("label_accuracy", "label_accuracy_ratio", "cluster_accuracy")
    ]
    rows.append(row("label_cluster", "adherence", "label_accuracy", 0.7, subset="label=cancer"))
    none = {"status": "not_applicable", "reason": "it requests no clusters"}
    rows.append(row("label", "adherence", "cluster_accuracy", None, **none))
    folder = folder_of(tmp_path_factory.mktemp("study"), study(conditions=CONDITIONS), rows)
    for name in ("label_cluster", "real"):
        path = folder / "metrics" / name / "seed0" / "adherence.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        facts = {"clusters": {"encoder": "other", "asked_found": COUNTS, "real": COUNTS}}
        write_rows(path, [], seconds=1.0, versions={}, protocols={}, facts=facts)
    return collect(folder)


def test_controls_stand_right_below_their_condition(results):
    table = next(t for t in adherence.tables_of(results) if t.caption.startswith("Label accuracy"))
    names = [name for name, _, _ in table.rows]
    at = names.index("label_cluster")
    controls = ["label_cluster~shuffled", "label_cluster~wrong_class"]
    assert names[at + 1 : at + 3] == controls and names[-1] == "real"
    assert table.heads == ("all", "share of real", "cancer")
    (cells,) = [cells for name, _, cells in table.rows if name == "label_cluster~wrong_class"]
    assert cells[0].value == 0.1 and cells[2].status == "not_applicable"  # all classes together


def test_a_condition_that_requests_no_cluster_has_no_line(results):
    table = next(t for t in adherence.tables_of(results) if t.caption.startswith("Cluster"))
    assert "label" not in [name for name, _, _ in table.rows]


def test_a_wrong_class_never_reaches_the_leaderboard(results):
    board = leaderboard.build(results, leaderboard.main_columns(results))
    assert not [line.name for line in board.lines if "wrong_class" in line.name]
    assert all(
        not c.mark and c.rank is None for line in board.of_kind("reference") for c in line.cells
    )


def test_clusters_asked_for_and_found_are_shares_of_what_was_asked(results):
    ours, real = adherence.confusions(results)
    assert (ours.name, ours.encoder, real.name) == ("label_cluster", "other", "real")
    assert ours.shares == ((0.75, 0.25), (0.0, 0.0)) and ours.tiles == (8, 0)
    page = render(results)
    assert "label_cluster, wrong class" in page and "asked for and found" in page
