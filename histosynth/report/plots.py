"""Which plots the pages show, and what goes into them; `figures` draws."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from markupsafe import Markup

from histosynth.report import figures
from histosynth.report.cells import Cell, Column, fill
from histosynth.report.collect import Results
from histosynth.report.leaderboard import Leaderboard
from histosynth.report.stages import Training

REFERENCE_STYLES = {"real": "real", "autoencoder": "autoencoder"}


@dataclass(frozen=True)
class Plot:
    title: str
    note: str
    svg: Markup


def colors(results: Results) -> dict[str, int]:
    """One colour a condition, the same in every plot."""
    return {c.name: i for i, c in enumerate(results.conditions)}


def dot_plots(results: Results, board: Leaderboard) -> list[Plot]:
    """One plot a leaderboard column that has any number in it."""
    plots = []
    color = colors(results)
    for at, column in enumerate(board.columns):
        cells = {line.name: line.cells[at] for line in board.lines}
        ours = {n: c for n, c in cells.items() if n in color and c.status != "not_applicable"}
        good = {n: c for n, c in ours.items() if c.status == "ok"}
        if not good or len({c.protocol for c in good.values()}) > 1:
            continue  # numbers of different protocols do not share an axis
        shift = _shift(results, column)
        dots = [
            figures.Dot(
                name,
                color[name],
                cell.value - shift,
                cell.ci_low - shift,
                cell.ci_high - shift,
                tuple(v - shift for v in cell.seed_values),
                cell.status,
            )
            for name, cell in ours.items()
        ]
        svg = figures.dot_plot(column.label, dots, _references(cells, column, shift))
        plots.append(Plot(column.label, _plot_note(column, shift), svg))
    return plots


def _shift(results: Results, column: Column) -> float:
    """The real arm's value in the columns that are differences to it."""
    if not column.minus_real:
        return 0.0
    real = fill(results, "real", column)
    return real.value if real.status == "ok" else 0.0


def _plot_note(column: Column, shift: float) -> str:
    if column.expected is not None:
        return f"{column.encoder}; {column.expected:g} without memorization"
    arrow = "higher is better →" if column.higher_is_better else "← lower is better"
    where = f"{column.encoder} features, " if column.encoder else ""
    return f"{where}{'minus trained on real, ' if shift else ''}{arrow}"


def _references(cells: dict[str, Cell], column: Column, shift: float) -> list[figures.Reference]:
    lines = []
    for name, cell in cells.items():
        if cell.status != "ok":
            continue
        if name in REFERENCE_STYLES:
            value = cell.value - shift
            lines.append(figures.Reference(name, value, REFERENCE_STYLES[name]))
    shuffled = [c.value for n, c in cells.items() if n.endswith("~shuffled") and c.status == "ok"]
    if shuffled:  # one line: the best that ignoring the request reaches
        best = max(shuffled) if column.higher_is_better else min(shuffled)
        lines.append(figures.Reference("shuffled", best, "shuffled"))
    return lines


def scatters(results: Results, board: Leaderboard) -> list[Plot]:
    """Fidelity against adherence, for each kind of adherence with two conditions or more."""
    fidelity = [c for c in board.columns if c.metric == "frechet_distance"][:1]
    plots = []
    color = colors(results)
    for x_column in fidelity:
        for y_column in (c for c in board.columns if c.group == "adherence"):
            points = []
            for name in color:
                x, y = board.cell(name, x_column), board.cell(name, y_column)
                if x and y and x.status == y.status == "ok":
                    x_range, y_range = (x.ci_low, x.ci_high), (y.ci_low, y.ci_high)
                    points.append(
                        figures.Point(name, color[name], x.value, y.value, x_range, y_range)
                    )
            x_mixed, y_mixed = (
                len({c.protocol for n in color if (c := board.cell(n, k)) and c.status == "ok"}) > 1
                for k in (x_column, y_column)
            )
            if len(points) < 2 or x_mixed or y_mixed:
                continue
            title = f"Fidelity and {y_column.label.lower()}"
            absent = [n for n in color if n not in {p.label for p in points}]
            svg = figures.scatter(
                title,
                points,
                x_label=f"← {x_column.label}, {x_column.encoder} features",
                y_label=f"↑ {y_column.label}",
            )
            plots.append(Plot(title, _scatter_note(absent), svg))
    return plots


def _scatter_note(absent: list[str]) -> str:
    note = "better towards the upper left"
    return f"{note}; without both scores: {', '.join(absent)}" if absent else note


def loss_plots(results: Results) -> list[Plot]:
    """Loss curves of the generators together, and of the autoencoder by itself."""
    color = colors(results)
    generators = [t for t in results.trainings if t.losses and t.name in color]
    others = [t for t in results.trainings if t.losses and t.name not in color]
    plots = []
    if generators:
        series = [(_run_name(t), color[t.name], _smooth(t.losses)) for t in generators]
        svg = figures.loss_curves("Training loss of the generators", series)
        plots.append(Plot("Generators", "loss by step, smoothed", svg))
    validated = [t for t in generators if len(t.validation) > 1]
    if validated:
        series = [(_run_name(t), color[t.name], list(t.validation)) for t in validated]
        svg = figures.loss_curves("Loss of the generators on validation tiles", series)
        plots.append(Plot("Generators on validation tiles", "the same noise each time", svg))
    for training in others:
        series = [(training.name, figures.COLORS - 1, _smooth(training.losses))]
        svg = figures.loss_curves(f"Training loss: {training.name}", series)
        plots.append(Plot(training.name.capitalize(), "loss by step, smoothed", svg))
    return plots


def _run_name(training: Training) -> str:
    return training.name if training.seed is None else f"{training.name}, seed {training.seed}"


def _smooth(curve: Iterable[tuple[float, float]], points: int = 50) -> list[tuple[float, float]]:
    """Means of neighbouring points, so that at most `points` are drawn."""
    curve = [(s, v) for s, v in curve if math.isfinite(v)]
    width = max(1, math.ceil(len(curve) / points))
    chunks = [curve[i : i + width] for i in range(0, len(curve), width)]
    return [(c[-1][0], sum(v for _, v in c) / len(c)) for c in chunks]
