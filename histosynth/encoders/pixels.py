"""From uint8 tiles to what a network takes: checks, resizing, normalisation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from histosynth.errors import InputError

if TYPE_CHECKING:
    import torch

# Channel means and standard deviations on the scale 0 .. 1, in RGB order, and whether the network
# takes BGR. caffe_bgr is the classic Caffe input: BGR, 0 .. 255, minus (104, 117, 123).
_NORMALIZATIONS = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), False),
    "half": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5), False),
    "caffe_bgr": ((123 / 255, 117 / 255, 104 / 255), (1 / 255, 1 / 255, 1 / 255), True),
}


def check_images(images: np.ndarray, *, encoder: str, minimum_side: int = 1) -> None:
    """Raise InputError unless `images` are uint8 (n, H, W, 3) of at least `minimum_side`."""
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != 3:
        raise InputError(
            f"encoder {encoder}: images are {images.dtype} of shape {images.shape}; expected "
            "uint8 RGB of shape (n, height, width, 3)"
        )
    if min(images.shape[1:3]) < minimum_side:
        raise InputError(
            f"encoder {encoder}: tiles of {images.shape[1]} x {images.shape[2]} pixels are too "
            f"small; it needs at least {minimum_side}: set its `input_size`, or tile larger"
        )


def resize(images: np.ndarray, side: int) -> np.ndarray:
    """Resize uint8 (n, H, W, 3) to (n, side, side, 3), bicubic and antialiased (Pillow's)."""
    if images.shape[1:3] == (side, side):
        return images
    from PIL import Image

    return np.stack(
        [
            np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC))
            for image in images
        ]
    )


def to_network_input(images: np.ndarray, normalization: str) -> torch.Tensor:
    """Normalise uint8 (n, H, W, 3) to a float32 tensor (n, 3, H, W)."""
    import torch

    mean, deviation, reverse = _NORMALIZATIONS[normalization]
    pixels = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float() / 255
    pixels = (pixels - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(deviation).view(3, 1, 1)
    return pixels.flip(1) if reverse else pixels


def describe_transform(input_size: int | None, normalization: str) -> str:
    """The transform in words, for a fingerprint."""
    size = f"resize {input_size} bicubic antialiased" if input_size else "as they are"
    return f"{size}; normalization {normalization}"
