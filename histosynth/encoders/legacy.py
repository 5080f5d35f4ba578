"""Encoders under a published protocol that is not comparable, to set numbers beside published ones.

`osorio`: Osorio et al. (arXiv 2312.09792) sampled at 512 pixels from a model trained on tiles of 96
pixels, and gave both to an Inception network of 299 pixels as they were. So real tiles were
enlarged, synthetic ones reduced, by plain bilinear interpolation; what that does to sharpness is in
their distances. Here a synthetic tile is enlarged by 512 / 96 first, and then every tile goes to
299 pixels, both bilinear without antialiasing; the encoder's own transform follows.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from histosynth.encoders import Encoder

Role = Literal["real", "synthetic"]
OSORIO_ENLARGEMENT = 512 / 96
OSORIO_SIDE = 299
_WORDS = (
    f"osorio: synthetic tiles enlarged by 512 / 96, then all tiles to {OSORIO_SIDE}, bilinear "
    "without antialiasing; then "
)


class OsorioEncoder:
    """An encoder that sees tiles of one role as Osorio et al. showed them to theirs.

    Both roles have one fingerprint, since together they are the protocol.
    """

    def __init__(self, encoder: Encoder, role: Role) -> None:
        self._encoder, self._role = encoder, role
        self.name, self.width = encoder.name, encoder.width
        transform = _WORDS + str(encoder.fingerprint["transform"])
        self.fingerprint: dict[str, Any] = {**encoder.fingerprint, "transform": transform}

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Embed uint8 images (n, H, W, 3) to float32 (n, d)."""
        return self._encoder(osorio_view(images, self._role))


def osorio_view(images: np.ndarray, role: Role) -> np.ndarray:
    """Images uint8 (n, H, W, 3) as uint8 (n, 299, 299, 3)."""
    import torch
    from torch.nn.functional import interpolate

    pixels = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float()
    sides = [(OSORIO_SIDE, OSORIO_SIDE)]
    if role == "synthetic":
        height, width = (round(side * OSORIO_ENLARGEMENT) for side in images.shape[1:3])
        sides.insert(0, (height, width))
    for side in sides:
        # Images were files in between, so they are rounded at each step.
        pixels = interpolate(pixels, size=side, mode="bilinear", align_corners=False)
        pixels = pixels.round().clamp(0, 255)
    return pixels.permute(0, 2, 3, 1).to(torch.uint8).numpy()


LEGACY = {"osorio": OsorioEncoder}
