"""Tables that the pages show beside the leaderboard: every score, class by class, arm by arm."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from histosynth.evaluations.fidelity import FURTHER
from histosynth.report import figures
from histosynth.report.cells import ARM_WORDS, Cell, Column, fill
from histosynth.report.collect import Results
from histosynth.report.glossary import metric
from histosynth.report.leaderboard import distances, letter_protocols, reference_names

# In a table of their own, so that the usual scores fit beside each other.
MORE_FIDELITY = (*FURTHER, "clipped_density", "clipped_coverage", "cluster_occupancy")


@dataclass(frozen=True)
class ScoreTable:
    """Scores with plain row heads: (head, second head, cells) a row."""

    caption: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, str, tuple[Cell, ...]], ...]
    decimals: int | None = None  # of every column; by default as many as its values need
    note: str = ""  # what a reader of the scores must know

    @property
    def digits(self) -> tuple[int, ...]:
        """Decimals of each column."""
        if self.decimals is not None:
            return (self.decimals,) * len(self.heads)
        columns = zip(*(cells for _, _, cells in self.rows), strict=True)
        return tuple(figures.digits(c.value for c in column) for column in columns)


def lettered(caption: str, heads: tuple[str, ...], lines: list) -> ScoreTable:
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


def fidelity_tables(results: Results, *, labels: bool = True) -> list[ScoreTable]:
    """Every fidelity metric that any row has, two tables an encoder, and one by label if asked."""
    rows = results.rows
    rows = rows[(rows["group"] == "fidelity") & (rows["subset"] == "all") & (rows["encoder"] != "")]
    found = [n for n in dict.fromkeys(rows["metric"].dropna()) if n]
    subsets = subsets_of(results, "fidelity", "kernel_distance", "label=") if labels else []
    tables = []
    for encoder in results.study.evaluation.encoders:
        first = [name for name in distances(results, encoder) if name in found]
        names = first + [name for name in found if name not in first]
        here = set(rows.loc[rows["encoder"] == encoder, "metric"])
        more = [name for name in names if name in MORE_FIDELITY and name in here]
        usual = [name for name in names if name not in MORE_FIDELITY]
        for caption, shown in ((f"Features: {encoder}", usual), (f"More, in {encoder}", more)):
            columns = [Column("fidelity", name, encoder) for name in shown]
            heads = tuple(arrow(c.metric) for c in columns)
            lines = [
                (name, "", tuple(fill(results, name, c) for c in columns))
                for name in everyone(results, shuffled=False)
            ]
            if columns:
                tables.append(lettered(caption, heads, lines))
        if subsets:
            column = Column("fidelity", "kernel_distance", encoder)
            lines = [
                (name, "", tuple(fill(results, name, column, s) for s in subsets))
                for name in everyone(results, shuffled=False)
            ]
            heads = tuple(s.removeprefix("label=") for s in subsets)
            tables.append(lettered(f"Kernel distance by label, {encoder} features ↓", heads, lines))
    return tables


def arrow(name: str) -> str:
    entry = metric(name)
    return f"{entry.label}\u00a0{'↑' if entry.higher_is_better else '↓'}"


def everyone(results: Results, *, shuffled: bool) -> list[str]:
    names = [c.name for c in results.conditions] + reference_names(results)
    return [n for n in names if shuffled or not n.endswith("~shuffled")]


def utility_tables(results: Results) -> list[ScoreTable]:
    """Downstream scores, a row a condition and arm, with IoU by class."""
    tables = []
    for name in ("downstream_iou", "downstream_auc"):
        if not has_rows(results, "utility", name):
            continue
        subsets = subsets_of(results, "utility", name, "class=")
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
        tables.append(
            lettered(f"{metric(name).label} on real test {results.split_unit}s", heads, lines)
        )
    return tables


def has_rows(results: Results, group: str, name: str) -> bool:
    rows = results.rows
    return bool(((rows["group"] == group) & (rows["metric"] == name)).any())


def subsets_of(results: Results, group: str, name: str, prefix: str) -> list[str]:
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
        scores = ", ".join(dict.fromkeys(metric(m).label for m in group["metric"]))
        encoders = ", ".join(e for e in dict.fromkeys(group["encoder"]) if e)
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
        told.append((str(protocol), f"{scores} ({encoders})" if encoders else scores, made_of))
    return told


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k} {_plain(v)}" for k, v in value.items())
    if isinstance(value, list):
        return ", ".join(_plain(v) for v in value)
    return str(value)


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
