"""The parts of a chunk become one: files copied as they are, rows by slide, y and x."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from PIL import Image

from histosynth.config import Study
from histosynth.files import write_json
from histosynth.slides.contact_sheet import Panel, contact_sheets
from histosynth.slides.parts import Finished, tile_schema, tileset_writer
from histosynth.slides.splits import SPLITS
from histosynth.tilesets import TileSet

_WHENCE = ("_part", "_row")  # columns that say which row of which part it is
_ROWS = 8192  # rows turned into Python values at a time


def merge_parts(slides: Sequence[Finished], folder: Path, study: Study) -> None:
    """Write the chunk that `slides` make up into `folder`, in the layout of a part.

    The result depends on the slides alone: neither on how they lay in parts nor on the order in
    which their tiles were read.
    """
    parts: dict[Path, list[str]] = {}
    for part, entry in slides:
        parts.setdefault(part, []).append(entry["slide_id"])
    good = {slide.entry["slide_id"] for slide in slides if slide.entry["status"] == "ok"}
    kept = {part: [name for name in names if name in good] for part, names in parts.items()}
    for split in SPLITS:
        _merge_tiles(kept, split, folder, study)
    rejected = _rows_of(parts, "rejected.parquet")
    if rejected is None:
        rejected = tile_schema(study.class_names).empty_table()
    _write(rejected, folder / "rejected.parquet", by=("slide_id", "y", "x"))
    thumbnails = _rows_of(parts, "thumbnails.parquet")
    if thumbnails is not None:
        _write(thumbnails, folder / "thumbnails.parquet", by=("slide_id",))
        _draw_contact_sheets(slides, thumbnails, folder)
    write_json(folder / "slides.json", [slide.entry for slide in slides])


def _merge_tiles(parts: dict[Path, list[str]], split: str, folder: Path, study: Study) -> None:
    tiles = _rows_of(parts, f"{split}/tiles.parquet")
    if tiles is None or not len(tiles):
        return
    sources = {
        n: TileSet.open(part / split)
        for n, part in enumerate(parts)
        if (part / split / "tileset.json").is_file()
    }
    tiles = _sorted(tiles, ("slide_id", "y", "x"))
    with tileset_writer(folder / split, study) as writer:
        for batch in tiles.to_batches(max_chunksize=_ROWS):
            for row in batch.to_pylist():
                writer.add_from(sources[row["_part"]], row["_row"], row)


def _draw_contact_sheets(slides: Sequence[Finished], thumbnails: pa.Table, folder: Path) -> None:
    """contact_sheet-000.jpg and so on: every slide of the chunk, failed ones with their reason."""
    pictures = {row["slide_id"]: row for row in thumbnails.to_pylist()}
    panels = []
    for _, entry in slides:
        name = entry["slide_id"]
        if (drawn := pictures.get(name)) is None:
            panels.append(Panel(name, "failed", None, words=entry["reason"]))
        else:
            picture = np.asarray(Image.open(io.BytesIO(drawn["picture"])))
            panels.append(Panel(drawn["title"], drawn["subtitle"], picture))
    for page, sheet in enumerate(contact_sheets(panels)):
        sheet.save(folder / f"contact_sheet-{page:03d}.jpg", quality=85)


def _rows_of(parts: dict[Path, list[str]], file: str) -> pa.Table | None:
    """The rows of a table in all parts that have it, of the slides named, and whence they come."""
    tables = []
    for n, (part, names) in enumerate(parts.items()):
        if (part / file).is_file():
            table = pq.read_table(part / file)
            table = table.append_column("_part", pa.array(np.full(len(table), n)))
            table = table.append_column("_row", pa.array(np.arange(len(table))))
            tables.append(table.filter(pc.is_in(table["slide_id"], pa.array(names, pa.string()))))
    return pa.concat_tables(tables) if tables else None


def _sorted(table: pa.Table, by: Sequence[str]) -> pa.Table:
    return table.take(pc.sort_indices(table, [(name, "ascending") for name in by]))


def _write(table: pa.Table, path: Path, *, by: Sequence[str]) -> None:
    ordered = _sorted(table, by).combine_chunks()
    pq.write_table(
        ordered.drop_columns([n for n in ("_part", "_row") if n in table.schema.names]), path
    )
