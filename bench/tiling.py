"""Tiles from slides: ours against a loop over openslide-python and against other packages.

    python bench/tiling.py            the shared slide, two generated ones, a huge one's overview
    python bench/tiling.py --quick    smaller generated slides, within a minute
    python bench/tiling.py --json     one JSON line a case instead of the table
    python bench/tiling.py --peer-python PATH
                                      wsidata too, by the Python that has it, with or without
                                      its reader fastslide

256-px tiles of a grid, row by row, at the scan's resolution and at half of it, on a grid that
meets the slide's own tiles where these are 256 px and on one shifted by 100 px. Every measurement
runs in a process of its own, on one thread, best of three with a slide opened anew each time.
"peak MB" is what opening and reading added to the process. Opening is a case of its own, left out
of the others. At the scan's resolution ours and OpenSlide's pixels are compared, and a difference
ends the run; at half of it they differ at the tiles' rims, by design: ours resizes with a margin
around the tile, the loop, by the same filter, without; wsidata by OpenCV.
"""

import argparse
import functools
import json
import os
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

TILE = 256
ROUNDS = 3
Tiles = Iterator[np.ndarray]
Positions = list[tuple[int, int]]


def open_ours(path: str) -> Callable[[Positions, int], Tiles]:
    from histosynth.slides import open_slide

    slide = open_slide(path)
    return lambda positions, shrink: (
        slide.read_region(x, y, TILE, slide.mpp * shrink) for x, y in positions
    )


def open_openslide(path: str) -> Callable[[Positions, int], Tiles]:
    import openslide
    from PIL import Image

    slide = openslide.OpenSlide(path)

    def read(positions: Positions, shrink: int) -> Tiles:
        for x, y in positions:
            tile = slide.read_region((x, y), 0, (TILE * shrink,) * 2).convert("RGB")
            if shrink > 1:
                tile = tile.resize((TILE, TILE), Image.Resampling.BICUBIC)
            yield np.asarray(tile)

    return read


def open_wsidata(path: str, *, reader: str) -> Callable[[Positions, int], Tiles]:
    import logging

    logging.disable(logging.WARNING)
    from wsidata import TileSpec, open_wsi
    from wsidata.io import add_tiles

    slide = open_wsi(path, reader=reader, store=None)

    def read(positions: Positions, shrink: int) -> Tiles:
        spec = TileSpec.from_wsidata(slide, tile_px=TILE, mpp=slide.properties.mpp * shrink)
        add_tiles(slide, "tiles", np.array(positions), spec, np.zeros(len(positions)))
        return (tile.image for tile in slide.iter.tile_images("tiles"))

    return read


READERS: dict[str, Callable[[str], Callable[[Positions, int], Tiles]]] = {
    "ours": open_ours,
    "openslide-python": open_openslide,
    "wsidata, openslide": functools.partial(open_wsidata, reader="openslide"),
    "wsidata, fastslide": functools.partial(open_wsidata, reader="fastslide"),
}
PEERS = [name for name in READERS if name not in ("ours", "openslide-python")]


def overview(name: str, path: str) -> int:
    """The tiles of a grid, and where tissue is, at 8 um a pixel."""
    from histosynth.slides import open_slide
    from histosynth.slides.tiling import grid_positions
    from histosynth.slides.tissue import find_tissue

    with open_slide(path) as slide:
        if name == "ours":
            image, _ = slide.thumbnail(8.0)
        else:
            import openslide

            scale = 8.0 / slide.mpp
            size = tuple(int(side / scale) for side in slide.dimensions)
            image = np.asarray(openslide.OpenSlide(path).get_thumbnail(size))
        assert find_tissue(image).mask.any()
        return len(grid_positions(slide.dimensions, footprint=512, step=512))


