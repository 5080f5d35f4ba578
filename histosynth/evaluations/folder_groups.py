"""What folders are scored for beside fidelity (copies, stain, nuclei), and their reference sets."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from histosynth.config import Study
from histosynth.evaluations.halves import Half
from histosynth.evaluations.memorization import memorization_of_files
from histosynth.evaluations.reference_sets import REFERENCE_SETS, write_reference_set
from histosynth.evaluations.rows import MetricRow, Scored
from histosynth.evaluations.tissue import tissue_of_files
from histosynth.external import REAL, TRAIN
from histosynth.tilesets import TileSet

Part = tuple[list[MetricRow], dict[str, Any], dict[str, dict[str, Any]]]
"""Rows, what each set's scoring tells beside its rows, and the rows' protocols."""


def reference_sets(floor: Half, work: Path, log: Callable[[str], None]) -> dict[str, TileSet]:
    """The floor half as JPEG, and noise in its colours: what a score says of known faults."""
    made = {}
    for name in REFERENCE_SETS:
        folder = work / "sets" / f"{name}-of-{floor.tiles.folder.name}"
        if not (folder / "tileset.json").is_file():
            log(f"making the reference set {name} of the other half of the real images")
            write_reference_set(name, floor.tiles, folder)
        made[name] = TileSet.open(folder)
    return made


def memorization(
    study: Study, sets: Mapping[str, TileSet], features: Mapping[tuple[str, str], Path]
) -> Part:
    """Distances to the training images, of every synthetic set and of real images."""
    rows: list[MetricRow] = []
    facts: dict[str, Any] = {}
    protocols: dict[str, dict[str, Any]] = {}
    for name in [*study.conditions, REAL]:
        scored = Scored(study.study, name, 0, name, "memorization")
        used = [TRAIN, REAL, *([name] if name != REAL else [])]
        found, facts[name] = memorization_of_files(
            scored,
            study,
            train=sets[TRAIN].folder,
            test=sets[REAL].folder,
            synthetic=None if name == REAL else sets[name].folder,
            features={
                encoder: [str(features[one, encoder]) for one in used]
                for encoder in study.evaluation.encoders
            },
        )
        rows += found
        protocols |= scored.protocols
    return rows, facts, protocols


def tissue(study: Study, synthetic: Mapping[str, TileSet], reference: Half, floor: Half) -> Part:
    """Stain and nuclei of every set, and of the other half, against the reference images."""
    rows: list[MetricRow] = []
    facts: dict[str, Any] = {}
    protocols: dict[str, dict[str, Any]] = {}
    for name, tiles in {**synthetic, REAL: floor.tiles}.items():
        scored = Scored(study.study, name, 0, name, "tissue")
        found, facts[name] = tissue_of_files(
            scored, study, real=reference.tiles.folder, made=tiles.folder, judge=None
        )
        rows += found
        protocols |= scored.protocols
    return rows, facts, protocols
