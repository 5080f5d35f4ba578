"""Tiles decoded past OpenSlide are its pixels, and what it cannot read cannot be read here."""

import multiprocessing
import os
import pickle
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import openslide
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage
from slide_files import halve

from histosynth.errors import InputError
from histosynth.slides import open_slide, tiled_jpeg
from histosynth.slides.readers import on_white

JPEG_TABLES = 347  # the TIFF tag
APERIO = "Aperio Image Library v12\r\nJPEG Q=80|MPP = 0.5"
LAYOUTS = {
    "4:2:0": {"subsampling": (2, 2)},
    "4:2:2": {"subsampling": (2, 1)},
    "4:4:4": {"subsampling": (1, 1)},
    "RGB": {"photometric": "rgb", "compressionargs": {"level": 30, "outcolorspace": "rgb"}},
    "Aperio": {"subsampling": (2, 1), "tile": (240, 240), "description": APERIO},
    "oblong": {"subsampling": (2, 2), "tile": (48, 112)},
    "deflate": {"compression": "deflate"},
    "differences": {"compression": "deflate", "predictor": True},
}


def texture(height: int, width: int) -> np.ndarray:
    """Noise of two sizes in the colours of H&E: uint8 (height, width, 3)."""
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 12, (height, width, 3))
    noise += ndimage.gaussian_filter(rng.normal(0, 300, (height, width, 3)), (5, 5, 0))
    return np.clip(np.array([200, 130, 175]) + noise, 0, 255).astype(np.uint8)


def write(path: Path, image: np.ndarray, *, levels: int = 1, **layout) -> Path:
    """A tiled pyramid of 0.5 um a pixel; further arguments are tifffile's."""
    layout = {
        "tile": (64, 64),
        "compression": "jpeg",
        "photometric": "rgb" if "compression" in layout else "ycbcr",
        **layout,
    }
    with tifffile.TiffWriter(path) as writer:
        for level in range(levels):
            resolution = (2e4 / 2**level,) * 2
            reduced = int(level > 0 and "description" not in layout)
            options = {"resolutionunit": "CENTIMETER", "subfiletype": reduced, "metadata": None}
            writer.write(image, resolution=resolution, **options, **layout)
            image = halve(image)
    return path


def by_openslide(path: Path, x: int, y: int, level: int, size: tuple[int, int]) -> np.ndarray:
    with openslide.OpenSlide(path) as slide:
        return np.asarray(on_white(slide.read_region((x, y), level, size)))


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return texture(360, 520)


@pytest.fixture(scope="module")
def slide_420(tmp_path_factory, image) -> Path:
    return write(tmp_path_factory.mktemp("s") / "a.tiff", image, levels=2, subsampling=(2, 2))


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_is_openslides_pixels_on_every_level(tmp_path, image, name):
    path = write(tmp_path / "a.tiff", image, levels=2, **LAYOUTS[name])
    codec = "deflate" if "compression" in LAYOUTS[name] else "JPEG"
    vendor = "aperio" if "description" in LAYOUTS[name] else "generic-tiff"
    with open_slide(path) as slide:
        assert slide.reader == f"tiled {codec} ({vendor})"
        for level in (0, 1):
            mine = slide.read_region(0, 0, 300, 0.5 * 2**level)
            np.testing.assert_array_equal(mine, by_openslide(path, 0, 0, level, (300, 300)))


