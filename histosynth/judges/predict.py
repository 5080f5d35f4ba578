"""What a trained network says about images: class maps, or label probabilities."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import nn

_BATCH = 64


def predict_maps(network: nn.Module, images: np.ndarray, *, batch_size: int = _BATCH) -> np.ndarray:
    """The most likely class of every pixel.

    Parameters
    ----------
    images : uint8 (n, H, W, 3)

    Returns
    -------
    uint8 (n, H, W)
    """
    maps = [
        logits.argmax(1).to(torch.uint8).cpu() for logits in _logits(network, images, batch_size)
    ]
    return torch.cat(maps).numpy() if maps else np.zeros(images.shape[:3], np.uint8)


def predict_labels(
    network: nn.Module, images: np.ndarray, *, batch_size: int = _BATCH
) -> np.ndarray:
    """The probability of every label.

    Parameters
    ----------
    images : uint8 (n, H, W, 3), at least one

    Returns
    -------
    float64 (n, labels), rows add up to 1
    """
    probabilities = [
        logits.double().softmax(1).cpu() for logits in _logits(network, images, batch_size)
    ]
    return torch.cat(probabilities).numpy()


@torch.inference_mode()
def _logits(network: nn.Module, images: np.ndarray, batch_size: int) -> Iterator[torch.Tensor]:
    network.eval()
    device = next(network.parameters()).device
    for start in range(0, len(images), batch_size):
        # As in training: grey level g is light (g + 1) / 256.
        batch = torch.from_numpy(images[start : start + batch_size]).to(device)
        pixels = (batch.permute(0, 3, 1, 2).float() + 1) / 256
        yield network(pixels.contiguous(memory_format=torch.channels_last))
