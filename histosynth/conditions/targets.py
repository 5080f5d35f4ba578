"""Tiles as signals read them: a pool in memory, and the rows of it whose conditions are wanted."""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from histosynth.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from histosynth.tilesets import TileSet

# Bytes of images, and of maps, held decoded; a larger set is read tile by tile.
MEMORY_LIMIT = 2 * 2**30


class _OnDemand:
    """A sequence of arrays, each read when it is asked for."""

    def __init__(self, read: Callable[[int], Any], n: int) -> None:
        self._read, self._n = read, n

    def __len__(self) -> int:
        return self._n

    def __getitem__(self, i: int | slice) -> Any:
        if isinstance(i, slice):
            return [self._read(j) for j in range(*i.indices(self._n))]
        return self._read(int(i))


def tile_images(tiles: "TileSet", *, limit: int = MEMORY_LIMIT) -> Sequence[np.ndarray]:
    """Images of a set by index, uint8 (H, W, 3): in memory up to `limit` bytes, else on demand."""
    if len(tiles) * int(np.prod(tiles.size)) * 3 <= limit:
        return tiles.images()  # type: ignore[return-value]
    return _OnDemand(tiles.image, len(tiles))  # type: ignore[return-value]


def tile_maps(tiles: "TileSet", *, limit: int = MEMORY_LIMIT) -> Sequence[np.ndarray]:
    """The maps of a set by index, uint8 (H, W); as `tile_images`.

    Raises
    ------
    InputError
        The set has no maps.
    """
    if not tiles.classes:
        raise InputError(
            f"{tiles.folder}: the condition needs maps, but this tile set has none; "
            "give the cohort an `annotation` column, or drop the signals map and crop"
        )
    if len(tiles) * int(np.prod(tiles.size)) <= limit:
        maps = tiles.maps()
        assert maps is not None
        return maps  # type: ignore[return-value]
    return _OnDemand(tiles.map, len(tiles))  # type: ignore[return-value]


