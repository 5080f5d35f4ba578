"""Tile sets that a small network learns in seconds: violet discs and blue squares on pink."""

from pathlib import Path

import numpy as np

from histosynth.settings import NetworkTraining
from histosynth.tilesets import TileSet, TileSetWriter

SIZE = 32
CLASSES = ("ground", "disc", "square")
LABELS = ("disc", "square")
_COLOURS = np.array([[232, 180, 205], [140, 70, 160], [70, 80, 190]], float)

SEGMENTER = NetworkTraining(
    model="tu-resnet10t",
    depth=3,
    decoder_channels=32,
    steps=80,
    batch_size=16,
    learning_rate=5e-3,
)
CLASSIFIER = NetworkTraining(model="resnet10t", steps=60, batch_size=16, learning_rate=5e-3)


def draw(rng: np.random.Generator, shape: int) -> tuple[np.ndarray, np.ndarray]:
    """One image uint8 (32, 32, 3) and its map; shape 1 is a disc, 2 a square."""
    y, x = np.mgrid[:SIZE, :SIZE]
    radius = rng.integers(6, 10)
    at_y, at_x = rng.integers(radius, SIZE - radius, size=2)
    if shape == 1:
        inside = (y - at_y) ** 2 + (x - at_x) ** 2 <= radius**2
    else:
        inside = np.maximum(abs(y - at_y), abs(x - at_x)) <= radius - 1
    tissue = np.where(inside, shape, 0).astype(np.uint8)
    image = _COLOURS[tissue] + 12 * rng.standard_normal((SIZE, SIZE, 3))
    return image.clip(0, 255).astype(np.uint8), tissue


def write_shapes(
    folder: Path,
    n: int,
    *,
    seed: int,
    maps: bool = True,
    labels: bool = True,
    shapes: tuple[int, ...] = (1, 2),
    patients: int = 6,
    provenance: dict | None = None,
) -> TileSet:
    """A tile set of n shapes, in turn a disc and a square, of as many patients as told."""
    rng = np.random.default_rng(seed)
    classes = CLASSES if maps else ()
    with TileSetWriter(folder, classes=classes, provenance=provenance) as writer:
        for i in range(n):
            shape = shapes[i % len(shapes)]
            image, tissue = draw(rng, shape)
            row = {
                "tile_id": f"s{seed}-{i:04d}",
                "patient_id": f"p{i // 2 % patients}",  # every patient has both shapes
                "label": LABELS[shape - 1] if labels else None,
            }
            writer.add(image, row, tissue if maps else None)
    return TileSet.open(folder)


def write_study_sets(folder: Path) -> dict[str, TileSet]:
    """Real train and test tiles, and what a generator that obeys or was told nothing made."""
    made = folder / "synthetic"
    return {
        "train": write_shapes(folder / "real" / "train", 96, seed=1),
        "test": write_shapes(folder / "real" / "test", 60, seed=2),
        "obeys": write_shapes(made / "map" / "seed0", 60, seed=3),
        "free": write_shapes(made / "free" / "seed0", 60, seed=4, maps=False, labels=False),
    }
