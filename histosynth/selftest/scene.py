"""What the self-test plays with: real tiles in three roles, held in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

Encode = Callable[[np.ndarray], np.ndarray]
"""From uint8 images (n, H, W, 3) to float32 features (n, d)."""
_BATCH = 64  # images embedded at a time, which bounds an encoder's memory


@dataclass(frozen=True, eq=False)  # two sets are equal where they are one: models are kept by it
class Tiles:
    """Tiles with what a score may ask of each.

    Attributes
    ----------
    features : float32 (n, d)
    labels : str (n,)
    patients : str (n,)
    images : uint8 (n, H, W, 3); None where features were changed and no image belongs to them
    """

    features: np.ndarray
    labels: np.ndarray
    patients: np.ndarray
    images: np.ndarray | None

    def __len__(self) -> int:
        return len(self.features)

    def take(self, rows: np.ndarray) -> Tiles:
        """Some of the tiles, by row number; a row may come twice."""
        images = None if self.images is None else self.images[rows]
        return Tiles(self.features[rows], self.labels[rows], self.patients[rows], images)

    def with_features(self, features: np.ndarray) -> Tiles:
        """Other features, which no image belongs to."""
        return replace(self, features=features.astype(np.float32), images=None)

    def with_images(self, images: np.ndarray, encode: Encode) -> Tiles:
        """Other images of the same tiles, and their features; only changed ones are encoded."""
        changed = np.ones(len(images), dtype=bool)
        if self.images is not None:
            changed = (images != self.images).any(axis=(1, 2, 3))
        features = self.features.copy()
        if changed.any():
            features[changed] = embed(images[changed], encode)
        return replace(self, features=features, images=images)

    def put(self, places: np.ndarray, other: Tiles) -> Tiles:
        """With other tiles in some places."""

        def placed(column: np.ndarray, new: np.ndarray) -> np.ndarray:
            changed = column.copy()
            changed[places] = new
            return changed

        images = None
        if self.images is not None and other.images is not None:
            images = placed(self.images, other.images)
        return Tiles(
            placed(self.features, other.features),
            placed(self.labels, other.labels),
            placed(self.patients, other.patients),
            images,
        )


def embed(images: np.ndarray, encode: Encode) -> np.ndarray:
    """Features of any number of images."""
    starts = range(0, len(images), _BATCH)
    return np.concatenate([encode(images[start : start + _BATCH]) for start in starts])


def joined(*parts: Tiles) -> Tiles:
    """Several sets as one; images only where all have them."""
    images = None
    if all(part.images is not None for part in parts):
        images = np.concatenate([part.images for part in parts if part.images is not None])
    return Tiles(
        np.concatenate([part.features for part in parts]),
        np.concatenate([part.labels for part in parts]),
        np.concatenate([part.patients for part in parts]),
        images,
    )


@dataclass(frozen=True)
class Scene:
    """Real tiles of three groups of patients, one of them in the place of a synthetic set.

    Attributes
    ----------
    real : the reference that scores compare with
    made : plays the synthetic set; real tiles of other patients until a fault is planted
    train : what a generator would have been trained on
    reserve : further tiles of the patients of `made`, to fill up what a fault takes out
    encode : the encoder that made the features
    """

    real: Tiles
    made: Tiles
    train: Tiles
    reserve: Tiles
    encode: Encode

    def with_made(self, made: Tiles) -> Scene:
        """With another set in the place of the synthetic one."""
        return replace(self, made=made)
