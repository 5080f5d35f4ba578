"""Signal `map`: the tile's tissue map as one plane a class.

A plane is 1 where its class is, -1 elsewhere, and 0 where the map is unlabelled: unknown looks
like a withheld condition, not like the absence of a class.
"""

from typing import TYPE_CHECKING

import numpy as np

from histosynth.conditions.signal import Signal, register_signal

if TYPE_CHECKING:
    from histosynth.conditions.targets import Targets

UNLABELLED = 255


def one_hot_planes(maps: np.ndarray, classes: int) -> np.ndarray:
    """Class indices uint8 (b, H, W) -> planes float32 (b, classes, H, W) of -1, 0 and 1."""
    planes = np.where(maps[:, None] == np.arange(classes)[None, :, None, None], 1.0, -1.0)
    planes = np.where(maps[:, None] == UNLABELLED, 0.0, planes)
    return planes.astype(np.float32)


@register_signal
class MapSignal(Signal):
    """The tissue map; makes map adherence and downstream segmentation possible."""

    kind = "map"
    joins = "planes"
    needs = frozenset({"maps"})
    provides = frozenset({"maps"})

    @property
    def width(self) -> int:
        return len(self.study.classes)

    def encode(self, targets: "Targets") -> np.ndarray:
        return one_hot_planes(targets.maps(), self.width)
