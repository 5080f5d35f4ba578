"""Plots as inline SVG, drawn by hand: small, sharp at any width, and coloured by the page's theme.

Colours are CSS classes (`s0` ... `s7` for the conditions), so that light and dark both work. Every
figure carries a text alternative.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

CHARACTER = 7.2  # widest that a sans-serif sets a label's letters, in user units
LONGEST = 22  # characters of a label
WIDTH = 380  # user units; shown at about one CSS pixel each, so text keeps its size
ROW = 22
COLORS = 8


@dataclass(frozen=True)
class Dot:
    """A value with its interval, and the single seeds' values if there are several."""

    label: str
    color: int
    value: float
    low: float
    high: float
    seeds: tuple[float, ...] = ()
    status: str = "ok"  # otherwise the word is printed in the value's place


@dataclass(frozen=True)
class Reference:
    """A vertical line across a dot plot; `style` is a CSS class."""

    label: str
    value: float
    style: str


@dataclass(frozen=True)
class Point:
    """A condition in the scatter plot; (low, high) pairs are the intervals."""

    label: str
    color: int
    x: float
    y: float
    x_range: tuple[float, float]
    y_range: tuple[float, float]


def number(value: float) -> str:
    """Three significant digits, without exponents for ordinary sizes."""
    if value is None or not math.isfinite(value):
        return "–"
    if value == 0:
        return "0"
    size = abs(value)
    if size >= 1e5 or size < 1e-4:
        return f"{value:.1e}".replace("-", "−")
    text = f"{value:.{max(0, 2 - math.floor(math.log10(size)))}f}"
    return text.replace("-", "−")


