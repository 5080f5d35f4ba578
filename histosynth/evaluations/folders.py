"""Scores of image folders, without a study: synthetic sets and real images against real images.

The real images are dealt into two halves without a common patient. One half is the reference; the
other is scored against it like a synthetic set, and is the row `real`: the floor, what real images
of other patients get. That half as JPEG, and noise in its colours, are scored too. All sets are
scored on equally many images, so that the bias of the Fréchet distance, which depends on their
number, is the same in every row.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from histosynth.config import Study
from histosynth.encoders import Encoder, load_encoder
from histosynth.encoders.features import (
    embed_tileset,
    features_current,
    features_fingerprint,
    load_features,
    save_features,
)
from histosynth.evaluations.comparison import Comparison, compare_rows
from histosynth.evaluations.counts import patients
from histosynth.evaluations.embedded import ENCODER_IDENTITY
from histosynth.evaluations.fidelity import (
    DISTANCES,
    FIDELITY_METRICS,
    fidelity_rows,
    scored_subset,
)
from histosynth.evaluations.folder_groups import memorization, reference_sets, tissue
from histosynth.evaluations.halves import (
    LEAST,
    Half,
    Side,
    beyond_floor,
    deal_halves,
    link_halves,
)
from histosynth.evaluations.legacy import legacy_of_sets
from histosynth.evaluations.rows import ROW_COLUMNS, SPLIT_UNIT, MetricRow, Scored
from histosynth.external import (
    REAL,
    TRAIN,
    External,
    Options,
    check_folders,
    import_external,
    patients_of_labels,
    protocol_codec,
)
from histosynth.files import short_hash
from histosynth.metrics import Reference, frechet_distance, kernel_distance
from histosynth.settings import EncoderSettings
from histosynth.tilesets import TileSet

MINUS_REAL = "minus_real"  # group of the rows that tell how far a set lies beyond the floor
_DISTANCES = dict(zip(DISTANCES, (frechet_distance, kernel_distance), strict=True))
FEW = 50  # with fewer than this, the report says that they are few


@dataclass(frozen=True)
class Scores:
    """Everything that a report of folders needs.

    Attributes
    ----------
    study : a frame for what studies and folders share: conditions, encoders, evaluation settings
    rows : the columns of `MetricRow`
    sets : all imported sets by name, `real` whole
    reference, floor : the halves of `real`
    features : (set, encoder) -> file
    n : images of each set that were scored
    comparisons : of every pair of synthetic sets
    seconds : of embedding and scoring
    memorization : by set, what `memorization_of_files` tells beside its rows; empty without `train`
    tissue : by set, what `tissue_of_files` tells beside its rows
    """

    study: Study
    rows: pd.DataFrame
    protocols: dict[str, dict[str, Any]]
    sets: dict[str, TileSet]
    reference: Half
    floor: Half
    features: dict[tuple[str, str], Path]
    n: int
    seconds: float
    memorization: dict[str, Any]
    tissue: dict[str, Any]
    comparisons: tuple[Comparison, ...]


def evaluate_folders(
    folders: Mapping[str, Path],
    settings: Mapping[str, EncoderSettings],
    work: Path,
    options: Options,
    *,
    log: Callable[[str], None],
) -> tuple[Scores, dict[str, External]]:
    """Check, import, embed and score folders of images.

    Parameters
    ----------
    folders : by set name (`name_folders`)
    settings : encoders to score in, by name
    work : folder for tile sets and features; what lies there from before is used again

    Raises
    ------
    InputError : anything wrong with folders, tables or encoders, before any image is decoded; an
        image cut off, by name, when all are.
    """
    encoders = {name: load_encoder(name, made) for name, made in settings.items()}
    checked = check_folders(folders, options, least={REAL: 2 * LEAST, TRAIN: LEAST, "": LEAST})
    for line in patients_of_labels(checked, options):
        log(line)
    facts = checked[REAL].facts
    patients = np.array([row.get("patient_id", str(path)) for path, row in facts.items()])
    deal_halves(patients)
    known = any("patient_id" in row for row in facts.values())
    sets = _imported(checked, work, options, log)
    unit = "patient" if known else "image"
    scores = score_folders(sets, encoders, work, settings=settings, split_unit=unit, log=log)
    if options.legacy:
        native = replace(options, size=None)
        own = {name: external for name, external in checked.items() if name != TRAIN}
        sets = _imported(own, work, native, log) if options.size else sets
        scores = _with_legacy(scores, sets, encoders, work, options, log)
    return scores, checked


def _imported(
    checked: Mapping[str, External], work: Path, options: Options, log: Callable[[str], None]
) -> dict[str, TileSet]:
    return {
        name: import_external(external, work, options, codec=protocol_codec(checked, name), log=log)
        for name, external in checked.items()
    }


def _with_legacy(
    scores: Scores,
    sets: Mapping[str, TileSet],
    encoders: Mapping[str, Encoder],
    work: Path,
    options: Options,
    log: Callable[[str], None],
) -> Scores:
    """The scores, and beside them those of `sets`, of the sizes that they came in."""
    log(f"scoring as in published protocols: {', '.join(options.legacy)}")
    unit = str(scores.reference.tiles.provenance[SPLIT_UNIT])
    reference, floor = link_halves(sets[REAL], work, split_unit=unit)
    contestants = {name: sets[name] for name in scores.study.conditions} | {REAL: floor.tiles}
    asked = scores.study.evaluation.model_copy(update={"legacy": list(options.legacy)})
    study = scores.study.model_copy(update={"evaluation": asked})
    rows, protocols = legacy_of_sets(study, reference.tiles, contestants, encoders)
    table = pd.DataFrame([vars(row) for row in rows], columns=ROW_COLUMNS)
    return replace(
        scores,
        study=study,
        rows=pd.concat([scores.rows, table], ignore_index=True),
        protocols=scores.protocols | protocols,
    )


def embed(tiles: TileSet, encoder: Encoder, work: Path, *, batch_size: int) -> Path:
    """The set's features in `work`; embedded only where they are not there yet."""
    identity = short_hash({key: encoder.fingerprint.get(key) for key in ENCODER_IDENTITY})
    path = work / "features" / f"{tiles.fingerprint}-{encoder.name}-{identity}.npy"
    fingerprint = features_fingerprint(encoder, tiles)
    if not features_current(path, fingerprint):
        features = embed_tileset(tiles, encoder, batch_size=batch_size)
        save_features(path, features, fingerprint=fingerprint)
    return path


