"""Gather a study's results from its folder into plain dataclasses; nothing is computed anew.

Everything but `config.yaml` may be missing: what the config promises and the folder does not hold
is listed in `Results.absent`, and the pages show it as missing.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from histosynth.config import Condition, SignalSettings, Study
from histosynth.errors import InputError
from histosynth.files import read_json

ROW_COLUMNS = (
    "study condition seed set encoder group metric subset arm value ci_low ci_high se n_real "
    "n_synthetic higher_is_better status reason protocol"
).split()
NUMBERS = ("value", "ci_low", "ci_high", "se", "n_real", "n_synthetic")
GROUPS = ("fidelity", "adherence", "utility")
SPLITS = ("train", "val", "test")

_SIGNAL_WORDS = {
    "label": "the tile’s label",
    "cluster": "its morphology type (cluster)",
    "prompt": "a text prompt",
    "embedding": "an image embedding",
    "map": "the tissue map",
    "pseudo_map": "a map of morphology types",
}
_CROP_WORDS = {
    "other_slide": "a raw crop of each class from another slide",
    "same_image": "raw crops of the very tile that is to be made",
}


@dataclass(frozen=True)
class ConditionInfo:
    """A condition in words; `apart` says why it is not ranked with the others, if it is not."""

    name: str
    words: str
    apart: str = ""


@dataclass(frozen=True)
class SplitCount:
    """What one split of the real tiles holds."""

    split: str
    tiles: int
    slides: int
    patients: int
    sites: int
    classes: dict[str, float]  # class -> mean area fraction
    labels: dict[str, int]


@dataclass(frozen=True)
class Training:
    """One trained network, as its train.json tells it."""

    name: str
    seed: int | None
    path: str
    found: bool
    facts: dict[str, Any] = field(default_factory=dict)  # scalars of train.json
    losses: tuple[tuple[float, float], ...] = ()  # (step, loss)


@dataclass(frozen=True)
class ClusterSet:
    """One clustering: the train split's tile ids by cluster."""

    name: str
    sizes: dict[int, int]
    train_tiles: dict[int, tuple[str, ...]]


@dataclass(frozen=True)
class Results:
    """Everything the pages need."""

    folder: Path
    study: Study
    rows: pd.DataFrame
    partial: bool
    conditions: tuple[ConditionInfo, ...]
    splits: tuple[SplitCount, ...]
    rejected: dict[str, int]
    failed_slides: tuple[tuple[str, str], ...]  # (slide, reason)
    trainings: tuple[Training, ...]
    clusters: tuple[ClusterSet, ...]
    protocols: dict[str, dict[str, Any]]  # hash -> ingredients
    versions: dict[str, str]
    score_seconds: dict[str, float]  # metrics file -> seconds
    absent: tuple[str, ...]  # "<what>: no such file: <path>"

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
        protocols.update(content.get("protocols") or {})
        versions.update(content.get("versions") or {})
    rejected, failed = _tiling(folder, absent)
    return Results(
        folder=folder,
        study=study,
        rows=_rows(folder, files, partial, absent),
        partial=partial,
        conditions=tuple(describe(name, c) for name, c in study.conditions.items()),
        splits=tuple(_splits(folder, study, absent)),
        rejected=rejected,
        failed_slides=failed,
        trainings=tuple(_trainings(folder, study)),
        clusters=tuple(_clusters(folder, study, absent)),
        protocols=protocols,
        versions=versions,
        score_seconds={k: float(v["seconds"]) for k, v in files.items() if v.get("seconds")},
        absent=tuple(absent),
    )


def describe(name: str, condition: Condition) -> ConditionInfo:
    """Say in words what a condition tells the generator."""
    if condition.external is not None:
        return ConditionInfo(name, f"somebody else’s images ({Path(condition.external).name})")
    signals = condition.signals or []
    words = " + ".join(_signal_words(signal) for signal in signals)
    leaks = any(s.kind == "crop" and s.options.get("source") == "same_image" for s in signals)
    apart = (
        "its crops show pixels of the tile to be made, so it is not ranked with the others"
        if leaks
        else ""
    )
    return ConditionInfo(name, words or "nothing: no signal at all", apart)


def _signal_words(signal: SignalSettings) -> str:
    if signal.kind == "crop":
        return _CROP_WORDS.get(str(signal.options.get("source", "other_slide")), "raw crops")
    words = _SIGNAL_WORDS.get(signal.kind, signal.kind)
    told = ", ".join(f"{key} {value}" for key, value in signal.options.items())
    return f"{words} ({told})" if told else words


def _metric_files(folder: Path) -> dict[str, dict[str, Any]]:
    found = {}
    for path in sorted(folder.glob("metrics/*/seed*/*.json")):
        content = _json(path)
        if content is not None:
            found[path.relative_to(folder).as_posix()] = content
    return found


def _json(path: Path) -> dict[str, Any] | None:
    try:
        content = read_json(path)
    except (OSError, json.JSONDecodeError):
        return None
    return content if isinstance(content, dict) else None


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