def test_tables_kept_once_for_all_tiles_are_used(tmp_path, image):
    path = tmp_path / "tables.tiff"

    def jpegs() -> Iterator[bytes]:
        for y in range(0, 320, 64):
            for x in range(0, 512, 64):
                buffer = BytesIO()
                tile = Image.fromarray(image[y : y + 64, x : x + 64])
                tile.save(buffer, "JPEG", quality=80, subsampling=2)
                yield buffer.getvalue()

    def split(jpeg: bytes) -> tuple[bytes, bytes]:
        """The segments of quantization and Huffman tables, and all else."""
        tables, rest, at = b"", b"", 2
        while jpeg[at + 1] != 0xDA:
            end = at + 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big")
            if jpeg[at + 1] in (0xDB, 0xC4):
                tables += jpeg[at:end]
            else:
                rest += jpeg[at:end]
            at = end
        return b"\xff\xd8" + tables + b"\xff\xd9", b"\xff\xd8" + rest + jpeg[at:]

    tables = split(next(jpegs()))[0]
    with tifffile.TiffWriter(path) as writer:
        writer.write(
            (split(jpeg)[1] for jpeg in jpegs()),
            shape=(320, 512, 3),
            dtype=np.uint8,
            tile=(64, 64),
            compression="jpeg",
            photometric="ycbcr",
            subsampling=(2, 2),
            extratags=[(JPEG_TABLES, 7, len(tables), tables, True)],
            metadata=None,
        )
    with open_slide(path, mpp=0.5) as slide:
        assert slide.reader == "tiled JPEG (generic-tiff)"
        mine = slide.read_region(0, 0, 300, 0.5)
    np.testing.assert_array_equal(mine, by_openslide(path, 0, 0, 0, (300, 300)))


def test_a_scanners_slide_is_openslides_pixels(shared_data):
    path = shared_data / "slides/CMU-1-Small-Region.svs"
    with open_slide(path) as slide:
        assert slide.reader == "tiled JPEG (aperio)"
        mine = slide.read_region(-7, 5, 3000, slide.mpp)
    np.testing.assert_array_equal(mine, by_openslide(path, -7, 5, 0, (3000, 3000)))


@settings(deadline=None, max_examples=50)
@given(
    x=st.integers(-100, 600),
    y=st.integers(-100, 450),
    size=st.integers(1, 200),
    level=st.integers(0, 1),
)
def test_any_region_is_openslides_pixels(slide_420, x, y, size, level):
    x, y = x * 2**level, y * 2**level
    with open_slide(slide_420) as slide:
        mine = slide.read_region(x, y, size, 0.5 * 2**level)
    np.testing.assert_array_equal(mine, by_openslide(slide_420, x, y, level, (size, size)))


def test_levels_that_openslide_interpolates_are_left_to_it(tmp_path, image):
    path = write(tmp_path / "odd.tiff", image[:359, :519], levels=2, subsampling=(2, 2))
    with open_slide(path) as slide:
        assert slide.reader.startswith("tiled JPEG")  # its level 0
        downsample = openslide.OpenSlide(path).level_downsamples[1]
        assert downsample != 2
        mine = slide.read_region(50 * downsample, 50 * downsample, 64, slide.mpp * downsample)
    place = round(50 * downsample)
    np.testing.assert_array_equal(mine, by_openslide(path, place, place, 1, (64, 64)))


@pytest.mark.parametrize("name", ["lzw", "jpeg2000"])
def test_other_compressions_are_left_to_openslide(tmp_path, image, name):
    codestream = {"level": 40, "codecformat": "j2k"}
    aperio = {"compression": 33005, "compressionargs": codestream, "description": APERIO}
    layout = aperio if name == "jpeg2000" else {"compression": name}
    path = write(tmp_path / "a.tiff", image, **layout)
    with open_slide(path) as slide:
        assert slide.reader.startswith("openslide ")
        mine = slide.read_region(10, 10, 200, 0.5)
    np.testing.assert_array_equal(mine, by_openslide(path, 10, 10, 0, (200, 200)))


@pytest.mark.parametrize("kind", [{"restart_marker_blocks": 4}, {"progressive": True}], ids=str)
def test_scans_with_markers_inside_are_left_to_openslide(tmp_path, image, kind):
    buffer = BytesIO()
    Image.fromarray(image[:64, :64]).save(buffer, "JPEG", quality=80, subsampling=0, **kind)
    path = tmp_path / "a.tiff"
    tifffile.imwrite(
        path, (buffer.getvalue() for _ in range(4)), shape=(128, 128, 3), dtype=np.uint8,
        tile=(64, 64), compression="jpeg", photometric="ycbcr", subsampling=(1, 1), metadata=None,
    )  # fmt: skip
    with open_slide(path, mpp=0.5) as slide:
        assert slide.reader.startswith("openslide ")
        mine = slide.read_region(0, 0, 128, 0.5)
    np.testing.assert_array_equal(mine, by_openslide(path, 0, 0, 0, (128, 128)))


