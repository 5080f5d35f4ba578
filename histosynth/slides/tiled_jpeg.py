"""Tiles of a TIFF slide decoded straight from the file, several times faster than OpenSlide.

For Aperio SVS and generic pyramidal TIFF whose tiles are JPEG (or deflate) of 8-bit RGB. OpenSlide
stays the reference: at opening one tile a level is decoded by both and must be equal. What is not
understood is left to OpenSlide, and so are

- JPEG 2000: both would decode it by OpenJPEG, so nothing is gained;
- levels whose downsample is no whole number: OpenSlide interpolates between their pixels;
- Aperio slides that lack tiles: OpenSlide draws from other levels what is missing in one;
- regions with a tile that looks damaged: the verdict on it is OpenSlide's too.
"""

import os
import re
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import imagecodecs
import numpy as np
import tifffile

_CACHE_BYTES = 32 * 2**20  # decoded: four rows of 256-px tiles of a level 10,000 px wide
_VENDORS = ("aperio", "generic-tiff")  # as OpenSlide calls them
_JPEG_COLOURS = {2: "rgb", 6: "ycbcr"}  # by the TIFF's photometric interpretation
_FRAME, _SCAN, _END = b"\xff\xc0", b"\xff\xda", b"\xff\xd9"
_MARKER = re.compile(rb"\xff[^\x00]")
_FILL = 128  # the grey of what a scan does not hold

Draw = Callable[[tuple[int, int], int, tuple[int, int]], np.ndarray]


class _DamagedTile(Exception):
    """A tile's bytes are not all there, or do not decode."""


