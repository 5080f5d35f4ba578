"""How much of the tiles each class covers: a table in per cent, bars in the classes' colours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup, escape

from histosynth.report.figures import (
    CHARACTER,
    WIDTH,
    _line,
    _Scale,
    _short,
    _svg,
    _text,
    _tick_labels,
)

ENTROPY = "all"  # the name of the classes' entropy among the means
ROW, BAR, BOTTOM = 34, 11, 22  # user units
_ROOM = 34  # right of the longest bar, for its number


@dataclass(frozen=True)
class Composition:
    """Mean over tiles of the share of each class, as the judge reads it on both sides.

    Attributes
    ----------
    heads : the classes, and the entropy
    rows : (set, its means with their standard deviations over tiles), the real tiles first; shares
        in per cent
    bars : (set, its shares beside those of the real tiles)
    """

    heads: tuple[str, ...]
    rows: list[tuple[str, list[str]]]
    bars: list[tuple[str, Markup]]


def composition(
    facts: Mapping[str, dict[str, Any]], *, real: str, classes: Sequence[tuple[str, str]]
) -> Composition | None:
    """The table and the bars; None where no set's classes were read.

    Parameters
    ----------
    facts : of each set, as `tissue_of_files` gives them
    real : what all are held against, in words
    classes : (name, colour) in their order
    """
    wanted = [f"class={name}" for name, _ in classes]
    means = {name: told["means"] for name, told in facts.items() if told.get("means")}
    means = {name: of for name, of in means.items() if wanted and set(wanted) <= set(of)}
    if not means:
        return None
    first = next(iter(means.values()))
    kinds = [*wanted, ENTROPY]
    rows = [(real, [_mean(first, kind, "real") for kind in kinds])]
    rows += [(name, [_mean(of, kind, "made") for kind in kinds]) for name, of in means.items()]
    shares = {
        name: [(100 * of[kind]["real"][0], 100 * of[kind]["made"][0]) for kind in wanted]
        for name, of in means.items()
    }
    most = max(share for pairs in shares.values() for pair in pairs for share in pair)
    bars = [
        (name, _panel(f"Classes of {name}", real, name, classes, pairs, most=most))
        for name, pairs in shares.items()
    ]
    heads = tuple(f"{name}, %" for name, _ in classes)
    return Composition((*heads, "entropy of the classes, nats"), rows, bars)


def _mean(means: Mapping[str, Any], kind: str, who: str) -> str:
    pair = means.get(kind, {}).get(who)
    if not pair:
        return "–"
    times, digits = (1, 2) if kind == ENTROPY else (100, 1)
    return f"{times * pair[0]:.{digits}f} ± {times * pair[1]:.{digits}f}"


def _panel(
    title: str,
    real: str,
    name: str,
    classes: Sequence[tuple[str, str]],
    pairs: Sequence[tuple[float, float]],
    *,
    most: float,
) -> Markup:
    """Two bars a class, per cent: pale the real tiles', below it the set's."""
    labels = [_short(label) for label, _ in classes]
    left = 14 + CHARACTER * max(map(len, labels))
    height = ROW * len(classes) + BOTTOM
    x = _Scale([0.0, most], left, WIDTH - _ROOM)
    x.low, x.high = 0.0, most  # bars begin at the axis
    parts = []
    marks = x.ticks()
    for value, label in zip(marks, _tick_labels(marks), strict=True):
        parts.append(_line(x(value), 0, x(value), height - BOTTOM, "grid"))
        parts.append(_text(x(value), height - 6, f"{label} %", css="tick", anchor="middle"))
    for i, (label, (_, color), pair) in enumerate(zip(labels, classes, pairs, strict=True)):
        top = ROW * i + (ROW - 2 * BAR) / 2
        parts.append(_text(left - 8, top + BAR + 4, label, css="row", anchor="end"))
        for at, (share, opacity) in enumerate(zip(pair, (0.35, 1), strict=True)):
            y = top + at * BAR
            parts.append(
                f'<rect x="{left:g}" y="{y:g}" width="{max(x(share) - left, 0.5):g}" '
                f'height="{BAR - 1}" fill="{escape(color)}" fill-opacity="{opacity}" '
                'stroke="currentColor" stroke-opacity="0.4" stroke-width="0.7"/>'
            )
            parts.append(_text(x(share) + 4, y + BAR - 2, f"{share:.1f}", css="tick"))
    told = "; ".join(
        f"{label} {ours:.1f} % against {theirs:.1f} %"
        for (label, _), (theirs, ours) in zip(classes, pairs, strict=True)
    )
    return _svg(
        parts, width=WIDTH, height=height, title=title, description=f"{name} against {real}: {told}"
    )
