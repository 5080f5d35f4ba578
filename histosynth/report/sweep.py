"""The report's section on guidance: what each scale of a sweep does to precision and recall."""

from __future__ import annotations

from dataclasses import dataclass

from histosynth.report import figures, plots, tables
from histosynth.report.cells import Column, fill
from histosynth.report.collect import Results

TABLED = (
    "frechet_distance",
    "kernel_distance",
    "precision",
    "recall",
    "density",
    "coverage",
)
NAN = float("nan")


@dataclass(frozen=True)
class Point:
    """One set of a sweep; `own` says that all other scores of the condition are this set's."""

    condition: str
    name: str
    scale: float
    own: bool


@dataclass(frozen=True)
class Section:
    """Attributes
    ----------
    conditions : that are swept
    plots : a precision-recall plot an encoder
    tables : all scores of the points, an encoder each
    """

    conditions: tuple[str, ...]
    plots: tuple[plots.Plot, ...]
    tables: tuple[tables.ScoreTable, ...]


def section(results: Results) -> Section | None:
    """What the section shows; None where no condition's guidance is swept."""
    swept = {c.name: p for c in results.conditions if (p := points_of(results, c.name))}
    if not swept:
        return None
    encoders = results.study.evaluation.encoders
    drawn = [_plot(results, encoder, swept) for encoder in encoders]
    return Section(
        tuple(swept),
        tuple(plot for plot in drawn if plot is not None),
        tuple(_table(results, encoder, swept) for encoder in encoders),
    )


def points_of(results: Results, condition: str) -> list[Point]:
    """The sets of a condition's sweep by scale; none where it has one scale only."""
    study = results.study
    further = study.sweep_of(condition)
    own = study.guidance_of(condition)[0]
    if not further or isinstance(own, dict):
        return []
    points = [Point(condition, condition, own, True)]
    points += [
        Point(condition, name, scale, False)
        for name, scale in further.items()
        if not isinstance(scale, dict)
    ]
    return sorted(points, key=lambda point: point.scale)


def _plot(results: Results, encoder: str, swept: dict[str, list[Point]]) -> plots.Plot | None:
    """Precision against recall, the points of a condition joined in the order of their scales."""
    color = plots.colors(results)
    recall, precision = (Column("fidelity", name, encoder) for name in ("recall", "precision"))
    curves = []
    for condition, points in swept.items():
        curve = []
        for point in points:
            x, y = (fill(results, point.name, column) for column in (recall, precision))
            if x.status == y.status == "ok":
                # intervals stand in the table: crosses would hide the curves
                apart = (NAN, NAN)
                label = f"{point.scale:g}"
                curve.append(figures.Point(label, color[condition], x.value, y.value, apart, apart))
        curves.append(curve)
    drawn = [point for curve in curves for point in curve]
    if not drawn:
        return None
    title = f"Precision and recall in {encoder} features"
    svg = figures.scatter(title, drawn, x_label="recall →", y_label="↑ precision", joined=curves)
    return plots.Plot(title, "a point a guidance scale; better towards the upper right", svg)


def _table(results: Results, encoder: str, swept: dict[str, list[Point]]) -> tables.ScoreTable:
    columns = [Column("fidelity", name, encoder) for name in TABLED]
    lines = [
        (
            point.condition,
            f"{point.scale:g}" + (", all other scores" if point.own else ""),
            tuple(fill(results, point.name, column) for column in columns),
        )
        for points in swept.values()
        for point in points
    ]
    heads = tuple(tables.arrow(column.metric) for column in columns)
    return tables.lettered(f"Features: {encoder}", heads, lines)
