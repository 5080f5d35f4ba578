"""Tiling a chunk of a cohort into a tile set, and gathering the chunks into one set a split."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from histosynth.config import Study
from histosynth.errors import InputError
from histosynth.files import atomic_folder, read_json, write_json
from histosynth.slides.cohorts import ADAPTERS
from histosynth.slides.readers import RESIZE_FILTER
from histosynth.slides.selection import preference
from histosynth.slides.sources import ImageSource, SlideSource, Source
from histosynth.slides.splits import SPLITS, check_disjoint
from histosynth.slides.tiling import (
    OVER_CAP,
    UNREADABLE,
    rejection_reasons,
    tile_entropy,
    tile_labels,
    tile_table,
)
from histosynth.tilesets import TileSet, TileSetWriter


def check_annotations(cohort: pd.DataFrame, study: Study) -> None:
    """Refuse a study whose heterogeneity rule lacks the masks to decide it."""
    if study.tiling.heterogeneity is None:
        return
    cure = "; set tiling.heterogeneity: null to keep tiles whatever their classes"
    if not study.classes:
        raise InputError(f"tiling.heterogeneity needs `classes`, and the study has none{cure}")
    bare = cohort[cohort["annotation"] == ""]
    if len(bare):
        raise InputError(
            f"tiling.heterogeneity needs a mask for every slide; {len(bare)} have no `annotation`, "
            f"the first is {bare['slide_id'].iloc[0]}{cure}"
        )


def tile_chunk(
    cohort: pd.DataFrame,
    study: Study,
    folder: str | Path,
    *,
    chunk: int = 0,
    chunks: int = 1,
    progress: bool = True,
) -> list[dict[str, Any]]:
    """Tile every `chunks`-th slide of a cohort, from `chunk` on.

    Writes, atomically, `folder` with tileset/ (the tiles kept), rejected.parquet (the others, each
    with its reason) and slides.json (one entry a slide, as returned). A slide that fails is an
    entry with its reason, and the others go on.

    Raises
    ------
    InputError : every slide of the cohort failed, or the rule for tiles cannot be decided.
    """
    check_annotations(cohort, study)
    mine = cohort.iloc[chunk::chunks]
    entries = []
    provenance = {"resize": RESIZE_FILTER, "tiling": study.tiling.model_dump(mode="json")}
    schema = _schema(study.class_names)
    with (
        atomic_folder(folder) as partial,
        TileSetWriter(
            partial / "tileset", classes=study.class_names, provenance=provenance
        ) as writer,
        pq.ParquetWriter(partial / "rejected.parquet", schema) as rejected,
    ):
        for _, row in tqdm(
            mine.iterrows(), total=len(mine), desc="tiling", unit="slide", disable=not progress
        ):
            entry, table = _tile_slide(row, study, writer)
            entries.append(entry)
            if table is not None and not table["accepted"].all():
                rest = table[~table["accepted"]]
                rejected.write_table(
                    pa.Table.from_pandas(rest, schema=schema, preserve_index=False)
                )
        if len(mine) == len(cohort):
            _refuse_all_failed(entries)
        write_json(partial / "slides.json", entries)
    return entries


def _tile_slide(
    row: pd.Series, study: Study, writer: TileSetWriter
) -> tuple[dict[str, Any], pd.DataFrame | None]:
    """Add a slide's tiles to `writer`; its entry in slides.json, and the table of all its tiles."""
    entry: dict[str, Any] = {
        name: row[name] for name in ("slide_id", "patient_id", "site", "split", "image")
    }
    entry |= {"status": "ok", "reason": "", "counts": {}, "mpp": None, "reader": None}
    try:
        with _open_source(row, study) as source:
            table = _plan(row, study, source)
            entry |= {"reader": source.reader, "reason": source.note}
            entry["mpp"] = None if np.isnan(source.mpp) else source.mpp
            planned = table.index[table["accepted"]]
            for i in planned:
                try:
                    image, class_map = source.tile(int(table.at[i, "x"]), int(table.at[i, "y"]))
                except InputError as error:
                    table.loc[i, ["accepted", "reason"]] = [False, f"{UNREADABLE}: {error}"]
                else:
                    writer.add(image, _record(table.loc[i]), class_map)
    except Exception as error:  # one bad slide must not end the chunk; the reason is kept
        kind = "" if isinstance(error, InputError) else f"{type(error).__name__}: "
        return entry | {"status": "failed", "reason": f"{kind}{error}"}, None
    entry["counts"] = dict(Counter(_short(reason) for reason in table["reason"]))
    unread = table[table["reason"].map(_short) == UNREADABLE]
    if len(unread):
        entry["reason"] = f"{len(unread)} tile(s) unreadable, the first: {unread['reason'].iloc[0]}"
    if len(planned) and not table["accepted"].any():
        entry["status"] = "failed"
    return entry, table


def _open_source(row: pd.Series, study: Study) -> Source:
    kind = ADAPTERS[study.cohort.kind].source
    return ImageSource(row, study) if kind == "image" else SlideSource(row, study)


