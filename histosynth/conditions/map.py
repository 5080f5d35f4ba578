"""Signal `map`: the tile's tissue map as one plane a class.

A plane is 1 where its class is, -1 elsewhere, and 0 where the map is unlabelled: unknown looks
like a withheld condition, not like the absence of a class. With values: binary it is 1 or 0, as in
HeteroTissue-Diffuse (arXiv 2509.17847); an unlabelled pixel then looks like one of another class.
"""

from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from histosynth.conditions.signal import Signal, SignalOptions, register_signal

if TYPE_CHECKING:
    from histosynth.conditions.targets import Targets

UNLABELLED = 255


def one_hot_planes(maps: np.ndarray, classes: int) -> np.ndarray:
    """Class indices uint8 (b, H, W) -> planes float32 (b, classes, H, W) of -1, 0 and 1."""
    planes = np.where(maps[:, None] == np.arange(classes)[None, :, None, None], 1.0, -1.0)
    planes = np.where(maps[:, None] == UNLABELLED, 0.0, planes)
    return planes.astype(np.float32)


class MapOptions(SignalOptions):
    values: Literal["signed", "binary"] = Field(
        "signed", description="signed: -1, 0 (unlabelled) and 1; binary: 0 and 1"
    )


@register_signal
class MapSignal(Signal):
    """The tissue map; makes map adherence and downstream segmentation possible."""

    kind = "map"
    joins = "planes"
    needs = frozenset({"maps"})
    provides = frozenset({"maps"})
    Options = MapOptions

    @property
    def width(self) -> int:
        return len(self.study.classes)

    def encode(self, targets: "Targets") -> np.ndarray:
        planes = one_hot_planes(targets.maps(), self.width)
        return np.maximum(planes, 0) if self.options.values == "binary" else planes
