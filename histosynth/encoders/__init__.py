"""Encoders turn tiles into feature vectors; this is the registry that finds them by kind.

An encoder is a callable on uint8 images with a name, a width and a fingerprint. To add a kind,
write a function from settings to an encoder and register it:

    @register_encoder("mine")
    def load(name, settings):
        return MyEncoder(...)
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from histosynth.errors import InputError

if TYPE_CHECKING:
    from histosynth.settings import EncoderSettings

__all__ = ["Encoder", "known_encoders", "load_encoder", "register_encoder"]


class Encoder(Protocol):
    """What every encoder offers."""

    name: str
    """The name it has in the study; features are stored under it."""
    width: int
    """Number of features d."""
    fingerprint: dict[str, Any]
    """What the features depend on (model, weights, transform, dtype), and, for the record only,
    versions."""

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Embed uint8 images (n, H, W, 3) to float32 (n, d); row i depends on image i alone."""


_Factory = Callable[[str, "EncoderSettings"], Encoder]
# Imported when first asked for: torch and scikit-image are slow to load.
_BUILT_IN = ("inception", "texture", "timm", "torchvision")
_factories: dict[str, _Factory] = {}


def register_encoder(kind: str) -> Callable[[_Factory], _Factory]:
    """Register ``factory(name, settings) -> Encoder`` for settings with this `kind`."""

    def register(factory: _Factory) -> _Factory:
        _factories[kind] = factory
        return factory

    return register


def known_encoders() -> list[str]:
    """Kinds that can be loaded, sorted."""
    return sorted({*_BUILT_IN, *_factories})


def load_encoder(name: str, settings: EncoderSettings) -> Encoder:
    """Build the encoder that `settings` describe.

    Parameters
    ----------
    name
        Its name in the study (the key under ``encoders``).
    settings
        The entry of the study; `settings.kind` selects the encoder.

    Raises
    ------
    InputError
        Unknown kind, unknown model, or weights that are missing or do not fit.
    """
    kind = settings.kind
    if kind not in _factories and kind in _BUILT_IN:
        import_module(f"histosynth.encoders.{kind}")
    if kind not in _factories:
        raise InputError(
            f"encoders.{name}.kind: unknown kind {kind!r}; known kinds are "
            f"{', '.join(known_encoders())}"
        )
    return _factories[kind](name, settings)