def score_folders(
    sets: Mapping[str, TileSet],
    encoders: Mapping[str, Encoder],
    work: Path,
    *,
    settings: Mapping[str, EncoderSettings],
    split_unit: str,
    log: Callable[[str], None],
) -> Scores:
    """Fidelity of every set of `sets` to the reference half of its set `real`, in each encoder.

    Parameters
    ----------
    sets : tile sets by name; `real`, synthetic ones, and `train` where there is one
    encoders, settings : to score in, by name, and what each was made from
    work : folder for halves and features
    split_unit : patient, or image where patients are unknown
    """
    started = time.monotonic()
    reference, floor = link_halves(sets[REAL], work, split_unit=split_unit)
    synthetic = {name: tiles for name, tiles in sets.items() if name not in (REAL, TRAIN)}
    n = min(len(floor.rows), *(len(tiles) for tiles in synthetic.values()))
    study = _study(synthetic, settings, n)
    made_of_real = reference_sets(floor, work, log)
    log(f"scoring {n} images of each set against {len(reference.rows)} real ones")
    labels = sorted(map(str, sets[REAL].table["label"].dropna().unique()))
    rows: list[MetricRow] = []
    features: dict[tuple[str, str], Path] = {}
    protocols: dict[str, dict[str, Any]] = {}
    for encoder_name, encoder in encoders.items():
        identity = {key: encoder.fingerprint.get(key) for key in ENCODER_IDENTITY}
        arrays = {}
        for name, tiles in {**sets, **made_of_real}.items():
            path = embed(tiles, encoder, work, batch_size=settings[encoder_name].batch_size)
            features[name, encoder_name] = path
            arrays[name] = load_features(path)
        real_features = arrays[REAL]
        kept = Reference(real_features[reference.rows], k=study.evaluation.neighbours)
        contestants = {name: (tiles, arrays[name]) for name, tiles in synthetic.items()}
        contestants[REAL] = (floor.tiles, real_features[floor.rows])
        contestants |= {name: (tiles, arrays[name]) for name, tiles in made_of_real.items()}
        for name, (tiles, made) in contestants.items():
            scored = Scored(study.study, name, 0, name, "fidelity")
            compute = partial(
                fidelity_rows,
                scored,
                reference.tiles,
                tiles,
                encoder=encoder_name,
                real_features=real_features[reference.rows],
                synthetic_features=made,
                encoder_fingerprint=identity,
                settings=study.evaluation,
                n=n,
                label_names=labels,
                reference=kept,
            )
            rows += scored.guarded(FIDELITY_METRICS, compute, encoder=encoder_name)
            protocols |= scored.protocols
        sides = [
            Side(real_features[half.rows], patients(half.tiles)) for half in (reference, floor)
        ]
        mine = [row for row in rows if row.encoder == encoder_name and row.condition in synthetic]
        rows += _beyond_floor_rows(mine, contestants, sides, n)
    facts: dict[str, Any] = {}
    if TRAIN in sets:
        found, facts, more = memorization(study, sets, features)
        rows, protocols = rows + found, protocols | more
    log("measuring stain and nuclei")
    found, of_tissue, more = tissue(study, synthetic, reference, floor)
    rows, protocols = rows + found, protocols | more
    compared = tuple(compare_rows(rows, list(synthetic)))
    table = pd.DataFrame([vars(row) for row in rows], columns=ROW_COLUMNS)
    seconds = time.monotonic() - started
    return Scores(
        study,
        table,
        protocols,
        dict(sets),
        reference,
        floor,
        features,
        n,
        seconds,
        facts,
        of_tissue,
        compared,
    )