@dataclass(frozen=True)
class _Level:
    """A level's geometry in pixels, and where its tiles lie, row by row, in bytes."""

    width: int
    height: int
    tile: tuple[int, int]  # (width, height)
    downsample: int
    offsets: np.ndarray
    counts: np.ndarray
    codec: str
    decode: Callable[[bytes], np.ndarray]

    @property
    def columns(self) -> int:
        return -(-self.width // self.tile[0])


class TiledPyramid:
    """The levels of a slide that are read without OpenSlide; see `open_pyramid`.

    Attributes
    ----------
    codec : of level 0, "JPEG" or "deflate"
    """

    def __init__(self, path: Path, levels: Sequence[_Level | None], codec: str) -> None:
        self.codec = codec
        self._levels = levels
        self._tiles: OrderedDict[tuple[int, int], np.ndarray] = OrderedDict()
        self._cached_bytes = 0
        self._file = path.open("rb", buffering=0)

    def close(self) -> None:
        self._file.close()
        self._tiles.clear()

    def read(self, level: int, x: int, y: int, width: int, height: int) -> np.ndarray | None:
        """A region of a level; white outside the slide and where tiles were never written.

        Parameters
        ----------
        x, y, width, height : in pixels of the level

        Returns
        -------
        uint8 (height, width, 3), not to be written to, or None where OpenSlide has to read it
        """
        layout = self._levels[level]
        if layout is None:
            return None
        region = np.empty((height, width, 3), dtype=np.uint8)
        if x < 0 or y < 0 or x + width > layout.width or y + height > layout.height:
            region[:] = 255
        columns = _overlaps(x, width, layout.width, layout.tile[0])
        for row, here_y, there_y in _overlaps(y, height, layout.height, layout.tile[1]):
            for column, here_x, there_x in columns:
                index = row * layout.columns + column
                if layout.counts[index] == 0:
                    region[here_y, here_x] = 255
                    continue
                try:
                    tile = self._tile(level, layout, index)
                except _DamagedTile:
                    return None
                part = tile[there_y, there_x]
                if part.shape == region.shape == tile.shape:
                    return tile  # the tile itself: nothing to copy
                region[here_y, here_x] = part
        return region

    def agrees(self, draw: Draw) -> bool:
        """Whether the reference draws the fullest tile of every level just so.

        Parameters
        ----------
        draw : uint8 (height, width, 3) from (x, y) in level-0 pixels, a level and (width, height)
        """
        for level, layout in enumerate(self._levels):
            if layout is None:
                continue
            # Most bytes, most detail: blank glass would be equal in any colour space.
            row, column = divmod(int(layout.counts.argmax()), layout.columns)
            x, y = column * layout.tile[0], row * layout.tile[1]
            size = min(layout.tile[0], layout.width - x), min(layout.tile[1], layout.height - y)
            ours = self.read(level, x, y, *size)
            if ours is None:
                return False
            theirs = draw((x * layout.downsample, y * layout.downsample), level, size)
            if not np.array_equal(ours, theirs):
                return False
        return True

    def _tile(self, level: int, layout: _Level, index: int) -> np.ndarray:
        key = (level, index)
        tile = self._tiles.get(key)
        if tile is not None:
            self._tiles.move_to_end(key)
            return tile
        count = int(layout.counts[index])
        # At an offset, not from the file's position: that one is shared with forked processes.
        data = os.pread(self._file.fileno(), count, int(layout.offsets[index]))
        if len(data) < count:
            raise _DamagedTile
        tile = layout.decode(data)
        if tile.shape != (layout.tile[1], layout.tile[0], 3):
            raise _DamagedTile
        tile.flags.writeable = False  # `read` may hand it out
        self._tiles[key] = tile
        self._cached_bytes += tile.nbytes
        while self._cached_bytes > _CACHE_BYTES:
            self._cached_bytes -= self._tiles.popitem(last=False)[1].nbytes
        return tile


def open_pyramid(
    path: Path,
    *,
    vendor: str,
    level_dimensions: Sequence[tuple[int, int]],
    level_downsamples: Sequence[float],
) -> TiledPyramid | None:
    """The slide's levels as this module reads them, or None where OpenSlide has to read all.

    Parameters
    ----------
    vendor, level_dimensions, level_downsamples : what OpenSlide says
    """
    if vendor not in _VENDORS:
        return None
    try:
        with tifffile.TiffFile(path) as tiff:
            whole = [page for page in tiff.pages if isinstance(page, tifffile.TiffPage)]
            pages = [page for page in whole if page.is_tiled]
            levels = [
                _layout(pages, dimensions, downsample)
                for dimensions, downsample in zip(level_dimensions, level_downsamples, strict=True)
            ]
            sparse = any(0 in page.databytecounts for page in pages)
    except Exception:  # whatever tifffile makes of an odd file: OpenSlide has opened it
        return None
    if levels[0] is None or (vendor == "aperio" and sparse):
        return None
    return TiledPyramid(path, levels, levels[0].codec)


def _layout(
    pages: Sequence[tifffile.TiffPage], dimensions: tuple[int, int], downsample: float
) -> _Level | None:
    """The one tiled page of these dimensions, if its pixels can be had as OpenSlide draws them."""
    same = [page for page in pages if (page.imagewidth, page.imagelength) == dimensions]
    if len(same) != 1 or downsample != round(downsample):
        return None
    (page,) = same
    tile = page.tilewidth, page.tilelength
    tiles = -(-dimensions[0] // tile[0]) * -(-dimensions[1] // tile[1])
    plain = (
        page.samplesperpixel == 3
        and page.bitspersample == 8
        and page.planarconfig == 1
        and page.tags.valueof("Orientation", 1) == 1
        and tile[1] % 16 == 0
        and len(page.dataoffsets) == len(page.databytecounts) == tiles
    )
    if not plain:
        return None
    if page.compression == 7 and page.photometric in _JPEG_COLOURS:
        colours = _JPEG_COLOURS[page.photometric]
        codec, decode = "JPEG", _jpeg_decoder(tile, tables=page.jpegtables, colours=colours)
    elif page.compression in (8, 32946) and page.photometric == 2 and page.predictor in (1, 2):
        codec, decode = "deflate", _deflate_decoder(tile, differences=page.predictor == 2)
    else:
        return None
    return _Level(
        width=dimensions[0],
        height=dimensions[1],
        tile=tile,
        downsample=round(downsample),
        offsets=np.array(page.dataoffsets, dtype=np.uint64),
        counts=np.array(page.databytecounts, dtype=np.uint64),
        codec=codec,
        decode=decode,
    )


def _jpeg_decoder(
    tile: tuple[int, int], *, tables: bytes | None, colours: str
) -> Callable[[bytes], np.ndarray]:
    """A decoder of baseline JPEG without restart markers; any other is damaged to it.

    Where a damaged scan ends too early, libjpeg fills up and only warns, which is an error to
    OpenSlide but goes unnoticed in imagecodecs. So the tile is declared 16 rows taller than it is.
    The first block after the scan's end continues from the last, and from then on libjpeg draws
    pure grey: if the very first block below the tile is grey, the scan ended within the tile.

    Parameters
    ----------
    tile : (width, height) in pixels
    tables : what the TIFF keeps once for all tiles
    colours : "rgb" or "ycbcr", as stored
    """
    _, height = tile

    def pixels(data: bytes, colours_out: str = "rgb") -> np.ndarray:
        try:
            return imagecodecs.jpeg8_decode(
                data, tables=tables, colorspace=colours, outcolorspace=colours_out
            )
        except (RuntimeError, ValueError):
            raise _DamagedTile from None

    def decode(data: bytes) -> np.ndarray:
        frame, scan = data.find(_FRAME), data.find(_SCAN)
        marker = _MARKER.search(data, scan + 2)
        rows = slice(frame + 5, frame + 7)
        # Samplings of the components lie three bytes apart.
        sampling = {data[i] & 15 for i in range(frame + 11, frame + 20, 3) if 0 <= frame < scan}
        if (
            marker is None
            or marker.group() != _END
            or int.from_bytes(data[rows], "big") != height
            or not sampling <= {1, 2}
        ):
            raise _DamagedTile
        taller = data[: rows.start] + (height + 16).to_bytes(2, "big") + data[rows.stop :]
        # Halved chroma is interpolated over the tile's end, so its pixels come from a second pass.
        halved = 2 in sampling
        probe = pixels(taller, "gray" if halved else "rgb")
        if (probe[height : height + 8, :8] == _FILL).all():
            raise _DamagedTile
        return pixels(data) if halved else probe[:height]

    return decode


def _deflate_decoder(tile: tuple[int, int], *, differences: bool) -> Callable[[bytes], np.ndarray]:
    def decode(data: bytes) -> np.ndarray:
        shape = (tile[1], tile[0], 3)
        try:
            raw = imagecodecs.deflate_decode(data, out=tile[0] * tile[1] * 3)
            pixels = np.frombuffer(raw, dtype=np.uint8).reshape(shape)
        except (RuntimeError, ValueError):
            raise _DamagedTile from None
        return imagecodecs.delta_decode(pixels, axis=1) if differences else pixels

    return decode


def _overlaps(start: int, count: int, bound: int, tile: int) -> list[tuple[int, slice, slice]]:
    """Along one axis: each tile's number under a region, its place there and that in the tile."""
    low, high = max(start, 0), min(start + count, bound)
    found = []
    for number in range(low // tile, -(-high // tile) if low < high else 0):
        first, last = max(low, number * tile), min(high, (number + 1) * tile)
        there = slice(first - number * tile, last - number * tile)
        found.append((number, slice(first - start, last - start), there))
    return found
