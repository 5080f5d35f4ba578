"""Annotation masks: pixel values of a mask image, as the study's class indices, tile by tile.

A mask is a TIFF of any layout (tiled, striped, pyramidal) or a PNG, of the slide's aspect ratio
and any resolution. Of an RGB mask the first channel counts, as in PANDA. Only the finest level is
read, by nearest neighbour: coarser levels may hold interpolated values that mean nothing.
"""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, Self

import numpy as np
import tifffile
from PIL import Image

from histosynth.cohort_settings import TissueClass
from histosynth.errors import InputError
from histosynth.tilesets import UNLABELLED

UNIFORM = "uniform:"  # annotation "uniform:normal": the whole slide is of class normal
_NO_CLASS = 254  # marks a mask value that no class claims; never leaves this module
_ASPECT_TOLERANCE = 0.01
_CACHE_BYTES = 64 * 2**20


def class_lookup(classes: Sequence[TissueClass]) -> np.ndarray:
    """uint8 (65536,): the class index of every mask value."""
    lookup = np.full(65536, _NO_CLASS, dtype=np.uint8)
    for index, tissue_class in enumerate(classes):
        lookup[tissue_class.values_at("")] = index
    return lookup


def to_classes(values: np.ndarray, classes: Sequence[TissueClass], *, slide_id: str) -> np.ndarray:
    """Class indices of mask values.

    Parameters
    ----------
    values : unsigned integers or bool (H, W)
    classes : the study's classes, each with its mask values

    Returns
    -------
    uint8 (H, W), indices into `classes`

    Raises
    ------
    InputError : a value has no class; names the slide, the value and those known.
    """
    indices = class_lookup(classes)[values.astype(np.uint16, copy=False)]
    if (indices == _NO_CLASS).any():
        strange = sorted({int(v) for v in np.unique(values[indices == _NO_CLASS])})
        known = ", ".join(f"{v} ({c.name})" for c in classes for v in c.values_at(""))
        raise InputError(
            f"slide {slide_id}: mask value {', '.join(map(str, strange[:8]))} has no class; known: "
            f"{known}. Add it to the `values` of one of the study's `classes`, or correct the mask"
        )
    return indices


def class_fractions(class_map: np.ndarray, count: int) -> np.ndarray:
    """Area share of each class in a map; unlabelled pixels belong to none.

    Parameters
    ----------
    class_map : uint8 (H, W) of class indices, 255 for unlabelled
    count : number of classes

    Returns
    -------
    float32 (count,)
    """
    counts = np.bincount(class_map.ravel(), minlength=UNLABELLED + 1)[:count]
    return (counts / class_map.size).astype(np.float32)


class Mask:
    """A slide's mask, opened once and read tile by tile; use it in a `with`.

    Parameters
    ----------
    path : the mask's file
    dimensions : (width, height) of the slide's level 0 in pixels
    classes : the study's classes

    Raises
    ------
    InputError : no file, no image, or another aspect ratio than the slide's.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        dimensions: tuple[int, int],
        classes: Sequence[TissueClass],
        slide_id: str,
    ) -> None:
        self.path, self.slide_id, self._classes = Path(path), slide_id, classes
        self._source = _open_source(self.path, slide_id)
        height, width = self._source.shape
        expected = dimensions[0] * height / dimensions[1]
        if abs(width - expected) > max(1.5, _ASPECT_TOLERANCE * expected):
            self.close()
            raise InputError(
                f"slide {slide_id}: mask {self.path} is {width} x {height} pixels, the slide "
                f"{dimensions[0]} x {dimensions[1]}: another aspect ratio. Expected a mask of the "
                "whole slide at any scale; export it again, or correct the `annotation` path"
            )
        self._scale = (width / dimensions[0], height / dimensions[1])

    def close(self) -> None:
        self._source.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def region(self, x: float, y: float, size: int, *, scale: float) -> np.ndarray:
        """The class map of a square of the slide.

        Parameters
        ----------
        x, y : upper left corner in level-0 pixels of the slide
        size : side in pixels of the result
        scale : level-0 pixels a pixel of the result

        Returns
        -------
        uint8 (size, size), indices into the classes
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
        return to_classes(values, self._classes, slide_id=self.slide_id)

    def _nearest(self, places: np.ndarray, *, axis: int) -> np.ndarray:
        last = self._source.shape[1 - axis] - 1
        return np.clip(np.floor(places * self._scale[axis]).astype(np.int64), 0, last)


class _Source(Protocol):
    shape: tuple[int, int]

    def window(self, top: int, bottom: int, left: int, right: int) -> np.ndarray: ...

    def close(self) -> None: ...


def _open_source(path: Path, slide_id: str) -> _Source:
    if not path.is_file():
        raise InputError(f"slide {slide_id}: no such mask {path}; correct its `annotation` path")
    try:
        if path.suffix.lower() in (".tif", ".tiff", ".btf"):
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
    if path.suffix.lower() in (".tif", ".tiff"):
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


def downsample_classes(class_map: np.ndarray, size: tuple[int, int], *, count: int) -> np.ndarray:
    """Resize a class map by majority of area (ties: the lower index).

    Parameters
    ----------
    class_map : uint8 (H, W) of class indices, 255 for unlabelled
    size : (height, width) of the result
    count : number of classes

    Returns
    -------
    uint8 `size`
    """
    if class_map.shape == tuple(size):
        return class_map
    indices = [*range(count), UNLABELLED]
    shares = [
        np.asarray(
            Image.fromarray((class_map == index).astype(np.float32)).resize(
                (size[1], size[0]), Image.Resampling.BOX
            )
        )
        for index in indices
    ]
    return np.array(indices, dtype=np.uint8)[np.argmax(shares, axis=0)]
