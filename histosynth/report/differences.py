"""Which differences are real: pairs of conditions, as the comparison of the study found them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from histosynth.evaluations.comparison import REAL, Comparison
from histosynth.report import figures
from histosynth.report.cells import Cell, Column
from histosynth.report.collect import Results

if TYPE_CHECKING:
    from histosynth.report.leaderboard import Leaderboard

Pairs = Mapping[frozenset[str], Comparison]


@dataclass(frozen=True)
class DifferenceTable:
    """Every pair of one score; `words` say what follows, condition names in backticks."""

    column: Column
    words: str
    pairs: tuple[Comparison, ...]
    digits: int

    @property
    def several_seeds(self) -> bool:
        return any(not math.isnan(pair.seed_sd) for pair in self.pairs)


@dataclass(frozen=True)
class SeedLine:
    """One condition's score over training seeds."""

    column: Column
    condition: str
    cell: Cell
    digits: int


def pairs_of(results: Results, column: Column, cells: Mapping[str, Cell]) -> Pairs:
    """Tested pairs of a column, as far as they are about the very numbers in its cells."""
    place = (column.group, column.metric, column.encoder, column.arm)

    def is_shown(pair: Comparison) -> bool:
        shown = [cells.get(name) for name in (pair.first, pair.second)]
        return all(c is not None and c.protocol == pair.protocol for c in shown)

    return {
        frozenset((pair.first, pair.second)): pair
        for pair in results.comparisons
        if (pair.group, pair.metric, pair.encoder, pair.arm) == place
        and pair.status == "ok"
        and is_shown(pair)
    }


def tables(columns: Iterable[tuple[Column, Pairs]]) -> list[DifferenceTable]:
    """One table a column that has tested pairs, the surest differences first."""
    made = []
    for column, pairs in columns:
        if not pairs:
            continue
        rows = sorted(pairs.values(), key=lambda pair: (pair.p_holm, pair.p))
        digits = figures.digits(pair.difference for pair in rows)
        made.append(DifferenceTable(column, words(rows), tuple(rows), digits))
    return made


def words(pairs: Iterable[Comparison]) -> str:
    """What the pairs of one score say, in a sentence or two."""
    pairs = list(pairs)
    among = [pair for pair in pairs if REAL not in (pair.first, pair.second)]
    against = [pair for pair in pairs if REAL in (pair.first, pair.second)]
    told = []
    if among:
        told += _who_beats_whom(among)
        open_pairs = sum(not pair.better for pair in among)
        if open_pairs == len(among):
            several = f"none of the {len(among)} differences" if len(among) > 1 else "no difference"
            told.append(f"{several} between them is more than chance")
        elif open_pairs:
            told.append(f"{open_pairs} of {len(among)} pairs cannot be told apart")
    for how, better in (("better", True), ("worse", False)):
        names = [
            pair.first for pair in against if pair.better and (pair.better == pair.first) == better
        ]
        if names:
            verb = "is" if len(names) == 1 else "are"
            told.append(f"{_listed(names)} {verb} {how} than real tiles alone")
    if against and not any(pair.better for pair in against):
        told.append("no condition differs from real tiles alone by more than chance")
    text = "; ".join(told)
    return f"{text[:1].upper()}{text[1:]}." if text else ""


def _who_beats_whom(pairs: list[Comparison]) -> list[str]:
    """One clause for all conditions that are better than the same others."""
    names = list(dict.fromkeys(name for pair in pairs for name in (pair.first, pair.second)))
    losers: dict[str, set[str]] = {name: set() for name in names}
    for pair in pairs:
        if pair.better:
            losers[pair.better] |= {pair.first, pair.second} - {pair.better}
    winners: dict[tuple[str, ...], list[str]] = {}
    for name in names:
        if losers[name]:
            beaten = tuple(n for n in names if n in losers[name])
            winners.setdefault(beaten, []).append(name)
    return [
        f"{_listed(who)} {'is' if len(who) == 1 else 'are'} better than {_listed(list(beaten))}"
        for beaten, who in sorted(winners.items(), key=lambda item: -len(item[0]))
    ]


def seed_lines(board: Leaderboard) -> list[SeedLine]:
    """Mean, spread over training seeds and sampling error of the leaderboard's scores."""
    lines = [line for line in board.lines if line.kind != "reference"]
    return [
        SeedLine(column, line.name, line.cells[at], board.digits[at])
        for at, column in enumerate(board.columns)
        for line in lines
        if len(line.cells[at].seed_values) > 1
    ]


def _listed(names: list[str]) -> str:
    marked = [f"`{name}`" for name in names]
    return marked[0] if len(marked) == 1 else f"{', '.join(marked[:-1])} and {marked[-1]}"
