"""Tables and plots that the pages show, made from the collected results: rows in, shapes out."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from histosynth.report import figures
from histosynth.report.collect import Results, Training
from histosynth.report.glossary import metric
from histosynth.report.leaderboard import (
    ARM_WORDS,
    Cell,
    Column,
    Leaderboard,
    fill,
    letter_protocols,
    reference_names,
)

REFERENCE_STYLES = {"real": "real", "autoencoder": "autoencoder"}


@dataclass(frozen=True)
class ScoreTable:
    """Scores with plain row heads: (head, second head, cells) a row."""

    caption: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, str, tuple[Cell, ...]], ...]

    @property
    def digits(self) -> tuple[int, ...]:
        """Decimals of each column."""
        columns = zip(*(cells for _, _, cells in self.rows), strict=True)
        return tuple(figures.digits(c.value for c in column) for column in columns)


@dataclass(frozen=True)
class Plot:
    title: str
    note: str
    svg: Markup


def _lettered(caption: str, heads: tuple[str, ...], lines: list) -> ScoreTable:
    """A table whose columns mark their protocols where they hold more than one."""
    columns = [
        letter_protocols({f"{name} {second}": cells[at] for name, second, cells in lines})
        for at in range(len(heads))
    ]
    rows = tuple(
        (name, second, tuple(column[f"{name} {second}"] for column in columns))
        for name, second, _ in lines
    )
    return ScoreTable(caption, heads, rows)


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


def fidelity_tables(results: Results) -> list[ScoreTable]:
    """Every fidelity metric that any row has, one table an encoder."""
    rows = results.rows
    rows = rows[(rows["group"] == "fidelity") & (rows["subset"] == "all")]
    names = [n for n in dict.fromkeys(rows["metric"].dropna()) if n]
    tables = []
    for encoder in results.study.evaluation.encoders:
        columns = [Column("fidelity", name, encoder) for name in names]
        if columns:
            heads = tuple(_arrow(c.metric) for c in columns)
            lines = [
                (name, "", tuple(fill(results, name, c) for c in columns))
                for name in _everyone(results, shuffled=False)
            ]
            tables.append(_lettered(f"Features: {encoder}", heads, lines))
    return tables


def _arrow(name: str) -> str:
    entry = metric(name)
    return f"{entry.label}\u00a0{'↑' if entry.higher_is_better else '↓'}"


def _everyone(results: Results, *, shuffled: bool) -> list[str]:
    names = [c.name for c in results.conditions] + reference_names(results)
    return [n for n in names if shuffled or not n.endswith("~shuffled")]


def adherence_tables(results: Results) -> list[ScoreTable]:
    """Map IoU by class and label accuracy by label, as far as rows have them."""
    wanted = (("map_iou", "class=", "Map IoU by class"), ("label_accuracy", "label=", "by label"))
    tables = []
    for name, prefix, words in wanted:
        subsets = _subsets(results, "adherence", name, prefix)
        if not subsets and not _has(results, "adherence", name):
            continue
        column = Column("adherence", name)
        heads = ("all", *(s.removeprefix(prefix) for s in subsets))
        lines = []
        for person in _everyone(results, shuffled=True):
            cells = tuple(fill(results, person, column, s) for s in ("all", *subsets))
            if cells[0].status != "not_applicable":
                lines.append((person, "", cells))
        caption = words if name == "map_iou" else f"{metric(name).label} {words}"
        tables.append(_lettered(caption, heads, lines))
    return tables


def utility_tables(results: Results) -> list[ScoreTable]:
    """Downstream scores, a row a condition and arm, with IoU by class."""
    tables = []
    for name in ("downstream_iou", "downstream_auc"):
        if not _has(results, "utility", name):
            continue
        subsets = _subsets(results, "utility", name, "class=")
        arms = [a for a in ARM_WORDS if a in set(results.rows["arm"])] or list(ARM_WORDS)
        extra = sorted(set(results.rows["arm"]) - {"", "real", *ARM_WORDS})
        lines = []
        for person in ["real", *(c.name for c in results.conditions)]:
            for arm in ["real"] if person == "real" else [*arms, *extra]:
                column = Column("utility", name, arm=arm)
                cells = tuple(fill(results, person, column, s) for s in ("all", *subsets))
                if cells[0].status != "not_applicable":
                    words = "real only" if arm == "real" else ARM_WORDS.get(arm, arm)
                    lines.append((person, words, cells))
        heads = ("all", *(s.removeprefix("class=") for s in subsets))
        tables.append(_lettered(f"{metric(name).label} on real test patients", heads, lines))
    return tables


def _has(results: Results, group: str, name: str) -> bool:
    rows = results.rows
    return bool(((rows["group"] == group) & (rows["metric"] == name)).any())


def _subsets(results: Results, group: str, name: str, prefix: str) -> list[str]:
    rows = results.rows
    rows = rows[(rows["group"] == group) & (rows["metric"] == name)]
    found = [s for s in dict.fromkeys(rows["subset"]) if str(s).startswith(prefix)]
    order = {f"class={c}": i for i, c in enumerate(results.study.class_names)}
    return sorted(found, key=lambda s: order.get(s, len(order)))


def protocol_rows(results: Results) -> list[tuple[str, str, str]]:
    """Each protocol's hash, the scores that follow it, and what it is made of."""
    rows = results.rows[(results.rows["status"] == "ok") & (results.rows["protocol"] != "")]
    told = []
    for protocol, group in rows.groupby("protocol", sort=False):
        scores = dict.fromkeys(
            metric(m).label + (f" ({e})" if e else "")
            for m, e in zip(group["metric"], group["encoder"], strict=True)
        )
        ingredients = results.protocols.get(str(protocol))
        if ingredients:
            made_of = "; ".join(f"{k}: {_plain(v)}" for k, v in ingredients.items())
        else:
            counts = {
                f"{name} {int(v)}"
                for name in ("n_real", "n_synthetic")
                for v in group[name].dropna().unique()
            }
            made_of = ", ".join(sorted(counts)) or "its ingredients are not recorded"
        told.append((str(protocol), ", ".join(scores), made_of))
    return told


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k} {_plain(v)}" for k, v in value.items())
    if isinstance(value, list):
        return ", ".join(_plain(v) for v in value)
    return str(value)


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


def duration(seconds: float | None) -> str:
    """Seconds in words: 48 s, 3 min 20 s, 2 h 05 min."""
    if seconds is None or not math.isfinite(seconds):
        return "–"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"