def digits(values: Iterable[float]) -> int:
    """Decimals that give a column's middle value three significant digits."""
    sizes = sorted(abs(v) for v in values if math.isfinite(v) and v != 0)
    if not sizes:
        return 2
    return min(6, max(0, 2 - math.floor(math.log10(sizes[len(sizes) // 2]))))


def fixed(value: float, decimals: int) -> str:
    """A number with so many decimals, a true minus sign, and none before a zero."""
    if not math.isfinite(value):
        return "–"
    return f"{value:z.{decimals}f}".replace("-", "−")


def ticks(low: float, high: float, count: int = 4) -> list[float]:
    """Round numbers within [low, high], about `count` of them."""
    if not high > low:
        return [low]
    step = 10 ** math.floor(math.log10((high - low) / count))
    step = next(step * m for m in (1, 2, 5, 10) if (high - low) / (step * m) <= count + 1.5)
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 12) for i in range(first, math.floor(high / step + 1e-9) + 1)]


class _Scale:
    """A linear map from values to user units, with some room at both ends."""

    def __init__(self, values: Sequence[float], start: float, stop: float) -> None:
        finite = [v for v in values if math.isfinite(v)]
        low, high = (min(finite), max(finite)) if finite else (0.0, 1.0)
        room = (high - low) * 0.05 or abs(high) * 0.1 or 1.0
        self.low, self.high, self.start, self.stop = low - room, high + room, start, stop

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return round(self.start + share * (self.stop - self.start), 1)

    def ticks(self, count: int = 4) -> list[float]:
        return ticks(self.low, self.high, count)


def _tick_labels(values: list[float]) -> list[str]:
    step = values[1] - values[0] if len(values) > 1 else 1.0
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    return [f"{v:.{digits}f}".replace("-", "−") for v in values]


def _svg(parts: list[str], *, width: float, height: float, title: str, description: str) -> Markup:
    body = "".join(parts)
    return Markup(
        f'<svg class="plot" viewBox="0 0 {width:g} {height:g}" role="img" '
        f'aria-label="{escape(title)}. {escape(description)}">{body}</svg>'
    )


def _text(x: float, y: float, text: str, *, css: str = "", anchor: str = "start") -> str:
    kind = f' class="{css}"' if css else ""
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}"{kind}>{escape(text)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, css: str) -> str:
    return f'<line x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}" class="{css}"/>'


def _short(label: str) -> str:
    """A label that leaves the plot more than half of its width."""
    return label if len(label) <= LONGEST else label[: LONGEST - 1] + "…"


def dot_plot(title: str, dots: Sequence[Dot], references: Sequence[Reference]) -> Markup:
    """Conditions down the side, a dot with its interval each, reference lines across."""
    labels = [_short(dot.label) for dot in dots]
    left, right, top = 18 + CHARACTER * max(map(len, labels), default=0), 12, 6
    height = top + ROW * max(len(dots), 1) + 24
    values = [v for d in dots for v in (d.value, d.low, d.high, *d.seeds)]
    scale = _Scale([*values, *(r.value for r in references)], left, WIDTH - right)
    bottom = height - 22
    parts = []
    marks = scale.ticks()
    for value, label in zip(marks, _tick_labels(marks), strict=True):
        parts.append(_line(scale(value), top, scale(value), bottom, "grid"))
        parts.append(_text(scale(value), height - 8, label, css="tick", anchor="middle"))
    for reference in references:
        x = scale(reference.value)
        parts.append(_line(x, top, x, bottom, f"reference {reference.style}"))
    for i, (dot, label) in enumerate(zip(dots, labels, strict=True)):
        y = top + ROW * (i + 0.5)
        parts.append(_text(left - 10, y + 4, label, css="row", anchor="end"))
        color = f"s{dot.color % COLORS}"
        if dot.status != "ok":
            parts.append(_text(left, y + 4, dot.status, css="absent"))
            continue
        if math.isfinite(dot.low) and math.isfinite(dot.high):
            parts.append(_line(scale(dot.low), y, scale(dot.high), y, f"interval {color}"))
        for value in dot.seeds if len(dot.seeds) > 1 else ():
            parts.append(f'<circle cx="{scale(value)}" cy="{y:g}" r="2" class="seed {color}"/>')
        parts.append(f'<circle cx="{scale(dot.value)}" cy="{y:g}" r="4.2" class="dot {color}"/>')
    told = "; ".join(
        f"{d.label} {number(d.value)} [{number(d.low)}, {number(d.high)}]"
        if d.status == "ok"
        else f"{d.label} {d.status}"
        for d in dots
    )
    lines = "; ".join(f"{r.label} {number(r.value)}" for r in references)
    description = f"{told}. Reference lines: {lines}" if lines else told
    return _svg(parts, width=WIDTH, height=height, title=title, description=description)


def scatter(
    title: str,
    points: Sequence[Point],
    *,
    x_label: str,
    y_label: str,
    joined: Iterable[Sequence[Point]] = (),
) -> Markup:
    """Two scores against each other, with intervals as crosses; `joined` points on a line each."""
    width, height, left, right, top, bottom = 400, 310, 42, 14, 26, 44
    x_scale = _Scale([v for p in points for v in (p.x, *p.x_range)], left, width - right)
    y_scale = _Scale([v for p in points for v in (p.y, *p.y_range)], height - bottom, top)
    parts = []
    for value, label in zip(x_scale.ticks(), _tick_labels(x_scale.ticks()), strict=True):
        parts.append(_line(x_scale(value), top, x_scale(value), height - bottom, "grid"))
        parts.append(
            _text(x_scale(value), height - bottom + 15, label, css="tick", anchor="middle")
        )
    for value, label in zip(y_scale.ticks(), _tick_labels(y_scale.ticks()), strict=True):
        parts.append(_line(left, y_scale(value), width - right, y_scale(value), "grid"))
        parts.append(_text(left - 6, y_scale(value) + 4, label, css="tick", anchor="end"))
    parts.append(_text(width - right, height - 8, x_label, css="axis", anchor="end"))
    parts.append(_text(4, 14, y_label, css="axis"))
    for curve in joined:
        path = " ".join(f"{x_scale(p.x)},{y_scale(p.y)}" for p in curve)
        color = f"s{curve[0].color % COLORS}" if curve else ""
        parts.append(f'<polyline points="{path}" class="curve {color}"/>')
    for p in points:
        color = f"s{p.color % COLORS}"
        x, y = x_scale(p.x), y_scale(p.y)
        if all(math.isfinite(v) for v in p.x_range):
            parts.append(
                _line(x_scale(p.x_range[0]), y, x_scale(p.x_range[1]), y, f"whisker {color}")
            )
        if all(math.isfinite(v) for v in p.y_range):
            parts.append(
                _line(x, y_scale(p.y_range[0]), x, y_scale(p.y_range[1]), f"whisker {color}")
            )
        parts.append(f'<circle cx="{x}" cy="{y}" r="5" class="dot {color}"/>')
    for p, (x, y, anchor) in zip(points, _place(points, x_scale, y_scale, width), strict=True):
        parts.append(_text(x, y, p.label, css="label", anchor=anchor))
    told = "; ".join(f"{p.label}: {number(p.x)}, {number(p.y)}" for p in points)
    description = f"{y_label} against {x_label}. {told}"
    return _svg(parts, width=width, height=height, title=title, description=description)


def _place(
    points: Sequence[Point], x_scale: _Scale, y_scale: _Scale, width: float
) -> list[tuple[float, float, str]]:
    """Put each label beside its point, moved up or down where it would cover another one."""
    taken: list[tuple[float, float, float, float]] = [
        (x_scale(p.x) - 6, y_scale(p.y) - 6, x_scale(p.x) + 6, y_scale(p.y) + 6) for p in points
    ]
    placed = []
    for p in points:
        x, y, length = x_scale(p.x), y_scale(p.y), 6.4 * len(p.label)
        best = None
        for dy in (-8, 15, -20, 27, -32, 39):
            for anchor in ("start", "end"):
                x0 = x + 9 if anchor == "start" else x - 9 - length
                box = (x0, y + dy - 10, x0 + length, y + dy + 3)
                if box[0] < 0 or box[2] > width:
                    continue
                clash = any(
                    box[0] < t[2] and t[0] < box[2] and box[1] < t[3] and t[1] < box[3]
                    for t in taken
                )
                best = best or (x, y, dy, anchor, box)
                if not clash:
                    best = (x, y, dy, anchor, box)
                    break
            else:
                continue
            break
        _, _, dy, anchor, box = best or (x, y, -8, "middle", (x, y, x, y))
        taken.append(box)
        placed.append((x + 9 if anchor == "start" else x - 9, y + dy, anchor))
    return placed


def loss_curves(
    title: str, series: Sequence[tuple[str, int, Sequence[tuple[float, float]]]]
) -> Markup:
    """Training loss by step, one line a run, on a logarithmic axis."""
    width, height, left, right, top, bottom = 400, 220, 42, 12, 10, 36
    x_scale = _Scale([0.0, *(s for _, _, c in series for s, _ in c)], left, width - right)
    logs = [math.log10(v) for _, _, c in series for _, v in c if v > 0]
    y_scale = _Scale(logs, height - bottom, top)
    parts = []
    marks = [v for v in x_scale.ticks() if v >= 0]
    for value, label in zip(marks, _tick_labels(marks), strict=True):
        parts.append(_line(x_scale(value), top, x_scale(value), height - bottom, "grid"))
        parts.append(
            _text(x_scale(value), height - bottom + 15, label, css="tick", anchor="middle")
        )
    for value in _log_ticks(y_scale.low, y_scale.high):
        y = y_scale(math.log10(value))
        parts.append(_line(left, y, width - right, y, "grid"))
        parts.append(_text(left - 6, y + 4, f"{value:g}", css="tick", anchor="end"))
    parts.append(_text(width - right, height - 4, "optimizer step", css="axis", anchor="end"))
    for _, color, curve in series:
        path = " ".join(f"{x_scale(s)},{y_scale(math.log10(v))}" for s, v in curve if v > 0)
        parts.append(f'<polyline points="{path}" class="curve s{color % COLORS}"/>')
    ends = "; ".join(f"{name} ends at {number(curve[-1][1])}" for name, _, curve in series)
    return _svg(parts, width=width, height=height, title=title, description=ends)


def _log_ticks(low: float, high: float) -> list[float]:
    exponents = range(math.floor(low), math.ceil(high) + 1)
    every = [m * 10.0**e for e in exponents for m in range(1, 10)]
    inside = [v for v in every if low <= math.log10(v) <= high]
    if len(inside) > 6:
        inside = [v for v in inside if f"{v:e}"[0] in "125"]
    return inside
