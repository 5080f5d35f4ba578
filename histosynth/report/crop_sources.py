"""Conditions that differ only in where their crops come from, side by side.

With crops of the very tile to be made, pixels are handed over. How much better such a condition
scores than its twin with crops of other slides is what those pixels bring, not the generator.
"""

from __future__ import annotations

from typing import Any

from histosynth.config import Study
from histosynth.report import tables
from histosynth.report.cells import fill
from histosynth.report.collect import Results
from histosynth.report.leaderboard import main_columns
from histosynth.settings import Condition

_WORDS = {"other_slide": "other slides", "same_image": "the very tile"}


def twins(study: Study) -> list[tuple[str, str]]:
    """(crops of other slides, crops of the very tile): conditions alike in all else."""
    found: dict[str, dict[tuple[Any, ...], str]] = {source: {} for source in _WORDS}
    for name, condition in study.conditions.items():
        source, rest = _split(condition)
        if source in found:
            found[source][rest] = name
    other, same = found["other_slide"], found["same_image"]
    return [(name, same[rest]) for rest, name in other.items() if rest in same]


def _split(condition: Condition) -> tuple[str | None, tuple[Any, ...]]:
    """Where its crops come from, if it has any, and all else that it is made of."""
    source, rest = None, []
    for signal in condition.signals or []:
        options = dict(signal.options)
        if signal.kind == "crop":
            source = str(options.pop("source", "other_slide"))
        rest.append((signal.kind, sorted((key, str(value)) for key, value in options.items())))
    return source, (str(sorted(rest)), str(condition.guidance_scale))


def crop_tables(results: Results) -> list[tables.ScoreTable]:
    """The leaderboard's scores of each pair of twins, and of real tiles below them."""
    columns = main_columns(results)
    heads = tuple(
        " ".join(filter(None, (tables.arrow(c.metric), c.encoder, c.arm))) for c in columns
    )
    made = []
    for pair in twins(results.study):
        lines = [
            (f"{name}: {_WORDS[source]}", "", tuple(fill(results, name, c) for c in columns))
            for name, source in zip(pair, _WORDS, strict=True)
        ]
        lines.append(("real", "", tuple(fill(results, "real", c) for c in columns)))
        caption = "What crops of the very tile bring, against crops of other slides"
        made.append(tables.lettered(caption, heads, lines))
    return made
