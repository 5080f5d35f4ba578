"""TileSet: the one container that every stage reads or writes.

A tile set is a folder:

    tileset.json        written last: version, classes, size, mpp, counts, fingerprint
    tiles.parquet       one row a tile (columns: see `COLUMNS`)
    images-000000.tar   PNG images, WebDataset names: <tile_id>.png
    images.index.npy    int64 (n, 3): shard, byte offset, bytes of image i
    maps-000000.tar     where there are maps: <tile_id>.map.png, uint8 class indices
    maps.index.npy      likewise

Images are found by `pread` at a known offset, so any number of processes may share a set, and the
shards still stream through WebDataset. Row i of the table is image i.
"""

import hashlib
import io
import os
import re
import tarfile
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pandas as pd
from PIL import Image

from histosynth.errors import InputError
from histosynth.files import atomic_folder, read_json, write_json

VERSION = 1
UNLABELLED = 255  # a map pixel that belongs to no class
SHARD_BYTES = 256 * 2**20
COLUMNS = (
    "tile_id slide_id patient_id site split label x y size mpp mpp_source tissue entropy "
    "accepted reason"
).split()
_TILE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_\-]*\Z")  # a dot would end a WebDataset key


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
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        classes: Iterable[str] = (),
        provenance: dict[str, Any] | None = None,
    ) -> None:
        self.folder = Path(folder)
        self.classes = tuple(classes)
        self.provenance = provenance or {}
        self._rows: list[dict[str, Any]] = []
        self._ids: set[str] = set()
        self._shape: tuple[int, int] | None = None
        self._digest = hashlib.sha256()

    def __enter__(self) -> Self:
        self._context = atomic_folder(self.folder)
        self._partial = self._context.__enter__()
        self._shards = {"images": _Shards(self._partial, "images")}
        if self.classes:
            self._shards["maps"] = _Shards(self._partial, "maps")
        return self

    def add(self, image: np.ndarray, row: dict[str, Any], map: np.ndarray | None = None) -> None:
        """Append one tile.

        Parameters
        ----------
        image : uint8 (H, W, 3)
        row : the table's row; `tile_id` (unique; letters, digits, `_` and `-`) is required
        map : uint8 (H, W) of class indices (255: unlabelled); required where the set has classes
        """
        tile_id = str(row["tile_id"])
        if not _TILE_ID.match(tile_id):
            raise InputError(f"tile_id {tile_id!r}: expected letters, digits, `_` and `-` only")
        if tile_id in self._ids:
            raise InputError(
                f"tile_id {tile_id!r} is given twice; tile ids must be unique in a set"
            )
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise InputError(f"tile {tile_id}: expected uint8 (H, W, 3), found {_describe(image)}")
        self._shape = self._shape or image.shape[:2]
        if image.shape[:2] != self._shape:
            raise InputError(
                f"tile {tile_id}: size {image.shape[:2]} differs from the set's {self._shape}; "
                "all images of a tile set have one size"
            )
        if (map is None) != (not self.classes):
            raise InputError(f"tile {tile_id}: a map goes with a set that has classes, and only so")
        png = encode_png(image)
        self._shards["images"].add(f"{tile_id}.png", png)
        self._digest.update(tile_id.encode() + hashlib.sha256(image.tobytes()).digest())
        if map is not None:
            self._check_map(tile_id, map)
            self._shards["maps"].add(f"{tile_id}.map.png", encode_png(map))
            self._digest.update(hashlib.sha256(map.tobytes()).digest())
        self._ids.add(tile_id)
        self._rows.append(dict(row))

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

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for shards in self._shards.values():
            shards.close()
        if kind is None:
            table = pd.DataFrame(self._rows)
            if table.empty:
                table = pd.DataFrame(columns=COLUMNS)
            table.to_parquet(self._partial / "tiles.parquet", index=False)
            self._digest.update(table.to_csv(index=False).encode())
            description = {
                "version": VERSION,
                "tiles": len(table),
                "size": list(self._shape or (0, 0)),
                "classes": list(self.classes),
                "codec": "png",
                "fingerprint": self._digest.hexdigest()[:16],
                "provenance": self.provenance,
            }
            write_json(self._partial / "tileset.json", description)
        self._context.__exit__(kind, error, trace)


