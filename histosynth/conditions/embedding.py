"""Signal `embedding`: a tile's features by one of the study's encoders, as a vector token.

Each component is standardised by the train tiles' mean and standard deviation, which the network
keeps among its weights: encoders differ in scale by orders of magnitude, and sampling then needs
no train features. What is generated is not scored by that encoder alone: it was told its verdict.
"""

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from histosynth.conditions.signal import Signal, SignalOptions, register_signal
from histosynth.errors import InputError
from histosynth.files import short_hash

if TYPE_CHECKING:
    from histosynth.conditions.targets import Targets, TilePool
    from histosynth.config import Study

NEEDS_FEATURES = "features:"  # before the encoder's name, in `Signal.needs`
LEAST_SPREAD = 1e-8  # of a component, as a share of its mean; below, it is constant
# What of an encoder's fingerprint decides its features; versions are on record only.
_IDENTITY = ("model", "weights", "transform", "dtype")


class EmbeddingOptions(SignalOptions):
    encoder: str = Field(description="a name under `encoders` of the study")


@register_signal
class EmbeddingSignal(Signal):
    """Features of the target by one encoder; makes adherence to an embedding possible."""

    kind = "embedding"
    joins = "vector"
    Options = EmbeddingOptions

    def __init__(self, options: EmbeddingOptions, study: "Study") -> None:
        super().__init__(options, study)
        self.needs = frozenset({NEEDS_FEATURES + options.encoder})

    @property
    def width(self) -> int:
        return self._encoder[0]

    def fingerprint(self) -> str:
        return self._encoder[1]

    @cached_property
    def _encoder(self) -> tuple[int, str]:
        """Number of features, and what names the encoder; loads it, so not in planning."""
        from histosynth.encoders import load_encoder

        name = self.options.encoder
        encoder = load_encoder(name, self.study.encoders[name])
        return encoder.width, short_hash({key: encoder.fingerprint[key] for key in _IDENTITY})

    def encode(self, targets: "Targets") -> np.ndarray:
        return self._features(targets.pool)[targets.rows].astype(np.float32)

    def statistics(self, pool: "TilePool") -> tuple[np.ndarray, np.ndarray]:
        features = self._features(pool)
        mean, spread = features.mean(axis=0, dtype=float), features.std(axis=0, dtype=float)
        spread[spread < LEAST_SPREAD * np.maximum(1, np.abs(mean))] = 1
        return mean.astype(np.float32), spread.astype(np.float32)

    def _features(self, pool: "TilePool") -> np.ndarray:
        name = self.options.encoder
        assert name in pool.features, "the pool was read without features"
        features = pool.features[name]
        if features.shape[1] != self.width:
            raise InputError(
                f"features given for encoder {name} have {features.shape[1]} components, but the "
                f"study's encoder of this name gives {self.width}; embed the tiles again"
            )
        return features


def conditioning_encoders(needs: "frozenset[str] | set[str]") -> list[str]:
    """The encoders whose features are among the needs of signals, sorted."""
    return sorted(n.removeprefix(NEEDS_FEATURES) for n in needs if n.startswith(NEEDS_FEATURES))
