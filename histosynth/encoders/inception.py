"""Inception v3 as the FID literature uses it: 2048 features, torch-fidelity's network and weights.

Images go in as they are; the network resizes them to 299 x 299 itself, bilinear without
antialiasing, as the original TensorFlow graph did. That is part of the protocol: keep it for
numbers to set beside published ones. It was trained on photographs, so on tissue let another
encoder speak too.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from histosynth.encoders import register_encoder
from histosynth.encoders.network import NetworkEncoder
from histosynth.errors import InputError

if TYPE_CHECKING:
    from histosynth.settings import EncoderSettings


@register_encoder("inception")
def load(name: str, settings: EncoderSettings) -> NetworkEncoder:
    """Build the Inception encoder from a local weights file (`weights`).

    Raises
    ------
    InputError
        torch-fidelity is not installed, the file is missing, or it does not fit.
    """
    key = f"encoders.{name}"
    try:
        from torch_fidelity import feature_extractor_inceptionv3 as fidelity
    except ImportError as error:
        raise InputError(
            f"{key}: kind inception needs torch-fidelity; pip install 'histosynth[inception]'"
        ) from error
    path = settings.weights
    if path is None or not Path(path).is_file():
        raise InputError(
            f"{key}.weights: no weights file {path}; download {fidelity.URL_INCEPTION_V3} (about "
            f"90 MB) and put its path there"
        )
    if settings.input_size not in (None, 299):
        raise InputError(
            f"{key}.input_size: {settings.input_size}; this network resizes to 299 itself; leave "
            "the key out"
        )
    try:
        network = fidelity.FeatureExtractorInceptionV3(
            name, ["2048"], feature_extractor_weights_path=str(path)
        )
    except Exception as error:
        raise InputError(
            f"{key}.weights: {path} does not fit torch-fidelity's Inception v3 "
            f"({type(error).__name__}: {str(error)[:200]}); download {fidelity.URL_INCEPTION_V3}"
        ) from error
    return NetworkEncoder(
        name,
        _FirstOutput(network),
        model="torch-fidelity inception-v3-compat 2048",
        packages=("torch-fidelity",),
        batch_size=settings.batch_size,
        to_input=_to_bytes,
        transform="resize 299 bilinear (TensorFlow 1), scaled to -1 .. 1",
    )


def _to_bytes(images: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).contiguous()


class _FirstOutput(torch.nn.Module):
    def __init__(self, network: torch.nn.Module):
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.network(x)[0]