def test_a_pyramid_that_differs_from_the_reference_is_not_used(slide_420):
    with openslide.OpenSlide(slide_420) as slide:
        pyramid = tiled_jpeg.open_pyramid(
            slide_420,
            vendor="generic-tiff",
            level_dimensions=slide.level_dimensions,
            level_downsamples=slide.level_downsamples,
        )
        assert pyramid is not None

        def draw(place: tuple[int, int], level: int, size: tuple[int, int]) -> np.ndarray:
            return np.array(on_white(slide.read_region(place, level, size)))

        def one_grey_value_off(*where) -> np.ndarray:
            pixels = draw(*where)
            pixels[-1, -1, -1] ^= 1
            return pixels

        assert pyramid.agrees(draw)
        assert not pyramid.agrees(one_grey_value_off)
        pyramid.close()


@pytest.mark.parametrize(
    ("description", "reader"), [(None, "tiled deflate"), (APERIO, "openslide")]
)
def test_tiles_never_written_are_white_as_openslide_draws_them(
    tmp_path, image, description, reader
):
    path = tmp_path / "sparse.tiff"
    tiles = (image[:64, :64] if number in (0, 4) else None for number in range(9))
    tifffile.imwrite(
        path, tiles, shape=(192, 192, 3), dtype=np.uint8, tile=(64, 64), compression="deflate",
        photometric="rgb", description=description, metadata=None,
    )  # fmt: skip
    with open_slide(path, mpp=0.5) as slide:
        assert slide.reader.startswith(reader)
        mine = slide.read_region(0, 0, 192, slide.mpp)
    np.testing.assert_array_equal(mine, by_openslide(path, 0, 0, 0, (192, 192)))
    assert (mine[:64, 64:] == 255).all() and (mine[:64, :64] != 255).any()


def damages(rng: np.random.Generator, tile: bytes) -> Iterator[bytes]:
    """The scan of a JPEG tile, hurt in the ways that discs and copies hurt."""
    start = tile.find(b"\xff\xda") + 14
    for length in (1, 64, 400):
        at = int(rng.integers(start, len(tile) - length - 2))
        for filling in (bytes(length), b"\xff" * length, rng.bytes(length)):
            yield tile[:at] + filling + tile[at + length :]
    yield tile[:at] + tile[at + 1 : -2] + b"\0" + tile[-2:]  # a byte lost
    yield tile[:at] + bytes(len(tile) - at)  # the rest of the file never arrived


@pytest.mark.parametrize("name", ["4:2:0", "4:2:2", "4:4:4", "RGB"])
def test_damage_is_judged_as_openslide_judges_it(tmp_path, image, name):
    path = write(tmp_path / "hurt.tiff", image, **LAYOUTS[name])
    whole = path.read_bytes()
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages.first
        offsets, counts = page.dataoffsets, page.databytecounts
    rng = np.random.default_rng(0)
    verdicts = []
    for index in (0, 1, 2, 9, 10, 11):
        y, x = (64 * place for place in divmod(index, 9))
        tile = whole[offsets[index] : offsets[index] + counts[index]]
        for hurt in damages(rng, tile):
            path.write_bytes(whole[: offsets[index]] + hurt + whole[offsets[index] + len(hurt) :])
            try:
                expected = by_openslide(path, x, y, 0, (64, 64))
            except openslide.OpenSlideError:
                expected = None
            with open_slide(path) as slide:
                try:
                    mine = slide.read_region(x, y, 64, 0.5)
                except InputError:
                    mine = None
            assert (mine is None) == (expected is None)
            if mine is not None:
                np.testing.assert_array_equal(mine, expected)
            verdicts.append(expected is None)
    assert any(verdicts) and not all(verdicts)


