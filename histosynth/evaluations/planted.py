"""A positive control: copies of training tiles hidden among real held-out tiles.

A score that does not find them would not find a generator's copies either.
"""

import io
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from histosynth.slides.duplicates import turned
from histosynth.tilesets import TileSet

PLANTED_SHARE = 0.05
KINDS = ("exact", "flipped", "jpeg", "colour_shifted")
JPEG_QUALITY = 60
_TURN = 1  # left to right
_STAIN = np.array([1.08, 0.9, 1.05])  # of the optical density of red, green and blue


def copy_of(image: np.ndarray, kind: str) -> np.ndarray:
    """A copy of a tile uint8 (H, W, 3) as a generator might hand it out; `kind` is of `KINDS`."""
    if kind == "flipped":
        return np.ascontiguousarray(turned(image, _TURN))
    if kind == "jpeg":
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "JPEG", quality=JPEG_QUALITY)
        return np.array(Image.open(buffer))
    if kind == "colour_shifted":
        light = (image / 255.0) ** _STAIN  # another stain: densities scaled, channel by channel
        return np.round(255 * light).astype(np.uint8)
    return image


class Planted(NamedTuple):
    """Copies in place of some of n tiles.

    Attributes
    ----------
    places : int64 (k,), which of the n tiles are replaced
    images : uint8 (k, H, W, 3)
    kinds : k names of `KINDS`
    """

    places: np.ndarray
    images: np.ndarray
    kinds: list[str]


def plant(n: int, train: TileSet, train_rows: np.ndarray, *, seed: int) -> Planted:
    """Replace a share of n tiles, one for each kind at least, by copies of training tiles."""
    count = min(n, max(len(KINDS), round(PLANTED_SHARE * n)))
    random = np.random.default_rng([seed, 3])
    places = np.sort(random.choice(n, count, replace=False))
    originals = random.choice(train_rows, count, replace=count > len(train_rows))
    kinds = [KINDS[i % len(KINDS)] for i in range(count)]
    images = [
        copy_of(train.image(row), k) for row, k in zip(originals.tolist(), kinds, strict=True)
    ]
    return Planted(places, np.stack(images), kinds)


def found_copies(distance: np.ndarray, copies: Planted, *, limit: float) -> dict[str, Any]:
    """Of each kind, how many copies were planted, and how many lie nearer than `limit`.

    Parameters
    ----------
    distance : (n,) of all n tiles to their nearest training tiles
    """
    below, kinds = distance[copies.places] < limit, np.array(copies.kinds)
    return {
        kind: {"planted": int((kinds == kind).sum()), "found": int(below[kinds == kind].sum())}
        for kind in KINDS
    }
