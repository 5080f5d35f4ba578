"""Phantom slides: procedural H&E with its own ground truth, for demos and tests.

A slide is drawn in four steps: geometry (`phantom_layout`), cells (`phantom_cells`), how much
haematoxylin and eosin each point holds (here), and light through it by the Beer-Lambert law
(`phantom_texture`). A phantom teaches nothing about disease; it lets a whole study run without a
download and gives every score a known truth.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage
from scipy.special import expit
from tqdm import tqdm

from histosynth.slides import phantom_cells as cells
from histosynth.slides.phantom_layout import (
    BACKGROUND,
    FAT,
    GLAND,
    LYMPHOCYTES,
    STROMA,
    TUMOUR,
    Layout,
    lay_out,
)
from histosynth.slides.phantom_texture import (
    beer_lambert,
    collagen,
    slide_stain,
    smooth_noise,
    upsample,
)
from histosynth.slides.phantom_tiff import write_mask, write_pyramid

if TYPE_CHECKING:
    from histosynth.cohort_settings import PhantomCohort

PHANTOM_CLASSES = ("background", "stroma", "gland", "tumour", "lymphocytes", "fat")


def render_slide(
    width: int,
    height: int,
    *,
    mpp: float,
    seed: int,
    site: int,
    patient: int,
    difficulty: float,
    slide: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Draw one slide and its mask; the same arguments give the same pixels.

    Parameters
    ----------
    width, height
        Level-0 size in pixels.
    mpp
        Micrometres a pixel at level 0.
    seed, patient, slide
        Which slide of which patient of which cohort.
    site
        Index of the laboratory: its stains and its scanner.
    difficulty
        0..1: how vague borders are, how far classes resemble each other, how much stains vary.

    Returns
    -------
    image, mask
        (height, width, 3) uint8 RGB, and (height, width) uint8 with the index of the class in
        `PHANTOM_CLASSES`.
    """
    rng = np.random.default_rng([seed, patient, slide])
    geometry, content, look = rng.spawn(3)
    layout = lay_out(geometry, (height, width), mpp=mpp, difficulty=difficulty)
    haematoxylin, eosin = _concentrations(content, layout, mpp=mpp, difficulty=difficulty)
    stain = slide_stain(look, site=site, difficulty=difficulty)
    image = beer_lambert(haematoxylin, eosin, stain)
    _scan(look, image, mpp=mpp, difficulty=difficulty)
    return image.astype(np.uint8), layout.mask


