"""A torchvision model with a local state dict: its pooled last convolutional features.

SqueezeNet 1.1 in the classic Caffe conversion, for one, takes BGR of 0 .. 255 minus
(104, 117, 123) (`normalization: caffe_bgr`) and max-pools with ceil_mode, as torchvision's own
squeezenet1_1 does. Weights of another origin are another encoder: the fingerprint tells.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torchvision

from histosynth.encoders import register_encoder
from histosynth.encoders.network import NetworkEncoder, load_weights, read_weights
from histosynth.errors import InputError

if TYPE_CHECKING:
    from histosynth.settings import EncoderSettings


@register_encoder("torchvision")
def load(name: str, settings: EncoderSettings) -> NetworkEncoder:
    """Build an encoder from `model`, `weights` (a file), `input_size`, `normalization`.

    Raises
    ------
    InputError
        Unknown model, one without convolutional features to pool, or weights that are missing or
        do not fit.
    """
    key = f"encoders.{name}"
    known = torchvision.models.list_models(module=torchvision.models)
    if settings.model not in known:
        raise InputError(
            f"{key}.model: torchvision {torchvision.__version__} has no model {settings.model!r}; "
            f"it has {', '.join(known[:4])}, ... (torchvision.models.list_models())"
        )
    if settings.weights in (None, "random", "pretrained"):
        raise InputError(
            f"{key}.weights: {settings.weights!r}; kind torchvision takes a file. For `random` or "
            "`pretrained` weights use kind timm"
        )
    network = torchvision.models.get_model(settings.model, weights=None)
    state = read_weights(settings.weights, key=f"{key}.weights")
    load_weights(network, state, key=f"{key}.weights")
    return NetworkEncoder(
        name,
        _pooled_features(network, key),
        model=f"torchvision {settings.model}, global average pool",
        packages=("torchvision",),
        input_size=settings.input_size,
        normalization=settings.normalization,
        batch_size=settings.batch_size,
    )


def _pooled_features(network: torch.nn.Module, key: str) -> torch.nn.Module:
    """The network up to its last convolutional features, averaged over the image."""
    pool = (torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    if isinstance(features := getattr(network, "features", None), torch.nn.Module):
        return torch.nn.Sequential(features, *pool)
    if isinstance(getattr(network, "avgpool", None), torch.nn.Module) and hasattr(network, "fc"):
        network.fc = torch.nn.Identity()  # ResNet and its kin pool and flatten themselves
        return network
    raise InputError(
        f"{key}.model: {type(network).__name__} has neither `features` nor `avgpool` and `fc`, so "
        "its convolutional features cannot be found; take the model from timm (kind timm)"
    )
