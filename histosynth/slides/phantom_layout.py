"""Where the tissue of a phantom slide lies: its outline, territories, glands, nests and fat.

The layout is geometry only; colour and cells follow from it. Lengths are micrometres.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from histosynth.slides.phantom_texture import (
    coarse_shape,
    hexagonal_points,
    smooth_noise,
    upsample,
)

BACKGROUND, STROMA, GLAND, TUMOUR, LYMPHOCYTES, FAT = range(6)
# Shares of the tissue given to territories of stroma, glands, tumour, lymphocytes, fat. A gland or
# tumour territory is itself part stroma.
_SHARES = np.array([0.10, 0.32, 0.28, 0.13, 0.17])
_TERRITORY_CELL = 8.0
_FAR = np.float32(-1e3)


@dataclass(frozen=True)
class Gland:
    """One gland: a radius that varies with the angle, an epithelium, a lumen."""

    centre: np.ndarray
    radius: float
    aspect: float
    angle: float
    waves: np.ndarray
    phases: np.ndarray
    epithelium: float
    atypical: bool
    mucinous: bool

    def boundary(self, theta: np.ndarray) -> np.ndarray:
        """Distance from the centre to the basement membrane at the angles ``theta``."""
        turned = theta - self.angle
        ellipse = self.radius / np.sqrt(
            np.cos(turned) ** 2 / self.aspect + np.sin(turned) ** 2 * self.aspect
        )
        wave = np.ones_like(turned)
        for order, (size, phase) in enumerate(zip(self.waves, self.phases, strict=True), start=2):
            wave = wave + size * np.cos(order * theta + phase)
        return ellipse * wave


@dataclass(frozen=True)
class Layout:
    """A slide's geometry; every field has the slide's shape.

    Attributes
    ----------
    mask
        uint8 class of each pixel.
    tissue
        bool, what is not glass.
    depth, gland_index
        Distance inwards from the basement membrane (far below 0 outside glands), and which gland.
    wall
        Distance to the nearest adipocyte wall, within fat.
    lymphoid
        0..1, how dense lymphocytes lie.
    """

    mask: np.ndarray
    tissue: np.ndarray
    glands: list[Gland]
    depth: np.ndarray
    gland_index: np.ndarray
    wall: np.ndarray
    lymphoid: np.ndarray


def lay_out(
    rng: np.random.Generator, shape: tuple[int, int], *, mpp: float, difficulty: float
) -> Layout:
    """Draw a slide's geometry.

    Parameters
    ----------
    shape
        Rows and columns in level-0 pixels.
    mpp
        Micrometres a pixel.
    difficulty
        0..1: how many glands are atypical and how vague the borders of lymphoid tissue are.
    """
    streams = rng.spawn(6)
    outline = _outline(streams[0], shape, mpp=mpp)
    tissue = outline > 0
    margins = _territories(streams[1], shape, mpp=mpp, outline=outline)

    def margin_at(points: np.ndarray, kind: int) -> np.ndarray:
        nodes = np.rint(points / _TERRITORY_CELL).astype(int)
        nodes = np.minimum(nodes, np.array(margins.shape[1:]) - 1)
        return margins[kind, nodes[:, 0], nodes[:, 1]]

    cell_px = _TERRITORY_CELL / mpp
    lymphoid = upsample(margins[LYMPHOCYTES - 1], shape, cell_px=cell_px)
    lymphoid += 0.22 * smooth_noise(streams[2], shape, scale=30, mpp=mpp)
    lymphoid = 1 / (1 + np.exp(-(8 - 6 * difficulty) * lymphoid))
    nests = np.clip(upsample(margins[TUMOUR - 1], shape, cell_px=cell_px), -2, 0.6)
    nests += 0.5 * smooth_noise(streams[3], shape, scale=95, mpp=mpp)
    nests += 0.14 * smooth_noise(streams[3], shape, scale=22, mpp=mpp)
    # Septa of stroma along the zero lines of another field part the sheet into nests.
    septa = smooth_noise(streams[3], shape, scale=190, mpp=mpp)
    nests -= 0.9 * np.exp(-((septa / 0.14) ** 2))

    mask = np.full(shape, STROMA, np.uint8)
    mask[lymphoid > 0.5] = LYMPHOCYTES
    wall, fat = _adipocytes(streams[4], shape, mpp=mpp, margin_at=margin_at)
    mask[fat] = FAT
    mask[nests > 0.1] = TUMOUR
    seeds = hexagonal_points(streams[5], shape, spacing=112, mpp=mpp, jitter=0.17)
    seeds = seeds[margin_at(seeds, GLAND - 1) > -0.05]
    glands = _glands(streams[5], seeds, difficulty=difficulty)
    depth, gland_index = _draw_glands(glands, shape, mpp=mpp)
    mask[depth > 0] = GLAND
    mask[~tissue] = BACKGROUND
    return Layout(mask, tissue, glands, depth, gland_index, wall, lymphoid)


def _outline(rng: np.random.Generator, shape: tuple[int, int], *, mpp: float) -> np.ndarray:
    """A field above zero where there is tissue: a rounded block with a ragged edge."""
    row = np.linspace(-1, 1, shape[0], dtype=np.float32)[:, None]
    column = np.linspace(-1, 1, shape[1], dtype=np.float32)[None, :]
    centre = rng.uniform(-0.05, 0.05, 2)
    half = rng.uniform(0.80, 0.92, 2)
    power = rng.uniform(2.2, 3.5)
    field = (
        1
        - np.abs((row - centre[0]) / half[0]) ** power
        - np.abs((column - centre[1]) / half[1]) ** power
    )
    extent = min(shape) * mpp
    field += 0.20 * smooth_noise(rng, shape, scale=0.45 * extent, mpp=mpp)
    field += 0.06 * smooth_noise(rng, shape, scale=90, mpp=mpp)
    field += 0.02 * smooth_noise(rng, shape, scale=14, mpp=mpp)
    return field


def _territories(
    rng: np.random.Generator, shape: tuple[int, int], *, mpp: float, outline: np.ndarray
) -> np.ndarray:
    """Margins (5, rows, columns) on an 8 um grid: above zero where a territory wins, by how much.

    Offsets are found by iteration so that each territory gets its share of this slide's tissue,
    whatever blobs the noise has.
    """
    cell_px = _TERRITORY_CELL / mpp
    nodes = coarse_shape(shape, cell_px=cell_px)
    rows = np.minimum((np.arange(nodes[0]) * cell_px).astype(int), shape[0] - 1)
    columns = np.minimum((np.arange(nodes[1]) * cell_px).astype(int), shape[1] - 1)
    inside = outline[np.ix_(rows, columns)]
    fields = np.stack(
        [
            smooth_noise(rng, nodes, scale=300, mpp=_TERRITORY_CELL)
            + 0.45 * smooth_noise(rng, nodes, scale=110, mpp=_TERRITORY_CELL)
            for _ in _SHARES
        ]
    )
    # Adipocytes cut open at the edge would look like glass: keep fat off it.
    fields[FAT - 1] -= 1.5 * np.exp(-np.clip(inside, 0, None) / 0.12)
    share = _SHARES * np.exp(rng.normal(0, 0.25, len(_SHARES)))
    share /= share.sum()
    weight = inside > 0
    offset = np.zeros(len(_SHARES), np.float32)
    for _ in range(25):
        winner = np.argmax(fields + offset[:, None, None], axis=0)[weight]
        got = np.bincount(winner, minlength=len(_SHARES)) / max(winner.size, 1)
        offset += np.clip(2.0 * (share - got), -0.4, 0.4).astype(np.float32)
    fields += offset[:, None, None]
    others = np.stack([np.delete(fields, kind, axis=0).max(axis=0) for kind in range(len(fields))])
    return fields - others


def _adipocytes(
    rng: np.random.Generator, shape: tuple[int, int], *, mpp: float, margin_at
) -> tuple[np.ndarray, np.ndarray]:
    """Distance to the walls of fat cells, a warped Voronoi tessellation, and where they are."""
    seeds = hexagonal_points(rng, shape, spacing=66, mpp=mpp, jitter=0.27)
    is_fat = margin_at(seeds, FAT - 1) > 0
    wall = np.zeros(shape, np.float32)
    fat = np.zeros(shape, bool)
    if not is_fat.any():
        return wall, fat
    near = np.zeros(shape, bool)
    reach = 75
    for row, column in seeds[is_fat]:
        near[_window(row, reach, mpp), _window(column, reach, mpp)] = True
    warp = [4 * smooth_noise(rng, shape, scale=45, mpp=mpp)[near] for _ in range(2)]
    pixels = np.argwhere(near) * mpp + np.stack(warp, axis=1)
    distance, index = cKDTree(seeds).query(pixels, k=min(2, len(seeds)))
    distance, index = distance.reshape(len(pixels), -1), index.reshape(len(pixels), -1)
    wall[near] = (distance[:, -1] - distance[:, 0]) / 2
    fat[near] = is_fat[index[:, 0]]
    return wall, fat


def _window(centre: float, reach: float, mpp: float) -> slice:
    return slice(max(0, int((centre - reach) / mpp)), max(0, int(np.ceil((centre + reach) / mpp))))


def _glands(rng: np.random.Generator, seeds: np.ndarray, *, difficulty: float) -> list[Gland]:
    if len(seeds) == 0:
        return []
    if len(seeds) == 1:
        room = np.array([110.0])
    else:
        room = cKDTree(seeds).query(seeds, k=2)[0][:, 1]
    radii = np.clip(0.5 * room - rng.uniform(0, 6, len(seeds)), 30, 68) * rng.uniform(
        0.88, 1.05, len(seeds)
    )
    atypical = rng.random(len(seeds)) < 0.45 * difficulty
    mucinous = rng.random(len(seeds)) < 0.6
    return [
        Gland(
            centre=seed,
            radius=float(radius),
            aspect=float(rng.uniform(1.0, 1.35)),
            angle=float(rng.uniform(0, np.pi)),
            waves=rng.normal(0, [0.03, 0.035, 0.025, 0.02, 0.015]) * (1 + odd),
            phases=rng.uniform(0, 2 * np.pi, 5),
            epithelium=float(
                min(rng.uniform(0.78, 0.95) * radius, 34)
                if odd
                else np.clip(rng.uniform(0.45, 0.75) * radius, 17, 30)
            ),
            atypical=bool(odd),
            mucinous=bool(mucus and not odd),
        )
        for seed, radius, odd, mucus in zip(seeds, radii, atypical, mucinous, strict=True)
    ]


def _draw_glands(
    glands: list[Gland], shape: tuple[int, int], *, mpp: float
) -> tuple[np.ndarray, np.ndarray]:
    """Depth below the basement membrane and index of the deepest gland at each pixel."""
    depth = np.full(shape, _FAR)
    owner = np.full(shape, -1, np.int32)
    for number, gland in enumerate(glands):
        rows = _window(gland.centre[0], 1.7 * gland.radius, mpp)
        columns = _window(gland.centre[1], 1.7 * gland.radius, mpp)
        view = depth[rows, columns]
        if view.size == 0:
            continue
        down = (np.arange(view.shape[0]) + rows.start)[:, None] * mpp - gland.centre[0]
        right = (np.arange(view.shape[1]) + columns.start)[None, :] * mpp - gland.centre[1]
        own = gland.boundary(np.arctan2(down, right)) - np.hypot(down, right)
        better = own > view
        view[better] = own[better]
        owner[rows, columns][better] = number
    return depth, owner