def _concentrations(
    rng: np.random.Generator, layout: Layout, *, mpp: float, difficulty: float
) -> tuple[np.ndarray, np.ndarray]:
    """Haematoxylin and eosin at each pixel, in units that `slide_stain` scales."""
    shape = layout.mask.shape
    streams = rng.spawn(12)

    def noise(stream: int, scale: float) -> np.ndarray:
        return smooth_noise(streams[stream], shape, scale=scale, mpp=mpp)

    def blur(field: np.ndarray, sigma: float) -> np.ndarray:
        return ndimage.gaussian_filter(field.astype(np.float32), sigma / mpp, truncate=3)

    seen = _roughen(streams[0], layout.mask, mpp=mpp, reach=5.0 * difficulty)
    weight = {kind: blur(seen == kind, 1.0) for kind in (STROMA, GLAND, TUMOUR, LYMPHOCYTES, FAT)}
    every = max(1, int(3 / mpp))  # so wide a blur needs no finer grid
    nodes = np.s_[::every, ::every]
    epithelium = (layout.depth[nodes] > 0) + (layout.mask[nodes] == TUMOUR).astype(np.float32)
    epithelium = ndimage.gaussian_filter(np.pad(epithelium, (0, 1), mode="edge"), 14 / mpp / every)
    epithelium = upsample(epithelium, shape, cell_px=every)
    fibres = collagen(streams[1], shape, mpp=mpp, around=epithelium)
    slow, grain, fine = noise(2, 160), noise(2, 9), noise(2, 3.5)

    eosin = weight[STROMA] * fibres.density * (0.82 + 0.12 * slow + 0.05 * fine)
    eosin += weight[LYMPHOCYTES] * (0.16 + 0.26 * fibres.density)
    haematoxylin = weight[STROMA] * (0.10 + 0.03 * slow + 0.02 * grain)
    haematoxylin += weight[LYMPHOCYTES] * (0.20 + 0.04 * grain)

    # Tumour cytoplasm: amphophilic and granular, in places shrunk away from the stroma.
    eosin += weight[TUMOUR] * (0.44 + 0.05 * grain + 0.05 * fine + 0.08 * slow)
    haematoxylin += weight[TUMOUR] * (0.27 + 0.04 * grain + 0.03 * fine - 0.05 * slow)

    _add_glands(streams[3], layout, weight[GLAND], haematoxylin, eosin, mpp=mpp, grain=grain)

    # A cell that ends at another tissue still has its wall: the border of the fat as a whole.
    walls = np.exp(-((layout.wall / 1.1) ** 2)) + 0.8 * (weight[FAT] < 0.85)
    walls = np.minimum(walls, 1) * (0.75 + 0.15 * grain)
    eosin += weight[FAT] * (0.75 * walls + 0.02)
    haematoxylin += weight[FAT] * 0.06 * walls

    halo = blur(layout.mask == TUMOUR, 4.0)
    cleft = np.clip(1 - np.abs(halo - 0.35) / 0.16, 0, 1) * np.clip(noise(4, 120) - 0.4, 0, 1)
    cleft *= weight[STROMA]
    eosin *= 1 - 0.9 * cleft
    haematoxylin *= 1 - 0.9 * cleft

    red = np.zeros(shape, np.float32)
    cells.draw_cells(red, cells.red_cells(streams[5], layout, mpp=mpp), mpp=mpp, rng=streams[5])
    np.maximum(eosin, red * (weight[STROMA] > 0.5), out=eosin)

    nuclei = np.zeros(shape, np.float32)
    chromatin = 0.13 * noise(6, 4.0) + 0.10 * noise(6, 7.0)
    populations = (
        (cells.stromal_nuclei(streams[7], layout, fibres.across, mpp=mpp), 1.0),
        (cells.lymphocytes(streams[8], layout, mpp=mpp, difficulty=difficulty), 0.6),
        (cells.tumour_nuclei(streams[9], layout, mpp=mpp, difficulty=difficulty), 1.6),
        (cells.gland_nuclei(streams[10], layout.glands), 0.8),
    )
    for population, contrast in populations:
        cells.draw_cells(
            nuclei, population, mpp=mpp, rng=streams[11], grain=contrast * chromatin, edge=1.2
        )
    # A nucleus lies within the section's 4 um, with cytoplasm above and below: E does not vanish.
    covered = np.minimum(nuclei, 1)
    eosin *= 1 - 0.45 * covered
    haematoxylin = np.maximum(haematoxylin, nuclei) + 0.25 * haematoxylin * covered

    inside = blur(layout.tissue, 0.7)
    thickness = inside * np.exp(0.07 * noise(2, 400))
    return haematoxylin * thickness, eosin * thickness


def _roughen(rng: np.random.Generator, mask: np.ndarray, *, mpp: float, reach: float) -> np.ndarray:
    """The mask as tissue shows it: looked up a few micrometres off, so borders do not quite fit."""
    height, width = mask.shape
    row = np.arange(height)[:, None] + np.rint(
        smooth_noise(rng, mask.shape, scale=24, mpp=mpp) * (reach / mpp)
    ).astype(np.intp)
    column = np.arange(width)[None, :] + np.rint(
        smooth_noise(rng, mask.shape, scale=24, mpp=mpp) * (reach / mpp)
    ).astype(np.intp)
    shifted = mask[np.clip(row, 0, height - 1), np.clip(column, 0, width - 1)]
    # The outline and the glands are drawn where they are: their own structure carries the border.
    fixed = (mask == BACKGROUND) | (mask == GLAND) | (shifted == GLAND) | (shifted == BACKGROUND)
    return np.where(fixed, mask, shifted)


