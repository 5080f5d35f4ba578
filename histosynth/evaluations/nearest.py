"""Where neighbours among training tiles are looked for: an encoder's features, or pixels.

Pixels are compared over the eight flips and turns of a tile, since models are trained on turned
tiles and a turned copy is a copy. An encoder's features are compared as they are: features of
turned tiles would cost eight embeddings a tile, and copies are what the pixels are for.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

import numpy as np

from histosynth.metrics import nearest_distances
from histosynth.slides.duplicates import SIDE, TURNS, small, turned
from histosynth.tilesets import TileSet

_AT_ONCE = 256  # tiles read by a thread at a time
_BLOCK = 2  # pixels of a small picture that become one value


class Nearest(NamedTuple):
    """The nearest training tile to each of m tiles.

    Attributes
    ----------
    distance : float64 (m,)
    row : int64 (m,), row among the training tiles
    turn : int64 (m,), the turn (`histosynth.slides.duplicates.turned`) that brings the tile there
    """

    distance: np.ndarray
    row: np.ndarray
    turn: np.ndarray


class Space(Protocol):
    """Training tiles in some description, to find neighbours among."""

    def nearest(self, queries: np.ndarray) -> Nearest:
        """The nearest training tile to each query, in the space's own description."""

    def own(self, index: np.ndarray) -> np.ndarray:
        """Distance (m,) from training tiles to their nearest other training tile."""

    def described(self, index: np.ndarray) -> np.ndarray:
        """Training tiles as the space describes tiles."""

    def between(self, copies: np.ndarray, originals: np.ndarray) -> np.ndarray:
        """Distance (m,) of each copy to its own original, both in the space's description."""


class FeatureSpace:
    """Features (n, d) of the training tiles in one encoder, by Euclidean distance."""

    def __init__(self, train: np.ndarray) -> None:
        self.train = train

    def nearest(self, queries: np.ndarray) -> Nearest:
        distance, index = nearest_distances(queries, self.train)
        return Nearest(distance, index, np.zeros_like(index))

    def own(self, index: np.ndarray) -> np.ndarray:
        rows, places = np.unique(index, return_inverse=True)
        return nearest_distances(self.train[rows], self.train, leave_out=rows)[0][places]

    def described(self, index: np.ndarray) -> np.ndarray:
        return self.train[index]

    def between(self, copies: np.ndarray, originals: np.ndarray) -> np.ndarray:
        return np.linalg.norm(copies.astype(np.float64) - originals, axis=1)


class PixelSpace:
    """Small pictures uint8 (n, 32, 32, 3) of the training tiles, over the eight turns.

    The distance is that of `pixel_vectors`: sqrt(2 - 2 r), with r the correlation of two pictures
    in their 16 x 16 means; 0 for copies, about 1.4 for pictures without relation.
    """

    def __init__(self, train: np.ndarray) -> None:
        self.pictures = train
        self.vectors = pixel_vectors(train)

    def nearest(self, queries: np.ndarray) -> Nearest:
        return self._over_turns(queries, None)

    def own(self, index: np.ndarray) -> np.ndarray:
        rows, places = np.unique(index, return_inverse=True)
        return self._over_turns(self.pictures[rows], rows).distance[places]

    def described(self, index: np.ndarray) -> np.ndarray:
        return self.pictures[index]

    def between(self, copies: np.ndarray, originals: np.ndarray) -> np.ndarray:
        ours = pixel_vectors(originals).astype(np.float64)
        turns = (pixel_vectors(turned(copies, turn)) for turn in range(TURNS))
        return np.min([np.linalg.norm(vectors - ours, axis=1) for vectors in turns], axis=0)

    def _over_turns(self, pictures: np.ndarray, leave_out: np.ndarray | None) -> Nearest:
        best = Nearest(
            np.full(len(pictures), np.inf),
            np.zeros(len(pictures), np.int64),
            np.zeros(len(pictures), np.int64),
        )
        for turn in range(TURNS):
            vectors = pixel_vectors(turned(pictures, turn))
            distance, index = nearest_distances(vectors, self.vectors, leave_out=leave_out)
            nearer = distance < best.distance
            best.distance[nearer], best.row[nearer] = distance[nearer], index[nearer]
            best.turn[nearer] = turn
        return best


def pixel_vectors(pictures: np.ndarray) -> np.ndarray:
    """Small pictures (n, 32, 32, 3) as float32 (n, 768) of unit length, each channel centred.

    Means of 2 x 2 pixels, less the picture's mean colour, over their norm: so neither a change of
    overall colour and contrast nor compression hides a copy. A picture of one colour is all 0.
    """
    n, side = len(pictures), SIDE // _BLOCK
    blocks = pictures.reshape(n, side, _BLOCK, side, _BLOCK, 3).astype(np.float32).mean((2, 4))
    vectors = (blocks - blocks.mean((1, 2), keepdims=True)).reshape(n, -1)
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.maximum(norms, np.finfo(np.float32).tiny)


def small_pictures(tiles: TileSet, rows: np.ndarray, *, threads: int = 1) -> np.ndarray:
    """The given rows of a tile set as small pictures, uint8 (n, 32, 32, 3)."""

    def take(at: int) -> np.ndarray:
        return np.stack([small(tiles.image(i)) for i in rows[at : at + _AT_ONCE].tolist()])

    with ThreadPoolExecutor(threads) as pool:
        return np.concatenate(list(pool.map(take, range(0, len(rows), _AT_ONCE))))


@dataclass(frozen=True)
class Measured:
    """Distances to training tiles: of the set scored, and of held-out tiles."""

    made: Nearest
    heldout: np.ndarray
    own: np.ndarray  # from made's nearest training tile to the nearest other one

    @classmethod
    def of(cls, space: Space, made: np.ndarray, heldout: np.ndarray) -> "Measured":
        found = space.nearest(made)
        return cls(found, space.nearest(heldout).distance, space.own(found.row))

    def with_copies(self, space: Space, places: np.ndarray, copies: np.ndarray) -> "Measured":
        """With other tiles in some places, described by `copies`."""
        found, own = space.nearest(copies), self.own.copy()
        made = Nearest(*(column.copy() for column in self.made))
        for column, new in zip(made, found, strict=True):
            column[places] = new
        own[places] = space.own(found.row)
        return replace(self, made=made, own=own)
