"""Encoders under a published protocol that is not comparable, to set numbers beside published ones.

`osorio`: Osorio et al. (arXiv 2312.09792) sampled at 512 pixels from a model trained on tiles of 96
pixels, and gave both to an Inception network of 299 pixels as they were. So real tiles were
enlarged, synthetic ones reduced, by plain bilinear interpolation; what that does to sharpness is in
their distances. Here every tile goes to 299 pixels in that way, and the encoder's own transform
follows. Synthetic tiles that are larger than the real ones are taken as they come; where both have
one size, the synthetic ones are enlarged by 512 / 96 first.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from histosynth.encoders import Encoder
from histosynth.errors import InputError

OSORIO_ENLARGEMENT = 512 / 96
OSORIO_SIDE = 299
AT_ONCE = 32 * 2**20  # bytes of the largest array that is made, unless one image is larger
_FLOAT = 4  # bytes
_ALL = f"all tiles to {OSORIO_SIDE}, bilinear without antialiasing; then "
_WORDS = {
    True: f"osorio: synthetic tiles enlarged by 512 / 96, then {_ALL}",
    False: f"osorio: {_ALL}",
}
Size = tuple[int, ...]


class OsorioEncoder:
    """An encoder that sees tiles of one side as Osorio et al. showed them to theirs.

    Both sides have one fingerprint, since together they are the protocol.

    Parameters
    ----------
    enlarge : enlarge these tiles by 512 / 96 first
    simulated : the tiles of one side are enlarged so, as both have one size
    """

    def __init__(self, encoder: Encoder, *, enlarge: bool, simulated: bool) -> None:
        self._encoder, self._enlarge = encoder, enlarge
        self.name, self.width = encoder.name, encoder.width
        transform = _WORDS[simulated] + str(encoder.fingerprint["transform"])
        self.fingerprint: dict[str, Any] = {**encoder.fingerprint, "transform": transform}

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Embed uint8 images (n, H, W, 3) to float32 (n, d)."""
        return self._encoder(osorio_view(images, enlarge=self._enlarge))


def osorio_encoders(
    encoder: Encoder, real: Size, synthetic: Size
) -> tuple[OsorioEncoder, OsorioEncoder]:
    """How the encoder sees real and synthetic tiles of these sizes (height, width) in pixels.

    Raises
    ------
    InputError
        As `check_osorio`.
    """
    check_osorio(real, synthetic)
    simulated = tuple(real) == tuple(synthetic)
    return (
        OsorioEncoder(encoder, enlarge=False, simulated=simulated),
        OsorioEncoder(encoder, enlarge=simulated, simulated=simulated),
    )


def check_osorio(real: Size, synthetic: Size) -> None:
    """Refuse sizes (height, width) in pixels with which the two sides would not differ as theirs.

    Raises
    ------
    InputError
        Real tiles above 299 pixels, or synthetic ones smaller than the real.
    """
    told = "legacy protocol osorio: {}; leave the protocol out, or give {}"
    if max(real) > OSORIO_SIDE:
        found = f"real tiles of {_by(real)} pixels would be reduced to {OSORIO_SIDE}, not enlarged"
        raise InputError(told.format(found, f"real tiles of {OSORIO_SIDE} pixels at most"))
    if synthetic[0] < real[0] or synthetic[1] < real[1]:
        found = (
            f"synthetic tiles of {_by(synthetic)} pixels are smaller than real ones, {_by(real)}"
        )
        raise InputError(told.format(found, "synthetic tiles as they were sampled"))


def osorio_remark(real: Size, synthetic: Size) -> str:
    """What to say of scores of tiles of these sizes (height, width); empty where nothing."""
    factor = OSORIO_ENLARGEMENT if tuple(real) == tuple(synthetic) else 1.0
    side = round(max(synthetic) * factor)
    if side > OSORIO_SIDE:
        return ""
    return f"synthetic tiles have {side} pixels and are enlarged, too: theirs were reduced"


def osorio_view(images: np.ndarray, *, enlarge: bool) -> np.ndarray:
    """Images uint8 (n, H, W, 3) as uint8 (n, 299, 299, 3), a few at a time."""
    shape = images.shape[1:3]
    steps = [(OSORIO_SIDE, OSORIO_SIDE)]
    if enlarge:
        height, width = (round(side * OSORIO_ENLARGEMENT) for side in shape)
        steps.insert(0, (height, width))
    largest = max(height * width for height, width in [shape, *steps]) * 3 * _FLOAT
    at_once = max(1, AT_ONCE // largest)
    made = np.empty((len(images), OSORIO_SIDE, OSORIO_SIDE, 3), np.uint8)
    for start in range(0, len(images), at_once):
        rows = slice(start, start + at_once)
        made[rows] = _interpolated(images[rows], steps)
    return made


def _interpolated(images: np.ndarray, steps: list[tuple[int, int]]) -> np.ndarray:
    import torch
    from torch.nn.functional import interpolate

    pixels = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float()
    for size in steps:
        # Images were files in between, so they are rounded at each step.
        pixels = interpolate(pixels, size=size, mode="bilinear", align_corners=False)
        pixels = pixels.round_().clamp_(0, 255)
    return pixels.permute(0, 2, 3, 1).to(torch.uint8).numpy()


def _by(size: Size) -> str:
    return f"{size[1]} x {size[0]}"


@dataclass(frozen=True)
class LegacyProtocol:
    """What a protocol does, by the sizes (height, width) of real and synthetic tiles.

    Attributes
    ----------
    check : raises an `InputError` for sizes that it cannot be followed with
    encoders : from an encoder, what takes its place for real and for synthetic tiles
    remark : what to say of its scores; empty where nothing
    """

    check: Callable[[Size, Size], None]
    encoders: Callable[[Encoder, Size, Size], tuple[Encoder, Encoder]]
    remark: Callable[[Size, Size], str]


LEGACY = {"osorio": LegacyProtocol(check_osorio, osorio_encoders, osorio_remark)}
