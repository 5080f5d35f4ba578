"""Are the images of a folder any good: first lines of its report, made from the leaderboard."""

from __future__ import annotations

import math

from histosynth.evaluations.folders import MINUS_REAL, Scores
from histosynth.external import REAL
from histosynth.metrics import Interval
from histosynth.report import privacy
from histosynth.report.answer import leaders, listed
from histosynth.report.cells import Cell, Column
from histosynth.report.figures import fixed
from histosynth.report.leaderboard import Leaderboard

_VERDICTS = {
    "farther": "clearly farther from the real images than these are from each other.",
    "alike": "no farther from the real images than these are from each other, as far as {n} "
    "images can tell.",
    "nearer": "nearer to the real images than these are to each other, which copies would explain.",
    "unknown": "no verdict, as a score or its interval is missing.",
}


def sentences(scores: Scores, board: Leaderboard) -> list[tuple[str, str]]:
    """Pairs of a verdict and the numbers behind it, one a set; which set leads; and who copies."""
    distances = [column for column in board.columns if column.metric == "frechet_distance"]
    told = [_one(scores, board, name, distances) for name in scores.study.conditions]
    if len(told) > 1:
        words = [
            f"By Fréchet distance in {column.encoder} features, {leaders(board, column)}."
            for column in distances
        ]
        told.append(("Which is best?", " ".join(words)))
    if copies := privacy.sentence(board, unseen="real images that it never saw"):
        told.append(("Do they copy?", copies))
    return told


def _one(scores: Scores, board: Leaderboard, name: str, distances: list[Column]) -> tuple[str, str]:
    verdicts: dict[str, list[str]] = {}
    numbers = []
    for column in distances:
        ours, floor = board.cell(name, column), board.cell(REAL, column)
        beyond = _beyond(scores, name, column)
        verdicts.setdefault(verdict(beyond), []).append(column.encoder)
        if ours and floor and ours.status == floor.status == "ok":
            digits = board.digits[board.columns.index(column)]
            text = (
                f"{_shown(ours, digits)} in {column.encoder} features, against "
                f"{_shown(floor, digits)} for real images"
            )
            if beyond is not None:
                text += f", a difference of {_shown(beyond, digits)}"
            numbers.append(text)
    if len(verdicts) == 1:
        head = f"{name}: {_VERDICTS[next(iter(verdicts))].format(n=scores.n)}"
    else:
        told = [f"{listed(encoders)}: {words}" for words, encoders in verdicts.items()]
        head = f"{name}: encoders disagree ({'; '.join(told)})."
    text = f"Fréchet distance {'; '.join(numbers)}." if numbers else "No score."
    return head, " ".join(filter(None, (text, _variety(scores, board, name))))


def _beyond(scores: Scores, name: str, column: Column) -> Interval | None:
    """How far the set lies beyond the floor, where that was computed."""
    rows = scores.rows
    rows = rows[(rows["group"] == MINUS_REAL) & (rows["condition"] == name)]
    rows = rows[(rows["encoder"] == column.encoder) & (rows["metric"] == column.metric)]
    for row in rows.itertuples():
        return Interval(row.value, row.ci_low, row.ci_high, row.se)
    return None


def verdict(beyond: Interval | None) -> str:
    """farther, alike or nearer, by the interval of the difference to the floor, or unknown."""
    if beyond is None or not math.isfinite(beyond.ci_low + beyond.ci_high):
        return "unknown"
    if beyond.ci_low > 0:
        return "farther"
    return "nearer" if beyond.ci_high < 0 else "alike"


def _shown(cell: Cell | Interval, digits: int) -> str:
    text = fixed(cell.value, digits)
    if math.isfinite(cell.ci_low):
        text += f" [{fixed(cell.ci_low, digits)}, {fixed(cell.ci_high, digits)}]"
    return text


def _variety(scores: Scores, board: Leaderboard, name: str) -> str:
    """Precision and recall in words, beside those of real images."""
    cells = {}
    for metric in ("precision", "recall"):
        column = next(c for c in board.columns if c.metric == metric)
        for who in (name, REAL):
            cell = board.cell(who, column)
            if cell is None or cell.status != "ok":
                return ""
            cells[who, metric] = f"{cell.value:.0%}"
    return (
        f"{cells[name, 'precision']} of its images fall among real ones (of real images: "
        f"{cells[REAL, 'precision']}), and {cells[name, 'recall']} of the real variety is reached "
        f"(by real images: {cells[REAL, 'recall']})."
    )
