"""Reading slides: a square of tissue at a requested resolution.

OpenSlide opens every slide and is the reference for its pixels; `tiled_jpeg` reads the common
layouts faster and equally.
"""

import functools
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Self

import numpy as np
import openslide
from PIL import Image

from histosynth.errors import InputError
from histosynth.resizing import REACH, resize
from histosynth.slides.resolution import own_mpp, slide_mpp
from histosynth.slides.tiled_jpeg import TiledPyramid, open_pyramid

_FINEST_UPSCALE = 1.15  # scanners called "40x" range from 0.22 to 0.28 um a pixel
_LEVEL_TOLERANCE = 1.01  # level sizes are rounded, so a downsample of 4 may read 4.016
_BLOCK_PIXELS = 4096  # largest side of one read, in pixels of the level read


def open_slide(
    path: str | Path, *, mpp: float | None = None, slide_id: str | None = None
) -> "Slide":
    """Open a slide for reading.

    Parameters
    ----------
    path : a file that OpenSlide reads.
    mpp : micrometres a level-0 pixel, used only where the slide itself does not say.
    slide_id : the name that errors give the slide; default: the file's name.

    Raises
    ------
    InputError : the file is missing, no slide, or of unknown or unequal resolution in x and y.
    """
    return Slide(Path(path), mpp=mpp, slide_id=slide_id)


