"""What a chunk has tiled so far, in parts that outlive a kill.

A part holds some slides in the layout of a whole chunk, and is complete or absent:

    train/ val/ test/     tile sets of the tiles kept; only for the splits that have tiles
    rejected.parquet      the other tiles with their reasons, but for little_tissue and over_cap
    slides.json           one entry a slide, with its `key`: what its tiles depend on
    thumbnails.parquet    slide_id, title, subtitle, picture (PNG), where there are pictures

A chunk adds contact_sheet-000.jpg and so on, drawn from its thumbnails.

Parts lie in a folder beside the chunk's, which nobody declares as an output, so that a retry finds
them. They end by time, not by slide: ready-made images come by the hundred thousand.
"""

import contextlib
import os
import shutil
import uuid
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from histosynth.config import Study
from histosynth.files import atomic_folder, read_json, short_hash, write_json
from histosynth.resizing import RESIZE_FILTER
from histosynth.slides.cutting import SlideCut, short_reason
from histosynth.slides.tiling import LITTLE_TISSUE, OVER_CAP
from histosynth.tileset_writer import VERSION, TileSetWriter, encode_png

_THUMBNAILS = pa.schema(
    [(name, pa.string()) for name in ("slide_id", "title", "subtitle")] + [("picture", pa.binary())]
)
# Most tiles of any slide; their number in slides.json says all there is to say of them.
_COUNTED_ONLY = (LITTLE_TISSUE, OVER_CAP)


class Finished(NamedTuple):
    """A slide that is done: the part that holds it, and its entry in slides.json."""

    part: Path
    entry: dict[str, Any]


class PartWriter:
    """Tiles slides into a part, which stands under `folder` once the `with` succeeds.

    Attributes
    ----------
    entries : of the slides tiled so far
    """

    def __init__(self, folder: Path, study: Study) -> None:
        self.folder, self._study = folder, study
        self.entries: list[dict[str, Any]] = []
        self._thumbnails: list[dict[str, Any]] = []
        self._sets: dict[str, TileSetWriter] = {}

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            self._partial = stack.enter_context(atomic_folder(self.folder))
            self._schema = tile_schema(self._study.class_names)
            path = self._partial / "rejected.parquet"
            self._rejected = stack.enter_context(pq.ParquetWriter(path, self._schema))
            self._stack = stack.pop_all()
        return self

    def tile(self, row: pd.Series, key: str) -> None:
        """Tile the slide of a cohort's row; that it fails is an entry too."""
        slide = SlideCut(row, self._study)
        for tile in slide.tiles():
            self._set_of(tile.row["split"]).add(tile.image, tile.row, tile.map)
        if slide.table is not None:
            self._reject(slide.table)
        if slide.picture is not None:
            self._thumbnails.append(_thumbnail(slide, slide.picture))
        self.entries.append(slide.entry | {"key": key})

    def _set_of(self, split: str) -> TileSetWriter:
        if split not in self._sets:
            writer = tileset_writer(self._partial / split, self._study)
            self._sets[split] = self._stack.enter_context(writer)
        return self._sets[split]

    def _reject(self, table: pd.DataFrame) -> None:
        counted = table["reason"].map(short_reason).isin(_COUNTED_ONLY)
        rest = table[~table["accepted"] & ~counted]
        if len(rest):
            self._rejected.write_table(
                pa.Table.from_pandas(rest, schema=self._schema, preserve_index=False)
            )

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None:
            self._stack.__exit__(kind, error, trace)
            return
        with self._stack:
            if self._thumbnails:
                table = pa.Table.from_pylist(self._thumbnails, schema=_THUMBNAILS)
                pq.write_table(table, self._partial / "thumbnails.parquet")
            write_json(self._partial / "slides.json", self.entries)


def tileset_writer(folder: Path, study: Study) -> TileSetWriter:
    """Of the tiles kept, in a part or in the whole chunk."""
    return TileSetWriter(
        folder,
        classes=study.class_names,
        provenance={"resize": RESIZE_FILTER, "tiling": study.tiling.model_dump(mode="json")},
        schema=tile_schema(study.class_names),
    )


def tile_schema(class_names: Sequence[str]) -> pa.Schema:
    """The columns of tiles cut from slides, kept or not."""
    text = "tile_id slide_id patient_id site split label".split()
    fields = [(name, pa.string()) for name in text]
    fields += [("x", pa.int64()), ("y", pa.int64()), ("size", pa.int64()), ("mpp", pa.float64())]
    fields += [("mpp_source", pa.string())]
    fields += [(n, pa.float32()) for n in ("tissue", *(f"class_{c}" for c in class_names))]
    fields += [("entropy", pa.float32()), ("accepted", pa.bool_()), ("reason", pa.string())]
    return pa.schema(fields)


def _thumbnail(slide: SlideCut, picture: Any) -> dict[str, Any]:
    counts = slide.entry["counts"]
    subtitle = f"{counts.get('accepted', 0):,} of {sum(counts.values()):,} tiles kept"
    if slide.entry["reason"]:  # no tissue, say, or tiles that cannot be read
        subtitle += f"; {slide.entry['reason']}"
    return {
        "slide_id": slide.entry["slide_id"],
        "title": slide.entry["slide_id"],
        "subtitle": subtitle,
        "picture": encode_png(picture),
    }


def slide_key(row: pd.Series, settings: str) -> str:
    """Changes with whatever a slide's tiles depend on: its row, its files, the stage's settings."""
    return short_hash(
        {
            "row": row.to_dict(),
            "files": [_file_state(row[name]) for name in ("image", "annotation")],
            "settings": settings,
            "format": VERSION,
        }
    )


def _file_state(path: str) -> list[int] | None:
    try:
        found = os.stat(path)
    except OSError:  # not there, or not a path at all
        return None
    return [found.st_size, found.st_mtime_ns]


def new_part(state: Path) -> Path:
    """A name for one more part."""
    return state / f"part-{uuid.uuid4().hex[:12]}"


def read_parts(state: Path, keys: dict[str, str]) -> dict[str, Finished]:
    """The slides that are done and still as they were; `keys` are today's, by slide_id.

    Parts that hold none of them, and what a killed run left half-written, are removed.
    """
    finished: dict[str, Finished] = {}
    for part in sorted(state.glob("*")) if state.is_dir() else []:
        entries = read_json(part / "slides.json") if part.name.startswith("part-") else []
        good = {
            entry["slide_id"]: Finished(part, entry)
            for entry in entries
            if entry["status"] == "ok" and keys.get(entry["slide_id"]) == entry["key"]
        }
        if good:
            finished |= good
        else:
            shutil.rmtree(part)
    return finished


def keep_part(folder: Path, state: Path) -> None:
    """Replace all parts by one of links to the chunk in `folder`; by none where links fail."""
    parts = list(state.glob("*"))
    try:
        with atomic_folder(new_part(state)) as partial:
            for file in folder.rglob("*"):
                if file.is_file():
                    target = partial / file.relative_to(folder)
                    target.parent.mkdir(exist_ok=True)
                    os.link(file, target)
    except OSError:
        shutil.rmtree(state)
        return
    for part in parts:
        shutil.rmtree(part)
