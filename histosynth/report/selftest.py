"""The self-test's page: which scores can be trusted, and with what, on given tiles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from histosynth.report import pages
from histosynth.report.figures import number
from histosynth.report.pictures import tile_uri
from histosynth.selftest.leaks import DRAWS
from histosynth.selftest.score import Score
from histosynth.selftest.table import SEEN, Reaction, Result
from histosynth.selftest.words import (
    KIND_WORDS,
    LEGEND,
    LIMITS_HEAD,
    MARKS,
    UNMET_HEAD,
    blind_words,
    change_words,
    falling_back,
    hard_to_see,
    limits,
    summary_words,
    trusts,
    unmet,
)

_VERDICT_CLASSES = {
    "sees": "sees",
    "misses": "misses",
    "wrong way": "moved",
    "is moved": "moved",
    "off": "moved",
    "rewarded": "moved",
}
_CLAIM_WORDS = {
    "worse": "must get worse",
    "still": "must keep still",
    "best": "must be at its best",
    "": "nothing is claimed",
}


@dataclass(frozen=True)
class Cell:
    """A reaction, ready to be shown."""

    change: str
    value: str
    mark: str
    css: str
    title: str
    verdict: str
    seen: bool


@dataclass(frozen=True)
class Line:
    """A case with its reactions, one a score."""

    head: str
    note: str
    cells: tuple[Cell, ...]


def render_selftest(
    result: Result,
    *,
    about: str,
    encoder: str,
    failures: Sequence[Reaction] = (),
    provenance: pages.Provenance | None = None,
) -> str:
    """The page as HTML, with everything in it.

    Parameters
    ----------
    about : whose tiles these are, in words
    failures : reactions that broke a claim, and would not on the phantom
    """
    return _template().render(
        result=result,
        about=about,
        encoder=encoder,
        problem="",
        failures=[_failure_words(r, result.scores) for r in failures],
        summary=summary_words(result),
        hard=hard_to_see(result),
        trusts=trusts(result),
        blind=blind_words(result),
        draws=DRAWS,
        reasons=[
            (UNMET_HEAD, unmet(result)),
            (LIMITS_HEAD, limits(result)),
        ],
        back=falling_back(result),
        spans=_spans(result.scores),
        clean=[number(result.clean[s.name].value) for s in result.scores],
        headline=_groups(result, strongest=True),
        doses=_groups(result, strongest=False),
        strips=[
            (name, [tile_uri(image) for image in images])
            for name, images in result.examples.items()
        ],
        kinds="; ".join(words[0].lower() + words[1:] for words in KIND_WORDS.values()),
        legend=LEGEND,
        provenance=provenance or pages.Provenance(),
    )


def render_untested(problem: str, *, provenance: pages.Provenance | None = None) -> str:
    """The page of tiles that cannot be tested: it says why."""
    return _template().render(problem=problem, provenance=provenance or pages.Provenance())


def _template():
    return pages.page_environment().get_template("selftest.html.j2")


def _spans(scores: Sequence[Score]) -> list[tuple[str, int]]:
    """Kinds of score over neighbouring columns, with how many each spans."""
    kinds = dict.fromkeys(s.kind for s in scores)
    return [(KIND_WORDS[k].partition(":")[0], sum(s.kind == k for s in scores)) for k in kinds]


def _groups(result: Result, *, strongest: bool) -> list[tuple[str, list[Line]]]:
    """Lines by group: the strongest dose of every fault, or every dose where there are several."""
    several = {r.fault for r in result.reactions if not r.strongest}
    groups: dict[str, dict[tuple[str, str], list[Reaction]]] = {}
    for r in result.reactions:
        if r.strongest if strongest else r.fault in several:
            groups.setdefault(r.group, {}).setdefault((r.fault, r.dose), []).append(r)
    labels = {score.name: score.label for score in result.scores}
    return [
        (
            group,
            [
                Line(fault, dose, tuple(_cell(r, labels[r.score]) for r in reactions))
                for (fault, dose), reactions in lines.items()
            ],
        )
        for group, lines in groups.items()
    ]


def _cell(r: Reaction, label: str) -> Cell:
    title = (
        f"{label} at {r.fault}{' ' + r.dose if r.dose else ''}: {number(r.clean)} without the "
        f"fault, {number(r.value)} with it; half width {number(r.half_width)}; "
        f"{_CLAIM_WORDS[r.claim]}"
    )
    if np.isfinite(r.leaked):
        title += (
            f"; mean of {DRAWS} draws {number(r.leaked)}, and {number(r.other)} with tiles of "
            "other patients in those places"
        )
    return Cell(
        change_words(r.change) or "n/a",
        number(r.value),
        MARKS[r.verdict],
        _VERDICT_CLASSES.get(r.verdict, ""),
        f"{title}: {r.verdict}" if r.verdict else title,
        r.verdict,
        abs(r.change) >= SEEN,
    )


def _failure_words(r: Reaction, scores: Sequence[Score]) -> str:
    label = next(s.label for s in scores if s.name == r.score)
    where = f"{r.fault}, {r.dose}" if r.dose else r.fault
    return f"{label} at {where}: {_CLAIM_WORDS[r.claim]}, and {r.verdict}"