class Slide:
    """An open slide; use it in a `with`, or `close` it.

    A pickled slide opens its file anew where it is unpickled, and a forked one opens OpenSlide's
    files anew where it needs them: OpenSlide must not be shared between processes.

    Attributes
    ----------
    dimensions : (width, height) of level 0 in pixels
    mpp : micrometres a level-0 pixel
    mpp_source : "slide" where the file says it, "" where the caller does
    reader : the reader and the format it found, "tiled JPEG (aperio)" or "openslide 4.0.1 (mirax)"
    """

    def __init__(self, path: Path, *, mpp: float | None, slide_id: str | None) -> None:
        self.path = path
        self.slide_id = slide_id or path.name
        self._given_mpp = mpp
        self._handle, self._process = self._open(), os.getpid()
        properties = self._handle.properties
        try:
            self.mpp = slide_mpp(properties, fallback=mpp, slide_id=self.slide_id)
        except InputError:
            self._handle.close()
            raise
        self.mpp_source = "" if own_mpp(properties) is None else "slide"
        self.dimensions: tuple[int, int] = self._handle.dimensions
        self._level_dimensions = self._handle.level_dimensions
        self._downsamples = self._handle.level_downsamples
        vendor = properties.get("openslide.vendor", "unknown")
        self._tiled = self._open_tiled(vendor)
        name = f"openslide {openslide.__library_version__}"
        self.reader = f"{f'tiled {self._tiled.codec}' if self._tiled else name} ({vendor})"

    def _open(self) -> openslide.OpenSlide:
        if not self.path.is_file():
            raise InputError(
                f"slide {self.slide_id}: no such file {self.path}; correct its `image` path"
            )
        try:
            return openslide.OpenSlide(self.path)
        except openslide.OpenSlideError as error:
            raise InputError(
                f"slide {self.slide_id}: OpenSlide cannot open {self.path}: {error}. Expected a "
                "whole slide image; copy the file again if it is cut off, convert it to a tiled "
                "pyramidal TIFF, or remove its row from the cohort"
            ) from None

    def _open_tiled(self, vendor: str) -> TiledPyramid | None:
        tiled = open_pyramid(
            self.path,
            vendor=vendor,
            level_dimensions=self._level_dimensions,
            level_downsamples=self._downsamples,
        )
        if tiled is None:
            return None
        try:
            if tiled.agrees(self._draw):
                return tiled
        except InputError:  # damaged at this tile; others may be whole
            pass
        tiled.close()
        return None

    def __reduce__(self) -> tuple[Callable[[], "Slide"], tuple[()]]:
        again = functools.partial(Slide, self.path, mpp=self._given_mpp, slide_id=self.slide_id)
        return again, ()

    def close(self) -> None:
        self._handle.close()
        if self._tiled is not None:
            self._tiled.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def read_region(self, x: float, y: float, size: int, mpp: float) -> np.ndarray:
        """A square of the slide.

        Reads the next finer pyramid level and resizes it by an antialiasing filter, with a margin
        around the square, so that neighbouring squares join without a seam. Transparent and
        outside pixels are white.

        Parameters
        ----------
        x, y : upper left corner in level-0 pixels
        size : side in pixels of the result
        mpp : micrometres a pixel of the result

        Returns
        -------
        uint8 (size, size, 3)

        Raises
        ------
        InputError : the file's data there cannot be decoded; other regions may still be read.
        """
        return self._read(x, y, size, size, mpp / self.mpp)

    def check_mpp(self, mpp: float) -> None:
        """Refuse a resolution clearly finer than the scan: it would be invented detail."""
        if mpp * _FINEST_UPSCALE < self.mpp:
            raise InputError(
                f"slide {self.slide_id}: tiling.mpp asks for {mpp:g} um a pixel, but the slide was "
                f"scanned at {self.mpp:g}; set tiling.mpp to {self.mpp:.3g} or more"
            )

    def thumbnail(self, mpp: float) -> tuple[np.ndarray, np.ndarray]:
        """The whole slide at `mpp`, read block by block.

        Returns
        -------
        uint8 (H, W, 3), and bool (H, W): True where the slide could not be read (white there)

        Raises
        ------
        InputError : no block of the slide can be read.
        """
        scale = max(mpp / self.mpp, 1.0)
        width, height = (max(1, math.floor(side / scale)) for side in self.dimensions)
        ratio = scale / self._downsamples[self._level(scale)]
        block = max(16, min(512, int(_BLOCK_PIXELS / ratio)))
        image = np.full((height, width, 3), 255, dtype=np.uint8)
        unreadable = np.zeros((height, width), dtype=bool)
        failure: InputError | None = None
        for top in range(0, height, block):
            for left in range(0, width, block):
                here = np.s_[top : min(top + block, height), left : min(left + block, width)]
                rows, columns = unreadable[here].shape
                try:
                    image[here] = self._read(left * scale, top * scale, columns, rows, scale)
                except InputError as error:
                    unreadable[here] = True
                    failure = error
        if failure is not None and unreadable.all():
            raise failure
        return image, unreadable

    def _level(self, scale: float) -> int:
        """The coarsest level that is still as fine as `scale` level-0 pixels a pixel."""
        fine = [i for i, d in enumerate(self._downsamples) if d <= scale * _LEVEL_TOLERANCE]
        return fine[-1] if fine else 0

    def _read(self, x: float, y: float, width: int, height: int, scale: float) -> np.ndarray:
        """uint8 (height, width, 3), `scale` level-0 pixels a pixel."""
        level = self._level(scale)
        downsample = self._downsamples[level]
        ratio = scale / downsample
        bounds = self._level_dimensions[level]
        start, count, box_start, box_end = [], [], [], []
        for place, pixels, bound in zip((x, y), (width, height), bounds, strict=True):
            low = round(place / downsample, 4)
            high = round(low + pixels * ratio, 4)
            margin = 0 if high - low == pixels else math.ceil(REACH * max(ratio, 1))
            # The margin stops at the slide's edge: outside is white, which is no tissue to mix in.
            first = max(math.floor(low) - margin, min(0, math.floor(low)))
            last = min(math.ceil(high) + margin, max(bound, math.ceil(high)))
            start.append(first)
            count.append(last - first)
            box_start.append(low - first)
            box_end.append(min(high - first, last - first))
        region = self._pixels(level, (start[0], start[1]), (count[0], count[1]))
        box = (box_start[0], box_start[1], box_end[0], box_end[1])
        return resize(region, (width, height), box)

    def _pixels(self, level: int, start: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
        """uint8 (height, width, 3), of a level; `start` and `size` in its pixels."""
        if self._tiled is not None:
            pixels = self._tiled.read(level, *start, *size)
            if pixels is not None:
                return pixels
        downsample = self._downsamples[level]
        return self._draw((round(start[0] * downsample), round(start[1] * downsample)), level, size)

    def _draw(self, location: tuple[int, int], level: int, size: tuple[int, int]) -> np.ndarray:
        """OpenSlide's pixels, uint8 (height, width, 3), from `location` in level-0 pixels."""
        if self._process != os.getpid():
            self._handle, self._process = self._open(), os.getpid()
        try:
            region = self._handle.read_region(location, level, size)
        except openslide.OpenSlideError as error:
            # An OpenSlide handle that failed once fails for ever; the next region deserves a new.
            failed, self._handle = self._handle, self._open()
            failed.close()
            raise InputError(
                f"slide {self.slide_id}: {self.path} cannot be read at level-0 pixel {location}: "
                f"{error}; copy the file again from its source, or remove its row from the cohort"
            ) from None
        return np.asarray(on_white(region))


def read_image(path: str | Path) -> Image.Image:
    """A ready-made image as RGB, wholly decoded.

    Raises
    ------
    OSError, ValueError
        It cannot be decoded, or has more than 8 bits a channel.
    """
    with Image.open(path) as image:
        image.load()
        if image.mode.startswith(("I", "F")):
            raise ValueError(f"pixels of mode {image.mode}, expected 8 bits a channel")
        return on_white(image)


def on_white(image: Image.Image) -> Image.Image:
    """An RGB copy of an image of any 8-bit mode, transparency blended on white."""
    if image.mode in ("P", "PA", "LA"):
        image = image.convert("RGBA")
    if image.mode != "RGBA":
        return image.convert("RGB")
    if image.getchannel("A").getextrema()[0] == 255:
        return image.convert("RGB")
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image).convert("RGB")
