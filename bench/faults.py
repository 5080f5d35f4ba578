"""How often pen, black borders and blur are found, and how often where there are none.

    python bench/faults.py            every colour and dose, in about three minutes
    python bench/faults.py --quick    fewer doses and one phantom, within a minute
    python bench/faults.py --json     one JSON line a number instead of the tables

Faults of a known dose are put on the shared slide (reduced to 1 um a pixel), on phantom slides
(2 um) and, where glass is not needed, on mosaics of EBHI-Seg's images (8 um). Ink takes
a (1 - colour) of the light at opacity a; it lies on the coverslip, so its edges are blurred by
30 um, and its opacity wavers by a tenth. Black fields cover the left edge. Blur is a Gaussian on
the tile as scanned, then noise of 1.5 grey levels and JPEG at quality 80. Tiles are 128 um wide
and overlap by half; those that count are inked over a tenth, or black over a twentieth, of their
area. What is printed is the share of them that would not be taken. Without HISTOSYNTH_DATA
(default: ../shared/data) only phantoms are measured.
"""

import argparse
import io
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from scipy import ndimage

from histosynth.slides import open_slide
from histosynth.slides.faults import BLURRED, BORDER, PEN, image_fault, overview_faults
from histosynth.slides.phantom import PHANTOM_CLASSES, render_slide
from histosynth.slides.tissue import TISSUE_MPP, box_means, find_tissue

DATA = Path(os.environ.get("HISTOSYNTH_DATA", Path(__file__).parents[2] / "shared" / "data"))
ALL = (PEN, BORDER, BLURRED)
TILE_UM = 128
EBHI_MPP = 0.4  # the release says 400x; its nuclei are as wide as this makes them
INKS = {
    "black": (20, 20, 25),
    "blue": (25, 45, 160),
    "light blue": (40, 130, 210),
    "green": (10, 120, 60),
    "red": (200, 20, 40),
    "orange": (245, 130, 20),
    "yellow": (250, 225, 30),
    "purple": (95, 35, 135),
}


class Ground(NamedTuple):
    """An image to put faults on.

    image : uint8 (H, W, 3)
    mpp : micrometres a pixel
    truth : bool (H, W), tissue, where it is known
    """

    name: str
    image: np.ndarray
    mpp: float
    truth: np.ndarray | None = None


def real_slide() -> Ground:
    with open_slide(DATA / "slides/CMU-1-Small-Region.svs") as slide:
        return Ground("real slide", slide.thumbnail(1.0)[0], 1.0)


def phantoms(count: int) -> list[Ground]:
    return [draw_phantom(patient, side=768, mpp=2.0) for patient in range(count)]


def draw_phantom(patient: int, *, side: int, mpp: float) -> Ground:
    settings = {"seed": 0, "site": patient % 2, "patient": patient, "difficulty": 0.5}
    image, classes = render_slide(side, side, mpp=mpp, **settings)
    return Ground("phantom", image, mpp, classes != PHANTOM_CLASSES.index("background"))


def ebhi_images(every: int) -> list[np.ndarray]:
    files = sorted((DATA / "ebhi_seg/images").rglob("*.png"))[::every]
    return [np.asarray(Image.open(file).convert("RGB")) for file in files]


