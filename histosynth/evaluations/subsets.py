"""Fidelity by subset: tiles of one label, tissue class, site or cluster against real ones alike.

A real tile belongs where it is; a synthetic one where its request puts it:

- label: the requested label;
- class: the tissue class with the largest share of the requested map (of the real tile's map);
- site: the site of the real tile that the request was taken from;
- cluster: the requested morphology type or, where none was requested, the nearest centroid of the
  image's own features.

The kernel distance leads: it is unbiased at every n, and alone carries an interval and is ranked.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from histosynth.clusters.files import read_assignments, read_features
from histosynth.clusters.kmeans import KMeansClusters
from histosynth.conditions.targets import cluster_ids
from histosynth.evaluations.rows import MetricRow, Scored
from histosynth.metrics import KernelStatistic, frechet_distance, prdc

if TYPE_CHECKING:
    import pandas as pd

    from histosynth.evaluations.sides import Sides
    from histosynth.tilesets import TileSet

KINDS = ("label", "class", "site", "cluster")
REQUESTED = "requested"
NEAREST_CENTROID = "nearest centroid of the image's own features"
_NO_SITE = ("", "unknown")


@dataclass(frozen=True)
class Grouping:
    """One way to sort tiles into subsets.

    Attributes
    ----------
    kind : of `KINDS`
    names : the subsets, in the order in which they are shown
    real, synthetic : (tiles,) the name of each tile's subset; None for a tile in none. `synthetic`
        is None where the set does not tell.
    rule : how tiles are sorted, for the protocol
    reason : why the set does not tell
    """

    kind: str
    names: tuple[str, ...]
    real: np.ndarray
    synthetic: np.ndarray | None
    rule: str
    reason: str = ""

    def taking(self, rows: np.ndarray) -> "Grouping":
        """The grouping of some rows of the synthetic set."""
        return self if self.synthetic is None else replace(self, synthetic=self.synthetic[rows])


@dataclass(frozen=True)
class Clustered:
    """The cluster of every real and synthetic tile, int (tiles,); `rule` says how the latter's."""

    k: int
    real: np.ndarray
    synthetic: np.ndarray
    rule: str


def clustered(
    real: "TileSet", synthetic: "TileSet", folder: str | Path, features: str | Path
) -> Clustered:
    """Clusters of both sets.

    Parameters
    ----------
    folder : clusters of scripts/cluster.py, which cover the real tiles
    features : .npy of the synthetic set by the encoder that clusters

    Raises
    ------
    InputError
        Real tiles without a cluster, or features of another set.
    """
    assignments = read_assignments(folder)
    centroids = KMeansClusters.load(Path(folder))
    requested = synthetic.table.get("cluster")
    if requested is not None and len(requested) and (requested >= 0).all():
        of_synthetic, rule = requested.to_numpy(np.int64), REQUESTED
    else:
        found = centroids.assign(read_features(features, synthetic))
        of_synthetic, rule = found, NEAREST_CENTROID
    of_real = cluster_ids(real, assignments)
    return Clustered(len(centroids.centroids), of_real, of_synthetic, rule)


def groupings(
    real: "TileSet",
    synthetic: "TileSet",
    *,
    label_names: list[str],
    clusters: Clustered | None = None,
) -> list[Grouping]:
    """Every way in which the real tiles can be sorted."""
    ours = synthetic.table
    made = []
    if label_names:
        labels = _names(ours, "label")
        reason = "the set has no labels: the condition does not request any"
        told = labels if _any(labels) else None
        of_real = _names(real.table, "label")
        made.append(Grouping("label", tuple(label_names), of_real, told, "label", reason))
    of_real = dominant_class(real.table, real.classes)
    if _any(of_real):
        told = dominant_class(ours, real.classes)
        reason = "the set has no maps: the condition does not request any"
        rule = "class of the largest area fraction"
        made.append(
            Grouping("class", real.classes, of_real, told if _any(told) else None, rule, reason)
        )
    of_real = site_of(real.table)
    sites = tuple(sorted({site for site in of_real if site is not None}))
    if len(sites) > 1:
        told = site_of(ours)
        reason = "nobody knows from which site the set's tiles, or their requests, come"
        made.append(Grouping("site", sites, of_real, told if _any(told) else None, "site", reason))
    if clusters is not None:
        names = tuple(str(c) for c in range(clusters.k))
        of_real, told = clusters.real.astype(str), clusters.synthetic.astype(str)
        made.append(Grouping("cluster", names, of_real, told, clusters.rule))
    return made


