"""Masks: images whose pixel values say the class, as a TIFF of any layout or a PNG.

Tiled, striped and pyramidal TIFFs; of the slide's aspect ratio and at any resolution. Of an RGB
mask the first channel counts, as in PANDA. Only the finest level is read, by nearest neighbour:
coarser levels may hold interpolated values that mean nothing.
"""

import functools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import tifffile
from PIL import Image

from histosynth.cohort_settings import TissueClass
from histosynth.errors import InputError
from histosynth.slides.annotations.classes import class_lookup, to_classes
from histosynth.slides.annotations.registry import Annotation, register_annotation, require_file

_TIFF_SUFFIXES = (".tif", ".tiff", ".btf")
_CACHE_BYTES = 64 * 2**20


@register_annotation(*_TIFF_SUFFIXES, ".png")
class Mask(Annotation):
    """A slide's mask, opened once and read tile by tile; use it in a `with`.

    Parameters
    ----------
    path : the mask's file
    dimensions : (width, height) of the slide's level 0 in pixels
    classes : the study's classes
    site : decides what the mask's values mean

    Raises
    ------
    InputError : no file, no image, another shape than the slide's, or a site without values.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        dimensions: tuple[int, int],
        classes: Sequence[TissueClass],
        slide_id: str,
        site: str = "",
    ) -> None:
        self.path, self.slide_id, self.site, self._classes = Path(path), slide_id, site, classes
        class_lookup(classes, slide_id=slide_id, site=site)  # complains now, not at the first tile
        self._source = _open_source(self.path, slide_id)
        height, width = self._source.shape
        if not _is_scaled((width, height), dimensions):
            self.close()
            raise InputError(
                f"slide {slide_id}: mask {self.path} is {width} x {height} pixels, the slide "
                f"{dimensions[0]} x {dimensions[1]}: another aspect ratio. Expected a mask of the "
                "whole slide at any scale, not cropped or padded; export it again, or correct the "
                "`annotation` path"
            )
        self._scale = (width / dimensions[0], height / dimensions[1])

    def close(self) -> None:
        self._source.close()

    def region(self, x: float, y: float, size: int, *, scale: float) -> np.ndarray:
        """The class map of a square of the slide: see `Annotation.region`.

        Raises
        ------
        InputError : the mask cannot be decoded there, or holds a value of no class.
        """
        centres = (np.arange(size) + 0.5) * scale
        columns = self._nearest(x + centres, axis=0)
        rows = self._nearest(y + centres, axis=1)
        try:
            window = self._source.window(rows[0], rows[-1] + 1, columns[0], columns[-1] + 1)
        except Exception as error:  # decoders raise what they like
            raise InputError(
                f"slide {self.slide_id}: mask {self.path} cannot be read at level-0 pixel "
                f"({x:.0f}, {y:.0f}): {error}; export it again"
            ) from None
        values = window[np.ix_(rows - rows[0], columns - columns[0])]
        return to_classes(values, self._classes, slide_id=self.slide_id, site=self.site)

    def _nearest(self, places: np.ndarray, *, axis: int) -> np.ndarray:
        last = self._source.shape[1 - axis] - 1
        return np.clip(np.floor(places * self._scale[axis]).astype(np.int64), 0, last)


def _is_scaled(size: tuple[int, int], dimensions: tuple[int, int]) -> bool:
    """Whether one factor leads from `dimensions` to `size`, give or take a pixel of rounding."""
    finest = max(whole / (part + 1) for part, whole in zip(size, dimensions, strict=True))
    coarsest = min(whole / max(part - 1, 0.1) for part, whole in zip(size, dimensions, strict=True))
    return finest <= coarsest


class _Source(Protocol):
    shape: tuple[int, int]

    def window(self, top: int, bottom: int, left: int, right: int) -> np.ndarray: ...

    def close(self) -> None: ...


def _open_source(path: Path, slide_id: str) -> _Source:
    require_file(path, kind="mask", slide_id=slide_id)
    try:
        if path.suffix.lower() in _TIFF_SUFFIXES:
            return _TiffSource(path)
        return _ArraySource(path)
    except Exception as error:
        raise InputError(
            f"slide {slide_id}: mask {path} cannot be opened: {error}; expected a TIFF or PNG of "
            "class values"
        ) from None


class _ArraySource:
    """A mask that is read whole."""

    def __init__(self, path: Path) -> None:
        self._values = read_mask(path)
        self.shape: tuple[int, int] = self._values.shape

    def window(self, top: int, bottom: int, left: int, right: int) -> np.ndarray:
        return self._values[top:bottom, left:right]

    def close(self) -> None:
        pass


class _TiffSource:
    """The finest level of a TIFF, decoded tile by tile (or strip by strip) with a bounded cache."""

    def __init__(self, path: Path) -> None:
        self._file = tifffile.TiffFile(path)
        try:
            self._page = self._file.pages.first
            self._dtype = self._check_layout()
        except Exception:
            self._file.close()
            raise
        self.shape: tuple[int, int] = (self._page.imagelength, self._page.imagewidth)
        self._step: tuple[int, int] = (self._page.chunks[0], self._page.chunks[1])
        self._across = -(-self.shape[1] // self._step[1])
        size = self._step[0] * self._step[1] * self._dtype.itemsize
        self._segment = functools.lru_cache(max(4, _CACHE_BYTES // size))(self._decode)

    def _check_layout(self) -> np.dtype:
        dtype = self._page.dtype
        if dtype is None or dtype.kind not in "ub" or dtype.itemsize > 2:
            raise ValueError(f"pixels are {dtype}, not unsigned integers of 8 or 16 bits")
        ends = [
            o + n for o, n in zip(self._page.dataoffsets, self._page.databytecounts, strict=False)
        ]
        size = self._file.filehandle.size
        if len(ends) < math.prod(self._page.chunked) or max(ends) > size:
            raise ValueError(f"it is cut off: {size} bytes, and its index names places beyond")
        if self._page.samplesperpixel > 1 and self._page.planarconfig != 1:
            raise ValueError("channels in separate planes are not supported")
        return dtype

    def _decode(self, index: int) -> np.ndarray:
        """Tile (or strip) `index` of the page, uint (step) cut at the page's edge."""
        offset, length = self._page.dataoffsets[index], self._page.databytecounts[index]
        row, column = divmod(index, self._across)
        height = min(self._step[0], self.shape[0] - row * self._step[0])
        width = min(self._step[1], self.shape[1] - column * self._step[1])
        if length == 0:  # a tile that was never written
            return np.zeros((height, width), dtype=self._dtype)
        self._file.filehandle.seek(offset)
        data = self._file.filehandle.read(length)
        segment, _, _ = self._page.decode(data, index, jpegtables=self._page.jpegtables)
        if segment is None:
            return np.zeros((height, width), dtype=self._dtype)
        return np.ascontiguousarray(segment[0, :height, :width, 0])

    def window(self, top: int, bottom: int, left: int, right: int) -> np.ndarray:
        result = np.zeros((bottom - top, right - left), dtype=self._dtype)
        high, wide = self._step
        for row in range(top // high, -(-bottom // high)):
            for column in range(left // wide, -(-right // wide)):
                segment = self._segment(row * self._across + column)
                y, x = row * high, column * wide
                y0, y1 = max(top, y), min(bottom, y + segment.shape[0])
                x0, x1 = max(left, x), min(right, x + segment.shape[1])
                part = segment[y0 - y : y1 - y, x0 - x : x1 - x]
                result[y0 - top : y1 - top, x0 - left : x1 - left] = part
        return result

    def close(self) -> None:
        self._segment.cache_clear()
        self._file.close()


def read_mask(path: str | Path) -> np.ndarray:
    """A whole mask image as unsigned integers (H, W); of RGB the first channel, of a palette image
    the indices.

    Raises
    ------
    ValueError, OSError : the file is no image, or its pixels are no class values.
    """
    path = Path(path)
    if path.suffix.lower() in _TIFF_SUFFIXES:
        values = tifffile.imread(path, key=0)
    else:
        with Image.open(path) as image:
            values = np.asarray(image)
    if values.ndim == 3:
        values = values[..., 0]
    if values.dtype == bool:
        return values.astype(np.uint8)
    if values.dtype.kind == "i" and values.size and values.min() >= 0 and values.max() < 65536:
        return values.astype(np.uint16)  # Pillow's 16-bit PNGs come as int32
    if values.dtype.kind != "u" or values.dtype.itemsize > 2 or values.ndim != 2:
        raise ValueError(f"pixels are {values.dtype} {values.shape}, not class values")
    return values
