"""Are the images of a folder any good: first lines of its report, made from the leaderboard."""

from __future__ import annotations

import math
from collections.abc import Sequence

from histosynth.evaluations.folders import MINUS_REAL, Scores
from histosynth.evaluations.rows import SPLIT_UNIT
from histosynth.external import REAL
from histosynth.metrics import Interval
from histosynth.report import copying
from histosynth.report.answer import leaders, listed
from histosynth.report.cells import Cell, Column
from histosynth.report.figures import fixed
from histosynth.report.leaderboard import Leaderboard

_VERDICTS = {
    "farther": "clearly farther from the real images than these are from each other.",
    "alike": "no farther from the real images than these are from each other.",
    "undecided": "cannot be told from real images with {given}, which does not show that it is "
    "like them.",
    "nearer": "nearer to the real images than these are to each other, which copies would explain.",
    "unknown": "no verdict, as a score or its interval is missing.",
}
FEW_PATIENTS = 10  # in a half: with fewer, no set is said to be alike
_DISTANCES = ("frechet_distance", "kernel_distance")


def sentences(
    scores: Scores, board: Leaderboard, verdict: copying.Verdict
) -> list[tuple[str, str]]:
    """Pairs of a verdict and the numbers behind it, one a set; which set leads; and who copies."""
    by_encoder = _distances(board)
    distances = [columns[0] for columns in by_encoder]
    told = [_one(scores, board, name, by_encoder) for name in scores.study.conditions]
    if len(told) > 1:
        words = [
            f"By {_in_text(column)} in {column.encoder} features, {leaders(board, column)}."
            for column in distances
        ]
        told.append(("Which is best?", " ".join(words)))
    if copies := copying.sentence(verdict, unseen="real images that it never saw"):
        told.append(("Do they copy?", copies))
    return told


def _distances(board: Leaderboard) -> list[list[Column]]:
    """The distances in each encoder, the one that leads first, as on the leaderboard."""
    found: dict[str, list[Column]] = {}
    for column in board.columns:
        if column.metric in _DISTANCES:
            found.setdefault(column.encoder, []).append(column)
    return list(found.values())


def _in_text(column: Column) -> str:
    """A distance's name within a sentence."""
    return column.label if column.label.startswith("Fréchet") else column.label.lower()


def _one(
    scores: Scores, board: Leaderboard, name: str, by_encoder: Sequence[list[Column]]
) -> tuple[str, str]:
    verdicts: dict[str, list[str]] = {}
    numbers = []
    few = few_patients(scores) is not None
    for columns in by_encoder:
        floor = board.cell(REAL, columns[0])
        # Where the kernel distance leads, real images lie at about 0: nothing is small beside that.
        leads = columns[0].metric == "frechet_distance"
        at_most = floor.value if floor and leads and not few else 0.0
        beyond = [_beyond(scores, name, column) for column in columns]
        verdicts.setdefault(verdict(*beyond, at_most=at_most), []).append(columns[0].encoder)
        texts = [_numbers(board, name, *pair) for pair in zip(columns, beyond, strict=True)]
        if any(texts):
            numbers.append(f"In {columns[0].encoder} features {'; '.join(filter(None, texts))}.")
    if len(verdicts) == 1:
        head = f"{name}: {_VERDICTS[next(iter(verdicts))].format(given=_given(scores))}"
    else:
        told = [f"{listed(encoders)}: {words}" for words, encoders in verdicts.items()]
        head = f"{name}: encoders disagree ({'; '.join(told)})."
    text = " ".join(numbers) or "No score."
    return head, " ".join(filter(None, (text, _variety(scores, board, name))))


def _numbers(board: Leaderboard, name: str, column: Column, beyond: Interval | None) -> str:
    """A distance beside that of real images, and the difference of the two."""
    ours, floor = board.cell(name, column), board.cell(REAL, column)
    if not (ours and floor and ours.status == floor.status == "ok"):
        return ""
    digits = board.digits[board.columns.index(column)]
    text = (
        f"the {_in_text(column)} is {_shown(ours, digits)}, against {_shown(floor, digits)} for "
        "real images"
    )
    return text if beyond is None else f"{text}, a difference of {_shown(beyond, digits)}"


def _given(scores: Scores) -> str:
    """What a verdict rests on."""
    patients = scores.sets[REAL].table["patient_id"].nunique()
    known = _patients_of_halves(scores) is not None
    return f"{scores.n} images of each set" + f" and {patients} patients" * known


def _patients_of_halves(scores: Scores) -> tuple[int, int] | None:
    """Patients of the reference and of the floor half; None where patients are unknown."""
    halves = (scores.reference.tiles, scores.floor.tiles)
    if halves[0].provenance[SPLIT_UNIT] != "patient":
        return None
    reference, floor = (tiles.table["patient_id"].nunique() for tiles in halves)
    return reference, floor


def few_patients(scores: Scores) -> tuple[int, int] | None:
    """Patients of the two halves, where one of them has fewer than `FEW_PATIENTS`."""
    counts = _patients_of_halves(scores)
    return counts if counts and min(counts) < FEW_PATIENTS else None


def _beyond(scores: Scores, name: str, column: Column) -> Interval | None:
    """How far the set lies beyond the floor, where that was computed."""
    rows = scores.rows
    rows = rows[(rows["group"] == MINUS_REAL) & (rows["condition"] == name)]
    rows = rows[(rows["encoder"] == column.encoder) & (rows["metric"] == column.metric)]
    for row in rows.itertuples():
        return Interval(row.value, row.ci_low, row.ci_high, row.se)
    return None


def verdict(*beyond: Interval | None, at_most: float = 0.0) -> str:
    """farther, nearer, alike, undecided, or unknown: how a set lies to real images.

    A set is farther where any distance lies beyond the floor for certain, nearer where the leading
    one lies below it, alike where the leading one is, at the upper end of its interval, beyond it
    by `at_most`; all else leaves the question open.

    Parameters
    ----------
    beyond : the difference to the floor in one encoder, of the distance that leads first
    """
    known = [i for i in beyond if i is not None and math.isfinite(i.ci_low + i.ci_high)]
    if not known:
        return "unknown"
    if any(interval.ci_low > 0 for interval in known):
        return "farther"
    if known[0].ci_high < 0:
        return "nearer"
    return "alike" if known[0].ci_high <= at_most else "undecided"


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
