"""Small curves of how a measured value is spread: a set's over the real tiles' in grey."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from histosynth.report.figures import COLORS, _line, _Scale, _svg, _text, _tick_labels

WIDTH, HEIGHT, BOTTOM = 230, 96, 18  # user units
MOST_BINS = 60
TAIL = 0.01  # of either end's values is not shown


@dataclass(frozen=True)
class Histogram:
    """Counts over bins with the given edges."""

    edges: np.ndarray
    counts: np.ndarray

    def within(self, low: float, high: float) -> tuple[np.ndarray, np.ndarray]:
        """Edges and densities of the bins within [low, high], neighbours merged where many."""
        first = max(0, int(np.searchsorted(self.edges, low, side="right")) - 1)
        last = min(len(self.counts), int(np.searchsorted(self.edges, high, side="left")))
        step = max(1, -(-(last - first) // MOST_BINS))
        starts = np.arange(first, max(last, first + 1), step)
        edges = np.append(self.edges[starts], self.edges[min(starts[-1] + step, len(self.counts))])
        sums = np.add.reduceat(self.counts.astype(float), starts)
        beyond = self.counts[min(starts[-1] + step, len(self.counts)) :].sum()
        sums[-1] -= beyond  # reduceat adds up to the end
        return edges, sums / max(self.counts.sum(), 1) / np.diff(edges)

    def range(self) -> tuple[float, float]:
        """Where all but the tails are."""
        shares = np.cumsum(self.counts) / max(self.counts.sum(), 1)
        low, high = np.searchsorted(shares, [TAIL, 1 - TAIL])
        return float(self.edges[low]), float(self.edges[min(high + 1, len(self.counts))])


def common_frame(histograms: list[Histogram]) -> tuple[float, float, float]:
    """Lowest and highest value to show, and the highest density, of all together."""
    ranges = [h.range() for h in histograms]
    low, high = min(r[0] for r in ranges), max(r[1] for r in ranges)
    return low, high, max(float(h.within(low, high)[1].max()) for h in histograms)


def panel(
    title: str,
    words: str,
    real: Histogram,
    made: Histogram,
    *,
    frame: tuple[float, float, float],
    color: int | None,
) -> Markup:
    """One set's curve over that of the real test tiles.

    Parameters
    ----------
    words : what the figure shows, for those who do not see it
    frame : of `common_frame`, so that the panels of a column share their axes
    color : of the condition; None for a reference
    """
    low, high, top = frame
    x, y = _Scale([low, high], 2, WIDTH - 2), _Scale([0, top], HEIGHT - BOTTOM, 4)
    base = y(0.0)
    parts = []
    marks = [v for v in x.ticks(3) if low <= v <= high]
    for value, label in zip(marks, _tick_labels(marks), strict=True):
        parts.append(_line(x(value), base, x(value), base + 4, "grid"))
        parts.append(_text(x(value), HEIGHT - 3, label, css="tick", anchor="middle"))
    parts.append(_line(2, base, WIDTH - 2, base, "grid"))
    outline = _steps(real, low, high, x, y)
    parts.append(f'<polygon points="{outline}" class="area"/>')
    css = "curve reference" if color is None else f"curve s{color % COLORS}"
    parts.append(f'<polyline points="{_steps(made, low, high, x, y)}" class="{css}"/>')
    return _svg(parts, width=WIDTH, height=HEIGHT, title=title, description=words)


def _steps(histogram: Histogram, low: float, high: float, x: _Scale, y: _Scale) -> str:
    edges, density = histogram.within(low, high)
    base = y(0.0)
    points = [(x(edges[0]), base)]
    for left, right, height in zip(edges[:-1], edges[1:], density, strict=True):
        points += [(x(left), y(height)), (x(right), y(height))]
    return " ".join(f"{a:g},{b:g}" for a, b in [*points, (x(edges[-1]), base)])