@dataclass
class TilePool:
    """What signals may read of n tiles.

    Attributes
    ----------
    images : n arrays uint8 (H, W, 3), or None where no signal asks for them
    maps : n arrays uint8 (H, W) of class indices (255: unlabelled), or None
    labels, clusters : int64 (n,), or None
    features : encoder -> its features, float32 (n, d)
    slides : int64 (n,), equal for tiles of one slide
    tile_ids : n names
    classes : number of map classes
    boxes : float64 (n, 4), left, top, right and bottom on the slide; None where none overlap
    memo : what signals derive once of the pool, by a key of their own
    """

    tile_ids: Sequence[str]
    slides: np.ndarray
    images: Sequence[np.ndarray] | None = None
    maps: Sequence[np.ndarray] | None = None
    labels: np.ndarray | None = None
    clusters: np.ndarray | None = None
    features: Mapping[str, np.ndarray] = field(default_factory=dict)
    classes: int = 0
    boxes: np.ndarray | None = None
    memo: dict[Hashable, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def of(
        cls,
        tiles: "TileSet",
        needs: Iterable[str],
        *,
        label_names: Sequence[str] = (),
        clusters: "pd.DataFrame | None" = None,
        features: "Mapping[str, str | Path] | None" = None,
    ) -> "TilePool":
        """Read what `needs` names (images, maps, labels, clusters, features) of a tile set.

        Parameters
        ----------
        clusters : rows (tile_id, cluster), as in assignments.parquet
        features : encoder -> .npy of scripts/embed.py

        Raises
        ------
        InputError
            Something needed is missing from the set; the tile or the cure is named.
        """
        import pandas as pd

        needs = set(needs)
        pool = cls(
            tile_ids=tiles.table["tile_id"].astype(str).tolist(),
            slides=pd.factorize(tiles.table["slide_id"].astype(str))[0].astype(np.int64),
            classes=len(tiles.classes),
            boxes=_boxes(tiles),
        )
        if "images" in needs:
            pool.images = tile_images(tiles)
        if "maps" in needs:
            pool.maps = tile_maps(tiles)
        if "labels" in needs:
            pool.labels = label_ids(tiles, label_names)
        if "clusters" in needs:
            pool.clusters = cluster_ids(tiles, clusters)
        pool.features = {
            encoder: _features_of(tiles, encoder, features or {})
            for encoder in (n.removeprefix("features:") for n in needs if n.startswith("features:"))
        }
        return pool

    def __len__(self) -> int:
        return len(self.tile_ids)

    def take(self, rows: np.ndarray) -> "TilePool":
        """The pool of some tiles only, renumbered from 0; no pixels are copied."""

        def some(values: Sequence[Any] | None) -> Any:
            return None if values is None else _OnDemand(lambda i: values[int(rows[i])], len(rows))

        return TilePool(
            tile_ids=[self.tile_ids[row] for row in rows],
            slides=self.slides[rows],
            images=some(self.images),
            maps=some(self.maps),
            labels=None if self.labels is None else self.labels[rows],
            clusters=None if self.clusters is None else self.clusters[rows],
            features={name: values[rows] for name, values in self.features.items()},
            classes=self.classes,
            boxes=None if self.boxes is None else self.boxes[rows],
        )


def _features_of(tiles: "TileSet", encoder: str, paths: "Mapping[str, str | Path]") -> np.ndarray:
    from histosynth.clusters.files import read_features

    if encoder not in paths:
        raise InputError(
            f"the condition needs features of {tiles.folder} by the encoder {encoder}, but none "
            f"were given; pass those of scripts/embed.py as --features {encoder}=FILE.npy"
        )
    return read_features(paths[encoder], tiles)


def _boxes(tiles: "TileSet") -> np.ndarray | None:
    """Where tiles lie on their slides, float64 (n, 4); None where no two can overlap.

    Places are in pixels of a slide's finest level, whose size a tile set does not tell: it is
    taken from the least distance of two tiles, so boxes are rather too large than too small.
    """
    tiling = tiles.provenance.get("tiling") or {}
    size, stride = tiling.get("size"), tiling.get("stride")
    if not (size and stride and stride < size and len(tiles)):
        return None
    boxes = np.zeros((len(tiles), 4))
    boxes[:, :2] = boxes[:, 2:] = tiles.table[["x", "y"]].to_numpy(float)
    for rows in tiles.table.groupby("slide_id").indices.values():
        steps = [np.diff(np.unique(boxes[rows, axis])) for axis in (0, 1)]
        step = min((axis.min() for axis in steps if len(axis)), default=0.0)
        boxes[rows, 2:] += step * size / stride
    return boxes


@dataclass(frozen=True)
class Donors:
    """Tiles that give b targets their crops.

    Attributes
    ----------
    rows : int64 (b, classes), the row of the pool whose tissue stands for class c; -1: none
    classes : int64 (b, classes), the class that is shown of it, c itself but for a probe
    """

    rows: np.ndarray
    classes: np.ndarray

    def take(self, positions: np.ndarray) -> "Donors":
        return Donors(self.rows[positions], self.classes[positions])


@dataclass(frozen=True)
class Targets:
    """The tiles whose conditions are wanted.

    Attributes
    ----------
    rows : int64 (b,), rows of `pool`
    seeds : b tuples of non-negative ints; sample i draws at random from seeds[i] alone
    donors : by source of crops, where a condition table has fixed them; None (in training) lets a
        signal draw
    memo : what one signal makes of these targets and another needs too, by a key of their own
    """

    pool: TilePool
    rows: np.ndarray
    seeds: Sequence[tuple[int, ...]]
    donors: Mapping[str, Donors] | None = None
    memo: dict[Hashable, Any] = field(default_factory=dict, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, positions: np.ndarray) -> "Targets":
        """The targets at some positions."""
        donors = self.donors and {name: d.take(positions) for name, d in self.donors.items()}
        return Targets(self.pool, self.rows[positions], [self.seeds[i] for i in positions], donors)

    def maps(self) -> np.ndarray:
        """The targets' maps, uint8 (b, H, W)."""
        assert self.pool.maps is not None, "the pool was read without maps"
        return np.stack([self.pool.maps[int(row)] for row in self.rows])

    def random(self, i: int) -> np.random.Generator:
        """The generator of sample i."""
        return np.random.default_rng(self.seeds[i])


def label_ids(tiles: "TileSet", label_names: Sequence[str]) -> np.ndarray:
    """The index of each tile's label in `label_names`, int64 (n,).

    Raises
    ------
    InputError
        A tile without a label, or with one that the study does not know.
    """
    index = {name: i for i, name in enumerate(label_names)}
    ids = np.array([index.get(label, -1) for label in tiles.table["label"]], dtype=np.int64)
    bad = np.flatnonzero(ids < 0)
    if bad.size:
        row = tiles.table.iloc[int(bad[0])]
        raise InputError(
            f"{tiles.folder}: {bad.size} of {len(ids)} tiles have no known label, the first is "
            f"{row['tile_id']} with {row['label']!r}; `label.names` has: {', '.join(label_names)}. "
            "Complete the cohort's labels, or drop the signal label"
        )
    return ids


def cluster_ids(tiles: "TileSet", clusters: "pd.DataFrame | None") -> np.ndarray:
    """The cluster of each tile, int64 (n,), from rows (tile_id, cluster).

    Raises
    ------
    InputError
        No assignments given, or none for a tile.
    """
    if clusters is None:
        raise InputError(
            "the condition needs clusters, but none were given; pass the folder that "
            "scripts/cluster.py wrote as --clusters"
        )
    found = clusters.drop_duplicates("tile_id").set_index("tile_id")["cluster"]
    found = found.reindex(tiles.table["tile_id"])
    if found.isna().any():
        missing = found.index[found.isna()]
        raise InputError(
            f"{tiles.folder}: {len(missing)} of {len(found)} tiles have no cluster, the first is "
            f"{missing[0]}; run scripts/cluster.py again with --assign for this set"
        )
    return found.to_numpy(np.int64)
