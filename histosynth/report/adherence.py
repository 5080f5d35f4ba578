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
MOST_SITES = 8  # likewise; the summary has all
SITE = "site="
_OVERALL = Cell("not_applicable", reason="this control is scored over all tiles together")
_NO_SITE = Cell("not_applicable", reason="no tile of the set is known to be of this site")


@dataclass(frozen=True)
class Confusion:
    """Shares of the tiles that were asked to be of a cluster, by the cluster found in them."""

    name: str
    encoder: str
    shares: tuple[tuple[float, ...], ...]  # a row a requested cluster
    tiles: tuple[int, ...]  # that were asked to be of each


def tables_of(results: Results) -> list[tables.ScoreTable]:
    """One table a score that any row has: overall, as a share of real, by class and by site."""
    made = []
    for name, ratio, prefix in _SCORES:
        if not tables.has_rows(results, "adherence", name):
            continue
        subsets = tables.subsets_of(results, "adherence", name, prefix) if prefix else []
        subsets += sites_of(results, name)
        columns = [(Column("adherence", name), "all")]
        columns += [(Column("adherence", ratio), "all")] * bool(ratio)
        columns += [(Column("adherence", name), subset) for subset in subsets]
        heads = ("all", *["share of real"] * bool(ratio))
        heads += tuple(_head(subset, prefix) for subset in subsets)
        lines = []
        for person in _everyone(results):
            cells = [fill(results, person, column, subset) for column, subset in columns]
            if cells[0].status == "not_applicable":
                continue
            control = "~" in person
            if control and cells[0].status == "missing":
                continue  # this score has no such control
            if cells[0].status == "ok":
                cells = [
                    (_OVERALL if control else _NO_SITE)
                    if cell.status == "missing" and (control or subset.startswith(SITE))
                    else cell
                    for cell, (_, subset) in zip(cells, columns, strict=True)
                ]
            lines.append((person, "", tuple(cells)))
        if lines:
            # Scores within 0 and 1: more decimals would only show off the controls' small ones.
            made.append(replace(tables.lettered(tables.arrow(name), heads, lines), decimals=3))
    return made


def sites_of(results: Results, name: str) -> list[str]:
    """Subsets of the sites that a score is known of; none where they are too many for a table."""
    found = sorted(tables.subsets_of(results, "adherence", name, SITE))
    return found if len(found) <= MOST_SITES else []


def _head(subset: str, prefix: str) -> str:
    if not subset.startswith(SITE):
        return subset.removeprefix(prefix)
    name = subset.removeprefix(SITE)
    return name if name.lower().startswith("site") else f"site {name}"


def _everyone(results: Results) -> list[str]:
    """Conditions with their controls right below them; real with the judge's probe, autoencoder."""
    found = set(results.rows["condition"])
    names = []
    for condition in results.conditions:
        controls = [condition.name + control for control in (SHUFFLED, WRONG_CLASS)]
        names += [condition.name, *(name for name in controls if name in found)]
    probe = REFERENCES[0] + WRONG_CLASS
    return names + [name for name in (REFERENCES[0], probe, *REFERENCES[1:]) if name in found]


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
