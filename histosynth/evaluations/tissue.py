"""Tissue statistics: do synthetic tiles hold as much stain, as many nuclei, as much of each class?

Every number is taken of both sets by one rule: stains by one colour deconvolution, nuclei by one
threshold, which comes from the real test tiles, and classes by the judge's reading of the real
tiles as well as of the synthetic ones, so that its errors are on both sides; the maps requested of
a generator would agree with themselves. The reference is the real test tiles; `real` is training
tiles of other patients. Intervals leave out one patient at a time.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from histosynth.evaluations.protocol import tissue_protocol
from histosynth.evaluations.rows import MetricRow, Scored
from histosynth.evaluations.tissue_facts import entropies, means_of, report_facts
from histosynth.evaluations.tissue_sides import Side, open_sides, resolution
from histosynth.metrics import (
    Interval,
    cohens_d,
    cohens_d_of_sums,
    histogram_distance,
    jackknife_interval,
)
from histosynth.nuclei import COARSE_MPP, COARSEST_MPP, TYPICAL_UM, UNKNOWN_MPP, nucleus_rule
from histosynth.slides.tiling import class_entropy
from histosynth.tissue_statistics import (
    AREA,
    COUNT,
    TileStatistics,
    class_shares,
    measure_tiles,
)

if TYPE_CHECKING:
    from histosynth.config import Study
    from histosynth.judges.judge import Judge

STAIN_METRICS = ("od_hematoxylin", "od_eosin", "od_hematoxylin_sd", "od_eosin_sd")
NUCLEI_METRICS = (f"{COUNT}_d", f"{AREA}_d", f"{AREA}_w1")
CLASS_METRICS = ("class_area_d", "class_entropy_d")
TISSUE_METRICS = (
    *(f"{name}_d" for name in STAIN_METRICS),
    "od_hematoxylin_w1",
    "od_eosin_w1",
    *NUCLEI_METRICS,
    *CLASS_METRICS,
)
READ_AT_ONCE = 64  # tiles
AREA_VERSION = 2  # whole nuclei are weighted; raised when their areas change their meaning
UNVARIED = "this does not vary from tile to tile in either set"
_NO_NUCLEUS = "hardly a tile has a whole nucleus"


def tissue_of_files(
    scored: Scored, study: "Study", *, real: Path, made: Path, judge: "Judge | None"
) -> tuple[list[MetricRow], dict[str, Any]]:
    """Compare one set on disk with real test tiles.

    Parameters
    ----------
    real : the real test tiles
    made : the set to score; real training tiles for the reference row
    judge : a segmenter trained on real tiles, where the study has classes

    Returns
    -------
    rows
    facts : for the report: `rule` (threshold and mpp of nuclei), `means` and `histograms` of both
        sides, `examples` (rows of both sets)
    """
    facts: dict[str, Any] = {}

    def compute() -> list[MetricRow]:
        sides = open_sides(real, made, study)
        return _rows(scored, sides, study.evaluation.seed, judge, facts)

    return scored.guarded(TISSUE_METRICS, compute), facts


def _rows(
    scored: Scored,
    sides: tuple[Side, Side],
    seed: int,
    judge: "Judge | None",
    facts: dict[str, Any],
) -> list[MetricRow]:
    test = sides[0].tiles
    mpp = resolution(test)
    seen = mpp is None or mpp <= COARSEST_MPP
    rule = nucleus_rule(sides[0].images(), mpp) if seen else None
    measured = tuple(measure_tiles(side.images(), rule) for side in sides)
    facts |= report_facts(measured, sides, rule)
    numbers = _Numbers(scored, sides, seed)
    told = tissue_protocol(test, rule=rule, synthetic=sides[1].tiles)
    rows = numbers.effects({m: m for m in STAIN_METRICS}, measured, protocol=told)
    rows += numbers.distances(("od_hematoxylin", "od_eosin"), measured, protocol=told)
    if rule is None:
        width = TYPICAL_UM / mpp if mpp else 0
        reason = f"at {mpp:g} um a pixel a nucleus is {width:.0f} pixels wide: too few to find it"
        rows += [scored.absent(metric, reason) for metric in NUCLEI_METRICS]
    else:
        remark = _coarse(mpp)
        rows += numbers.effects({COUNT: COUNT}, measured, protocol=told, reason=remark)
        told = told | {"areas": AREA_VERSION}
        rows += numbers.area_effect(measured, protocol=told, reason=remark)
        rows += numbers.distances((AREA,), measured, protocol=told, reason=remark)
    if judge is None:
        reason = "the study has no classes, so no judge reads them"
        return rows + [scored.absent(metric, reason) for metric in CLASS_METRICS]
    read = tuple(_read(side, judge) for side in sides)
    facts["means"] |= means_of(read)
    facts["histograms"] |= entropies(read, len(judge.names))
    of_judge: dict[str, Any] = {"judge": judge.fingerprint, "synthetic": sides[1].tiles}
    told = tissue_protocol(test, rule=None, **of_judge)
    subsets = {f"class={name}": "class_area" for name in judge.names} | {"all": "class_entropy"}
    return rows + numbers.effects(subsets, read, protocol=told)


def _coarse(mpp: float | None) -> str:
    if mpp is None:
        return (
            "nobody knows how large a pixel is: nuclei are looked for as if it were "
            f"{UNKNOWN_MPP:g} um, so counts may be half or twice the truth (of both sets alike) "
            "and areas are in pixels"
        )
    if mpp <= COARSE_MPP:
        return ""
    return (
        f"at {mpp:g} um a pixel a nucleus is about {TYPICAL_UM / mpp:.0f} pixels wide: counts are "
        "fair, areas rough"
    )


def _read(side: Side, judge: "Judge") -> TileStatistics:
    """Share of each class in each tile as the judge reads it, and the entropy of these shares."""
    parts = np.array_split(side.rows, -(-len(side.rows) // READ_AT_ONCE))
    maps = (judge.maps(side.tiles.images(part)) for part in parts)
    shares = np.concatenate([class_shares(some, len(judge.names)) for some in maps])
    values = {f"class={name}": shares[:, c] for c, name in enumerate(judge.names)}
    values["all"] = class_entropy(shares).astype(float)
    return TileStatistics(values, {}, {}, {})


class _Numbers:
    """Rows of a pair of sides."""

    def __init__(self, scored: Scored, sides: tuple[Side, Side], seed: int) -> None:
        self.scored, self.seed = scored, seed
        self.groups = tuple(side.patients for side in sides)

    def effects(
        self,
        names: dict[str, str],
        measured: tuple[TileStatistics, ...],
        *,
        protocol: dict[str, Any],
        reason: str = "",
    ) -> list[MetricRow]:
        """Cohen's d of tile values; `names` maps a value's name to its metric's, less `_d`.

        A value named `class=...` is of that subset.
        """
        x, y = (np.stack([side.values[n] for n in names], axis=1) for side in measured)

        def statistic(a: np.ndarray, b: np.ndarray) -> dict[str, float]:
            return dict(zip(names, cohens_d(a, b).tolist(), strict=True))

        found: Any = self._jackknife(x, y, self.groups, statistic)
        rows = []
        for name, metric in names.items():
            interval = found.get(name, Interval(float("nan")))
            subset = name if name.startswith("class=") else "all"
            if not np.isfinite(interval.value):
                rows.append(self.scored.absent(f"{metric}_d", UNVARIED, subset=subset))
                continue
            place: dict[str, Any] = {"subset": subset, "protocol": protocol, "reason": reason}
            place |= {"n_real": len(x), "n_synthetic": len(y)}
            rows.append(self.scored.row(f"{metric}_d", interval, **place))
        return rows

    def area_effect(
        self, measured: tuple[TileStatistics, ...], *, protocol: dict[str, Any], reason: str
    ) -> list[MetricRow]:
        """Cohen's d of the areas of nuclei, over nuclei; tiles without a whole one do not count."""
        sums = [side.sums[AREA] for side in measured]
        kept = [of_side[:, 0] > 0 for of_side in sums]
        x, y = (of_side[keep] for of_side, keep in zip(sums, kept, strict=True))
        if min(len(x), len(y)) < 2:
            return [self.scored.absent(f"{AREA}_d", _NO_NUCLEUS)]
        groups = [group[keep] for group, keep in zip(self.groups, kept, strict=True)]
        interval = self._jackknife(x, y, groups, cohens_d_of_sums)
        if not np.isfinite(interval.value):
            return [self.scored.absent(f"{AREA}_d", "the whole nuclei are few, or of one size")]
        told: dict[str, Any] = {"protocol": protocol, "reason": reason}
        n: dict[str, Any] = {"n_real": len(x), "n_synthetic": len(y)}
        return [self.scored.row(f"{AREA}_d", interval, **told, **n)]

    def distances(
        self,
        names: tuple[str, ...],
        measured: tuple[TileStatistics, ...],
        *,
        protocol: dict[str, Any],
        reason: str = "",
    ) -> list[MetricRow]:
        """1-d Wasserstein distance of histograms over all tiles together."""
        rows = []
        for name in names:
            x, y = (side.histograms[name] for side in measured)
            edges, metric = measured[0].edges[name], f"{name}_w1"
            width = np.diff((edges[1:] + edges[:-1]) / 2)
            if not x.any() or not y.any():
                rows.append(self.scored.absent(metric, _NO_NUCLEUS))
                continue

            def statistic(a: np.ndarray, b: np.ndarray, width: np.ndarray = width) -> float:
                return histogram_distance(a.sum(axis=0), b.sum(axis=0), width=width)

            interval = self._jackknife(x, y, self.groups, statistic, bounds=(0, np.inf))
            counts: dict[str, Any] = {"n_real": len(x), "n_synthetic": len(y)}
            # It shrinks as tiles are added, so their numbers are part of what it means.
            told = protocol | counts
            row = self.scored.row(metric, interval, protocol=told, reason=reason, **counts)
            rows.append(row)
        return rows

    def _jackknife(
        self, x: np.ndarray, y: np.ndarray, groups: Any, statistic: Any, **options: Any
    ) -> Any:
        return jackknife_interval(
            x.astype(np.float64),
            y.astype(np.float64),
            real_groups=groups[0],
            synthetic_groups=groups[1],
            statistic=statistic,
            seed=self.seed,
            **options,
        )
