"""Faults, as pure functions of features or of images: what a generator or an evaluation gets wrong.

Distances in feature space are in units of each feature's own standard deviation over the real
tiles, so that a fault is as large in one encoder as in another.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

from histosynth.slides.duplicates import TURNS, turned

# Scaling of the optical density of red, green and blue at strength 1: towards violet.
_CAST = np.array([1.0, -1.0, 0.6])


def direction(real: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """A step (d,) of one standard deviation in every feature, up or down by chance."""
    spread = real.std(axis=0, dtype=np.float64)
    return spread * random.choice([-1.0, 1.0], size=real.shape[1])


def shifted(features: np.ndarray, step: np.ndarray, distance: float) -> np.ndarray:
    """All rows moved by `distance` steps."""
    return features + distance * step


def spread(features: np.ndarray, factor: float) -> np.ndarray:
    """All rows drawn towards their mean (factor < 1), or away from it."""
    middle = features.mean(axis=0, dtype=np.float64)
    return middle + factor * (features - middle)


def with_outlier(
    features: np.ndarray, step: np.ndarray, distance: float, row: int = 0
) -> np.ndarray:
    """One row put `distance` steps away from the mean of all."""
    changed = features.astype(np.float64)
    changed[row] = features.mean(axis=0, dtype=np.float64) + distance * step
    return changed


def one_feature_shifted(
    features: np.ndarray, step: np.ndarray, column: int, distance: float
) -> np.ndarray:
    """A single feature moved, all others left as they are."""
    changed = features.astype(np.float64)
    changed[:, column] += distance * step[column]
    return changed


def one_feature_scaled(features: np.ndarray, column: int, factor: float) -> np.ndarray:
    """A single feature in another unit."""
    changed = features.astype(np.float64)
    changed[:, column] *= factor
    return changed


def collapsed(
    features: np.ndarray, prototypes: int, step: np.ndarray, random: np.random.Generator
) -> np.ndarray:
    """Every row one of a few prototypes, but for a jitter of a fiftieth of a step."""
    chosen = random.choice(len(features), prototypes, replace=False)
    rows = chosen[random.integers(prototypes, size=len(features))]
    return features[rows] + 0.02 * step * random.standard_normal(features.shape)


def averaged(features: np.ndarray, members: int, random: np.random.Generator) -> np.ndarray:
    """Every row the mean of several: within the cloud's hull, and like none of its members."""
    rows = random.integers(len(features), size=(len(features), members))
    return features[rows].mean(axis=1, dtype=np.float64)


def invented(
    features: np.ndarray,
    share: float,
    step: np.ndarray,
    distance: float,
    random: np.random.Generator,
) -> np.ndarray:
    """A share of the rows become a tight group that lies apart from all others."""
    rows = random.choice(len(features), round(share * len(features)), replace=False)
    middle = features.mean(axis=0, dtype=np.float64)
    changed = features.astype(np.float64)
    changed[rows] = middle + distance * step + 0.3 * (features[rows] - middle)
    return changed


def without_mode(
    modes: np.ndarray, reserve_modes: np.ndarray, mode: int, share: float
) -> tuple[np.ndarray, np.ndarray]:
    """Which rows stay when a share of a mode is dropped, and which of the reserve replace it.

    Parameters
    ----------
    modes, reserve_modes : int (n,) and (r,), the mode of every tile
    share : of the mode's tiles; the first ones go

    Returns
    -------
    kept : rows that stay
    filled : rows of the reserve, of other modes; as many as went, or all there are
    """
    inside = np.flatnonzero(modes == mode)
    gone = inside[: round(share * len(inside))]
    others = np.flatnonzero(reserve_modes != mode)
    return np.setdiff1d(np.arange(len(modes)), gone), others[: len(gone)]


def blurred(images: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian blur; sigma in pixels."""
    smooth = gaussian_filter(images.astype(np.float32), (0, sigma, sigma, 0), mode="reflect")
    return np.rint(smooth).astype(np.uint8)


def jpeg(images: np.ndarray, quality: int) -> np.ndarray:
    """Stored as JPEG and read again."""

    def stored(image: np.ndarray) -> Any:
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "JPEG", quality=quality)
        return np.asarray(Image.open(buffer))

    return np.stack([stored(image) for image in images])


def colour_cast(images: np.ndarray, strength: float) -> np.ndarray:
    """Another stain: optical densities of the three channels scaled apart."""
    light = (images / 255.0) ** (1 + strength * _CAST)
    return np.rint(255 * light).astype(np.uint8)


def noisy(images: np.ndarray, sigma: float, random: np.random.Generator) -> np.ndarray:
    """Noise of standard deviation sigma (grey levels), a value a pixel and channel."""
    grain = sigma * random.standard_normal(images.shape, dtype=np.float32)
    return np.clip(np.rint(images + grain), 0, 255).astype(np.uint8)


def turned_over(images: np.ndarray) -> np.ndarray:
    """Every image in one of its eight flips and turns, in order; only halves where not square."""
    height, width = images.shape[1:3]
    turns = range(TURNS) if height == width else range(4)
    return np.stack([turned(image, turns[i % len(turns)]) for i, image in enumerate(images)])
