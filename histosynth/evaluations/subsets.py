"""Fidelity by subset: tiles of one label, tissue class, site or cluster against real ones alike.

A real tile belongs where it is; a synthetic one where its request puts it:

- label: the requested label;
- class: the tissue class with the largest share of the requested map (of the real tile's map);
- site: the site of the real tile that the request was taken from;
- cluster: the requested morphology type or, where none was requested, the nearest centroid of the
  image's own features.

The kernel distance leads: for independent tiles it is unbiased at every n, so subsets of different
size compare. What tiles of one patient have in common adds about 1 / patients to it, in `real` as
in any set. It alone carries an interval and is ranked. It and the Gaussian one are given from
`evaluation.min_subset_tiles` tiles on, all other scores from `evaluation.min_tiles` on.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from histosynth.clusters.files import read_assignments, read_features
from histosynth.clusters.kmeans import KMeansClusters
from histosynth.conditions.targets import cluster_ids
from histosynth.errors import InputError
from histosynth.evaluations.rows import MetricRow, Scored
from histosynth.evaluations.sides import INSIDE
from histosynth.metrics import KernelStatistic, kernel_distance, sliced_wasserstein, vendi_score

if TYPE_CHECKING:
    import pandas as pd

    from histosynth.evaluations.sides import Sides
    from histosynth.settings import Evaluation
    from histosynth.tilesets import TileSet

KINDS = ("label", "class", "site", "cluster")
REQUESTED = "requested"
NEAREST_CENTROID = "nearest centroid of the image's own features"
FROM_FEW = ("kernel_distance", "kernel_distance_rbf")  # given from evaluation.min_subset_tiles on
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
    chosen: np.ndarray | None = None,
) -> list[MetricRow]:
    """Rows of every subset; one of few tiles, or of a set that does not tell, says why.

    Parameters
    ----------
    sides : features of both sets, rows as in the groupings
    protocol : makes a protocol from `subset`, `n_real` and `n_synthetic`
    chosen : rows of the synthetic set that are scored as a whole, by default all. The others come
        in, at random, where a subset has fewer than `evaluation.min_tiles` of these.
    """
    chosen = np.arange(len(sides.synthetic)) if chosen is None else chosen
    rows: list[MetricRow] = []
    for grouping in sorted_tiles:
        for name in grouping.names:
            rows += _rows_of(
                scored, sides, grouping, name, chosen, encoder=encoder, protocol=protocol
            )
    return rows


def _rows_of(
    scored: Scored,
    sides: "Sides",
    grouping: Grouping,
    name: str,
    chosen: np.ndarray,
    *,
    encoder: str,
    protocol: Callable[..., dict[str, Any]],
) -> Iterator[MetricRow]:
    place: dict[str, Any] = {"encoder": encoder, "subset": f"{grouping.kind}={name}"}
    of_real = grouping.real == name
    if grouping.synthetic is None:
        absent = scored.absent("kernel_distance", grouping.reason, **place)
        yield replace(absent, n_real=int(of_real.sum()))
        return
    own = np.flatnonzero(grouping.synthetic == name)
    rows, remark = _filled(own, chosen, sides.settings)
    counts: dict[str, Any] = {"n_real": int(of_real.sum()), "n_synthetic": len(rows)}
    key, least = _least(sides.settings)
    if min(counts.values()) < least:
        reason = _few(counts, f"tiles are of this {grouping.kind}; evaluation.{key} is {least}")
        absent = scored.absent("kernel_distance", reason, **place)
        yield replace(absent, **counts)
        return
    part = sides.subset(of_real, rows)
    for metric, compute in _scores(part).items():
        counts = part.counts(metric)
        # No bias of its own depends on n, so subsets of different size are still one protocol.
        told = dict.fromkeys(counts) if metric in FROM_FEW else counts
        lacking = _lacking(metric, part)
        try:
            if lacking:
                raise InputError(lacking)
            found = compute()
            made = protocol(subset=grouping.rule, **told) | part.ingredients(metric)
            row = scored.row(metric, found, protocol=made, reason=remark, **place, **counts)
        except InputError as error:  # such as one patient only
            row = replace(scored.absent(metric, str(error), **place), **counts)
        yield row


def _filled(own: np.ndarray, chosen: np.ndarray, settings: "Evaluation") -> tuple[np.ndarray, str]:
    """Which tiles of a subset are scored, and what to say of it."""
    rows = own[np.isin(own, chosen)]
    further = np.random.default_rng(settings.seed).permutation(np.setdiff1d(own, chosen))
    further = further[: max(0, settings.min_tiles - len(rows))]
    if not len(further):
        return rows, ""
    remark = (
        f"{len(further)} of these tiles are beyond the {len(chosen)} that are scored as a whole, "
        "which hold too few of this kind"
    )
    return np.sort(np.concatenate([rows, further])), remark


def _least(settings: "Evaluation") -> tuple[str, int]:
    """The key and number of tiles below which nothing is scored."""
    keys = ("min_tiles", "min_subset_tiles")
    return min(((key, getattr(settings, key)) for key in keys), key=lambda pair: pair[1])


def _lacking(metric: str, part: "Sides") -> str:
    """Why there are too few tiles for a score; empty where there are enough."""
    if metric in FROM_FEW:
        return ""
    n, m, width = len(part.real), len(part.synthetic), part.real.shape[1]
    counts = {"n_real": n, "n_synthetic": m}
    least, k = part.settings.min_tiles, part.settings.neighbours
    if min(n, m) < least:
        return _few(counts, f"tiles; evaluation.min_tiles is {least}, below which it is not given")
    if metric in INSIDE and min(n, m) <= k:
        return _few(counts, f"tiles; it takes more than k = {k}")
    if metric == "frechet_distance_inf" and not part.extrapolates:
        return _few(counts, f"tiles; it takes {2 * width} of each, twice the features")
    if metric == "classifier_auc" and n + m <= width:
        return _few(
            counts, f"tiles; with no more in all than {width} features, any two sets can be parted"
        )
    return ""


def _few(counts: dict[str, int], words: str) -> str:
    return f"{counts['n_real']} real and {counts['n_synthetic']} synthetic {words}"


def _scores(part: "Sides") -> dict[str, Callable[[], Any]]:
    """Every score of two sets, as what computes it."""
    real, made, seed = part.real, part.synthetic, part.settings.seed

    @cache
    def neighbours() -> dict[str, float]:
        return part.reference.compare(made)[1].scores()

    return {
        "kernel_distance": lambda: part.jackknife(KernelStatistic(narrow=part.many)),
        "frechet_distance": lambda: part.reference.frechet(made),
        **{name: partial(lambda name: neighbours()[name], name) for name in INSIDE},
        "frechet_distance_inf": lambda: part.extrapolated_value,
        "kernel_distance_rbf": lambda: kernel_distance(real, made, kernel="rbf", sigma=part.sigma),
        "sliced_wasserstein": lambda: sliced_wasserstein(real, made, seed=seed),
        "vendi": lambda: vendi_score(made),
        "classifier_auc": lambda: part.classifier_auc().value,
    }
