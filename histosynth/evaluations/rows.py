"""Metric rows: one number, what it was computed from, and how it went.

Every evaluation returns a list of `MetricRow`. A cell that cannot be computed is a row too, with
a status and a reason, so that one failed cell never takes the report away and nothing is silently
absent.
"""

import math
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, Protocol

from histosynth.device import versions
from histosynth.errors import InputError
from histosynth.files import short_hash, write_json
from histosynth.metrics.contributions import Contributions
from histosynth.scripting import log

Status = Literal["ok", "failed", "missing", "not_applicable"]
NAN = float("nan")
NOT_FINITE = "the value is not a finite number"
SPLIT_UNIT = "split_unit"  # a protocol's ingredient where the split is not by patient
HIGHER_IS_BETTER = {
    "frechet_distance": False,
    "kernel_distance": False,
    "precision": True,
    "recall": True,
    "density": True,
    "coverage": True,
    "clipped_density": True,
    "clipped_coverage": True,
    "frechet_distance_inf": False,
    "kernel_distance_rbf": False,
    "sliced_wasserstein": False,
    "vendi": True,
    "classifier_auc": False,
    "cluster_occupancy": False,
    "round_trip_psnr": True,
    "round_trip_perceptual": False,
    "map_iou": True,
    "map_iou_ratio": True,
    "map_boundary_f": True,
    "map_boundary_f_ratio": True,
    "label_accuracy": True,
    "label_accuracy_ratio": True,
    "cluster_accuracy": True,
    "cluster_accuracy_ratio": True,
    "crop_style_auc": True,
    "embedding_similarity": True,
    "downstream_iou": True,
    "downstream_auc": True,
    "memorized_share_1pct": False,
    "memorized_share_01pct": False,
    "nearest_train_auc": False,
    "authenticity": True,
    "c_t": True,
    "handed_over_share": False,
    "pasted_share": False,
    "copied_inside": False,
    "copied_outside": False,
    # Effect sizes have a sign: they are best near 0.
    "od_hematoxylin_d": False,
    "od_eosin_d": False,
    "od_hematoxylin_sd_d": False,
    "od_eosin_sd_d": False,
    "nuclei_count_d": False,
    "nuclei_area_d": False,
    "class_area_d": False,
    "class_entropy_d": False,
    "od_hematoxylin_w1": False,
    "od_eosin_w1": False,
    "nuclei_area_w1": False,
}


class Estimate(Protocol):
    """A value with its uncertainty, such as `histosynth.metrics.Interval`."""

    @property
    def value(self) -> float: ...
    @property
    def ci_low(self) -> float: ...
    @property
    def ci_high(self) -> float: ...
    @property
    def se(self) -> float: ...


@dataclass(frozen=True, kw_only=True)
class MetricRow:
    """One metric of one set; the fields are the columns of summary.parquet, in this order.

    Attributes
    ----------
    set : the tile set scored, below tilesets/
    subset : `all`, or `label=`, `class=`, `site=` or `cluster=` with a name
    arm : of utility `real`, `synthetic` or `mixed`; of legacy scores the protocol's name
    value, ci_low, ci_high, se : NaN where not computed or not estimable
    n_real, n_synthetic : tiles behind the number
    reason : why the status is not ok; with ok, a remark
    protocol : hash of what must agree for two values to be comparable
    contributions : who the error comes from, where known; no column, but kept in the metrics file
        for paired comparisons
    """

    study: str
    condition: str
    seed: int
    set: str
    encoder: str = ""
    group: str
    metric: str
    subset: str = "all"
    arm: str = ""
    value: float = NAN
    ci_low: float = NAN
    ci_high: float = NAN
    se: float = NAN
    n_real: int = 0
    n_synthetic: int = 0
    higher_is_better: bool
    status: Status = "ok"
    reason: str = ""
    protocol: str = ""
    contributions: Contributions | None = field(default=None, compare=False, repr=False)


PLACE = ("condition", "metric", "encoder", "arm")  # what tells the rows over all tiles apart
ROW_COLUMNS = [f.name for f in fields(MetricRow) if f.name != "contributions"]