def _plan(row: pd.Series, study: Study, source: Source) -> pd.DataFrame:
    found = source.candidates()
    reasons = rejection_reasons(found, settings=study.tiling)
    labels = tile_labels(
        found.fractions,
        label=study.label,
        class_names=study.class_names,
        slide_label=row["label"],
    )
    kept = np.flatnonzero(reasons == "")
    order = preference(
        found.fractions[kept],
        labels[kept],
        found.entropy[kept],
        settings=study.tiling,
        slide_id=row["slide_id"],
    )
    if study.tiling.max_tiles_per_slide is not None:
        reasons[kept[order[study.tiling.max_tiles_per_slide :]]] = OVER_CAP
    return tile_table(
        row,
        positions=found.positions,
        tissue=found.tissue,
        fractions=found.fractions,
        entropy=tile_entropy(found.fractions, found.entropy),
        reasons=reasons,
        labels=labels,
        class_names=study.class_names,
        size=study.tiling.size,
        mpp=source.mpp,
        mpp_source=source.mpp_source,
    )


def gather_splits(folders: list[Path], study: Study, output: Path) -> dict[str, Any]:
    """Merge tiled chunks into `output`/train, val and test, and `output`/summary.json.

    Tiles are ordered by slide, y and x, so that the sets do not depend on the number of chunks.

    Returns
    -------
    what summary.json holds: counts by split, patient, label, class and reason; failed slides

    Raises
    ------
    InputError : all slides failed, no tile was kept, a split has none, a patient is in two splits.
    """
    slides = [entry for folder in folders for entry in read_json(folder / "slides.json")]
    _refuse_all_failed(slides)
    sets = [TileSet.open(folder / "tileset") for folder in folders]
    places = [ts.table.assign(_set=n, _row=range(len(ts))) for n, ts in enumerate(sets) if len(ts)]
    if not places:
        raise InputError(
            f"no tile was kept ({_reasons(slides)}); lower tiling.min_tissue, widen "
            "tiling.heterogeneity, or choose another tiling.mpp or size"
        )
    tiles = pd.concat(places).sort_values(["slide_id", "y", "x"], kind="stable")
    check_disjoint(tiles, source="tiles")
    summary: dict[str, Any] = {
        "splits": {name: _count(tiles[tiles["split"] == name], study) for name in SPLITS},
        "reasons": _reasons(slides),
        "failed_slides": [entry for entry in slides if entry["status"] == "failed"],
        "slides": slides,
    }
    empty = [name for name in SPLITS if not summary["splits"][name]["tiles"]]
    if empty:
        failed = len(summary["failed_slides"])
        raise InputError(
            f"no tile was kept for {', '.join(empty)} ({failed} slide(s) failed; all tiles: "
            f"{_reasons(slides)}); every split needs tiles: change split.seed or the fractions, "
            "loosen the rules under `tiling`, or add patients"
        )
    for name in SPLITS:
        part = tiles[tiles["split"] == name]
        provenance = {**sets[0].provenance, "split": study.split.model_dump(mode="json")}
        with TileSetWriter(
            output / name, classes=study.class_names, provenance=provenance
        ) as writer:
            rows = part.drop(columns=["_set", "_row"])
            for (_, row), n, i in zip(rows.iterrows(), part["_set"], part["_row"], strict=True):
                writer.add(sets[n].image(i), _record(row), sets[n].map(i))
    write_json(output / "summary.json", summary)
    return summary


def _count(tiles: pd.DataFrame, study: Study) -> dict[str, Any]:
    labels = tiles["label"].value_counts() if study.label else {}
    return {
        "tiles": len(tiles),
        "patients": int(tiles["patient_id"].nunique()),
        "slides": int(tiles["slide_id"].nunique()),
        "sites": tiles["site"].value_counts().to_dict(),
        "labels": {name: int(labels.get(name, 0)) for name in study.label_names},
        "classes": {
            name: float(tiles[f"class_{name}"].mean()) if len(tiles) else 0.0
            for name in study.class_names
        },
        "tiles_by_patient": tiles["patient_id"].value_counts().sort_index().to_dict(),
    }


def _reasons(slides: list[dict[str, Any]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for entry in slides:
        total.update(entry["counts"])
    return dict(total)


def _refuse_all_failed(entries: list[dict[str, Any]]) -> None:
    if entries and all(entry["status"] == "failed" for entry in entries):
        reasons = Counter(entry["reason"] for entry in entries)
        listed = "\n".join(f"  {reason}" for reason, _ in reasons.most_common(5))
        raise InputError(f"all {len(entries)} slide(s) failed:\n{listed}")


def _record(row: pd.Series) -> dict[str, Any]:
    """A table row as the writer takes it: plain values, None for a missing label."""
    record = {k: v.item() if isinstance(v, np.generic) else v for k, v in row.items()}
    if not isinstance(record["label"], str):
        record["label"] = None
    return record


def _short(reason: str) -> str:
    return reason.split(":", 1)[0] or "accepted"


def _schema(class_names: list[str]) -> pa.Schema:
    text = "tile_id slide_id patient_id site split label".split()
    fields = [(name, pa.string()) for name in text]
    fields += [("x", pa.int64()), ("y", pa.int64()), ("size", pa.int64()), ("mpp", pa.float64())]
    fields += [("mpp_source", pa.string())]
    fields += [(n, pa.float32()) for n in ("tissue", *(f"class_{c}" for c in class_names))]
    fields += [("entropy", pa.float32()), ("accepted", pa.bool_()), ("reason", pa.string())]
    return pa.schema(fields)
