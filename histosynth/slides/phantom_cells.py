"""The cells of a phantom slide: where nuclei lie, how large, dark and ragged, and drawing them.

Sizes follow histology: stromal and glandular nuclei 6-8 um, tumour nuclei 9-13 um, lymphocytes
5-7 um across.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from histosynth.slides.phantom_layout import GLAND, LYMPHOCYTES, STROMA, TUMOUR, Gland, Layout
from histosynth.slides.phantom_texture import hexagonal_points


@dataclass(frozen=True)
class Cells:
    """Elliptic bodies; each attribute is an array of one value a cell (``centre`` is (n, 2)).

    ``length`` and ``width`` are full axes in um, ``angle`` turns the long axis from the columns'
    axis, ``amount`` is the stain taken up, ``open`` how far the middle is cleared (a vesicular
    nucleus), ``ragged`` the amplitude of the outline's waves.
    """

    centre: np.ndarray
    length: np.ndarray
    width: np.ndarray
    angle: np.ndarray
    amount: np.ndarray
    open: np.ndarray
    ragged: np.ndarray

    def __len__(self) -> int:
        return len(self.centre)


def make_cells(
    rng: np.random.Generator,
    centre: np.ndarray,
    *,
    diameter: tuple[float, float],
    stretch: tuple[float, float],
    amount: float,
    spread: float = 0.15,
    clear: float = 0.0,
    ragged: float = 0.05,
    angle: np.ndarray | None = None,
) -> Cells:
    """Cells at ``centre`` with sizes, elongation and uptake drawn from the given ranges."""
    count = len(centre)
    size = rng.uniform(*diameter, count)
    elongation = np.sqrt(rng.uniform(*stretch, count))
    return Cells(
        centre=np.asarray(centre, float).reshape(count, 2),
        length=size * elongation,
        width=size / elongation,
        angle=rng.uniform(0, np.pi, count) if angle is None else angle,
        amount=amount * np.exp(rng.normal(0, spread, count)),
        open=np.clip(rng.normal(clear, 0.15, count), 0, 0.85),
        ragged=np.full(count, ragged),
    )


def draw_cells(
    canvas: np.ndarray,
    cells: Cells,
    *,
    mpp: float,
    rng: np.random.Generator,
    grain: np.ndarray | None = None,
    edge: float = 1.0,
) -> None:
    """Draw bodies onto ``canvas`` in place, the darker value winning where they overlap.

    Parameters
    ----------
    canvas
        (rows, columns) float32 stain amounts.
    grain
        Field of zero mean that modulates the stain within bodies (chromatin).
    edge
        Width of a body's soft border, in um.
    """
    if len(cells) == 0:
        return
    height, width = canvas.shape
    # Small and large bodies in separate batches: a patch is as large as the batch's largest body.
    order = np.argsort(cells.length)
    flat = canvas.reshape(-1)
    for batch in np.array_split(order, max(1, len(order) // 1500)):
        reach = int(np.ceil((cells.length[batch].max() * 0.62 + edge) / mpp))
        offset = np.arange(-reach, reach + 1)
        middle = np.rint(cells.centre[batch] / mpp).astype(int)
        rows = (middle[:, 0, None] + offset)[:, :, None]
        columns = (middle[:, 1, None] + offset)[:, None, :]
        down = (rows * mpp - cells.centre[batch, 0, None, None]).astype(np.float32)
        right = (columns * mpp - cells.centre[batch, 1, None, None]).astype(np.float32)
        sine = np.sin(cells.angle[batch]).astype(np.float32)[:, None, None]
        cosine = np.cos(cells.angle[batch]).astype(np.float32)[:, None, None]
        half_length = (cells.length[batch] / 2).astype(np.float32)[:, None, None]
        half_width = (cells.width[batch] / 2).astype(np.float32)[:, None, None]
        u = (right * cosine + down * sine) / half_length
        v = (down * cosine - right * sine) / half_width
        square = u * u + v * v + np.float32(1e-6)
        radius = np.sqrt(square)
        # Second and third harmonics of the outline, written without trigonometry of each pixel.
        shape = rng.normal(0, 1, (4, len(batch), 1, 1)).astype(np.float32)
        shape *= cells.ragged[batch].astype(np.float32)[:, None, None]
        second = (shape[0] * (u * u - v * v) + shape[1] * 2 * u * v) / square
        third = (shape[2] * u * (u * u - 3 * v * v) + shape[3] * v * (3 * u * u - v * v)) / (
            square * radius
        )
        radius /= 1 + second + third
        body = np.clip((1 - radius) * np.sqrt(half_length * half_width) / edge + 0.5, 0, 1)
        cleared = cells.open[batch].astype(np.float32)[:, None, None]
        value = body * (1 - cleared * np.clip(1.3 - 1.5 * square, 0, 1))
        value *= cells.amount[batch].astype(np.float32)[:, None, None]
        inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width) & (body > 0)
        index = (rows * width + columns)[inside]
        painted = value[inside]
        if grain is not None:
            painted *= 1 + grain.reshape(-1)[index]
        np.maximum.at(flat, index, painted)


def keep_apart(points: np.ndarray, *, distance: float) -> np.ndarray:
    """Drop the later point of each pair closer than ``distance``; points are in random order."""
    if len(points) < 2:
        return points
    pairs = cKDTree(points).query_pairs(distance, output_type="ndarray")
    keep = np.ones(len(points), bool)
    keep[pairs.max(axis=1)] = False
    return points[keep]


def _at(field: np.ndarray, points: np.ndarray, mpp: float) -> np.ndarray:
    nodes = np.rint(points / mpp).astype(int)
    nodes = np.clip(nodes, 0, np.array(field.shape) - 1)
    return field[nodes[:, 0], nodes[:, 1]]


def stromal_nuclei(
    rng: np.random.Generator, layout: Layout, across: np.ndarray, *, mpp: float
) -> Cells:
    """Spindle nuclei of fibroblasts, laid along the fibres."""
    points = hexagonal_points(rng, layout.mask.shape, spacing=23, mpp=mpp, jitter=0.5)
    kind = _at(layout.mask, points, mpp)
    points = points[((kind == STROMA) | (kind == LYMPHOCYTES)) & (rng.random(len(points)) < 0.8)]
    step = 2.0
    slope_row = _at(across, points + [step, 0], mpp) - _at(across, points - [step, 0], mpp)
    slope_column = _at(across, points + [0, step], mpp) - _at(across, points - [0, step], mpp)
    along = np.arctan2(-slope_column, slope_row) + rng.normal(0, 0.25, len(points))
    return make_cells(
        rng, points, diameter=(4.8, 7.2), stretch=(1.6, 4.5), amount=1.15, spread=0.25,
        clear=0.1, ragged=0.06, angle=along,
    )  # fmt: skip


def lymphocytes(
    rng: np.random.Generator, layout: Layout, *, mpp: float, difficulty: float
) -> Cells:
    """Small round dark nuclei: dense where lymphoid, and strewn over stroma and tumour."""
    points = hexagonal_points(rng, layout.mask.shape, spacing=6.9, mpp=mpp, jitter=0.42)
    kind = _at(layout.mask, points, mpp)
    stray = np.select([kind == STROMA, kind == TUMOUR], [0.09, 0.06], 0.0) * difficulty
    # Strays come in small flocks rather than evenly: their chance follows the lymphoid field too.
    chance = np.maximum(stray, _at(layout.lymphoid, points, mpp) * (1.05 - 0.4 * difficulty))
    chance[(kind == GLAND) | (kind > LYMPHOCYTES) | (kind == 0)] = 0
    chance[kind == TUMOUR] = stray[kind == TUMOUR]
    points = rng.permutation(points[rng.random(len(points)) < chance])
    points = keep_apart(points, distance=4.6)
    return make_cells(
        rng, points, diameter=(5.0, 7.0), stretch=(1.0, 1.3), amount=1.65, spread=0.14, ragged=0.03
    )


def tumour_nuclei(
    rng: np.random.Generator, layout: Layout, *, mpp: float, difficulty: float
) -> Cells:
    """Crowded, large, irregular nuclei in nests, with a few strays around them."""
    points = hexagonal_points(rng, layout.mask.shape, spacing=11.6, mpp=mpp, jitter=0.36)
    kind = _at(layout.mask, points, mpp)
    chance = np.where(kind == TUMOUR, 0.92, np.where(kind == STROMA, 0.004 * difficulty, 0))
    points = keep_apart(rng.permutation(points[rng.random(len(points)) < chance]), distance=8.0)
    return make_cells(
        rng, points, diameter=(9.9 - 2.0 * difficulty, 13.3 - 2.0 * difficulty),
        stretch=(1.0, 1.9), amount=1.575 - 0.3 * difficulty, spread=0.24, clear=0.35, ragged=0.11,
    )  # fmt: skip


def gland_nuclei(rng: np.random.Generator, glands: list[Gland]) -> Cells:
    """A basal row of regular nuclei standing on the membrane; ragged rows where atypical."""
    parts = []
    for gland in glands:
        rows = 3 if gland.atypical and gland.epithelium > 24 else 2 if gland.atypical else 1
        for row in range(rows):
            low = 5.5 + 8.5 * row
            around = 2 * np.pi * max(gland.radius - low, 6)
            count = int(around / (6.6 if not gland.atypical else 8.0))
            theta = (np.arange(count) + rng.uniform(-0.3, 0.3, count)) * 2 * np.pi / count
            deep = low + rng.normal(0, 2.2 if gland.atypical else 1.0, count)
            parts.append(_ring(rng, gland, theta, deep, atypical=gland.atypical))
    if not parts:
        return make_cells(rng, np.empty((0, 2)), diameter=(6, 8), stretch=(1, 1), amount=1)
    return Cells(
        *(np.concatenate([getattr(part, name) for part in parts]) for name in parts[0].__dict__)
    )


def _ring(
    rng: np.random.Generator,
    gland: Gland,
    theta: np.ndarray,
    deep: np.ndarray,
    *,
    atypical: bool,
) -> Cells:
    centre = _on_gland(gland, theta, deep)
    return make_cells(
        rng, centre, diameter=(6.6, 8.6) if atypical else (5.9, 7.6), stretch=(1.2, 1.9),
        amount=1.4 if atypical else 1.3, spread=0.16, clear=0.25 if atypical else 0.15,
        ragged=0.07 if atypical else 0.03, angle=theta + rng.normal(0, 0.15, len(theta)),
    )  # fmt: skip


def _on_gland(gland: Gland, theta: np.ndarray, deep: np.ndarray) -> np.ndarray:
    distance = np.maximum(gland.boundary(theta) - deep, 1.0)
    return gland.centre + distance[:, None] * np.stack([np.sin(theta), np.cos(theta)], axis=1)


def mucin_drops(rng: np.random.Generator, glands: list[Gland]) -> Cells:
    """Pale goblets between the basal nuclei and the lumen of mucinous glands."""
    parts = []
    for gland in glands:
        if not gland.mucinous:
            continue
        low = gland.epithelium * 0.62 + 2.0
        count = int(2 * np.pi * max(gland.radius - low, 5) / 8.5)
        theta = (np.arange(count) + rng.uniform(-0.3, 0.3, count)) * 2 * np.pi / max(count, 1)
        keep = rng.random(count) < 0.85
        theta = theta[keep]
        deep = low + rng.normal(0, 1.2, len(theta))
        parts.append(
            make_cells(
                rng,
                _on_gland(gland, theta, deep),
                diameter=(7, 11),
                stretch=(1.1, 1.8),
                amount=0.95,
                spread=0.05,
                ragged=0.04,
                angle=theta,
            )  # fmt: skip
        )
    if not parts:
        return make_cells(rng, np.empty((0, 2)), diameter=(6, 8), stretch=(1, 1), amount=1)
    return Cells(
        *(np.concatenate([getattr(part, name) for part in parts]) for name in parts[0].__dict__)
    )


def red_cells(rng: np.random.Generator, layout: Layout, *, mpp: float) -> Cells:
    """Erythrocytes in small heaps within the stroma."""
    heaps = hexagonal_points(rng, layout.mask.shape, spacing=190, mpp=mpp, jitter=0.5)
    heaps = heaps[_at(layout.mask, heaps, mpp) == STROMA]
    count = rng.integers(4, 26, len(heaps))
    centre = np.repeat(heaps, count, axis=0)
    stretch = np.repeat(rng.uniform(3, 11, (len(heaps), 2)), count, axis=0)
    centre = centre + rng.normal(0, 1, centre.shape) * stretch
    centre = centre[_at(layout.mask, centre, mpp) == STROMA]
    return make_cells(rng, centre, diameter=(5, 7), stretch=(1, 1.3), amount=1.35, spread=0.1)