class TileSet:
    """A tile set on disk, read at random; open it with `TileSet.open(folder)`.

    Attributes
    ----------
    table : DataFrame, one row a tile
    classes : names of the map classes, by index
    size : (height, width) of every tile in pixels
    fingerprint : str, changes whenever any pixel, map or row changes
    """

    def __init__(self, folder: Path, description: dict[str, Any], table: pd.DataFrame) -> None:
        self.folder = folder
        self.table = table
        self.classes: tuple[str, ...] = tuple(description["classes"])
        self.size: tuple[int, int] = tuple(description["size"])
        self.fingerprint: str = description["fingerprint"]
        self.provenance: dict[str, Any] = description["provenance"]
        self._index = {"images": np.load(folder / "images.index.npy")}
        if self.classes:
            self._index["maps"] = np.load(folder / "maps.index.npy")
        self._handles: dict[tuple[int, str, int], int] = {}

    @classmethod
    def open(cls, folder: str | Path) -> "TileSet":
        """Open a complete tile set; an `InputError` says what is missing."""
        folder = Path(folder)
        if not (folder / "tileset.json").is_file():
            raise InputError(
                f"{folder}: not a tile set (no tileset.json); "
                "import a folder of images with scripts/import_images.py"
            )
        description = read_json(folder / "tileset.json")
        if description["version"] != VERSION:
            raise InputError(
                f"{folder}: version {description['version']}, expected {VERSION}; make the set anew"
            )
        table = pd.read_parquet(folder / "tiles.parquet")
        if len(table) != description["tiles"]:
            raise InputError(
                f"{folder}: tiles.parquet has {len(table)} rows, tileset.json says "
                f"{description['tiles']}; remake it"
            )
        return cls(folder, description, table)

    def __len__(self) -> int:
        return len(self.table)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_handles": {}}  # file descriptors do not travel to workers

    def image(self, i: int) -> np.ndarray:
        """Image i as uint8 (H, W, 3)."""
        return self._decode("images", i)

    def map(self, i: int) -> np.ndarray | None:
        """Map i as uint8 (H, W) of class indices, or None where the set has no maps."""
        return self._decode("maps", i) if self.classes else None

    def images(self, indices: Iterable[int] | slice | None = None) -> np.ndarray:
        """Images as uint8 (n, H, W, 3); all of them by default."""
        rows = self._rows(indices)
        return _stack([self.image(i) for i in rows], (*self.size, 3))

    def maps(self, indices: Iterable[int] | slice | None = None) -> np.ndarray | None:
        """Maps as uint8 (n, H, W), or None where the set has no maps."""
        if not self.classes:
            return None
        return _stack([self._decode("maps", i) for i in self._rows(indices)], self.size)

    def _rows(self, indices: Iterable[int] | slice | None) -> Iterable[int]:
        if indices is None:
            return range(len(self))
        if isinstance(indices, slice):
            return range(*indices.indices(len(self)))
        return indices

    def _decode(self, kind: str, i: int) -> np.ndarray:
        shard, offset, length = (int(v) for v in self._index[kind][i])
        data = os.pread(self._handle(kind, shard), length, offset)
        try:
            return np.array(Image.open(io.BytesIO(data)))  # a writable copy
        except Exception as error:
            name = self.table["tile_id"].iloc[i]
            raise InputError(
                f"{self.folder}: tile {name} ({kind}-{shard:06d}.tar at byte {offset}) cannot be "
                f"decoded: {error}; remake the tile set"
            ) from None

    def _handle(self, kind: str, shard: int) -> int:
        key = (os.getpid(), kind, shard)  # a forked worker opens its own
        if key not in self._handles:
            self._handles[key] = os.open(self.folder / f"{kind}-{shard:06d}.tar", os.O_RDONLY)
        return self._handles[key]

    def __del__(self) -> None:
        for (pid, _, _), handle in getattr(self, "_handles", {}).items():
            if pid == os.getpid():
                os.close(handle)


class _Shards:
    """Tar files of about `SHARD_BYTES` and the place of every member's bytes in them."""

    def __init__(self, folder: Path, kind: str) -> None:
        self._folder, self._kind = folder, kind
        self._tar: tarfile.TarFile | None = None
        self._shard = -1
        self._index: list[tuple[int, int, int]] = []

    def add(self, name: str, data: bytes) -> None:
        if self._tar is None or self._tar.offset > SHARD_BYTES:
            self._next()
        assert self._tar is not None
        member = tarfile.TarInfo(name)
        member.size = len(data)
        start = self._tar.offset  # the header is one 512-byte block: names are short
        header = len(member.tobuf(self._tar.format))
        self._tar.addfile(member, io.BytesIO(data))
        self._index.append((self._shard, start + header, len(data)))

    def _next(self) -> None:
        if self._tar is not None:
            self._tar.close()
        self._shard += 1
        path = self._folder / f"{self._kind}-{self._shard:06d}.tar"
        self._tar = tarfile.open(path, "w", format=tarfile.PAX_FORMAT)

    def close(self) -> None:
        if self._tar is not None:
            self._tar.close()
        index = np.array(self._index, dtype=np.int64).reshape(-1, 3)
        np.save(self._folder / f"{self._kind}.index.npy", index)


def _stack(items: list[np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    return np.stack(items) if items else np.zeros((0, *shape), dtype=np.uint8)


def _describe(array: np.ndarray) -> str:
    return f"{array.dtype} {array.shape}"