def _beyond_floor_rows(
    rows: list[MetricRow],
    contestants: Mapping[str, tuple[TileSet, np.ndarray]],
    sides: list[Side],
    n: int,
) -> list[MetricRow]:
    """For every distance in `rows`, how far it lies beyond that of real images."""
    reference, floor = sides
    chosen = scored_subset(len(floor.features), n, seed=0)
    floor = Side(floor.features[chosen], floor.groups[chosen])
    made = []
    for row in rows:
        if row.subset != "all" or row.metric not in _DISTANCES or row.status != "ok":
            continue
        tiles, features = contestants[row.condition]
        chosen = scored_subset(len(tiles), n, seed=0)
        side = Side(features[chosen], patients(tiles)[chosen])
        found = beyond_floor(_DISTANCES[row.metric], reference, side, floor, seed=0)
        made.append(
            replace(
                row,
                group=MINUS_REAL,
                value=found.value,
                ci_low=found.ci_low,
                ci_high=found.ci_high,
                se=found.se,
                contributions=found.contributions,
            )
        )
    return made


def shared_images(a: TileSet, b: TileSet) -> int:
    """How many images of `b` are in `a`, pixel by pixel."""
    return int(np.isin(_as_numbers(b.digests), _as_numbers(a.digests)).sum())


def repeated_images(tiles: TileSet) -> int:
    """How many images of a set are copies of one before them, pixel by pixel."""
    return len(tiles) - len(np.unique(_as_numbers(tiles.digests)))


def _as_numbers(digests: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(digests).view(np.uint64)[:, 0]


def _study(
    synthetic: Mapping[str, TileSet], encoders: Mapping[str, EncoderSettings], n: int
) -> Study:
    """A study of external conditions alone: the frame in which folders are scored and shown."""
    settings = {
        "study": "folders",
        "cohort": {"kind": "phantom"},  # a study has one; nothing reads it here
        "conditions": {
            name: {"external": tiles.provenance["images"]} for name, tiles in synthetic.items()
        },
        "encoders": {name: made.model_dump(mode="json") for name, made in encoders.items()},
        "sampling": {"n": n},
        "downstream": None,
        "evaluation": {"encoders": list(encoders), "min_tiles": LEAST},
    }
    return Study.parse(settings, source="the folders given")
