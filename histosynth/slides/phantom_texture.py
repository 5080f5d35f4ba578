"""Noise fields, collagen fibres and stains: the raw material of the phantom slides.

All lengths are micrometres unless a name ends in ``_px``. Fields are float32, of the slide's shape
(rows, columns).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.special import expit


def upsample(coarse: np.ndarray, shape: tuple[int, int], *, cell_px: float) -> np.ndarray:
    """Interpolate a coarse field linearly to full resolution.

    Parameters
    ----------
    coarse
        (rows, columns) float32; node (i, j) lies at pixel (i * cell_px, j * cell_px).
    shape
        Rows and columns of the result, within the nodes' extent.
    cell_px
        Pixels between nodes.
    """

    def axis(length: int, nodes: int) -> tuple[np.ndarray, np.ndarray]:
        position = np.arange(length, dtype=np.float32) / np.float32(cell_px)
        low = np.minimum(position.astype(np.intp), nodes - 2)
        return low, position - low

    rows, row_part = axis(shape[0], coarse.shape[0])
    columns, column_part = axis(shape[1], coarse.shape[1])
    tall = coarse[rows]
    tall += (coarse[rows + 1] - tall) * row_part[:, None]
    slope = np.diff(tall, axis=1)
    return np.take(tall, columns, axis=1) + np.take(slope, columns, axis=1) * column_part


def coarse_shape(shape: tuple[int, int], *, cell_px: float) -> tuple[int, int]:
    """Nodes needed for a grid of ``cell_px`` pixels to span ``shape``, two at the least."""
    rows, columns = (max(2, int(np.ceil(length / cell_px)) + 1) for length in shape)
    return rows, columns


def smooth_noise(
    rng: np.random.Generator, shape: tuple[int, int], *, scale: float, mpp: float
) -> np.ndarray:
    """Gaussian random field of zero mean and unit variance.

    Parameters
    ----------
    shape
        Rows and columns of the field.
    scale
        Size of its blobs, in micrometres: about three standard deviations of the filter.
    mpp
        Micrometres a pixel.
    """
    sigma_px = scale / mpp / 3
    # Beyond two pixels the filter runs on a coarser grid, where it costs next to nothing.
    cell_px = max(1.0, sigma_px / 1.5)
    sigma = sigma_px / cell_px
    small = rng.standard_normal(coarse_shape(shape, cell_px=cell_px), dtype=np.float32)
    # The variance of filtered white noise is known; measuring it instead would make the field's
    # amplitude hang on a handful of blobs where the slide is small.
    gain = np.sqrt(4 * np.pi) * max(sigma, 0.3)
    small = ndimage.gaussian_filter(small, sigma, mode="wrap") * np.float32(gain)
    if cell_px == 1.0:
        return small[: shape[0], : shape[1]]
    return upsample(small, shape, cell_px=cell_px)


def hexagonal_points(
    rng: np.random.Generator, shape: tuple[int, int], *, spacing: float, mpp: float, jitter: float
) -> np.ndarray:
    """Points of a jittered hexagonal lattice over the slide.

    Parameters
    ----------
    spacing
        Distance between lattice points, in micrometres.
    jitter
        Largest displacement on each axis, as a part of the spacing.

    Returns
    -------
    ndarray
        (n, 2) rows and columns in micrometres, all within the slide.
    """
    height, width = shape[0] * mpp, shape[1] * mpp
    step = spacing * np.sqrt(3) / 2
    rows = np.arange(-1, int(height / step) + 2)
    columns = np.arange(-1, int(width / spacing) + 2)
    row, column = np.meshgrid(rows * step, columns * spacing, indexing="ij")
    column = column + (rows[:, None] % 2) * spacing / 2
    points = np.stack([row.ravel(), column.ravel()], axis=1)
    # A random origin, or the first row of points would lie at the same place on every slide.
    points += rng.uniform(0, spacing, 2)
    points += rng.uniform(-jitter, jitter, points.shape) * spacing
    inside = (points >= 0).all(axis=1) & (points[:, 0] < height) & (points[:, 1] < width)
    return points[inside]


@dataclass(frozen=True)
class Fibres:
    """Collagen: ``density`` 0 (cleft) to about 1.3 (bundle), ``across`` rises across the fibres."""

    density: np.ndarray
    across: np.ndarray


def collagen(
    rng: np.random.Generator, shape: tuple[int, int], *, mpp: float, around: np.ndarray
) -> Fibres:
    """Wavy collagen bundles that bend around the structures in ``around``.

    Noise stretched along one axis is looked up at warped coordinates, so the bundles wave; the warp
    holds a smoothed copy of the epithelium, so they also flow around glands and nests.

    Parameters
    ----------
    around
        Smoothed indicator (0..1) of what the fibres should wrap.
    """
    angle = rng.uniform(0, np.pi)
    row = np.arange(shape[0], dtype=np.float32)[:, None] * np.float32(mpp)
    column = np.arange(shape[1], dtype=np.float32)[None, :] * np.float32(mpp)
    across = np.float32(np.cos(angle)) * row + np.float32(np.sin(angle)) * column
    along = np.float32(np.cos(angle)) * column - np.float32(np.sin(angle)) * row
    across += 60 * smooth_noise(rng, shape, scale=420, mpp=mpp)
    across += 7 * smooth_noise(rng, shape, scale=70, mpp=mpp)
    across += 1.8 * smooth_noise(rng, shape, scale=20, mpp=mpp)
    across += 26 * around
    along += 30 * smooth_noise(rng, shape, scale=200, mpp=mpp)

    def strand(width: float, length: float) -> np.ndarray:
        # One texel is `width`/3 across and `length`/3 along; 512 of them before it repeats.
        texture = ndimage.gaussian_filter(
            rng.standard_normal((512, 512), dtype=np.float32), 1.0, mode="wrap"
        )
        texture *= np.float32(np.sqrt(4 * np.pi))
        where = np.stack([across * np.float32(3 / width), along * np.float32(3 / length)])
        return ndimage.map_coordinates(texture, where, order=1, mode="grid-wrap", prefilter=False)

    bundles, fibrils = strand(11, 75), strand(3.6, 32)
    loose = smooth_noise(rng, shape, scale=240, mpp=mpp)
    # Clefts open between bundles, more of them where the tissue is loose; fibrils fill the bundles.
    solid = expit(4.0 * (0.75 * bundles + 0.40 * fibrils - 0.45 * loose + 0.55))
    density = solid * (0.86 + 0.20 * fibrils + 0.10 * bundles - 0.06 * loose) + 0.06
    return Fibres(density=np.clip(density, 0.03, None), across=across)


@dataclass(frozen=True)
class Stain:
    """How one slide was stained and scanned.

    ``vectors`` is (2, 3): optical density (natural logarithm) in R, G, B for one unit of
    haematoxylin and of eosin; ``white`` the scanner's RGB of bare glass, 0..255.
    """

    vectors: np.ndarray
    strength: np.ndarray
    white: np.ndarray


# Haematoxylin, eosin, strength of both, glass. The first laboratory stains blue-violet with pale
# eosin, the second purple with strong pink eosin and a warmer scanner.
_SITES = (
    ((0.68, 0.68, 0.27), (0.16, 0.87, 0.40), (1.08, 0.92), (246, 246, 248)),
    ((0.56, 0.77, 0.31), (0.06, 0.88, 0.52), (0.98, 1.22), (243, 238, 232)),
)


def slide_stain(rng: np.random.Generator, *, site: int, difficulty: float) -> Stain:
    """Draw a slide's stain around its site's."""
    if site < len(_SITES):
        haematoxylin, eosin, strength, white = (np.array(part, float) for part in _SITES[site])
    else:  # a further site lies somewhere between and around the first two, always the same for one
        own = np.random.default_rng([7919, site])
        mix = own.uniform(-0.3, 1.3, 4)
        haematoxylin, eosin, strength, white = (
            np.array(a, float) * (1 - m) + np.array(b, float) * m
            for a, b, m in zip(*_SITES[:2], mix, strict=True)
        )
    spread = 0.5 + difficulty
    vectors = np.stack([haematoxylin, eosin]) + rng.normal(0, 0.014 * spread, (2, 3))
    vectors = np.clip(vectors, 0.02, None)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return Stain(
        vectors=vectors.astype(np.float32),
        strength=(strength * np.exp(rng.normal(0, 0.08 * spread, 2))).astype(np.float32),
        white=np.clip(white + rng.normal(0, 1.0, 3), 0, 252).astype(np.float32),
    )


def beer_lambert(haematoxylin: np.ndarray, eosin: np.ndarray, stain: Stain) -> np.ndarray:
    """Light through stained tissue, I = I0 exp(-sum of concentration times absorbance).

    Returns
    -------
    ndarray
        (rows, columns, 3) float32, 0..255, before the scanner's noise.
    """
    image = np.empty((*haematoxylin.shape, 3), np.float32)
    amounts = stain.strength[:, None] * stain.vectors
    for channel in range(3):
        density = haematoxylin * amounts[0, channel] + eosin * amounts[1, channel]
        image[..., channel] = stain.white[channel] * np.exp(-density)
    return image
