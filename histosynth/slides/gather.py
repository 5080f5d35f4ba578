"""Gathering tiled chunks into one tile set a split, without copying a pixel."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from histosynth.config import Study
from histosynth.errors import InputError
from histosynth.files import read_json, write_json
from histosynth.slides.selection import cap_patients
from histosynth.slides.splits import SPLITS, check_disjoint
from histosynth.slides.tiling import OVER_PATIENT_CAP
from histosynth.tileset_links import link_tilesets, read_tables
from histosynth.tileset_writer import read_description


def gather_splits(folders: Sequence[Path], study: Study, output: Path) -> dict[str, Any]:
    """Make `output`/train, val and test of tiled chunks, and `output`/summary.json.

    Tiles are ordered by slide, y and x, so that the sets do not depend on the number of chunks.

    Parameters
    ----------
    folders : all chunks of the cohort, from `histosynth.slides.chunks.tile_chunk`
    study : its label, classes, split and `tiling.max_tiles_per_patient` are used

    Returns
    -------
    what summary.json holds: counts by split, patient, label, class and reason; readers; failed
    slides

    Raises
    ------
    InputError : all slides failed, no tile was kept, a split has none, a patient is in two splits.
    OutputError : `output` cannot be written.
    """
    slides = _slides(folders)
    refuse_all_failed(slides)
    check_disjoint(pd.DataFrame(slides), source="tiles")
    sources = {
        name: [f / name for f in folders if (f / name / "tileset.json").is_file()]
        for name in SPLITS
    }
    tables = {name: read_tables(sets) for name, sets in sources.items() if sets}
    rows = {name: _chosen(table, study) for name, table in tables.items()}
    tables = {name: table.take(rows[name]) for name, table in tables.items()}
    reasons = _reasons(slides, kept=sum(map(len, tables.values())))
    _refuse_empty(tables, slides, reasons)
    unit = slides[0]["split_unit"]
    summary: dict[str, Any] = {
        "splits": {name: _count(tables[name], study) for name in SPLITS},
        "split_unit": unit,
        "reasons": reasons,
        "readers": _tally(slides, "reader"),
        "mpp_sources": _tally(slides, "mpp_source"),
        "failed_slides": [entry for entry in slides if entry["status"] == "failed"],
        "slides": slides,
    }
    for name in SPLITS:
        provenance = read_description(sources[name][0])["provenance"]
        provenance |= {"split": study.split.model_dump(mode="json"), "split_unit": unit}
        link_tilesets(
            output / name,
            sources[name],
            table=tables[name],
            rows=rows[name],
            provenance=provenance,
        )
    write_json(output / "summary.json", summary)
    return summary


def _slides(folders: Sequence[Path]) -> list[dict[str, Any]]:
    """The entries of all slides, less the key that only a repeat of their chunk needs."""
    slides = []
    for folder in folders:
        if not (folder / "slides.json").is_file():
            raise InputError(f"{folder}: not a tiled chunk (no slides.json); run scripts/tile.py")
        slides += [
            {name: value for name, value in entry.items() if name != "key"}
            for entry in read_json(folder / "slides.json")
        ]
    return slides


def _chosen(table: pa.Table, study: Study) -> np.ndarray:
    """int64 (m,): the rows that stay, by slide, y and x."""
    keys = [(name, "ascending") for name in ("slide_id", "y", "x")]
    order = pc.sort_indices(table, keys).to_numpy().astype(np.int64)
    if study.tiling.max_tiles_per_patient is None:
        return order
    used = "patient_id slide_id x y label entropy".split()
    used += [f"class_{name}" for name in study.class_names]
    stay = cap_patients(table.select(used).to_pandas(), settings=study.tiling)
    return order[stay[order]]


def _refuse_empty(
    tables: dict[str, pa.Table], slides: list[dict[str, Any]], reasons: dict[str, int]
) -> None:
    if not tables:
        raise InputError(
            f"no tile was kept ({reasons}); lower tiling.min_tissue, widen "
            "tiling.heterogeneity, or choose another tiling.mpp or size"
        )
    empty = [name for name in SPLITS if name not in tables]
    if empty:
        failed = sum(entry["status"] == "failed" for entry in slides)
        raise InputError(
            f"no tile was kept for {', '.join(empty)} ({failed} slide(s) failed; all tiles: "
            f"{reasons}); every split needs tiles: change split.seed or the fractions, "
            "loosen the rules under `tiling`, or add patients"
        )


def _count(table: pa.Table, study: Study) -> dict[str, Any]:
    names = ["patient_id", "slide_id", "site", "label", *(f"class_{c}" for c in study.class_names)]
    tiles = table.select(names).to_pandas()
    labels = tiles["label"].value_counts() if study.label else {}
    return {
        "tiles": len(tiles),
        "patients": int(tiles["patient_id"].nunique()),
        "slides": int(tiles["slide_id"].nunique()),
        "sites": tiles["site"].value_counts().to_dict(),
        "labels": {name: int(labels.get(name, 0)) for name in study.label_names},
        "classes": {name: float(tiles[f"class_{name}"].mean()) for name in study.class_names},
        "tiles_by_patient": tiles["patient_id"].value_counts().sort_index().to_dict(),
    }


def _reasons(slides: list[dict[str, Any]], *, kept: int) -> dict[str, int]:
    """Tiles by reason over all slides; `kept` of those accepted are left by the patients' cap."""
    total: Counter[str] = Counter()
    for entry in slides:
        total.update(entry["counts"])
    over = total["accepted"] - kept
    return dict(total) | ({"accepted": kept, OVER_PATIENT_CAP: over} if over else {})


def _tally(slides: list[dict[str, Any]], name: str) -> dict[str, int]:
    """Slides by what was found of them, as far as they could be opened."""
    return dict(Counter(entry[name] for entry in slides if entry["reader"] is not None))


def refuse_all_failed(entries: list[dict[str, Any]]) -> None:
    """An error that names the reasons, where no slide came through."""
    if entries and all(entry["status"] == "failed" for entry in entries):
        reasons = Counter(entry["reason"] for entry in entries)
        listed = "\n".join(f"  {reason}" for reason, _ in reasons.most_common(5))
        raise InputError(f"all {len(entries)} slide(s) failed:\n{listed}")
