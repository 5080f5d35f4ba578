"""Tiny autoencoders as their authors publish them: *_encoder.pth and *_decoder.pth in a folder.

TAESD and its kin (madebyollin/taesd) are diffusers' AutoencoderTiny under other names of tensors.
The one of FLUX.2's latent space (TAEF2) has in its lowest level a branch with group norm that
diffusers' class lacks; it is added here.
"""

from functools import wraps
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderTiny
from diffusers.models.unets.unet_2d_blocks import AutoencoderTinyBlock
from torch import nn

from histosynth.encoders.network import load_weights, read_weights
from histosynth.errors import InputError

WIDTH = 64
SUFFIXES = (".pth", ".safetensors")


class NormedBlock(AutoencoderTinyBlock):
    """A block that first adds to its input what a normalized 1x1 branch makes of it."""

    def __init__(self, width: int) -> None:
        super().__init__(width, width, "relu")
        self.pool = nn.Sequential(
            nn.Conv2d(width, 4 * width, 1, bias=False),
            nn.GroupNorm(4, 4 * width),
            nn.ReLU(),
            nn.Conv2d(4 * width, width, 1, bias=False),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x + self.pool(x))


class NormedAutoencoderTiny(AutoencoderTiny):
    """diffusers' AutoencoderTiny with normalized blocks in the lowest level of both halves."""

    # diffusers reads from the signature what a config may hold
    @wraps(AutoencoderTiny.__init__)  # type: ignore[misc]
    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        for position in (11, 12, 13):
            self.encoder.layers[position] = NormedBlock(WIDTH)
        for position in (2, 3, 4):
            self.decoder.layers[position] = NormedBlock(WIDTH)


def tiny_files(folder: Path) -> tuple[Path, Path] | None:
    """The one pair of files NAME_encoder and NAME_decoder in `folder`, or None."""
    pairs = [
        (encoder, decoder)
        for suffix in SUFFIXES
        for encoder in sorted(folder.glob(f"*_encoder{suffix}"))
        if (decoder := encoder.with_name(encoder.name.replace("_encoder", "_decoder"))).is_file()
    ]
    if len({encoder.stem for encoder, _ in pairs}) > 1:
        names = ", ".join(encoder.name for encoder, _ in pairs)
        raise InputError(f"{folder}: {names}; expected one tiny autoencoder a folder")
    return pairs[0] if pairs else None


def read_tiny_autoencoder(encoder: Path, decoder: Path, *, key: str) -> AutoencoderTiny:
    """Build the autoencoder of two files as published, in float32.

    Parameters
    ----------
    key
        The config key that named their folder, for errors.

    Raises
    ------
    InputError
        The files are of another architecture (one of 8 x 8 pixels a latent is expected).
    """
    # Layers are numbered alike but for the decoder's first, which clamps and has no weights.
    state = {f"encoder.layers.{n}": w.float() for n, w in read_weights(encoder, key=key).items()}
    for name, weight in read_weights(decoder, key=key).items():
        number, _, rest = name.partition(".")
        if not number.isdigit():
            raise InputError(f"{key}: {decoder} has a tensor {name}; expected LAYER.NAME")
        state[f"decoder.layers.{int(number) - 1}.{rest}"] = weight.float()
    first = state.get("decoder.layers.0.weight")
    if first is None or first.ndim != 4:
        raise InputError(f"{key}: {decoder} has no convolution 1.weight: not a tiny autoencoder")
    normed = any(".pool." in name for name in state)
    made = (NormedAutoencoderTiny if normed else AutoencoderTiny)(latent_channels=first.shape[1])
    load_weights(made, state, key=key)
    return made