def mosaics() -> list[Ground]:
    """EBHI-Seg's images at 8 um a pixel, 9 x 9 of a lesion class side by side."""
    grounds = []
    side = round(224 * EBHI_MPP / TISSUE_MPP)
    for folder in sorted((DATA / "ebhi_seg/images").iterdir()):
        files = sorted(folder.iterdir())[:81]
        small = [
            Image.open(f).convert("RGB").resize((side, side), Image.Resampling.BOX) for f in files
        ]
        rows = [np.hstack(small[i : i + 9]) for i in range(0, len(small) // 9 * 9, 9)]
        grounds.append(Ground("EBHI-Seg", np.vstack(rows), TISSUE_MPP))
    return grounds


# --- what becomes of the tiles


class Seen(NamedTuple):
    """The tiles of a ground.

    tissue : float (n,), share of tissue
    fault : object (n,), "" or the fault found; focus is looked at where `judge` says
    """

    tissue: np.ndarray
    fault: np.ndarray


def overview_of(ground: Ground, *, mpp: float = TISSUE_MPP) -> np.ndarray:
    image = Image.fromarray(ground.image)
    size = tuple(round(side * ground.mpp / mpp) for side in image.size)
    return np.asarray(image.resize(size, Image.Resampling.BOX))


def grid(ground: Ground) -> np.ndarray:
    """float (n, 4): tiles that overlap by half, in pixels of the overview."""
    side = TILE_UM / TISSUE_MPP
    bottom, right = (np.array(ground.image.shape[:2]) * ground.mpp / TISSUE_MPP).astype(int)
    tops, lefts = (
        np.arange(0, bottom - side + 1, side / 2),
        np.arange(0, right - side + 1, side / 2),
    )
    top, left = (corner.ravel() for corner in np.meshgrid(tops, lefts, indexing="ij"))
    return np.stack([left, top, left + side, top + side], axis=1)


def look(ground: Ground, judge: np.ndarray) -> Seen:
    """Tissue and faults of the tiles of `grid`; focus only of those in `judge`, bool (n,)."""
    boxes, found = grid(ground), find_tissue(overview_of(ground))
    tissue = box_means(found.mask, boxes)
    fault = overview_faults(found, boxes, ALL)
    if ground.mpp <= 2:
        for i in np.flatnonzero(judge & (tissue >= 0.5) & (fault == "")):
            left, top, right, bottom = np.rint(boxes[i] * TISSUE_MPP / ground.mpp).astype(int)
            tile = ground.image[top:bottom, left:right]
            fault[i] = image_fault(tile, mpp=ground.mpp, reject=ALL)
    return Seen(tissue, fault)


# --- faults of a known dose


def strokes(shape: tuple[int, int], *, mpp: float, seed: int) -> np.ndarray:
    """float32 (H, W), 0 to 1: two straight strokes of 320 um across the picture."""
    rng = np.random.default_rng(seed)
    y, x = np.indices(shape, dtype=np.float32)
    cover = np.zeros(shape, dtype=np.float32)
    for _ in range(2):
        start, end = rng.random((2, 2)) * shape
        across = np.array([start[1] - end[1], end[0] - start[0]]) / np.hypot(*(end - start))
        distance = np.abs((y - start[0]) * across[0] + (x - start[1]) * across[1])
        cover = np.maximum(cover, distance < 160 / mpp)
    return ndimage.gaussian_filter(cover, 30 / mpp)


def draw_ink(ground: Ground, cover: np.ndarray, *, colour: str, opacity: float) -> Ground:
    coarse = np.random.default_rng(0).normal(1, 0.1, (24, 24)).astype(np.float32)
    size = ground.image.shape[1::-1]
    waver = np.asarray(Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC))
    taken = np.clip(opacity * waver * cover, 0, 1)[..., None] * (1 - np.array(INKS[colour]) / 255)
    return ground._replace(image=np.rint(ground.image * (1 - taken)).astype(np.uint8))


def scanned(image: np.ndarray, *, sigma: float) -> np.ndarray:
    """A tile blurred by `sigma` pixels, with a camera's noise and JPEG's."""
    soft = ndimage.gaussian_filter(image.astype(np.float32), (sigma, sigma, 0))
    noisy = soft + np.random.default_rng(0).normal(0, 1.5, image.shape)
    stream = io.BytesIO()
    Image.fromarray(noisy.round().clip(0, 255).astype(np.uint8)).save(stream, "jpeg", quality=80)
    return np.asarray(Image.open(stream))


# --- tables: rows of (case, ground, share, tiles)

Row = tuple[str, str, float, int]


def share(hit: list[np.ndarray]) -> tuple[float, int]:
    hits = np.concatenate(hit)
    return (float(hits.mean()) if len(hits) else float("nan")), len(hits)


def tissue_found(grounds: list[Ground], quick: bool) -> Iterator[Row]:
    """Overlap (IoU) with the phantoms' true tissue; of the real slide, with its own at 8 um."""
    for mpp in (4.0, 8.0, 16.0):
        for name in ("real slide", "phantom"):
            overlap = []
            for ground in (g for g in grounds if g.name == name):
                found = find_tissue(overview_of(ground, mpp=mpp), mpp=mpp).mask
                truth = ground.truth
                if truth is None:
                    truth = find_tissue(overview_of(ground)).mask
                size = truth.shape[::-1]
                found = np.asarray(Image.fromarray(found).resize(size, Image.Resampling.NEAREST))
                overlap.append((found & truth).sum() / (found | truth).sum())
            if overlap:
                yield f"{mpp:.0f} um a pixel", name, *share([np.array(overlap)])


def false_alarms(grounds: list[Ground], quick: bool) -> Iterator[Row]:
    """Tissue tiles rejected where there is no fault, by how much denser the stain is made."""
    for dose in (1, 2) if quick else (1, 1.25, 1.5, 2, 2.5):
        for name in dict.fromkeys(g.name for g in grounds):
            hit = []
            for ground in (g for g in grounds if g.name == name):
                tissue = look(ground, np.zeros(1, dtype=bool)).tissue >= 0.5
                dense = 255 * (np.maximum(ground.image, 1) / 255) ** dose
                seen = look(ground._replace(image=np.rint(dense).astype(np.uint8)), tissue)
                hit.append(seen.fault[tissue] != "")
            yield f"stain x {dose}", name, *share(hit)


def pen(grounds: list[Ground], quick: bool) -> Iterator[Row]:
    """Tiles with ink that are not taken, over tissue and on glass."""
    before = [look(g, np.zeros(1, dtype=bool)).tissue for g in grounds]
    covers = [strokes(g.image.shape[:2], mpp=g.mpp, seed=i) for i, g in enumerate(grounds)]
    inked = [box_means_at(cover, g) > 0.1 for cover, g in zip(covers, grounds, strict=True)]
    for colour in ("black", "blue", "green", "red") if quick else INKS:
        for opacity in (0.5, 0.9) if quick else (0.3, 0.5, 0.7, 0.9):
            hits: dict[str, list[np.ndarray]] = {}
            for ground, tissue, cover, ink in zip(grounds, before, covers, inked, strict=True):
                seen = look(draw_ink(ground, cover, colour=colour, opacity=opacity), ink)
                out = (seen.fault != "") | (seen.tissue < 0.5)
                hits.setdefault(f"{ground.name}, tissue", []).append(out[ink & (tissue >= 0.5)])
                hits.setdefault(f"{ground.name}, glass", []).append(out[ink & (tissue < 0.05)])
            for name, hit in hits.items():
                if sum(map(len, hit)):
                    yield f"{colour} {opacity}", name, *share(hit)


def box_means_at(values: np.ndarray, ground: Ground) -> np.ndarray:
    return box_means(values, grid(ground) * TISSUE_MPP / ground.mpp)


def borders(grounds: list[Ground], quick: bool) -> Iterator[Row]:
    """Tissue tiles with a black field over a twentieth of their area that are not taken."""
    before = [look(g, np.zeros(1, dtype=bool)).tissue >= 0.5 for g in grounds]
    for grey, noise in ((0, 0), (20, 1)) if quick else ((0, 0), (10, 1), (20, 1), (20, 3), (40, 1)):
        hits: dict[str, list[np.ndarray]] = {}
        for ground, tissue in zip(grounds, before, strict=True):
            black = np.zeros(ground.image.shape[:2], dtype=bool)
            black[:, : black.shape[1] * 2 // 5] = True
            image = ground.image.copy()
            field = np.random.default_rng(0).normal(grey, noise, image.shape).clip(0, 255)
            image[black] = np.rint(field)[black]
            seen = look(ground._replace(image=image), np.zeros(1, dtype=bool))
            out = (seen.fault != "") | (seen.tissue < 0.5)
            hits.setdefault(ground.name, []).append(
                out[tissue & (box_means_at(black, ground) > 0.05)]
            )
        for name, hit in hits.items():
            yield f"grey {grey}, noise {noise}", name, *share(hit)


def blur(tiles: dict[str, tuple[list[np.ndarray], float]], quick: bool) -> Iterator[Row]:
    """Tissue tiles called blurred, by sigma in um and by the resolution they are taken at."""
    for sigma in (0, 4) if quick else (0, 1, 2, 3, 4, 6, 8, 12, 16, 24):
        for name, (images, mpp) in tiles.items():
            out = [Image.fromarray(scanned(image, sigma=sigma / mpp)) for image in images]
            for coarser in (mpp, 1.0, 2.0) if name == "real slide" else (mpp,):
                size = round(out[0].width * mpp / coarser)
                small = [np.asarray(i.resize((size, size), Image.Resampling.LANCZOS)) for i in out]
                hit = [image_fault(i, mpp=coarser, reject=ALL) == BLURRED for i in small]
                yield f"sigma {sigma} um", f"{name}, {coarser:.1f} um", *share([np.array(hit)])


def blur_tiles(quick: bool) -> dict[str, tuple[list[np.ndarray], float]]:
    """Tiles of tissue in focus, as scanned, by whence they are, and their um a pixel."""
    tiles = {}
    if DATA.is_dir():
        with open_slide(DATA / "slides/CMU-1-Small-Region.svs") as slide:
            overview = Ground("", slide.thumbnail(TISSUE_MPP)[0], TISSUE_MPP)
            kept = grid(overview)[look(overview, np.zeros(1, dtype=bool)).tissue >= 0.5]
            corners = (kept[:: 2 if quick else 1, :2] * TISSUE_MPP / slide.mpp).astype(int)
            images = [slide.read_region(x, y, 256, slide.mpp) for x, y in corners]
            tiles["real slide"] = images, slide.mpp
        tiles["EBHI-Seg"] = ebhi_images(9 if quick else 3), EBHI_MPP
    image = draw_phantom(0, side=512 if quick else 768, mpp=1.0).image
    tops = range(0, len(image), 128)
    cut = [image[y : y + 128, x : x + 128] for y in tops for x in tops]
    tiles["phantom"] = [tile for tile in cut if tile.min(axis=2).mean() < 215], 1.0
    return tiles


def seconds(ground: Ground) -> float:
    """Of one core: tissue, pen and borders of 120,000 tiles on a slide of 25 x 20 mm of copies."""
    overview = np.tile(overview_of(ground), (25, 25, 1))[:2500, :3125]
    boxes = grid(Ground("", overview, TISSUE_MPP))
    start = time.process_time()
    overview_faults(find_tissue(overview), boxes, ALL)
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="within a minute")
    parser.add_argument("--json", action="store_true", help="print JSON lines")
    args = parser.parse_args()
    grounds = phantoms(1 if args.quick else 3)
    if DATA.is_dir():
        grounds = [real_slide(), *grounds, *mosaics()]
    tables = {
        "tissue": tissue_found(grounds, args.quick),
        "false alarms": false_alarms(grounds, args.quick),
        "pen": pen(grounds, args.quick),
        "black border": borders(grounds, args.quick),
        "blur": blur(blur_tiles(args.quick), args.quick),
    }
    for table, rows in tables.items():
        show(table, rows, as_json=args.json)
    taken = round(seconds(grounds[0]), 2)
    line = {"bench": "faults", "case": "overview of 3125 x 2500 px", "ours": taken, "unit": "s"}
    print(json.dumps(line) if args.json else f"\n{line['case']}: {taken} s")


def show(table: str, rows: Iterator[Row], *, as_json: bool) -> None:
    """Print a table, a case a line and a ground a column."""
    if as_json:
        for case, ground, value, tiles in rows:
            line = {
                "bench": "faults",
                "case": f"{table}, {case}, {ground}",
                "ours": round(value, 4),
            }
            print(json.dumps(line | {"unit": "share", "tiles": tiles}), flush=True)
        return
    cells: dict[str, dict[str, tuple[float, int]]] = {}
    for case, ground, value, tiles in rows:
        cells.setdefault(case, {})[ground] = (value, tiles)
    columns = list(next(iter(cells.values())))
    print(
        f"\n| {table} | "
        + " | ".join(f"{c} (n = {cells[next(iter(cells))][c][1]})" for c in columns)
        + " |"
    )
    print("|---" * (len(columns) + 1) + "|")
    for case, found in cells.items():
        print(f"| {case} | " + " | ".join(f"{found[c][0]:.1%}" for c in columns) + " |", flush=True)


if __name__ == "__main__":
    main()
