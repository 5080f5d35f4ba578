"""What every neural encoder shares: batches, device, precision and the fingerprint."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from histosynth.device import pick_device, versions
from histosynth.encoders.pixels import check_images, describe_transform, resize, to_network_input
from histosynth.errors import InputError


class NetworkEncoder:
    """A torch network as an encoder: eval mode, float32, TF32 off, any batch size alike."""

    def __init__(
        self,
        name: str,
        network: torch.nn.Module,
        *,
        model: str,
        packages: tuple[str, ...],
        input_size: int | None = None,
        normalization: str = "imagenet",
        batch_size: int = 64,
        to_input: Callable[[np.ndarray], torch.Tensor] | None = None,
        transform: str | None = None,
    ):
        """Wrap a network that maps its input to features (n, d).

        Parameters
        ----------
        model
            What the network computes, in words, for the fingerprint.
        packages
            Installed packages whose versions go on record.
        to_input, transform
            How uint8 (n, H, W, 3) becomes the network's input, and that in words; by default
            `input_size` and `normalization` say it.
        """
        self.name = name
        self._device = pick_device()
        self._network = network.eval().requires_grad_(False).to(self._device)
        self._input_size, self._batch_size = input_size, batch_size
        self._to_input = to_input or (lambda images: to_network_input(images, normalization))
        self.fingerprint: dict[str, Any] = {
            "model": model,
            "weights": hash_weights(network.state_dict()),
            "transform": transform or describe_transform(input_size, normalization),
            "dtype": "float32",
            "versions": versions("torch", *packages),
        }
        side = input_size or 64
        self.width = self(np.zeros((1, side, side, 3), np.uint8)).shape[1]

    @torch.inference_mode()
    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Embed uint8 images (n, H, W, 3) to float32 (n, d)."""
        check_images(images, encoder=self.name)
        if len(images) == 0:
            return np.zeros((0, self.width), np.float32)
        parts = []
        # TF32 keeps 10 bits of each product: enough to move a score.
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            for start in range(0, len(images), self._batch_size):
                batch = images[start : start + self._batch_size]
                if self._input_size:
                    batch = resize(batch, self._input_size)
                features = self._network(self._to_input(batch).to(self._device))
                parts.append(features.float().cpu().numpy())
        return np.concatenate(parts)


def hash_weights(state: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 over names, types, shapes and bytes of a state dict, whatever file it came from."""
    digest = hashlib.sha256()
    for key in sorted(state):
        tensor = state[key].detach().cpu().contiguous()
        digest.update(f"{key} {tensor.dtype} {tuple(tensor.shape)};".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def read_weights(path: str | Path, *, key: str) -> dict[str, torch.Tensor]:
    """Read a state dict from a .safetensors or .pth file.

    Common wrappings (``state_dict``, ``model``; names that start with ``module.``) are undone.

    Parameters
    ----------
    key
        The config key that named the file, for errors.

    Raises
    ------
    InputError
        No such file, or not a state dict.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{key}: no weights file {path}; put it there or correct the path")
    state: Any
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise InputError(
            f"{key}: {path} cannot be read as weights ({type(error).__name__}: {error}); expected "
            "a state dict, as .safetensors or as saved by torch.save(model.state_dict(), ...)"
        ) from error
    for wrapping in ("state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(wrapping), dict):
            state = state[wrapping]
    if not (isinstance(state, dict) and state and all(map(torch.is_tensor, state.values()))):
        raise InputError(f"{key}: {path} holds no state dict (names to tensors)")
    return {name.removeprefix("module."): tensor for name, tensor in state.items()}


def load_weights(
    network: torch.nn.Module,
    state: Mapping[str, torch.Tensor],
    *,
    key: str,
    ignored: tuple[str, ...] = (),
) -> None:
    """Load a state dict in full; names that start with one of `ignored` (a head) may be extra.

    Raises
    ------
    InputError
        A tensor is missing, left over or of another shape: half-loaded weights would score too.
    """
    own = network.state_dict()
    missing = sorted(set(own) - set(state))
    extra = sorted(name for name in set(state) - set(own) if not name.startswith(ignored or "\0"))
    shapes = sorted(n for n in set(own) & set(state) if own[n].shape != state[n].shape)
    if missing or extra or shapes:
        found = "; ".join(
            f"{len(names)} {what}, such as {names[0]}"
            for what, names in (("missing", missing), ("left over", extra), ("reshaped", shapes))
            if names
        )
        raise InputError(f"{key}: these weights are not of this model: {found} (tensors)")
    network.load_state_dict({name: state[name] for name in own})