def _add_glands(
    rng: np.random.Generator,
    layout: Layout,
    weight: np.ndarray,
    haematoxylin: np.ndarray,
    eosin: np.ndarray,
    *,
    mpp: float,
    grain: np.ndarray,
) -> None:
    """Epithelium with its polarity, mucin, lumen and basement membrane, added in place."""
    if not layout.glands:
        return
    height = np.array([gland.epithelium for gland in layout.glands], np.float32)
    purple = np.array(
        [0.46 if gland.atypical else 0.36 for gland in layout.glands], np.float32
    ) * np.exp(rng.normal(0, 0.12, len(layout.glands)))
    owner = np.maximum(layout.gland_index, 0)
    # Relative depth: 0 at the basement membrane, 1 at the luminal border.
    relative = layout.depth / height[owner]
    relative += 0.05 * smooth_noise(rng, weight.shape, scale=10, mpp=mpp)
    lumen = expit((relative - 1) * 22)
    lining = weight * (1 - lumen)
    mucin = np.zeros(weight.shape, np.float32)
    cells.draw_cells(mucin, cells.mucin_drops(rng, layout.glands), mpp=mpp, rng=rng, edge=2.0)
    cytoplasm = 1 - 0.8 * np.minimum(mucin, 1)
    basal = np.clip(1 - relative, 0, 1)
    haematoxylin += lining * cytoplasm * (purple[owner] * (0.55 + 0.6 * basal) + 0.05 * grain)
    eosin += lining * cytoplasm * (0.44 + 0.12 * np.clip(relative, 0, 1) + 0.05 * grain)
    haematoxylin += lining * 0.10 * mucin
    debris = np.clip(smooth_noise(rng, weight.shape, scale=40, mpp=mpp) - 0.9, 0, 1)
    eosin += weight * lumen * (0.02 + 0.35 * debris)
    membrane = np.exp(-(((layout.depth + 1.0) / 1.3) ** 2))
    eosin += 0.25 * membrane * layout.tissue


def _scan(rng: np.random.Generator, image: np.ndarray, *, mpp: float, difficulty: float) -> None:
    """Optics and sensor, in place: uneven focus, then noise, then rounding within 0..255."""
    shape = image.shape[:2]
    base = 0.35 + 0.15 * rng.random()
    soft = 0.85 + difficulty
    drift = 0.9 * smooth_noise(rng, shape, scale=900, mpp=mpp) - 1.15 + difficulty
    defocus = expit(2.5 * drift)
    for channel in range(3):
        sharp = ndimage.gaussian_filter(image[..., channel], base / mpp, truncate=3)
        blurred = ndimage.gaussian_filter(sharp, soft / mpp, truncate=3)
        sharp += defocus * (blurred - sharp)
        sharp += rng.standard_normal(shape, dtype=np.float32) * np.float32(1.0 + difficulty)
        image[..., channel] = np.clip(np.rint(sharp), 0, 255)


def write_phantom_cohort(folder: Path, settings: PhantomCohort, *, progress: bool = True) -> Path:
    """Write a cohort of phantom slides, their masks and its table.

    Parameters
    ----------
    folder
        Where ``slides/``, ``masks/`` and ``cohort.csv`` go; made where absent.
    settings
        Numbers of patients, sites and slides a patient; size, mpp, seed, difficulty.
    progress
        Show a bar.

    Returns
    -------
    Path
        The table: slide_id, patient_id, site, image, annotation (paths relative to its folder).
    """
    folder = Path(folder)
    (folder / "slides").mkdir(parents=True, exist_ok=True)
    (folder / "masks").mkdir(parents=True, exist_ok=True)
    jobs = [
        (patient, number)
        for patient in range(settings.patients)
        for number in range(settings.slides_per_patient)
    ]
    rows = []
    for patient, number in tqdm(jobs, desc="phantom slides", unit="slide", disable=not progress):
        site = patient % settings.sites
        slide_id = f"P{patient:03d}-{number}"
        image, mask = render_slide(
            settings.width,
            settings.height,
            mpp=settings.mpp,
            seed=settings.seed,
            site=site,
            patient=patient,
            difficulty=settings.difficulty,
            slide=number,
        )
        row = {
            "slide_id": slide_id,
            "patient_id": f"P{patient:03d}",
            "site": f"site{site}",
            "image": f"slides/{slide_id}.tiff",
            "annotation": f"masks/{slide_id}.tiff",
        }
        write_pyramid(folder / row["image"], image, mpp=settings.mpp)
        write_mask(folder / row["annotation"], mask, mpp=settings.mpp)
        rows.append(row)
    table = folder / "cohort.csv"
    with table.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return table
