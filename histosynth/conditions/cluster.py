"""Signal `cluster`: the tile's morphology type (k-means of its features) as one token."""

from typing import TYPE_CHECKING

import numpy as np

from histosynth.conditions.signal import Signal, register_signal

if TYPE_CHECKING:
    from histosynth.conditions.targets import Targets


@register_signal
class ClusterSignal(Signal):
    """The cluster that the tile's features were assigned to; its id is the cluster's number."""

    kind = "cluster"
    joins = "token"
    needs = frozenset({"clusters"})
    provides = frozenset({"clusters"})

    @property
    def width(self) -> int:
        assert self.study.clusters is not None
        return self.study.clusters.k

    def encode(self, targets: "Targets") -> np.ndarray:
        assert targets.pool.clusters is not None, "the pool was read without clusters"
        return targets.pool.clusters[targets.rows]