def measure(name: str, task: dict) -> dict:
    """Seconds and added peak MB of one task; runs in a process of its own."""
    path, positions, shrink = task["path"], task["positions"], task["shrink"]
    if task["kind"] == "overview":
        overview(name, task["warm"])  # imports and libraries' start are not what is measured
    else:
        for _ in READERS[name](task["warm"])([(0, 0)], shrink):
            pass
    before, seconds, checksum = peak_megabytes(), float("inf"), 0
    for _ in range(ROUNDS):
        start = time.perf_counter()
        if task["kind"] == "overview":
            overview(name, path)
        else:
            read = READERS[name](path)
            if task["kind"] == "tiles":
                start = time.perf_counter()
                for _ in read(positions, shrink):
                    pass
        seconds = min(seconds, time.perf_counter() - start)
    peak = peak_megabytes() - before
    if task["kind"] == "tiles":
        for tile in READERS[name](path)(positions, shrink):
            checksum = zlib.crc32(np.ascontiguousarray(tile).data, checksum)
    return {"seconds": seconds, "peak_mb": peak, "checksum": checksum}


def peak_megabytes() -> float:
    # Not getrusage, whose peak a new process inherits from the one that started it.
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def run(python: str, name: str, task: dict) -> dict | None:
    """`measure` in a process of its own; None, with the reason on stderr, where it cannot."""
    done = subprocess.run(
        [python, __file__, "--measure", name],
        input=json.dumps(task),
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )
    if done.returncode == 0:
        return json.loads(done.stdout.splitlines()[-1])
    reason = done.stderr.strip().splitlines()[-1]
    if python == sys.executable:
        raise SystemExit(f"{name}: {done.stderr}")
    print(f"{name} left out of {task['case']}: {reason}", file=sys.stderr)
    return None


def texture(side: int) -> np.ndarray:
    """Noise of three sizes in the colours of H&E: uint8 (side, side, 3)."""
    from scipy import ndimage

    rng = np.random.default_rng(0)
    noise = sum(
        ndimage.gaussian_filter(rng.normal(0, 1, (side, side, 3)), (s, s, 0), mode="wrap") * s
        for s in (1, 4, 16)
    )
    return np.clip(np.array([200, 130, 175]) + 30 * np.asarray(noise), 0, 255).astype(np.uint8)


def write_slide(path: Path, image: np.ndarray, *, tile: int, aperio: bool) -> None:
    """A tiled JPEG pyramid of 0.25 um a pixel, as Aperio writes it or without a vendor."""
    import tifffile

    description = "Aperio Image Library v12\r\nJPEG Q=80|MPP = 0.25" if aperio else None
    with tifffile.TiffWriter(path) as writer:
        for shrink in (1, 4):
            writer.write(
                image[::shrink, ::shrink],
                tile=(tile, tile),
                compression="jpeg",
                compressionargs={"level": 80},
                photometric="ycbcr",
                subsampling=(2, 1) if aperio else (2, 2),
                subfiletype=0 if aperio or shrink == 1 else 1,
                description=description,
                resolution=(4e4 / shrink, 4e4 / shrink),
                resolutionunit="CENTIMETER",
                metadata=None,
            )


