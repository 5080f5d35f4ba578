"""Conditions that differ in where their crops come from, side by side.

With crops of the very tile to be made, pixels are handed over. How much better such a condition
scores than its twin with crops of other slides is what those pixels bring, not the generator.
Crops of the same slide hand over its stain; crops of another class say what a generator believes
where map and crop contradict each other.

Where a study has no twins, conditions stand side by side that also differ in whose crops they were
trained with, or in being told the crops' colour; the table says so.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from histosynth.config import Study
from histosynth.report import tables
from histosynth.report.cells import Cell, Column, fill
from histosynth.report.collect import SOURCE_WORDS, Results
from histosynth.report.figures import digits
from histosynth.report.leaderboard import letter_protocols, main_columns
from histosynth.report.privacy import COPIES, PIXELS

_NEAREST = ("memorized_share_1pct", "memorized_share_01pct", "nearest_train_auc")
_SHUFFLED = ("copied_inside", "copied_outside")


@dataclass(frozen=True)
class Twin:
    """A condition with crops.

    Attributes
    ----------
    source : where its crops come from
    ways : how else it may differ from a near twin, in words
    rest : all else that it is made of
    """

    name: str
    source: str
    ways: tuple[str, ...]
    rest: str


@dataclass(frozen=True)
class Line:
    """One score of all conditions of a table."""

    label: str
    cells: tuple[Cell, ...]

    @property
    def digits(self) -> int:
        return digits(cell.value for cell in self.cells)


@dataclass(frozen=True)
class SideBySide:
    """Scores down, conditions across: (what the lines share, lines) by group."""

    caption: str
    note: str
    heads: tuple[tuple[str, str], ...]
    groups: tuple[tuple[str, tuple[Line, ...]], ...]


def twins(study: Study) -> list[list[Twin]]:
    """Groups of conditions whose crops come from two sources or more.

    Those alike in all else; where there are none, those that also differ in the crops they were
    trained with and in being told the crops' colour.
    """
    found = [twin for name in study.conditions if (twin := _twin(study, name))]
    groups = []
    for near in _alike(found, key=lambda twin: twin.rest):
        exact = _alike(near, key=lambda twin: twin.ways)
        groups += exact or [near]
    return groups


def _alike(found: Iterable[Twin], *, key: Any) -> list[list[Twin]]:
    """Twins of one key, in the order of their sources, where these are two or more."""
    groups: dict[Any, list[Twin]] = {}
    for twin in found:
        groups.setdefault(key(twin), []).append(twin)
    order = list(SOURCE_WORDS)
    return [
        sorted(group, key=lambda twin: order.index(twin.source))
        for group in groups.values()
        if len({twin.source for twin in group}) > 1
    ]


def _twin(study: Study, name: str) -> Twin | None:
    """The condition as one of a pair; None without crops."""
    condition = study.conditions[name]
    crops: list[tuple[str, str | None, dict[str, Any]]] = []
    colours: list[tuple[str, str | None, dict[str, Any]]] = []
    rest = []
    for signal in condition.signals or []:
        options = dict(signal.options)
        if signal.kind in ("crop", "crop_color"):
            whose = options.pop("source", ""), options.pop("training_source", None)
            (crops if signal.kind == "crop" else colours).append((*whose, options))
            if signal.kind == "crop_color":
                continue
        rest.append((signal.kind, sorted((key, str(value)) for key, value in options.items())))
    if len(crops) != 1 or crops[0][0] not in SOURCE_WORDS:
        return None
    ((source, trained, options),) = crops
    ways = []
    if trained not in (None, source):
        ways.append(f"was trained with crops of {SOURCE_WORDS.get(trained, trained)}")
    for own, own_trained, own_options in colours:
        words = "was told the mean colour of its crops"
        if own != source:
            words += f", of crops from {SOURCE_WORDS.get(own, own)}"
        if (own_trained or own) != (trained or source):
            words += f", in training from {SOURCE_WORDS.get(own_trained or own)}"
        if own_options != options:
            words += f", cut with {own_options or 'other options'}"
        ways.append(words)
    other = study.guidance_of(name)[0], condition.init_from, condition.steps
    return Twin(name, source, tuple(ways), str((sorted(rest), *map(str, other))))


def difference_words(group: list[Twin]) -> str:
    """What else than the source of the crops sets the conditions apart; "" for twins."""
    if len({twin.ways for twin in group}) == 1:
        return ""
    none = "was neither" if any(len(twin.ways) > 1 for twin in group) else "was not"
    told = "; ".join(
        f"{twin.name} {' and '.join(twin.ways) if twin.ways else none}"
        for twin in sorted(group, key=lambda twin: not twin.ways)
    )
    return (
        f"These are no twins: {told}. So what sets them apart need not be the source of the crops "
        "alone."
    )


def crop_tables(results: Results) -> list[SideBySide]:
    """The scores of each group of twins, and of real tiles beside them."""
    return [_table(results, group) for group in twins(results.study)]


def _table(results: Results, group: list[Twin]) -> SideBySide:
    names = [*(twin.name for twin in group), "real"]

    def line(label: str, column: Column, *, control: str = "") -> Line:
        cells = {name: fill(results, name + control * (name != "real"), column) for name in names}
        return Line(label, tuple(letter_protocols(cells).values()))

    main = main_columns(results)
    usual: dict[str, list[Line]] = {}
    for column in main:
        if column.group != "memorization":
            label = f"{tables.arrow(column.metric)} {tables.ARM_WORDS.get(column.arm, column.arm)}"
            usual.setdefault(column.heading, []).append(line(label.strip(), column))
    first = dict.fromkeys(c.heading for c in main if c.group == "fidelity")
    fidelity = {heading: usual.pop(heading) for heading in first}
    copied = []
    for metric in COPIES:
        column = Column("memorization", metric)
        copied.append(line(tables.arrow(metric), column))
        if metric in _SHUFFLED:
            copied.append(line(f"{column.label}, shuffled", column, control="~shuffled"))
    nearest = {
        f"Nearest training tile in {'pixels' if space == PIXELS else f'{space} features'}": [
            line(tables.arrow(metric), Column("memorization", metric, space)) for metric in _NEAREST
        ]
        for space in (*results.study.evaluation.encoders, PIXELS)
    }
    groups = {
        "Images": [Line("scored", tuple(_count(results, name) for name in names))],
        **fidelity,
        "Copy-through of crops": copied,
        **nearest,
        **usual,
    }
    return SideBySide(
        "What crops bring, by where they come from",
        difference_words(group),
        tuple((twin.name, SOURCE_WORDS[twin.source]) for twin in group) + (("real", ""),),
        tuple((heading, told) for heading, lines in groups.items() if (told := _told(lines))),
    )


def _told(lines: list[Line]) -> tuple[Line, ...]:
    """The lines that any condition has a score in, or should have."""
    return tuple(
        line for line in lines if any(cell.status != "not_applicable" for cell in line.cells)
    )


def _count(results: Results, name: str) -> Cell:
    """How many images of a condition are scored for fidelity."""
    for column in main_columns(results):
        cell = fill(results, name, column)
        if column.group == "fidelity" and cell.status == "ok" and cell.n_synthetic is not None:
            return Cell("ok", value=float(cell.n_synthetic))
    return Cell("missing", reason=f"{name} has no score of fidelity")
