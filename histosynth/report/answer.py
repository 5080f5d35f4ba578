"""The answer in plain language, put together from the leaderboard: what leads, what ties, what failed."""

from __future__ import annotations

import pandas as pd

from histosynth.report.collect import Results
from histosynth.report.figures import number
from histosynth.report.glossary import metric
from histosynth.report.leaderboard import Cell, Column, Leaderboard, Line


def sentences(results: Results, board: Leaderboard) -> list[str]:
    """A few sentences for a reader who reads nothing else; no claim goes beyond the intervals."""
    told = [_compared(results)]
    told += [s for s in (_fidelity(board), _adherence(board), _utility(board)) if s]
    told += _apart(board)
    told.append(_troubles(board))
    return told


def _compared(results: Results) -> str:
    count = len(results.conditions)
    seeds = len(results.study.seeds)
    text = f"{count} way{_s(count)} of conditioning the generator {_were(count)} compared"
    test = next((s for s in results.splits if s.split == "test"), None)
    if test:
        text += (
            f" against {test.tiles} real tiles of {test.patients} test patient{_s(test.patients)}"
        )
    trained = f", each trained with {seeds} seeds" if seeds > 1 else ""
    return f"{text}{trained}."


def _s(count: int) -> str:
    return "" if count == 1 else "s"


def _were(count: int) -> str:
    return "was" if count == 1 else "were"


def listed(names: list[str]) -> str:
    """a, b and c"""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _ranked(board: Leaderboard, column: Column) -> dict[str, Cell]:
    at = board.columns.index(column)
    return {
        line.name: line.cells[at] for line in board.of_kind("ranked") if line.cells[at].status == "ok"
    }


def leaders(board: Leaderboard, column: Column) -> str:
    """Who leads one column, or why nobody does."""
    cells = _ranked(board, column)
    name = metric(column.metric).label
    if not cells:
        return f"no condition has a {name} yet"
    if len(cells) == 1:
        only, cell = next(iter(cells.items()))
        return f"only {only} has one ({number(cell.shown)}), so there is nothing to rank"
    if len({cell.protocol for cell in cells.values()}) > 1:
        return "the scores follow different protocols, so they are not ranked together"
    marked = [n for n, cell in cells.items() if cell.mark]
    if not marked:
        if not any(cell.has_interval for cell in cells.values()):
            return f"no intervals are given for {listed(list(cells))}, so they are not ranked"
        return f"no ranking: the intervals of {listed(list(cells))} do not separate them"
    if len(marked) == 1:
        return f"{marked[0]} leads ({number(cells[marked[0]].shown)}), its interval clear of the rest"
    values = [f"{n} ({number(cells[n].shown)})" for n in marked]
    return f"{listed(values)} lead together, as their intervals overlap"


def _reference(board: Leaderboard, name: str, column: Column) -> str:
    cell = board.cell(name, column)
    return number(cell.value) if cell is not None and cell.status == "ok" else ""


def _fidelity(board: Leaderboard) -> str:
    columns = [c for c in board.columns if c.metric == "frechet_distance"]
    parts = []
    for column in columns:
        real = _reference(board, "real", column)
        beside = f" (real tissue itself: {real})" if real else ""
        parts.append(f"in {column.encoder} features {leaders(board, column)}{beside}")
    return f"Looking like real tissue (Fréchet distance): {'; '.join(parts)}." if parts else ""


def _adherence(board: Leaderboard) -> str:
    words = {"map_iou_ratio": "the map", "label_accuracy_ratio": "the label"}
    parts = [
        f"for {words[c.metric]}, {leaders(board, c)}" for c in board.columns if c.metric in words
    ]
    if not parts:
        return ""
    return f"Obeying the request, as a share of what real tissue scores: {'; '.join(parts)}."


def _utility(board: Leaderboard) -> str:
    parts = []
    for column in (c for c in board.columns if c.minus_real and c.arm == "synthetic"):
        real = _reference(board, "real", column)
        beside = f", against {real} when trained on real tiles" if real else ""
        best = _best_value(_ranked(board, column))
        name = metric(column.metric).label
        if best:
            parts.append(
                f"the highest {name} without any real tile is {number(best[1].value)} "
                f"({best[0]}){beside}; {_told_apart(board, column)}"
            )
    return f"Training on it: {'; '.join(parts)}." if parts else ""


def _best_value(cells: dict[str, Cell]) -> tuple[str, Cell] | None:
    return max(cells.items(), key=lambda item: item[1].value) if cells else None


def _told_apart(board: Leaderboard, column: Column) -> str:
    cells = _ranked(board, column)
    marked = [n for n, cell in cells.items() if cell.mark]
    if len(cells) < 2:
        return "nothing else to compare it with"
    if len(marked) == 1:
        return "its interval is clear of the others"
    if marked:
        return f"{listed(marked)} cannot be told apart"
    return "the conditions cannot be told apart by their intervals"


def _apart(board: Leaderboard) -> list[str]:
    names = [line.name for line in board.of_kind("apart")]
    if not names:
        return []
    verb = "is" if len(names) == 1 else "are"
    return [f"{listed(names)} {verb} shown apart: the generator sees pixels of the very tile."]


def troubles(board: Leaderboard) -> dict[str, list[tuple[Line, Column, Cell]]]:
    """Cells without a number, by status, references included."""
    found: dict[str, list[tuple[Line, Column, Cell]]] = {}
    for line in board.lines:
        for column, cell in zip(board.columns, line.cells, strict=True):
            if cell.status != "ok":
                found.setdefault(cell.status, []).append((line, column, cell))
    return found


def _troubles(board: Leaderboard) -> str:
    found = troubles(board)
    failed, missing = len(found.get("failed", [])), len(found.get("missing", []))
    partial = sum(
        bool(c.reason) and c.status == "ok" and not pd.isna(c.value)
        for line in board.lines
        for c in line.cells
    )
    if not (failed or missing or partial):
        return "Every score that applies was computed."
    counts = [
        f"{count} {word}"
        for count, word in ((failed, "failed"), (missing, "missing"), (partial, "incomplete"))
        if count
    ]
    return f"Of the scores below, {listed(counts)}; the reasons are listed under the table."
