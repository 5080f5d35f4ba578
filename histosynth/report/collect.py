"""Gather a study's results from its folder into plain dataclasses; nothing is computed anew.

Everything but `config.yaml` may be missing: what the config promises and the folder does not hold
is listed in `Results.absent`, and the pages show it as missing.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from histosynth.conditions.prompt import TEMPLATE
from histosynth.config import Study
from histosynth.errors import InputError
from histosynth.evaluations.comparison import Comparison, read_comparison
from histosynth.evaluations.rows import SPLIT_UNIT
from histosynth.files import short_hash
from histosynth.report.data import DataFacts, data_facts
from histosynth.report.duplicates import Duplicates, read_duplicates
from histosynth.report.stages import (
    ClusterSet,
    SplitCount,
    Training,
    clusterings,
    json_or_none,
    split_counts,
    trainings,
)
from histosynth.settings import Condition, SignalSettings
from histosynth.settings_base import Guidance

ROW_COLUMNS = (
    "study condition seed set encoder group metric subset arm value ci_low ci_high se n_real "
    "n_synthetic higher_is_better status reason protocol"
).split()
NUMBERS = ("value", "ci_low", "ci_high", "se", "n_real", "n_synthetic")

_SIGNAL_WORDS = {
    "label": "the tile’s label",
    "cluster": "its morphology type (cluster)",
    "prompt": "a text prompt",
    "embedding": "the tile’s features",
    "map": "the tissue map",
    "pseudo_map": "a map of morphology types",
}
_CROP_WORDS = {
    "other_slide": "a raw crop of each class from another slide",
    "same_slide": "a raw crop of each class from another tile of its slide",
    "same_image": "raw crops of the very tile that is to be made",
    "shuffled_class": "for each class a raw crop of another class, from another slide (a probe)",
}
SOURCE_WORDS = {
    "other_slide": "other slides",
    "same_slide": "the same slide",
    "same_image": "the very tile",
    "shuffled_class": "another class",
}


@dataclass(frozen=True)
class ConditionInfo:
    """A condition in words.

    `apart` says why it is not ranked with the others, if it is not; `start` from which other one's
    weights it was trained, if from any.
    """

    name: str
    words: str
    apart: str = ""
    start: str = ""


@dataclass(frozen=True)
class Results:
    """Everything the pages need."""

    folder: Path
    study: Study
    rows: pd.DataFrame
    partial: bool
    conditions: tuple[ConditionInfo, ...]
    splits: tuple[SplitCount, ...]
    data: DataFacts
    duplicates: Duplicates | None
    trainings: tuple[Training, ...]
    clusters: tuple[ClusterSet, ...]
    protocols: dict[str, dict[str, Any]]  # hash -> ingredients
    versions: dict[str, str]
    score_seconds: dict[str, float]  # metrics file -> seconds
    absent: tuple[str, ...]  # "<what>: no such file: <path>"
    comparisons: tuple[Comparison, ...] = ()  # of every pair of conditions; none before the end

    @property
    def split_unit(self) -> str:
        """What the split keeps apart: patient, slide or image."""
        told = (made_of.get(SPLIT_UNIT) for made_of in self.protocols.values())
        return next((str(unit) for unit in told if unit), self.data.split_unit)

    def metrics_path(self, condition: str, seed: int, group: str) -> Path:
        """Where the pipeline puts the rows of one cell of the grid."""
        return self.folder / "metrics" / condition / f"seed{seed}" / f"{group}.json"


def collect(folder: str | Path, *, partial: bool = False) -> Results:
    """Read `results/{study}`.

    Parameters
    ----------
    folder : the study's results; `config.yaml` in it is required, all else optional.
    partial : the study may still be running: rows come from the metrics files that are there,
        rather than from the summary written at the end.
    """
    folder = Path(folder)
    if not (folder / "config.yaml").is_file():
        raise InputError(
            f"{folder}: no config.yaml, so no study's results; "
            "give --results the folder results/{study} of a run"
        )
    study = Study.load(folder / "config.yaml")
    absent: list[str] = []
    files = _metric_files(folder)
    protocols: dict[str, dict[str, Any]] = {}
    versions: dict[str, str] = {}
    for content in files.values():
        told = content.get("protocols") or {}
        protocols.update(told if isinstance(told, dict) else {short_hash(p): p for p in told})
        versions.update(content.get("versions") or {})
    return Results(
        folder=folder,
        study=study,
        rows=_rows(folder, files, partial, absent),
        partial=partial,
        conditions=tuple(describe(name, c) for name, c in study.conditions.items()),
        splits=tuple(split_counts(folder, study, absent)),
        data=data_facts(folder, absent),
        duplicates=read_duplicates(folder, absent),
        trainings=tuple(trainings(folder, study)),
        clusters=tuple(clusterings(folder, study, absent)),
        protocols=protocols,
        versions=versions,
        score_seconds={k: float(v["seconds"]) for k, v in files.items() if v.get("seconds")},
        comparisons=tuple(_comparisons(folder, partial)),
        absent=tuple(absent),
    )


def _comparisons(folder: Path, partial: bool) -> list[Comparison]:
    """The tested pairs; none of a study that still runs, whose scores they may not be about."""
    path = folder / "comparison.json"
    return read_comparison(path) if path.is_file() and not partial else []


def _guidance_words(scale: Guidance) -> str:
    if isinstance(scale, list):  # a sweep's further scales have a section of their own
        return f"{scale[0]:g}"
    if isinstance(scale, dict):
        return ", ".join(f"{signal} {own:g}" for signal, own in scale.items())
    return f"{scale:g}"


def describe(name: str, condition: Condition) -> ConditionInfo:
    """Say in words what a condition tells the generator."""
    if condition.external is not None:
        return ConditionInfo(name, f"somebody else’s images ({Path(condition.external).name})")
    signals = condition.signals or []
    words = " + ".join(_signal_words(signal) for signal in signals)
    if condition.guidance_scale is not None:
        words += f" (guidance {_guidance_words(condition.guidance_scale)})"
    leaks = any(s.kind == "crop" and s.options.get("source") == "same_image" for s in signals)
    apart = (
        "its crops show pixels of the tile to be made, so it is not ranked with the others"
        if leaks
        else ""
    )
    start = f"started from {condition.init_from}" if condition.init_from else ""
    return ConditionInfo(name, words or "nothing: no signal at all", apart, start)


def _signal_words(signal: SignalSettings) -> str:
    if signal.kind == "crop":
        source, trained = (signal.options.get(k) for k in ("source", "training_source"))
        words = _CROP_WORDS.get(str(source), "raw crops")
        if trained not in (None, source):
            words += f" (trained with crops of {SOURCE_WORDS.get(str(trained), trained)})"
        return words
    if signal.kind == "crop_color":
        return "the mean colour of such crops"
    words = _SIGNAL_WORDS.get(signal.kind, signal.kind)
    if signal.kind == "prompt":
        return f"{words} (“{signal.options.get('template', TEMPLATE)}”)"
    told = ", ".join(f"{key} {value}" for key, value in signal.options.items())
    return f"{words} ({told})" if told else words


def _metric_files(folder: Path) -> dict[str, dict[str, Any]]:
    found = {}
    for path in sorted(folder.glob("metrics/*/seed*/*.json")):
        content = json_or_none(path)
        if content is not None:
            found[path.relative_to(folder).as_posix()] = content
    return found


def _rows(
    folder: Path, files: dict[str, dict[str, Any]], partial: bool, absent: list[str]
) -> pd.DataFrame:
    summary = folder / "summary.parquet"
    if summary.is_file() and not (partial and files):
        rows = pd.read_parquet(summary)
    else:
        if not summary.is_file():
            absent.append(f"summary of all scores: no such file: {summary}")
        rows = pd.DataFrame([row for c in files.values() for row in c.get("rows", [])])
    rows = rows.reindex(columns=ROW_COLUMNS)
    for name in NUMBERS:
        rows[name] = pd.to_numeric(rows[name], errors="coerce")
    for name in ("encoder", "arm", "reason", "protocol", "set"):
        rows[name] = rows[name].fillna("").astype(str)
    rows["subset"] = rows["subset"].fillna("all")
    rows["seed"] = pd.to_numeric(rows["seed"], errors="coerce").fillna(0).astype(int)
    # A value that is not a number is not a result, whatever the row says.
    hollow = (rows["status"] == "ok") & rows["value"].isna()
    rows.loc[hollow & (rows["reason"] == ""), "reason"] = "the value is not a number"
    rows.loc[hollow, "status"] = "failed"
    return rows
