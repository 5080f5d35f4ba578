"""Fidelity by subset: a row a label, tissue class, site or cluster, a column a condition.

The kernel distance leads, with intervals and marks; the other scores follow without, and greyed
where they are mostly bias.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from histosynth.evaluations.fidelity import FIDELITY_METRICS
from histosynth.grid import Grid
from histosynth.report import figures
from histosynth.report.cells import Cell, of_row, over_seeds
from histosynth.report.collect import Results
from histosynth.report.glossary import metric
from histosynth.report.leaderboard import letter_protocols, not_independent, rank
from histosynth.report.tables import arrow, everyone

LEADING = "kernel_distance"
KIND_WORDS = {
    "label": "By label",
    "class": "By tissue class, the one with the largest share of the tile",
    "site": "By site",
    "cluster": "By morphology type (cluster)",
}
MANY = 12  # of more subsets of a kind, those that nobody is scored on are only counted

_Cells = dict[tuple[str, str, str], Cell]  # (metric, subset, condition)


@dataclass(frozen=True)
class SubsetLine:
    """One subset: its name, its real tiles, the cell of every condition, and why it is greyed."""

    name: str
    n_real: int | None
    cells: tuple[Cell, ...]
    greyed: tuple[str, ...]


@dataclass(frozen=True)
class SubsetGroup:
    """The subsets of one kind; `left_out` counts those that nobody is scored on."""

    words: str
    lines: tuple[SubsetLine, ...]
    left_out: int


@dataclass(frozen=True)
class SubsetTable:
    """One score in one encoder's features; `heads` are the conditions."""

    caption: str
    heads: tuple[str, ...]
    groups: tuple[SubsetGroup, ...]

    @property
    def digits(self) -> tuple[int, ...]:
        """Decimals of each column."""
        lines = [line.cells for group in self.groups for line in group.lines]
        return tuple(figures.digits(c.value for c in column) for column in zip(*lines, strict=True))


@dataclass(frozen=True)
class EncoderSubsets:
    """All tables of one encoder."""

    encoder: str
    leading: SubsetTable
    others: tuple[SubsetTable, ...]


def tables_of(results: Results) -> list[EncoderSubsets]:
    """The tables of each encoder that has any score by subset."""
    return [
        made
        for encoder in results.study.evaluation.encoders
        if (made := _of_encoder(results, encoder)) is not None
    ]


def _of_encoder(results: Results, encoder: str) -> EncoderSubsets | None:
    cells, subsets = _cells(results, encoder)
    if not subsets:
        return None
    leading = _table(results, cells, subsets, LEADING, encoder)
    found = {name for name, _, _ in cells} - {LEADING}
    others = [_table(results, cells, subsets, n, encoder) for n in FIDELITY_METRICS if n in found]
    return EncoderSubsets(encoder, leading, tuple(table for table in others if table.groups))


def _cells(results: Results, encoder: str) -> tuple[_Cells, list[str]]:
    """Every cell over its seeds, and the subsets by kind, in the order of the rows."""
    rows = results.rows
    rows = rows[(rows["group"] == "fidelity") & (rows["encoder"] == encoder)]
    rows = rows[rows["subset"] != "all"]
    by_seed: dict[tuple[str, str, str], dict[int, Cell]] = {}
    counts: dict[tuple[str, str, str], tuple[int, int]] = {}
    for row in rows.to_dict("records"):
        key = (str(row["metric"]), str(row["subset"]), str(row["condition"]))
        by_seed.setdefault(key, {})[row["seed"]] = of_row(row, results.split_unit)
        counts[key] = (int(row["n_real"]), int(row["n_synthetic"]))
    cells = {}
    for key, seeds in by_seed.items():
        cell = over_seeds(seeds)
        n_real, n_synthetic = counts[key]
        cells[key] = replace(cell, n_real=n_real, n_synthetic=n_synthetic)
    found = dict.fromkeys(subset for _, subset, _ in cells)
    return cells, [s for kind in KIND_WORDS for s in found if s.startswith(f"{kind}=")]


def _table(
    results: Results, cells: _Cells, subsets: list[str], name: str, encoder: str
) -> SubsetTable:
    known = {condition for _, _, condition in cells}
    people = [person for person in everyone(results, shuffled=False) if person in known]
    told = Grid(results.study).told_of(encoder)
    ranked = [c.name for c in results.conditions if not c.apart and c.name not in told]
    groups = []
    for kind, words in KIND_WORDS.items():
        lines = []
        for subset in (s for s in subsets if s.startswith(f"{kind}=")):
            line = {person: _cell(cells, name, subset, person) for person in people}
            line = letter_protocols(line)
            line |= {n: not_independent(line[n]) for n in told & set(line)}
            if name == LEADING:
                contestants = {n: line[n] for n in ranked if n in line}
                line |= rank(contestants, metric(name).higher_is_better)
            greyed = tuple(_greyed(results, name, cell) for cell in line.values())
            lines.append(_line(subset.removeprefix(f"{kind}="), line.values(), greyed))
        all_shown = name == LEADING and len(lines) <= MANY
        shown = lines if all_shown else [line for line in lines if _scored(line)]
        if any(_scored(line) for line in lines):
            groups.append(SubsetGroup(words, tuple(shown), len(lines) - len(shown)))
    return SubsetTable(arrow(name), tuple(people), tuple(groups))


def _cell(cells: _Cells, name: str, subset: str, person: str) -> Cell:
    """A score's cell; where only the leading score has a row, it says why there is none."""
    found = cells.get((name, subset, person))
    if found is None:
        leading = cells.get((LEADING, subset, person))
        found = leading if leading is not None and leading.status != "ok" else None
    return found or Cell("not_applicable", reason=f"{person} has no such score")


def _greyed(results: Results, name: str, cell: Cell) -> str:
    """Why a number is mostly bias; empty where it is not."""
    width = results.protocols.get(cell.protocol, {}).get("features")
    if name != "frechet_distance" or cell.status != "ok" or not width:
        return ""
    n = min(cell.n_real or 0, cell.n_synthetic or 0)
    return f"mostly bias: {n} tiles for {width} features" if 0 < n < width else ""


def _line(name: str, cells: Iterable[Cell], greyed: tuple[str, ...]) -> SubsetLine:
    cells = tuple(cells)
    counts = [cell.n_real for cell in cells if cell.n_real is not None]
    return SubsetLine(name, max(counts, default=None), cells, greyed)


def _scored(line: SubsetLine) -> bool:
    return any(cell.status == "ok" for cell in line.cells)
