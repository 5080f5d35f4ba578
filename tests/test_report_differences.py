"""The report ranks by tested pairs where there are any, and says which differences are real."""

import pytest
from report_files import FRECHET, Page, folder_of, row, study

from histosynth.evaluations.comparison import Comparison, write_comparison
from histosynth.report import answer, differences, leaderboard
from histosynth.report.cells import Cell, Column
from histosynth.report.collect import collect
from histosynth.report.pages import p_value, render

MIXED = Column("utility", "downstream_iou", arm="mixed", minus_real=True)
VALUES = {"map": 1.0, "map_crop": 1.02, "unconditional": 1.04}  # intervals of 0.05 overlap


def pair(first, second, *, better="", column=FRECHET, p=0.01, **more) -> Comparison:
    told = {"difference": -0.02, "ci_low": -0.03, "ci_high": -0.01, "se": 0.005, "p": p / 3}
    told |= {"p_holm": p, "pairs": 3, "protocol": "p1", "higher_is_better": False}
    place = {"group": column.group, "metric": column.metric}
    place |= {"encoder": column.encoder, "arm": column.arm}
    return Comparison(**(place | told | more), first=first, second=second, better=better)


def results_of(folder, pairs, rows=None):
    rows = rows or [row(n, "fidelity", "frechet_distance", v) for n, v in VALUES.items()]
    folder_of(folder, study(), rows)
    write_comparison(folder / "comparison.json", pairs)
    return collect(folder)


def board_of(results, column=FRECHET):
    return leaderboard.build(results, [column])


def test_tested_pairs_rank_what_overlapping_intervals_cannot(tmp_path):
    untested = board_of(results_of(tmp_path / "without", []))
    assert {untested.cell(n, FRECHET).mark for n in VALUES} == {""}
    results = results_of(
        tmp_path / "with",
        [
            pair("unconditional", "map", better="map"),
            pair("map", "map_crop", better="map"),
            pair("unconditional", "map_crop", p=0.4),
        ],
    )
    board = board_of(results)
    assert {n: board.cell(n, FRECHET).rank for n in VALUES} == {
        "map": 1,
        "map_crop": 2,
        "unconditional": 2,
    }
    assert board.cell("map", FRECHET).mark == "best"
    assert "`map` (1.00) leads, by more than chance" in answer.leaders(board, FRECHET)


def test_who_is_beaten_by_no_leader_leads_with_them(tmp_path):
    # map_crop beats unconditional, map beats map_crop, yet map and unconditional stay open.
    pairs = [
        pair("map", "map_crop", better="map"),
        pair("unconditional", "map_crop", better="map_crop"),
        pair("unconditional", "map", p=0.4),
    ]
    board = board_of(results_of(tmp_path, pairs))
    marks = {n: board.cell(n, FRECHET).mark for n in VALUES}
    assert marks == {"map": "shares", "map_crop": "", "unconditional": "shares"}
    assert "may be chance" in answer.leaders(board, FRECHET)


def test_pairs_of_other_numbers_than_those_shown_are_not_used(tmp_path):
    stale = [pair("map", "unconditional", better="map", protocol="older")]
    unknown = [pair("map", "unconditional", status="not_applicable", reason="too few patients")]
    for name, pairs in (("stale", stale), ("unknown", unknown)):
        results = results_of(tmp_path / name, pairs)
        board = board_of(results)
        assert not board.pairs_in(FRECHET)
        assert "as their intervals overlap" in answer.leaders(board, FRECHET)
        assert "No pairs were compared yet" in Page(render(results)).text


def test_who_was_told_of_the_features_is_in_no_sentence_on_who_leads(tmp_path):
    told = {"signals": [{"kind": "embedding", "encoder": "texture"}]}
    conditions = {"told": told, "one": {"signals": []}, "other": {"signals": []}}
    values = {"told": 0.5, "one": 1.0, "other": 1.04}
    rows = [row(name, "fidelity", "frechet_distance", value) for name, value in values.items()]
    folder_of(tmp_path, study(conditions=conditions), rows)
    pairs = [pair("told", "one", better="told"), pair("one", "other", better="one")]
    write_comparison(tmp_path / "comparison.json", pairs)  # as an older version wrote it
    results = collect(tmp_path)
    board = board_of(results)
    assert set(board.pairs_in(FRECHET)) == {frozenset(("one", "other"))}
    assert answer.leaders(board, FRECHET) == "`one` (1.00) leads, by more than chance"
    (table,) = differences.tables(zip(board.columns, board.pairs, strict=True))
    assert table.words == "`one` is better than `other`."
    assert board.cell("told", FRECHET).rank is None


def test_aucs_that_may_be_chance_are_equal_in_rank():
    def cell(low, high):
        return Cell("ok", (low + high) / 2, low, high, protocol="p1")

    cells = {"below": cell(0.3, 0.4), "about": cell(0.45, 0.55), "above": cell(0.6, 0.7)}
    ranked = leaderboard.rank(cells, higher_is_better=False, chance=0.5)
    assert {n: (c.rank, c.mark) for n, c in ranked.items()} == {
        "below": (1, "shares"),
        "about": (1, "shares"),
        "above": (3, ""),
    }
    assert (ranked["below"].ci_low, ranked["below"].ci_high) == (0.3, 0.4)  # as it was


def test_help_to_real_tiles_is_told_by_the_pair_with_real_tiles_alone(tmp_path):
    rows = [row("real", "utility", "downstream_iou", 0.5, arm="real")]
    rows += [row(n, "utility", "downstream_iou", 0.52, arm="mixed") for n in ("map", "map_crop")]
    better = {"column": MIXED, "higher_is_better": True, "difference": 0.02}
    pairs = [pair("map", "real", better="map", **better), pair("map_crop", "real", p=0.3, **better)]
    results = results_of(tmp_path, pairs, rows)
    board = board_of(results, MIXED)
    told = dict(answer.sentences(results, board))["Is it worth training on?"]
    assert "clearly better with `map`" in told
    (table,) = differences.tables(zip(board.columns, board.pairs, strict=True))
    assert table.words == "`map` is better than real tiles alone."


def test_the_page_lists_every_pair_the_surest_first(tmp_path):
    pairs = [
        pair("unconditional", "map", p=0.4, difference=0.04),
        pair("map", "map_crop", better="map", p=0.0002),
    ]
    page = Page(render(results_of(tmp_path, pairs)))
    text = " ".join(page.text.split())
    assert "`map` is better than" not in text  # names are set apart, not quoted
    assert "map is better than map_crop; 1 of 2 pairs cannot be told apart." in text
    assert text.index("map − map_crop") < text.index("unconditional − map")
    assert "< 0.001" in text and "may be chance" in text


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.00001, "< 0.001"), (0.0123, "0.012"), (0.5, "0.50"), (1, "1.00"), (float("nan"), "–")],
)
def test_p_values_are_shown_to_two_digits(value, shown):
    assert p_value(value) == shown
