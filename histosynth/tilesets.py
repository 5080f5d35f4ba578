"""TileSet: the one container that every stage reads or writes.

A tile set is a folder:

    tileset.json        written last: version, classes, size, mpp, counts, fingerprint
    tiles.parquet       one row a tile (columns: see `COLUMNS`)
    digests.npy         uint8 (n, 8): a hash of image i and its map, as pixels
    images-000000.tar   PNG images, WebDataset names: <tile_id>.png
    images.index.npy    int64 (n, 3): shard, byte offset, bytes of image i
    maps-000000.tar     where there are maps: <tile_id>.map.png, uint8 class indices
    maps.index.npy      likewise

Images are found by `pread` at a known offset, so any number of processes may share a set, and the
shards still stream through WebDataset. Row i of the table is image i. Shards may hold images that
the index leaves out, and in any order: the index and the table say what the set is.
"""

import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from histosynth.errors import InputError
from histosynth.shards import ShardReader
from histosynth.tileset_writer import (
    COLUMNS,
    UNLABELLED,
    OutputError,
    TileSetWriter,
    encode_png,
    read_description,
)

__all__ = ["COLUMNS", "UNLABELLED", "OutputError", "TileSet", "TileSetWriter", "encode_png"]


class TileSet:
    """A tile set on disk, read at random; open it with `TileSet.open(folder)`.

    Attributes
    ----------
    table : DataFrame, one row a tile
    digests : uint8 (n, 8), a hash of each image and its map
    classes : names of the map classes, by index
    size : (height, width) of every tile in pixels
    fingerprint : str, changes whenever any pixel, map or row changes, and with nothing else
    """

    def __init__(self, folder: Path, description: dict[str, Any], table: pd.DataFrame) -> None:
        self.folder = folder
        self.table = table
        self.digests: np.ndarray = np.load(folder / "digests.npy")
        self.classes: tuple[str, ...] = tuple(description["classes"])
        self.size: tuple[int, int] = tuple(description["size"])
        self.fingerprint: str = description["fingerprint"]
        self.provenance: dict[str, Any] = description["provenance"]
        self._shards = {"images": ShardReader(folder, "images")}
        if self.classes:
            self._shards["maps"] = ShardReader(folder, "maps")

    @classmethod
    def open(cls, folder: str | Path) -> "TileSet":
        """Open a complete tile set; an `InputError` says what is missing."""
        folder = Path(folder)
        description = read_description(folder)
        table = pd.read_parquet(folder / "tiles.parquet")
        if len(table) != description["tiles"]:
            raise InputError(
                f"{folder}: tiles.parquet has {len(table)} rows, tileset.json says "
                f"{description['tiles']}; remake it"
            )
        return cls(folder, description, table)

    def __len__(self) -> int:
        return len(self.table)

    def image(self, i: int) -> np.ndarray:
        """Image i as uint8 (H, W, 3)."""
        return self._decode("images", i)

    def map(self, i: int) -> np.ndarray | None:
        """Map i as uint8 (H, W) of class indices, or None where the set has no maps."""
        return self._decode("maps", i) if self.classes else None

    def encoded(self, i: int) -> dict[str, bytes]:
        """The PNG files of tile i: "images", and "maps" where the set has maps."""
        return {kind: shards.read(i) for kind, shards in self._shards.items()}

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
        data = self._shards[kind].read(i)
        try:
            return np.array(Image.open(io.BytesIO(data)))  # a writable copy
        except Exception as error:
            name = self.table["tile_id"].iloc[i]
            raise InputError(
                f"{self.folder}: tile {name} ({self._shards[kind].place(i)}) cannot be decoded: "
                f"{error}; remake the tile set"
            ) from None


def _stack(items: list[np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    return np.stack(items) if items else np.zeros((0, *shape), dtype=np.uint8)
