"""A positive control: copies of training tiles, which a score of privacy has to find.

A score that does not find them would not find a generator's copies either. Some are hidden among
real held-out tiles, as a set with a few copies in it; and a handful of originals is looked for in
every disguise that a generator may give them, which tells what a space cannot see.
"""

import io
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from histosynth.slides.duplicates import turned
from histosynth.tilesets import TileSet

PLANTED_SHARE = 0.05
KINDS = ("exact", "flipped", "jpeg", "colour_shifted")  # hidden among real tiles
DISGUISES = (*KINDS, "shifted")  # looked for
ORIGINALS = 16
JPEG_QUALITY = 60
SHIFT = 0.05  # of a side
_TURN = 1  # left to right
_STAIN = np.array([1.08, 0.9, 1.05])  # of the optical density of red, green and blue
_ROUNDING = 1e-3  # of the limit: two training tiles nearer to each other are one picture


def copy_of(image: np.ndarray, kind: str) -> np.ndarray:
    """A copy of a tile uint8 (H, W, 3) as a generator might hand it out; `kind` of `DISGUISES`."""
    if kind == "flipped":
        return np.ascontiguousarray(turned(image, _TURN))
    if kind == "jpeg":
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "JPEG", quality=JPEG_QUALITY)
        return np.array(Image.open(buffer))
    if kind == "colour_shifted":
        light = (image / 255.0) ** _STAIN  # another stain: densities scaled, channel by channel
        return np.round(255 * light).astype(np.uint8)
    if kind == "shifted":  # down and to the right; what comes in is the border, mirrored
        down, right = (max(1, round(SHIFT * side)) for side in image.shape[:2])
        margins = ((down, 0), (right, 0), (0, 0))
        return np.pad(image, margins, mode="symmetric")[: image.shape[0], : image.shape[1]].copy()
    return image


class Planted(NamedTuple):
    """Copies in place of some of n tiles.

    Attributes
    ----------
    places : int64 (k,), which of the n tiles are replaced
    originals : int64 (m,), positions among the training tiles
    of : int64 (k,), which of the originals stands in each place
    kinds : k names of `KINDS`
    """

    places: np.ndarray
    originals: np.ndarray
    of: np.ndarray
    kinds: list[str]


def plant(n: int, n_train: int, *, seed: int) -> Planted:
    """Replace a share of n tiles, one for each kind at least, by copies of training tiles.

    However many they are, they are copies of `ORIGINALS` tiles, or fewer: each takes an embedding.
    """
    count = min(n, max(len(KINDS), round(PLANTED_SHARE * n)))
    random = np.random.default_rng([seed, 3])
    places = np.sort(random.choice(n, count, replace=False))
    originals = random.choice(n_train, min(ORIGINALS, n_train), replace=False)
    kinds = [KINDS[i % len(KINDS)] for i in range(count)]
    # A new round of the originals meets other kinds.
    of = np.array([(i + i // len(originals)) % len(originals) for i in range(count)])
    return Planted(places, originals, of, kinds)


def copies_of(train: TileSet, rows: np.ndarray) -> dict[str, np.ndarray]:
    """Copies of training tiles, uint8 (m, H, W, 3), in every one of `DISGUISES`."""
    images = train.images(rows)
    return {kind: np.stack([copy_of(image, kind) for image in images]) for kind in DISGUISES}


def found_copies(
    to_original: np.ndarray, to_nearest: np.ndarray, *, limit: float
) -> dict[str, Any]:
    """How many copies were looked for, and how many are found.

    A copy is found where it lies nearer than `limit`, and no other training tile lies nearer to it
    than its original does.

    Parameters
    ----------
    to_original : (m,) distance of each copy to its original
    to_nearest : (m,) to the nearest training tile
    limit : what is too near, such as the nearest 1 % of held-out tiles
    """
    nearest = to_original <= to_nearest + _ROUNDING * limit
    return {"planted": len(to_original), "found": int((nearest & (to_original < limit)).sum())}