def dominant_class(table: "pd.DataFrame", classes: tuple[str, ...]) -> np.ndarray:
    """The class with the largest area fraction of each tile, the first of equals; None without."""
    columns = [f"class_{name}" for name in classes]
    if not classes or not set(columns) <= set(table):
        return np.full(len(table), None, dtype=object)
    fractions = np.nan_to_num(table[columns].to_numpy(np.float64))
    names = np.array([*classes, None], dtype=object)
    return names[np.where(fractions.max(axis=1) > 0, fractions.argmax(axis=1), len(classes))]


def site_of(table: "pd.DataFrame") -> np.ndarray:
    """The site of each tile; None where nobody knows it."""
    sites = _names(table, "site")
    sites[np.isin(sites.astype(str), _NO_SITE)] = None
    return sites


def _any(names: np.ndarray) -> bool:
    return any(name is not None for name in names)


def _names(table: "pd.DataFrame", column: str) -> np.ndarray:
    values = table[column] if column in table else [None] * len(table)
    return np.array([v if isinstance(v, str) else None for v in values], dtype=object)


def subset_rows(
    scored: Scored,
    sides: "Sides",
    sorted_tiles: list[Grouping],
    *,
    encoder: str,
    protocol: Callable[..., dict[str, Any]],
) -> list[MetricRow]:
    """Rows of every subset; one of few tiles, or of a set that does not tell, says why.

    Parameters
    ----------
    sides : features of both sets, rows as in the groupings
    protocol : makes a protocol from `subset`, and where they count `n_real`, `n_synthetic` and `k`
    """
    rows: list[MetricRow] = []
    for grouping in sorted_tiles:
        for name in grouping.names:
            rows += _rows_of(scored, sides, grouping, name, encoder=encoder, protocol=protocol)
    return rows


def _rows_of(
    scored: Scored,
    sides: "Sides",
    grouping: Grouping,
    name: str,
    *,
    encoder: str,
    protocol: Callable[..., dict[str, Any]],
) -> Iterator[MetricRow]:
    subset = f"{grouping.kind}={name}"
    of_real = grouping.real == name
    if grouping.synthetic is None:
        absent = scored.absent("kernel_distance", grouping.reason, encoder=encoder, subset=subset)
        yield replace(absent, n_real=int(of_real.sum()))
        return
    of_synthetic = grouping.synthetic == name
    counts = {"n_real": int(of_real.sum()), "n_synthetic": int(of_synthetic.sum())}
    least = sides.settings.min_tiles
    if min(counts.values()) < least:
        reason = (
            f"{counts['n_real']} real and {counts['n_synthetic']} synthetic tiles are of this "
            f"{grouping.kind}; evaluation.min_tiles is {least}"
        )
        absent = scored.absent("kernel_distance", reason, encoder=encoder, subset=subset)
        yield replace(absent, **counts)  # type: ignore[arg-type]
        return
    part = sides.subset(of_real, of_synthetic)
    place: dict[str, Any] = {"encoder": encoder, "subset": subset, **counts}
    # Unbiased at every n, so subsets of different size are still one protocol.
    told = protocol(subset=grouping.rule, n_real=None, n_synthetic=None)
    kernel = part.jackknife(KernelStatistic(narrow=part.many))
    yield scored.row("kernel_distance", kernel, protocol=told, **place)
    told = protocol(subset=grouping.rule, **counts)
    value = frechet_distance(part.real, part.synthetic)
    yield scored.row("frechet_distance", value, protocol=told, **place)
    k = sides.settings.neighbours
    told = protocol(subset=grouping.rule, k=k, **counts)
    if min(counts.values()) > k:
        for metric, value in prdc(part.real, part.synthetic, k=k).items():
            yield scored.row(metric, value, protocol=told, **place)
