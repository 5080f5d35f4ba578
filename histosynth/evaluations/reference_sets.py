"""Reference sets made of real test tiles: what a known change of pixels does to every score.

`jpeg90` are the test tiles through JPEG at quality 90 and back (Pillow, chroma halved): how far
compression alone moves a score. Its provenance names no codec, since it is there to be scored
across the very difference that `check_comparable` refuses.

`noise` is the ceiling: every pixel drawn by itself from a normal distribution with the mean and
standard deviation of each channel of the test tiles; the right colours and no tissue at all.
"""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from histosynth.diffusion.synthetic import add_tiles, synthetic_row
from histosynth.errors import InputError
from histosynth.tilesets import TileSet, TileSetWriter

JPEG_QUALITY = 90
_AT_ONCE = 1024  # tiles in memory

_Change = Callable[[np.ndarray, np.ndarray], np.ndarray]


def write_reference_set(name: str, real: TileSet, output: str | Path) -> TileSet:
    """Make the reference set of that name, tile by tile of `real`, in its order.

    Each tile keeps the place, map and label of the tile that it was made from.

    Parameters
    ----------
    name : one of `REFERENCE_SETS`
    real : the real test tiles

    Raises
    ------
    InputError
        No such reference set, or no tiles.
    """
    if name not in _MAKERS:
        raise InputError(f"no reference set {name!r}; known: {', '.join(REFERENCE_SETS)}")
    if len(real) == 0:
        raise InputError(f"{real.folder}: no tiles to make the reference set {name} from")
    change = _MAKERS[name](real)
    about: dict[str, Any] = {"condition": name, "seed": 0, "provides": {"maps", "labels"}}
    # Pixels are stored without loss; what compressed them before is that of the real tiles.
    kept = ("codec", "codecs", "native_sizes", "resize")
    told = {key: real.provenance[key] for key in kept if key in real.provenance}
    provenance = {"reference": name, "source": real.fingerprint} | told
    with TileSetWriter(output, classes=real.classes, provenance=provenance) as writer:
        for rows, images in _blocks(real):
            table = [
                synthetic_row(real.table.iloc[i], tile_id=f"{name}-{i:06d}", **about) for i in rows
            ]
            add_tiles(writer, change(images, rows), table, real, rows)
    return TileSet.open(output)


def jpeg(images: np.ndarray, *, quality: int = JPEG_QUALITY) -> np.ndarray:
    """Images uint8 (n, H, W, 3) through JPEG and back."""
    made = []
    for image in images:
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "JPEG", quality=quality)
        made.append(np.asarray(Image.open(buffer)))
    return np.stack(made)


def _jpeg_of(real: TileSet) -> _Change:
    return lambda images, rows: jpeg(images)


def _noise_of(real: TileSet) -> _Change:
    sums = np.zeros((2, 3))
    for _, images in _blocks(real):
        pixels = images.reshape(-1, 3).astype(np.float64)
        sums += pixels.sum(axis=0), (pixels**2).sum(axis=0)
    mean, square = sums / (len(real) * real.size[0] * real.size[1])
    deviation = np.sqrt(np.maximum(square - mean**2, 0))

    def draw(images: np.ndarray, rows: np.ndarray) -> np.ndarray:
        # A seed a tile, so that the set does not depend on how many are held in memory.
        normal = np.stack(
            [np.random.default_rng(int(row)).standard_normal(images.shape[1:]) for row in rows]
        )
        return (mean + deviation * normal).round().clip(0, 255).astype(np.uint8)

    return draw


def _blocks(real: TileSet):
    for start in range(0, len(real), _AT_ONCE):
        rows = np.arange(start, min(start + _AT_ONCE, len(real)))
        yield rows, real.images(rows)


_MAKERS: dict[str, Callable[[TileSet], _Change]] = {"jpeg90": _jpeg_of, "noise": _noise_of}
REFERENCE_SETS = tuple(_MAKERS)