def write_sparse(path: Path, width: int, height: int) -> None:
    """A pyramid in which only a disc of tissue, some two in a hundred tiles, was written."""
    import tifffile

    tile = texture(256)

    def tiles(columns: int, rows: int) -> Iterator[np.ndarray | None]:
        for row in range(rows):
            for column in range(columns):
                away = (column / columns - 0.5) ** 2 + (row / rows - 0.5) ** 2
                # tifffile learns the type from the first.
                yield tile if away < 0.08**2 or row == column == 0 else None

    with tifffile.TiffWriter(path, bigtiff=True) as writer:
        for shrink in (1, 4, 16):
            shape = height // shrink, width // shrink, 3
            writer.write(
                tiles(-(-shape[1] // 256), -(-shape[0] // 256)),
                shape=shape,
                dtype=np.uint8,
                tile=(256, 256),
                compression="deflate",
                photometric="rgb",
                subfiletype=int(shrink > 1),
                resolution=(4e4 / shrink, 4e4 / shrink),
                resolutionunit="CENTIMETER",
                metadata=None,
            )


def tasks(folder: Path, *, side: int) -> Iterator[dict]:
    import openslide

    generated = np.tile(texture(1024), (side // 1024, side // 1024, 1))
    write_slide(folder / "generic.tiff", generated, tile=256, aperio=False)
    write_slide(folder / "aperio.svs", generated, tile=240, aperio=True)
    write_slide(folder / "warm.tiff", generated[:1024, :1024], tile=256, aperio=False)
    write_sparse(folder / "sparse.tiff", 100_000, 80_000)
    warm = str(folder / "warm.tiff")
    basic: dict = {"warm": warm, "shrink": 1, "positions": []}
    slides = {
        "CMU-1-Small-Region.svs, RGB 240": shared_slide(),
        f"{side}^2, 4:2:0 256": folder / "generic.tiff",
        f"{side}^2 Aperio, 4:2:2 240": folder / "aperio.svs",
    }
    for title, path in slides.items():
        if not path.is_file():
            print(f"{title} left out: no {path}; set HISTOSYNTH_DATA", file=sys.stderr)
            continue
        basic["path"] = str(path)
        width, height = openslide.OpenSlide(path).dimensions
        for shrink in (1, 2):
            for offset in (0, 100):
                step = TILE * shrink
                positions = [
                    (x, y)
                    for y in range(offset, height - step + 1, step)
                    for x in range(offset, width - step + 1, step)
                ]
                where = "aligned" if offset == 0 else "shifted"
                case = f"{title}: {'half' if shrink > 1 else 'native'}, {where}"
                tiles = {"kind": "tiles", "positions": positions, "shrink": shrink}
                yield basic | tiles | {"case": case}
        yield basic | {"kind": "open", "case": f"{title}: opening"}
    huge = {"kind": "overview", "case": "100,000 x 80,000 sparse: overview, tissue, grid"}
    yield basic | huge | {"path": str(folder / "sparse.tiff")}


def shared_slide() -> Path:
    default = Path(__file__).resolve().parents[1] / "../shared/data"
    data = Path(os.environ.get("HISTOSYNTH_DATA", default))
    return (data / "slides/CMU-1-Small-Region.svs").resolve()


def as_line(task: dict, mine: dict, theirs: dict, peer: str) -> dict:
    count = len(task["positions"])
    speeds = [count / each["seconds"] if count else each["seconds"] for each in (mine, theirs)]
    return {
        "bench": "tiling",
        "case": task["case"],
        "ours": round(speeds[0], 4),
        "peer": round(speeds[1], 4),
        "peer_name": peer,
        "ratio": round(theirs["seconds"] / mine["seconds"], 2),
        "unit": "tiles/s" if count else "s",
        "peak_mb": round(mine["peak_mb"], 1),
        "peer_peak_mb": round(theirs["peak_mb"], 1),
    }


def as_row(line: dict) -> str:
    numbers = [f"{line[key]:>9.4g}" for key in ("ours", "peer")]
    return (
        f"{line['case']:50}{numbers[0]}{numbers[1]} {line['unit']:8}{line['ratio']:7.2f}"
        f"{line['peak_mb']:9.0f}{line['peer_peak_mb']:9.0f}  {line['peer_name']}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="small slides: within a minute")
    parser.add_argument("--json", action="store_true", help="print JSON lines")
    parser.add_argument("--peer-python", metavar="PATH", help="a Python with other packages")
    parser.add_argument("--measure", choices=READERS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        print(json.dumps(measure(args.measure, json.load(sys.stdin))))
        return
    if not args.peer_python:
        print(f"{'; '.join(PEERS)} left out: no --peer-python given", file=sys.stderr)
    if not args.json:
        print(
            f"{'case':50}{'ours':>9}{'peer':>9} {'unit':8}{'ratio':>7}{'ours MB':>9}{'peer MB':>9}"
        )
    with tempfile.TemporaryDirectory() as folder:
        for task in tasks(Path(folder), side=2048 if args.quick else 6144):
            mine = run(sys.executable, "ours", task)
            peers = {"openslide-python": sys.executable}
            if args.peer_python and task["kind"] == "tiles":
                peers |= dict.fromkeys(PEERS, args.peer_python)
            for peer, python in peers.items():
                theirs = run(python, peer, task)
                if mine is None or theirs is None:
                    continue
                if peer == "openslide-python" and task["shrink"] == 1:
                    assert mine["checksum"] == theirs["checksum"], f"{task['case']}: pixels differ"
                line = as_line(task, mine, theirs, peer)
                print(json.dumps(line) if args.json else as_row(line), flush=True)


if __name__ == "__main__":
    main()
