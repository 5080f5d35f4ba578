"""Small slides for tests: tiled, lossless, pyramidal TIFFs, and ways to damage them."""

from pathlib import Path

import numpy as np
import tifffile

TILE = 64  # pixels


def halve(image: np.ndarray) -> np.ndarray:
    """Mean of 2 x 2 pixels."""
    height, width = (side // 2 * 2 for side in image.shape[:2])
    blocks = image[:height, :width].reshape(height // 2, 2, width // 2, 2, *image.shape[2:])
    return np.rint(blocks.mean(axis=(1, 3))).astype(np.uint8)


def write_slide(
    path: Path,
    image: np.ndarray,
    *,
    mpp: float | tuple[float, float] | None = 1.0,
    levels: int = 2,
) -> Path:
    """Write an RGB image as a slide; `mpp` None leaves the resolution out."""
    path.parent.mkdir(parents=True, exist_ok=True)
    x, y = mpp if isinstance(mpp, tuple) else (mpp, mpp)
    with tifffile.TiffWriter(path) as writer:
        for level in range(levels):
            resolution = None if mpp is None else (1e4 / x / 2**level, 1e4 / y / 2**level)
            writer.write(
                image,
                tile=(TILE, TILE),
                compression="deflate",
                photometric="rgb",
                subfiletype=int(level > 0),
                resolution=resolution,
                resolutionunit="CENTIMETER" if resolution else "NONE",
                metadata=None,
            )
            image = halve(image)
    return path


def damage_tile(path: Path, index: int) -> None:
    """Overwrite the compressed bytes of one tile of the first level."""
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages.first
        offset, length = page.dataoffsets[index], page.databytecounts[index]
    with path.open("r+b") as stream:
        stream.seek(offset)
        stream.write(b"\xff" * length)


def noise(height: int, width: int, *, seed: int = 0) -> np.ndarray:
    """uint8 (height, width, 3), every value as likely."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)


def tissue(height: int, width: int, *, seed: int = 0) -> np.ndarray:
    """A pink field, grainy enough to be in focus: uint8 (height, width, 3)."""
    rng = np.random.default_rng(seed)
    field = np.array([214, 140, 180]) + rng.normal(0, 30, (height, width, 1))
    return np.clip(field, 0, 255).astype(np.uint8)
