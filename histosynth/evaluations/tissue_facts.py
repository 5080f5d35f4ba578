"""What the report shows of tissue statistics beside the scores: means, histograms, examples."""

from typing import Any

import numpy as np

from histosynth.evaluations.tissue_sides import Side
from histosynth.nuclei import NucleusRule
from histosynth.tissue_statistics import COUNT, TileStatistics

ENTROPY_BINS = 40
EXAMPLES = 5  # tiles of a set, from few to many nuclei


def report_facts(
    measured: tuple[TileStatistics, ...], sides: tuple[Side, Side], rule: NucleusRule | None
) -> dict[str, Any]:
    """What the report shows beside the rows."""
    shown: dict[str, Any] = {}
    for name in measured[0].histograms:
        shown[name] = {"edges": measured[0].edges[name].round(6).tolist()}
        for who, side in zip(("real", "made"), measured, strict=True):
            shown[name][who] = side.histograms[name].sum(axis=0).round(3).tolist()
    if rule is not None:
        counts = [side.values[COUNT].astype(int) for side in measured]
        top = max(int(c.max()) for c in counts)
        shown[COUNT] = {"edges": (np.arange(top + 2) - 0.5).tolist()}
        for who, count in zip(("real", "made"), counts, strict=True):
            shown[COUNT][who] = np.bincount(count, minlength=top + 1).tolist()
    facts: dict[str, Any] = {"means": means_of(measured), "histograms": shown, "rule": None}
    if rule is not None:
        facts["rule"] = {"threshold": rule.threshold, "mpp": rule.mpp}
        facts["examples"] = {
            who: _few_to_many(side.rows, numbers.values[COUNT])
            for who, side, numbers in zip(("real", "made"), sides, measured, strict=True)
        }
    return facts


def means_of(measured: tuple[TileStatistics, ...]) -> dict[str, dict[str, list[float]]]:
    """name -> side -> mean and standard deviation over tiles, of areas over nuclei; empty without
    a value."""
    means: dict[str, dict[str, list[float]]] = {}
    for name in measured[0].values:
        means[name] = {}
        for who, side in zip(("real", "made"), measured, strict=True):
            values = side.values[name]
            values = values[np.isfinite(values)]
            means[name][who] = [float(values.mean()), float(values.std())] if len(values) else []
    for name in measured[0].sums:
        pairs = (_over_nuclei(side.sums[name].sum(axis=0)) for side in measured)
        means[name] = dict(zip(("real", "made"), pairs, strict=True))
    return means


def entropies(read: tuple[TileStatistics, ...], n_classes: int) -> dict[str, Any]:
    """For the report: tiles by the entropy of their classes, nats, of both sides."""
    edges = np.linspace(0, np.log(max(n_classes, 2)), ENTROPY_BINS + 1)
    counted = {"edges": edges.round(6).tolist()}
    for who, side in zip(("real", "made"), read, strict=True):
        values = np.clip(side.values["all"], 0, edges[-1])
        counted[who] = np.histogram(values, edges)[0].tolist()
    return {"all": counted}


def _over_nuclei(sums: np.ndarray) -> list[float]:
    """Mean and standard deviation from the sums (3,) of `TileStatistics.sums`; [] of none."""
    if not sums[0]:
        return []
    mean, square = sums[1:] / sums[0]
    return [float(mean), float(np.sqrt(max(square - mean**2, 0)))]


def _few_to_many(rows: np.ndarray, counts: np.ndarray) -> list[int]:
    """Rows of tiles at even steps of the order by their number of nuclei."""
    order = rows[np.argsort(counts, kind="stable")]
    at = (np.arange(EXAMPLES) + 0.5) / EXAMPLES * len(order)
    return order[at.astype(int)].tolist()
