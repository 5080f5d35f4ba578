"""Reading slides with OpenSlide: a square of tissue at a requested resolution.

The resolution of a slide is what the slide says (`openslide.mpp-x/y`, then the TIFF resolution
tags), then what the cohort says. It is never guessed from the objective's magnification.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Self

import numpy as np
import openslide
from PIL import Image

from histosynth.errors import InputError

RESIZE_FILTER = "pillow-lanczos"  # antialiased: Pillow widens the kernel when it shrinks
_LANCZOS_REACH = 3  # kernel half-width, in pixels of the coarser grid
# A resolution outside this range is a desktop default (72 dpi reads 353 um), not a scanner's.
_PLAUSIBLE_MPP = (0.02, 50.0)
_ANISOTROPY = 0.05
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

    Attributes
    ----------
    dimensions : (width, height) of level 0 in pixels
    mpp : micrometres a level-0 pixel
    mpp_source : "slide" where the file says it, "" where the caller does
    reader : the reader and the format it found
    """

    def __init__(self, path: Path, *, mpp: float | None, slide_id: str | None) -> None:
        self.path = path
        self.slide_id = slide_id or path.name
        self._handle = self._open()
        properties = self._handle.properties
        try:
            self.mpp = slide_mpp(properties, fallback=mpp, slide_id=self.slide_id)
            self.mpp_source = "slide" if _own_mpp(properties, self.slide_id) else ""
        except InputError:
            self.close()
            raise
        self.dimensions: tuple[int, int] = self._handle.dimensions
        vendor = properties.get("openslide.vendor", "unknown")
        self.reader = f"openslide {openslide.__library_version__} ({vendor})"

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

    def close(self) -> None:
        self._handle.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def read_region(self, x: float, y: float, size: int, mpp: float) -> np.ndarray:
        """A square of the slide.

        Reads the next finer pyramid level and resizes it by Pillow's Lanczos filter, with a margin
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
        ratio = scale / self._handle.level_downsamples[self._level(scale)]
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
        downsamples = self._handle.level_downsamples
        fine = [i for i, d in enumerate(downsamples) if d <= scale * _LEVEL_TOLERANCE]
        return fine[-1] if fine else 0

    def _read(self, x: float, y: float, width: int, height: int, scale: float) -> np.ndarray:
        """uint8 (height, width, 3), `scale` level-0 pixels a pixel."""
        level = self._level(scale)
        downsample = self._handle.level_downsamples[level]
        ratio = scale / downsample
        bounds = self._handle.level_dimensions[level]
        start, count, box_start, box_end = [], [], [], []
        for place, pixels, bound in zip((x, y), (width, height), bounds, strict=True):
            low = round(place / downsample, 4)
            high = round(low + pixels * ratio, 4)
            margin = 0 if high - low == pixels else math.ceil(_LANCZOS_REACH * max(ratio, 1))
            # The margin stops at the slide's edge: outside is white, which is no tissue to mix in.
            first = max(math.floor(low) - margin, min(0, math.floor(low)))
            last = min(math.ceil(high) + margin, max(bound, math.ceil(high)))
            start.append(first)
            count.append(last - first)
            box_start.append(low - first)
            box_end.append(min(high - first, last - first))
        location = (round(start[0] * downsample), round(start[1] * downsample))
        region = on_white(self._decode(location, level, (count[0], count[1])))
        box = (box_start[0], box_start[1], box_end[0], box_end[1])
        if (width, height) == region.size and box == (0, 0, width, height):
            return np.asarray(region)
        return np.asarray(region.resize((width, height), Image.Resampling.LANCZOS, box=box))

    def _decode(self, location: tuple[int, int], level: int, size: tuple[int, int]) -> Image.Image:
        try:
            return self._handle.read_region(location, level, size)
        except openslide.OpenSlideError as error:
            # An OpenSlide handle that failed once fails for ever; the next region deserves a new.
            self._handle.close()
            self._handle = self._open()
            raise InputError(
                f"slide {self.slide_id}: {self.path} cannot be read at level-0 pixel {location}: "
                f"{error}; copy the file again from its source, or remove its row from the cohort"
            ) from None


def slide_mpp(
    properties: Mapping[str, str], *, fallback: float | None = None, slide_id: str = "?"
) -> float:
    """Micrometres a level-0 pixel from a slide's properties, else `fallback`.

    Raises
    ------
    InputError : nothing says it, or x and y differ by more than 5 %.
    """
    own = _own_mpp(properties, slide_id)
    if own is not None:
        return own
    if fallback is not None and math.isfinite(fallback) and fallback > 0:
        return float(fallback)
    raise InputError(
        f"slide {slide_id}: the file does not say its micrometres a pixel; fill the cohort table's "
        "`mpp` column for it, or set `cohort.mpp` in the study for all such slides"
    )


def _own_mpp(properties: Mapping[str, str], slide_id: str) -> float | None:
    for x, y in (_openslide_mpp(properties), _tiff_mpp(properties)):
        if not all(_PLAUSIBLE_MPP[0] <= value <= _PLAUSIBLE_MPP[1] for value in (x, y)):
            continue
        if abs(x - y) > _ANISOTROPY * min(x, y):
            raise InputError(
                f"slide {slide_id}: {x:g} um a pixel in x but {y:g} in y; tiles need the same in "
                "both (within 5 %): resample the slide, or remove its row from the cohort"
            )
        return (x + y) / 2
    return None


def _openslide_mpp(properties: Mapping[str, str]) -> tuple[float, float]:
    x, y = (_number(properties.get(f"openslide.mpp-{axis}")) for axis in "xy")
    return x, y


def _tiff_mpp(properties: Mapping[str, str]) -> tuple[float, float]:
    unit = {"centimeter": 1e4, "inch": 2.54e4}.get(properties.get("tiff.ResolutionUnit", ""), 0)
    x, y = (_number(properties.get(f"tiff.{axis}Resolution")) for axis in "XY")
    return (unit / x if x else 0.0), (unit / y if y else 0.0)


def _number(text: str | None) -> float:
    """The positive number in `text`, or 0."""
    try:
        value = float(text or 0)
    except ValueError:
        return 0.0
    return value if math.isfinite(value) and value > 0 else 0.0


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
