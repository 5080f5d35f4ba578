"""The section on adherence: scores with their controls, and clusters asked for and found."""

from __future__ import annotations

from dataclasses import dataclass, replace

from histosynth.evaluations.obedience import SHUFFLED, WRONG_CLASS
from histosynth.report import tables
from histosynth.report.cells import Cell, Column, fill
from histosynth.report.collect import Results
from histosynth.report.leaderboard import REFERENCES
from histosynth.report.stages import json_or_none

# Score, its share of real, the prefix of its subsets (none: too many for a table).
_SCORES = (
    ("map_iou", "map_iou_ratio", "class="),
    ("map_boundary_f", "map_boundary_f_ratio", "class="),
    ("label_accuracy", "label_accuracy_ratio", "label="),
    ("cluster_accuracy", "cluster_accuracy_ratio", ""),
    ("crop_style_auc", "", "class="),
    ("embedding_similarity", "", "label="),
)
MOST_CLUSTERS = 20  # that a table can show
_OVERALL = Cell("not_applicable", reason="this control is scored over all classes together")


@dataclass(frozen=True)
class Confusion:
    """Shares of the tiles that were asked to be of a cluster, by the cluster found in them."""

    name: str
    encoder: str
    shares: tuple[tuple[float, ...], ...]  # a row a requested cluster
    tiles: tuple[int, ...]  # that were asked to be of each


def tables_of(results: Results) -> list[tables.ScoreTable]:
    """One table a score that any row has: overall, as a share of real, and by class."""
    made = []
    for name, ratio, prefix in _SCORES:
        if not tables.has_rows(results, "adherence", name):
            continue
        subsets = tables.subsets_of(results, "adherence", name, prefix) if prefix else []
        columns = [(Column("adherence", name), "all")]
        columns += [(Column("adherence", ratio), "all")] * bool(ratio)
        columns += [(Column("adherence", name), subset) for subset in subsets]
        heads = ("all", *["share of real"] * bool(ratio))
        heads += tuple(subset.removeprefix(prefix) for subset in subsets)
        lines = []
        for person in _everyone(results):
            cells = [fill(results, person, column, subset) for column, subset in columns]
            if cells[0].status == "not_applicable":
                continue
            if "~" in person:
                cells = [_OVERALL if cell.status == "missing" else cell for cell in cells]
            lines.append((person, "", tuple(cells)))
        if lines:
            # Scores within 0 and 1: more decimals would only show off the controls' small ones.
            made.append(replace(tables.lettered(tables.arrow(name), heads, lines), decimals=3))
    return made


def _everyone(results: Results) -> list[str]:
    """Conditions with their controls right below them, then real and autoencoder."""
    found = set(results.rows["condition"])
    names = []
    for condition in results.conditions:
        controls = [condition.name + control for control in (SHUFFLED, WRONG_CLASS)]
        names += [condition.name, *(name for name in controls if name in found)]
    return names + [name for name in REFERENCES if name in found]


def confusions(results: Results) -> list[Confusion]:
    """Of every condition that asks for clusters, and of real test tiles; none of very many."""
    made = []
    for name in [*(c.name for c in results.conditions), "real"]:
        path = results.metrics_path(name, results.study.seeds[0], "adherence")
        told = ((json_or_none(path) or {}).get("facts") or {}).get("clusters") or {}
        counts = told.get("asked_found") or []
        if 0 < len(counts) <= MOST_CLUSTERS:
            tiles = tuple(sum(row) for row in counts)
            shares = tuple(
                tuple(n / max(total, 1) for n in row)
                for row, total in zip(counts, tiles, strict=True)
            )
            made.append(Confusion(name, told["encoder"], shares, tiles))
    # Real tiles ask for nothing: alone, they are no answer.
    return made if any(c.name != "real" for c in made) else []
