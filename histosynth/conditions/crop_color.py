"""Signal `crop_color`: the mean colour of each class's crop, as a vector token.

Crops as planes have to find their way from a few pixels of the frame to all of a class's region,
which a small network of few steps does not learn (docs/results/2026-11-21-crops.md). As a token
their colour reaches every layer at once. Beside `crop`, give both the same options: the colours are
then those of the very crops in the planes, since both draw alike.
"""

from typing import TYPE_CHECKING

import numpy as np

from histosynth.conditions.crop import CropOptions, CropSignal
from histosynth.conditions.signal import Signal, register_signal

if TYPE_CHECKING:
    from histosynth.conditions.targets import Targets

# Stained tissue lies about here, of -1 to 1, and spreads about as far.
CENTRE = SPREAD = 0.3


@register_signal
class CropColorSignal(Signal):
    """Red, green and blue of each class's crop, and whether there is one."""

    kind = "crop_color"
    joins = "vector"
    needs = CropSignal.needs
    Options = CropOptions

    @property
    def width(self) -> int:
        return 4 * len(self.study.classes)

    def encode(self, targets: "Targets") -> np.ndarray:
        planes = CropSignal(self.options, self.study).encode(targets)
        planes = planes.reshape(len(targets), len(self.study.classes), 3, -1)
        shown = (planes != 0).any(axis=2)  # no 8-bit pixel becomes exactly 0
        pixels = shown.sum(axis=2)
        there = pixels > 0
        means = planes.sum(axis=3) / np.maximum(pixels, 1)[..., None]
        colors = np.where(there[..., None], (means - CENTRE) / SPREAD, 0)
        return np.concatenate([colors.reshape(len(targets), -1), there], axis=1, dtype=np.float32)

    def shown_tiles(self, targets: "Targets") -> list[list[str]]:
        return CropSignal(self.options, self.study).shown_tiles(targets)
