"""Signal `label`: the tile's label as one token, its id the index in `label.names`."""

from typing import TYPE_CHECKING

import numpy as np

from histosynth.conditions.signal import Signal, register_signal

if TYPE_CHECKING:
    from histosynth.conditions.targets import Targets


@register_signal
class LabelSignal(Signal):
    """The tile's label; makes label adherence and downstream classification possible."""

    kind = "label"
    joins = "token"
    needs = frozenset({"labels"})
    provides = frozenset({"labels"})

    @property
    def width(self) -> int:
        return len(self.study.label_names)

    def encode(self, targets: "Targets") -> np.ndarray:
        assert targets.pool.labels is not None, "the pool was read without labels"
        return targets.pool.labels[targets.rows]
