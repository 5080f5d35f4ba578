"""Images inside the page, as data: addresses.

Small tiles are stored as they are and enlarged by the browser without smoothing; larger ones are
reduced to `SHOWN` pixels, so that the page stays light.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

SHOWN = 128  # pixels; a larger tile is reduced to this side
UNLABELLED_GREY = (128, 128, 128)


@dataclass(frozen=True)
class Picture:
    """An image inside the page; `note` is printed under it."""

    source: str  # data: address
    alt: str
    note: str = ""


def tile_uri(array: np.ndarray) -> str:
    """A uint8 image, (H, W, 3) or with alpha (H, W, 4); lossless up to `SHOWN` pixels."""
    image = Image.fromarray(array)
    if max(array.shape[:2]) > SHOWN:
        image.thumbnail((SHOWN, SHOWN), Image.Resampling.LANCZOS)
        if image.mode == "RGB":
            return _encoded(image, "JPEG", quality=88)
    return _encoded(image, "PNG", optimize=True)


def map_uri(map: np.ndarray, colors: Sequence[str]) -> str:
    """A map of class indices (H, W) in the classes' colours; unlabelled pixels are grey."""
    palette = np.full((256, 3), UNLABELLED_GREY, dtype=np.uint8)
    for i, color in enumerate(colors):
        palette[i] = [int(color[at : at + 2], 16) for at in (1, 3, 5)]
    image = Image.fromarray(map, mode="P")
    image.putpalette(palette.tobytes())
    if max(map.shape) > SHOWN:
        image.thumbnail((SHOWN, SHOWN), Image.Resampling.NEAREST)
    return _encoded(image, "PNG", optimize=True)


def sheet_uri(images: np.ndarray, *, across: int = 6, side: int = 64) -> str:
    """Tiles (n, H, W, 3) side by side in one JPEG, `across` a row, each at most `side` pixels."""
    height, width = images.shape[1:3]
    shrink = min(1.0, side / max(height, width))
    shape = (round(width * shrink), round(height * shrink))
    rows = -(-len(images) // across)
    sheet = Image.new("RGB", (across * (shape[0] + 2) - 2, rows * (shape[1] + 2) - 2), "white")
    for i, array in enumerate(images):
        tile = Image.fromarray(array)
        tile = tile.resize(shape, Image.Resampling.LANCZOS) if shrink < 1 else tile
        sheet.paste(tile, ((i % across) * (shape[0] + 2), (i // across) * (shape[1] + 2)))
    return _encoded(sheet, "JPEG", quality=90)


def _encoded(image: Image.Image, format: str, **options: int) -> str:
    buffer = io.BytesIO()
    image.save(buffer, format=format, **options)
    text = base64.b64encode(buffer.getvalue()).decode()
    return f"data:image/{format.lower()};base64,{text}"


def choose(n: int, count: int) -> list[int]:
    """At most `count` of the indices 0..n-1, spread evenly; the same in every run."""
    return sorted({int(i) for i in np.linspace(0, n - 1, min(count, n)).round()}) if n else []
