"""Are the images of a folder any good: first lines of its report, made from the leaderboard."""

from __future__ import annotations

from histosynth.evaluations.folders import Scores
from histosynth.external import REAL
from histosynth.report.answer import leaders
from histosynth.report.cells import Cell, Column
from histosynth.report.figures import fixed
from histosynth.report.leaderboard import Leaderboard, separated_better

_VERDICTS = {
    "farther": "clearly farther from the real images than these are from each other.",
    "alike": "no farther from the real images than these are from each other, as far as so many "
    "images can tell.",
    "nearer": "nearer to the real images than these are to each other, which copies would explain.",
    "unknown": "not to be told apart from real or not, as a score or an interval is missing.",
}


def sentences(scores: Scores, board: Leaderboard) -> list[tuple[str, str]]:
    """Pairs of a verdict and the numbers behind it, one a set; then which set leads."""
    distances = [column for column in board.columns if column.metric == "frechet_distance"]
    told = [_one(scores, board, name, distances) for name in scores.study.conditions]
    if len(told) > 1:
        words = [
            f"By Fréchet distance in {column.encoder} features, {leaders(board, column)}."
            for column in distances
        ]
        told.append(("Which is best?", " ".join(words)))
    return told


def _one(scores: Scores, board: Leaderboard, name: str, distances: list[Column]) -> tuple[str, str]:
    verdicts: dict[str, list[str]] = {}
    numbers = []
    for column in distances:
        ours, floor = board.cell(name, column), board.cell(REAL, column)
        assert ours is not None and floor is not None
        verdicts.setdefault(verdict(ours, floor), []).append(column.encoder)
        if ours.status == floor.status == "ok":
            digits = board.digits[board.columns.index(column)]
            numbers.append(
                f"{_shown(ours, digits)} in {column.encoder} features, against "
                f"{_shown(floor, digits)} for real images"
            )
    if len(verdicts) == 1:
        head = f"{name}: {_VERDICTS[next(iter(verdicts))]}"
    else:
        parts = [f"{' and '.join(e)} say {_SHORT[v]}" for v, e in verdicts.items()]
        head = f"{name}: encoders disagree ({'; '.join(parts)})."
    text = f"Fréchet distance {'; '.join(numbers)}." if numbers else "No score."
    return head, " ".join(filter(None, (text, _variety(scores, board, name))))


_SHORT = {"farther": "farther", "alike": "alike", "nearer": "nearer", "unknown": "unknown"}


def verdict(ours: Cell, floor: Cell) -> str:
    """farther, alike or nearer by their intervals; unknown where one is missing."""
    if not (ours.status == floor.status == "ok" and ours.has_interval and floor.has_interval):
        return "unknown"
    if separated_better(floor, ours, higher_is_better=False):
        return "farther"
    return "nearer" if separated_better(ours, floor, higher_is_better=False) else "alike"


def _shown(cell: Cell, digits: int) -> str:
    text = fixed(cell.value, digits)
    if cell.has_interval:
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