def _splits(folder: Path, study: Study, absent: list[str]) -> list[SplitCount]:
    counts = []
    for split in SPLITS:
        path = folder / "tilesets" / "real" / split / "tiles.parquet"
        if not path.is_file():
            absent.append(f"real {split} tiles: no such file: {path}")
            continue
        table = pd.read_parquet(path)
        fractions = {c: f"class_{c}" for c in study.class_names if f"class_{c}" in table}
        labels = table["label"].value_counts() if "label" in table else {}
        counts.append(
            SplitCount(
                split=split,
                tiles=len(table),
                slides=_distinct(table, "slide_id"),
                patients=_distinct(table, "patient_id"),
                sites=_distinct(table, "site"),
                classes={c: float(table[column].mean()) for c, column in fractions.items()},
                labels={str(name): int(n) for name, n in labels.items()},
            )
        )
    return counts


def _distinct(table: pd.DataFrame, column: str) -> int:
    return int(table[column].nunique()) if column in table else 0


def _tiling(folder: Path, absent: list[str]) -> tuple[dict[str, int], tuple]:
    """Reasons of rejected tiles and of failed slides, from the tiling jobs' own tables."""
    rejected: dict[str, int] = {}
    for path in sorted(folder.glob("tiles/*/rejected.parquet")):
        for reason, count in pd.read_parquet(path)["reason"].value_counts().items():
            rejected[str(reason)] = rejected.get(str(reason), 0) + int(count)
    failed = []
    chunks = sorted(folder.glob("tiles/*/slides.json"))
    summary = _json(folder / "tilesets" / "real" / "summary.json") or {}
    if not chunks and not summary:
        path = folder / "tilesets" / "real" / "summary.json"
        absent.append(f"tiling summary: no such file: {path}")
    slides = [slide for path in chunks for slide in slide_list(read_json(path))]
    for slide in slides or slide_list(summary.get("failed_slides") or []):
        if slide.get("status", "failed") == "failed":
            failed.append((str(slide.get("slide_id", "?")), str(slide.get("reason", ""))))
    if not rejected:
        reasons = summary.get("reasons") or {}
        rejected = {str(k): int(v) for k, v in reasons.items() if not isinstance(v, dict)}
    return dict(sorted(rejected.items(), key=lambda item: -item[1])), tuple(failed)


def slide_list(content: Any) -> list[dict[str, Any]]:
    """Slides as a list of records, from a list or from a mapping of slide id to record."""
    if isinstance(content, dict):
        content = content.get("slides", content)
    if isinstance(content, dict):
        return [
            {"slide_id": key, **(value if isinstance(value, dict) else {"reason": value})}
            for key, value in content.items()
        ]
    return [item for item in content if isinstance(item, dict)]


def _trainings(folder: Path, study: Study) -> list[Training]:
    wanted: list[tuple[str, int | None, str]] = []
    if study.autoencoder.kind == "train":
        wanted.append(("autoencoder", None, "models/autoencoder/train.json"))
    for name, condition in study.conditions.items():
        if condition.signals is not None:
            wanted += [(name, s, f"models/{name}/seed{s}/train.json") for s in study.seeds]
    for kind in ("segmenter", "classifier"):
        if (folder / f"judges/{kind}/train.json").is_file():
            wanted.append((f"judge: {kind}", None, f"judges/{kind}/train.json"))
    made = []
    for name, seed, path in wanted:
        facts = _json(folder / path)
        made.append(
            Training(
                name,
                seed,
                path,
                facts is not None,
                {k: v for k, v in (facts or {}).items() if isinstance(v, str | int | float)},
                loss_curve(facts or {}),
            )
        )
    return made


def loss_curve(facts: dict[str, Any]) -> tuple[tuple[float, float], ...]:
    """Pairs of step and loss, whether stored as pairs, as records, or as a plain list."""
    for key in ("losses", "loss", "history", "curve"):
        values = facts.get(key)
        if isinstance(values, list) and values:
            break
    else:
        return ()
    first = values[0]
    if isinstance(first, dict):
        name = next((k for k in first if "loss" in k), None)
        return tuple((float(v["step"]), float(v[name])) for v in values if name and v.get(name))
    if isinstance(first, list | tuple):
        return tuple((float(v[0]), float(v[1])) for v in values)
    steps = float(facts.get("steps", len(values)))
    return tuple((steps * (i + 1) / len(values), float(v)) for i, v in enumerate(values))


def _clusters(folder: Path, study: Study, absent: list[str]) -> list[ClusterSet]:
    found = []
    for path in sorted(folder.glob("clusters/*/assignments.parquet")):
        table = pd.read_parquet(path)
        train = table[table["split"] == "train"]
        groups = {int(c): tuple(g["tile_id"]) for c, g in train.groupby("cluster")}
        sizes = {c: len(tiles) for c, tiles in groups.items()}
        found.append(ClusterSet(path.parent.name, sizes, groups))
    if study.clusters and not found:
        path = folder / "clusters" / f"{study.clusters.encoder}-k{study.clusters.k}"
        absent.append(f"clusters: no such file: {path}/assignments.parquet")
    return found