@pytest.mark.parametrize(
    ("compression", "reader"), [("jpeg", "tiled JPEG"), ("deflate", "tiled"), ("lzw", "openslide")]
)
def test_a_damaged_region_leaves_the_others_readable(tmp_path, image, compression, reader):
    path = write(tmp_path / "hurt.tiff", image, compression=compression)
    whole = by_openslide(path, 64, 0, 0, (64, 64))
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages.first
        length = min(page.databytecounts)
        hurt = page.databytecounts.index(length)
        assert hurt > 1
        place = page.dataoffsets[hurt]
    with path.open("r+b") as stream:
        stream.seek(place)
        stream.write(b"\xff" * length)
    y, x = (64 * side for side in divmod(hurt, 9))
    with open_slide(path) as slide:
        assert slide.reader.startswith(reader)
        for _ in range(2):
            with pytest.raises(InputError, match=r"hurt\.tiff cannot be read at level-0 pixel"):
                slide.read_region(x, y, 64, 0.5)
            np.testing.assert_array_equal(slide.read_region(64, 0, 64, 0.5), whole)


def test_a_file_cut_off_reads_up_to_the_cut(tmp_path, image):
    path = write(tmp_path / "cut.tiff", image)
    expected = by_openslide(path, 0, 0, 0, (64, 64))
    with open_slide(path) as slide:
        os.truncate(path, path.stat().st_size // 2)
        for _ in range(2):
            with pytest.raises(InputError, match=r"cut\.tiff"):
                slide.read_region(448, 320, 40, 0.5)
            np.testing.assert_array_equal(slide.read_region(0, 0, 64, 0.5), expected)


def test_a_grid_that_misses_the_tiles_decodes_each_once(slide_420, monkeypatch):
    reads = []
    pread = os.pread
    with open_slide(slide_420) as slide:
        monkeypatch.setattr(os, "pread", lambda *where: reads.append(where) or pread(*where))
        for y in range(10, 290, 64):
            for x in range(10, 450, 64):
                slide.read_region(x, y, 64, 0.5)
    # 6 rows of 8 tiles, less the one decoded at opening if it is among them.
    assert len(reads) == len(set(reads)) and len(reads) in (6 * 8, 6 * 8 - 1)


def test_the_cache_of_decoded_tiles_is_bounded(slide_420, monkeypatch):
    bound = 5 * 64 * 64 * 3
    monkeypatch.setattr(tiled_jpeg, "_CACHE_BYTES", bound)
    with open_slide(slide_420) as slide:
        whole = slide.read_region(0, 0, 500, 0.5)
        np.testing.assert_array_equal(whole, by_openslide(slide_420, 0, 0, 0, (500, 500)))
        assert sum(tile.nbytes for tile in slide._tiled._tiles.values()) <= bound


def read_corner(slide) -> np.ndarray:
    return slide.read_region(30, 30, 100, 0.5)


@pytest.mark.parametrize("compression", ["jpeg", "lzw"])
def test_a_slide_reads_the_same_when_pickled_and_when_forked(tmp_path, image, compression):
    path = write(tmp_path / "a.tiff", image, compression=compression)
    with open_slide(path) as slide:
        expected = read_corner(slide)
        with pickle.loads(pickle.dumps(slide)) as again:
            np.testing.assert_array_equal(read_corner(again), expected)
            assert (again.reader, again.mpp) == (slide.reader, slide.mpp)
        found = multiprocessing.get_context("fork").SimpleQueue()
        process = multiprocessing.get_context("fork").Process(
            target=lambda: found.put(read_corner(slide))
        )
        process.start()
        np.testing.assert_array_equal(found.get(), expected)
        process.join()
        np.testing.assert_array_equal(read_corner(slide), expected)