@dataclass(frozen=True)
class Scored:
    """What is being scored; makes the rows of one metrics file, and collects their protocols.

    Attributes
    ----------
    set : the tile set's name, below tilesets/
    group : fidelity, adherence, utility, memorization, tissue or legacy
    protocols : the ingredients of the rows' protocols, by their hash
    """

    study: str
    condition: str
    seed: int
    set: str
    group: str
    protocols: dict[str, dict[str, Any]] = field(default_factory=dict, compare=False)

    def row(
        self,
        metric: str,
        estimate: Estimate | float,
        *,
        protocol: Mapping[str, Any],
        encoder: str = "",
        subset: str = "all",
        arm: str = "",
        n_real: int = 0,
        n_synthetic: int = 0,
        reason: str = "",
        condition: str | None = None,
    ) -> MetricRow:
        """A computed value; one that is no finite number becomes a failed row.

        Where the protocol says that the split is not by patient, the remark says so too.
        """
        parts = _parts(estimate)
        key = short_hash(protocol)
        self.protocols[key] = dict(protocol)
        status: Status = "ok" if math.isfinite(parts["value"]) else "failed"
        return MetricRow(
            **self._place(metric, encoder=encoder, subset=subset, arm=arm, condition=condition),
            **parts,
            n_real=n_real,
            n_synthetic=n_synthetic,
            status=status,
            reason=_remark(reason, protocol) if status == "ok" else reason or NOT_FINITE,
            protocol=key,
            contributions=getattr(estimate, "contributions", None),
        )

    def absent(
        self,
        metric: str,
        reason: str,
        *,
        status: Status = "not_applicable",
        encoder: str = "",
        subset: str = "all",
        arm: str = "",
        condition: str | None = None,
    ) -> MetricRow:
        """A cell without a value, and why."""
        place = self._place(metric, encoder=encoder, subset=subset, arm=arm, condition=condition)
        return MetricRow(**place, status=status, reason=reason)

    def guarded(
        self, metrics: Iterable[str], compute: Callable[[], list[MetricRow]], **place: str
    ) -> list[MetricRow]:
        """The rows of `compute`, or one failed row a metric with the reason.

        Parameters
        ----------
        metrics : what `compute` is about
        place : encoder, subset or arm of the failed rows
        """
        try:
            return compute()
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            log(f"{self.group} of {self.condition}, seed {self.seed}, failed: {reason}")
            if not isinstance(error, InputError):  # not the user's doing: show where
                log(traceback.format_exc())
            return [self.absent(metric, reason, status="failed", **place) for metric in metrics]

    def _place(self, metric: str, *, condition: str | None, **more: str) -> dict[str, Any]:
        return {
            "study": self.study,
            "condition": condition or self.condition,
            "seed": self.seed,
            "set": self.set,
            "group": self.group,
            "metric": metric,
            "higher_is_better": HIGHER_IS_BETTER[metric],
            **more,
        }


def split_remark(unit: str) -> str:
    """The remark of every score of a study whose split keeps slides or images apart only."""
    return f"split by {unit}, not by patient"


def _remark(reason: str, protocol: Mapping[str, Any]) -> str:
    unit = protocol.get(SPLIT_UNIT)
    return "; ".join(filter(None, (reason, unit and split_remark(unit))))


def software() -> dict[str, str]:
    """Versions of what scores are computed with."""
    return versions("numpy", "scipy", "torch", "timm", "segmentation-models-pytorch")


def set_name(folder: str | Path) -> str:
    """The name of a tile set: its path below `tilesets/`, or its last part elsewhere."""
    parts = Path(folder).parts
    return "/".join(parts[parts.index("tilesets") + 1 :]) if "tilesets" in parts else parts[-1]


def write_rows(
    path: str | Path,
    rows: Iterable[MetricRow],
    *,
    seconds: float,
    versions: Mapping[str, str],
    protocols: Mapping[str, Mapping[str, Any]],
    facts: Mapping[str, Any] | None = None,
) -> None:
    """Write a metrics file, atomically; NaN becomes null.

    Who the errors come from is kept of rows over all tiles, for paired comparisons.

    Parameters
    ----------
    seconds : what the computation took
    versions : package -> version
    protocols : the ingredients behind the rows' protocols, by hash (`Scored.protocols`)
    facts : what a row cannot hold, for the report
    """
    rows = list(rows)
    content: dict[str, Any] = {
        "rows": [{k: json_number(getattr(row, k)) for k in ROW_COLUMNS} for row in rows],
        "seconds": round(seconds, 3),
        "versions": dict(versions),
        "protocols": dict(protocols),
    }
    content["contributions"] = [
        {k: getattr(row, k) for k in PLACE} | {"parts": row.contributions.as_json()}
        for row in rows
        if row.contributions is not None and row.status == "ok" and row.subset == "all"
    ]
    if facts is not None:
        content["facts"] = dict(facts)
    write_json(path, content)


def _parts(estimate: Estimate | float) -> dict[str, Any]:
    if isinstance(estimate, (int, float)):
        return {"value": float(estimate)}
    names = ("value", "ci_low", "ci_high", "se")
    return {name: float(getattr(estimate, name)) for name in names}


def json_number(value: Any) -> Any:
    """The value, or None for a number that JSON does not know."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
