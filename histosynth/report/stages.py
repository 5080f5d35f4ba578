"""What the stages before the scores left behind: splits, tiling, trained networks, clusters."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from histosynth.config import Study
from histosynth.files import read_json

SPLITS = ("train", "val", "test")


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
    validation: tuple[tuple[float, float], ...] = ()  # (step, loss on validation tiles)
    averages: dict[str, float | None] = field(default_factory=dict)  # name -> kernel distance


@dataclass(frozen=True)
class ClusterSet:
    """One clustering: the train split's tile ids by cluster."""

    name: str
    sizes: dict[int, int]
    train_tiles: dict[int, tuple[str, ...]]


def json_or_none(path: Path) -> dict[str, Any] | None:
    """A JSON object's content, or None where there is no readable one."""
    try:
        content = read_json(path)
    except (OSError, json.JSONDecodeError):
        return None
    return content if isinstance(content, dict) else None


def split_counts(folder: Path, study: Study, absent: list[str]) -> list[SplitCount]:
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


def trainings(folder: Path, study: Study) -> list[Training]:
    wanted: list[tuple[str, int | None, str]] = []
    if study.autoencoder.kind != "pretrained":
        wanted.append(("autoencoder", None, "models/autoencoder/train.json"))
    for name, condition in study.conditions.items():
        if condition.signals is not None:
            wanted += [(name, s, f"models/{name}/seed{s}/train.json") for s in study.seeds]
    for kind in ("segmenter", "classifier"):
        if (folder / f"judges/{kind}/train.json").is_file():
            wanted.append((f"judge: {kind}", None, f"judges/{kind}/train.json"))
    made = []
    for name, seed, path in wanted:
        facts = json_or_none(folder / path)
        made.append(
            Training(
                name,
                seed,
                path,
                facts is not None,
                {k: v for k, v in (facts or {}).items() if isinstance(v, str | int | float)},
                loss_curve(facts or {}),
                tuple((row["step"], row["loss"]) for row in (facts or {}).get("validation") or []),
                (facts or {}).get("averages") or {},
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


def clusterings(folder: Path, study: Study, absent: list[str]) -> list[ClusterSet]:
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
