"""Phantom slides on disk: tiled pyramids that OpenSlide reads, and their masks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tifffile

_TILE = 256


def write_pyramid(path: Path, image: np.ndarray, *, mpp: float) -> None:
    """Write RGB pixels as a tiled, lossless, pyramidal TIFF that OpenSlide opens.

    Parameters
    ----------
    image
        (height, width, 3) uint8. Each further level is the mean of 2 x 2 pixels, down to a shorter
        side of 256 or less.
    mpp
        Micrometres a pixel of the first level, written as the TIFF resolution.
    """
    with tifffile.TiffWriter(path) as writer:
        level = 0
        while True:
            writer.write(
                image,
                photometric="rgb",
                tile=(_TILE, _TILE),
                compression="zlib",
                compressionargs={"level": 4},
                predictor=True,
                resolution=(1e4 / (mpp * 2**level),) * 2,
                resolutionunit="CENTIMETER",
                subfiletype=1 if level else 0,
                metadata=None,
            )
            if min(image.shape[:2]) <= _TILE:
                return
            height, width = (length // 2 * 2 for length in image.shape[:2])
            blocks = image[:height, :width].reshape(height // 2, 2, width // 2, 2, 3)
            image = ((blocks.sum(axis=(1, 3), dtype=np.uint16) + 2) // 4).astype(np.uint8)
            level += 1


def write_mask(path: Path, mask: np.ndarray, *, mpp: float) -> None:
    """Write a (height, width) uint8 class mask as a tiled, lossless, single-channel TIFF."""
    tifffile.imwrite(
        path,
        mask,
        photometric="minisblack",
        tile=(_TILE, _TILE),
        compression="zlib",
        resolution=(1e4 / mpp,) * 2,
        resolutionunit="CENTIMETER",
        metadata=None,
    )
