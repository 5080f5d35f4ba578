"""Writing tile sets: tile by tile, or as links to the shards of others.

The fingerprint hashes the rows and, tile by tile, the pixels; so it is the same however the tiles
lie in shards, and a set gathered from others gets it without reading a pixel.
"""

import contextlib
import hashlib
import io
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from PIL import Image

from histosynth.errors import InputError
from histosynth.files import atomic_folder, read_json, write_json
from histosynth.shards import ShardWriter

if TYPE_CHECKING:
    from histosynth.tilesets import TileSet

VERSION = 2
UNLABELLED = 255  # a map pixel that belongs to no class
COLUMNS = (
    "tile_id slide_id patient_id site split label x y size mpp mpp_source tissue entropy "
    "accepted reason"
).split()
_TILE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_\-]*\Z")  # a dot would end a WebDataset key
_ENDINGS = {"images": ".png", "maps": ".map.png"}
_BATCH_ROWS = 4096


class OutputError(InputError):
    """What was to be written cannot be: the disk is full, say. No fault of the tile at hand."""


@contextlib.contextmanager
def writing(folder: str | Path) -> Iterator[None]:
    """Say which folder could not be written, and what to do."""
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"{folder} cannot be written: {error}. Nothing half-written was left; free space there "
            "(df -h, quota), or choose another place, and run again"
        ) from error


def encode_png(array: np.ndarray) -> bytes:
    """PNG bytes of a uint8 image, (H, W, 3) or (H, W)."""
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, format="PNG", compress_level=4)
    return buffer.getvalue()


