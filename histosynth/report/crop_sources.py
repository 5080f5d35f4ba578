"""Conditions that differ only in where their crops come from, side by side.

With crops of the very tile to be made, pixels are handed over. How much better such a condition
scores than its twin with crops of other slides is what those pixels bring, not the generator.
Crops of the same slide hand over its stain; crops of another class say what a generator believes
where map and crop contradict each other.
"""

from __future__ import annotations

from typing import Any

from histosynth.config import Study
from histosynth.report import tables
from histosynth.report.cells import fill
from histosynth.report.collect import SOURCE_WORDS, Results
from histosynth.report.leaderboard import main_columns
from histosynth.settings import Condition
from histosynth.settings_base import GuidanceScale


def twins(study: Study) -> list[dict[str, str]]:
    """Groups of two or more conditions that are alike in all else: source of crops -> condition."""
    groups: dict[tuple[Any, ...], dict[str, str]] = {}
    for name, condition in study.conditions.items():
        source, rest = _split(condition, study.guidance_of(name)[0])
        if source in SOURCE_WORDS:
            groups.setdefault(rest, {})[source] = name
    order = list(SOURCE_WORDS)
    return [
        dict(sorted(group.items(), key=lambda item: order.index(item[0])))
        for group in groups.values()
        if len(group) > 1
    ]


def _split(condition: Condition, guidance: GuidanceScale) -> tuple[str | None, tuple[Any, ...]]:
    """Where its crops come from, if it has any, and all else that it is made of."""
    source, rest = None, []
    for signal in condition.signals or []:
        options = dict(signal.options)
        if signal.kind == "crop":
            source = str(options.pop("source", ""))
        rest.append((signal.kind, sorted((key, str(value)) for key, value in options.items())))
    return source, (str(sorted(rest)), str(guidance))


def crop_tables(results: Results) -> list[tables.ScoreTable]:
    """The leaderboard's scores of each pair of twins, and of real tiles below them."""
    columns = main_columns(results)
    heads = tuple(
        " ".join(filter(None, (tables.arrow(c.metric), c.encoder, c.arm))) for c in columns
    )
    made = []
    for group in twins(results.study):
        lines = [
            (f"{name}: {SOURCE_WORDS[source]}", "", tuple(fill(results, name, c) for c in columns))
            for source, name in group.items()
        ]
        lines.append(("real", "", tuple(fill(results, "real", c) for c in columns)))
        caption = "What crops bring, by where they come from"
        made.append(tables.lettered(caption, heads, lines))
    return made