class TileSetWriter:
    """Writes a tile set; nothing stands under `folder` until `close` (or the `with`) succeeds.

    Parameters
    ----------
    folder : path of the set; an existing one is replaced on success only.
    classes : names of the maps' classes in the order of their index; empty for a set without maps.
    provenance : anything JSON can hold about where the tiles came from.
    schema : the table's columns and their types; default: what the rows hold.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        classes: Iterable[str] = (),
        provenance: dict[str, Any] | None = None,
        schema: pa.Schema | None = None,
    ) -> None:
        self.folder = Path(folder)
        self.classes = tuple(classes)
        self.provenance = provenance or {}
        self._schema = schema
        self._rows: list[dict[str, Any]] = []
        self._batches: list[pa.Table] = []
        self._ids: set[str] = set()
        self._shape: tuple[int, int] | None = None
        self._digests = bytearray()

    def __enter__(self) -> Self:
        self._stack = contextlib.ExitStack()
        with writing(self.folder):
            self._partial = self._stack.enter_context(atomic_folder(self.folder))
        self._shards = {
            kind: self._stack.enter_context(ShardWriter(self._partial, kind))
            for kind in (("images", "maps") if self.classes else ("images",))
        }
        return self

    def add(self, image: np.ndarray, row: dict[str, Any], map: np.ndarray | None = None) -> None:
        """Append one tile.

        Parameters
        ----------
        image : uint8 (H, W, 3)
        row : the table's row; `tile_id` (unique; letters, digits, `_` and `-`) is required
        map : uint8 (H, W) of class indices (255: unlabelled); required where the set has classes

        Raises
        ------
        InputError : the tile does not fit the set.
        OutputError : it cannot be written; the writer is of no use any more.
        """
        tile_id = str(row["tile_id"])
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise InputError(f"tile {tile_id}: expected uint8 (H, W, 3), found {_describe(image)}")
        self._check_size(tile_id, image.shape[:2])
        if (map is None) != (not self.classes):
            raise InputError(f"tile {tile_id}: a map goes with a set that has classes, and only so")
        digest = hashlib.sha256(image.tobytes())
        files = {"images": encode_png(image)}
        if map is not None:
            self._check_map(tile_id, map)
            digest.update(map.tobytes())
            files["maps"] = encode_png(map)
        self._append(row, files, digest.digest()[:8])

    def add_from(self, source: "TileSet", i: int, row: dict[str, Any]) -> None:
        """Append tile i of another set, its files byte for byte, under a row of its own."""
        if source.classes != self.classes:
            raise InputError(
                f"{source.folder}: classes {source.classes}, expected {self.classes}: sets of "
                "other classes cannot be merged"
            )
        self._check_size(str(row["tile_id"]), source.size)
        self._append(row, source.encoded(i), source.digests[i].tobytes())

    def _append(self, row: dict[str, Any], files: dict[str, bytes], digest: bytes) -> None:
        tile_id = str(row["tile_id"])
        if not _TILE_ID.match(tile_id):
            raise InputError(f"tile_id {tile_id!r}: expected letters, digits, `_` and `-` only")
        if tile_id in self._ids:
            raise InputError(
                f"tile_id {tile_id!r} is given twice; tile ids must be unique in a set"
            )
        with writing(self.folder):
            for kind, data in files.items():
                self._shards[kind].add(tile_id + _ENDINGS[kind], data)
        self._digests += digest
        self._ids.add(tile_id)
        self._rows.append(dict(row))
        if len(self._rows) >= _BATCH_ROWS:
            self._end_batch()

    def _check_size(self, tile_id: str, shape: tuple[int, int]) -> None:
        self._shape = self._shape or shape
        if shape != self._shape:
            raise InputError(
                f"tile {tile_id}: size {shape} differs from the set's {self._shape}; "
                "all images of a tile set have one size"
            )

    def _check_map(self, tile_id: str, map: np.ndarray) -> None:
        if map.dtype != np.uint8 or map.shape != self._shape:
            raise InputError(
                f"tile {tile_id}: expected a uint8 map of {self._shape}, found {_describe(map)}"
            )
        found = np.unique(map)
        strange = found[(found >= len(self.classes)) & (found != UNLABELLED)]
        if strange.size:
            raise InputError(
                f"tile {tile_id}: map values {strange.tolist()} have no class; "
                f"known are 0..{len(self.classes) - 1} and {UNLABELLED} (unlabelled)"
            )

    def _end_batch(self) -> None:
        """Rows become columns, which take a tenth of the memory."""
        if self._schema is not None:
            batch = pa.Table.from_pylist(self._rows, schema=self._schema)
        else:
            frame = pd.DataFrame(self._rows) if self._rows else pd.DataFrame(columns=COLUMNS)
            batch = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata()
        self._batches.append(batch)
        self._rows = []

    def _finish(self) -> None:
        if self._rows or not self._batches:
            self._end_batch()
        for shards in self._shards.values():
            shards.close()
        write_tables(
            self._partial,
            pa.concat_tables(self._batches, promote_options="permissive"),
            np.frombuffer(self._digests, dtype=np.uint8).reshape(-1, 8),
            size=self._shape or (0, 0),
            classes=self.classes,
            provenance=self.provenance,
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
        with writing(self.folder), self._stack:
            self._finish()


def write_tables(
    folder: Path,
    table: pa.Table,
    digests: np.ndarray,
    *,
    size: tuple[int, int],
    classes: Sequence[str],
    provenance: dict[str, Any],
) -> None:
    """Write all of a tile set but its shards: the table, the digests, and tileset.json last.

    Parameters
    ----------
    folder : where the shards and their indices lie
    table : one row a tile
    digests : uint8 (n, 8), of the tiles' pixels
    size : (height, width) of a tile
    """
    pq.write_table(table, folder / "tiles.parquet")
    np.save(folder / "digests.npy", digests)
    digest = hashlib.sha256(json.dumps([list(size), list(classes)]).encode())
    digest.update(digests.tobytes())
    pyarrow.csv.write_csv(table, pa.PythonFile(_Hashing(digest), mode="w"))
    description = {
        "version": VERSION,
        "tiles": len(table),
        "size": list(size),
        "classes": list(classes),
        "codec": "png",
        "fingerprint": digest.hexdigest()[:16],
        "provenance": provenance,
    }
    write_json(folder / "tileset.json", description)


class _Hashing(io.RawIOBase):
    """A file that only hashes what is written to it."""

    def __init__(self, digest: Any) -> None:
        self._digest = digest

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._digest.update(data)
        return len(data)


def read_description(folder: Path) -> dict[str, Any]:
    """What tileset.json says; an `InputError` where there is no complete set of this version."""
    if not (folder / "tileset.json").is_file():
        raise InputError(
            f"{folder}: not a tile set (no tileset.json); "
            "import a folder of images with scripts/import_images.py"
        )
    description = read_json(folder / "tileset.json")
    if description["version"] != VERSION:
        raise InputError(
            f"{folder}: tile set of version {description['version']}, expected {VERSION}; remove "
            "the folder and run again, which makes it anew"
        )
    return description


def _describe(array: np.ndarray) -> str:
    return f"{array.dtype} {array.shape}"
