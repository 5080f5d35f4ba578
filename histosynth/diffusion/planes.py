"""Plane signals (maps, crops) on their way from the tile's resolution to the latent's."""

from math import log2
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

from histosynth.errors import InputError

if TYPE_CHECKING:
    from histosynth.diffusion.network import ConditionBatch, SignalsSpec
    from histosynth.generator_settings import GeneratorSettings


class BilinearHalving(nn.Module):
    """Half the side by bilinear interpolation, which at this factor is the mean of 2 x 2 pixels."""

    def forward(self, planes: torch.Tensor) -> torch.Tensor:
        return functional.interpolate(planes, scale_factor=0.5, mode="bilinear")


def is_indicated(settings: "GeneratorSettings", signal: str) -> bool:
    """Whether a plane signal has an indicator: a plane of ones where training withholds it."""
    return settings.condition_dropout > 0 or settings.signal_dropout.get(signal, 0.0) > 0


def stack_planes(
    settings: "GeneratorSettings",
    spec: "SignalsSpec",
    conditions: "ConditionBatch",
    withheld: dict[str, torch.Tensor],
) -> torch.Tensor:
    """All plane signals and their indicators as channels, float32 (b, channels, H, W).

    Parameters
    ----------
    withheld
        Signal -> bool (b,): where its planes become zeros under an indicator of ones.
    """
    stacked = []
    for name, count in spec.planes.items():
        given = conditions[name]
        if given.shape[1] != count:
            raise ValueError(f"expected {count} planes of {name}, found {given.shape[1]}")
        absent = withheld[name].to(given.dtype)[:, None, None, None]
        stacked.append(given * (1 - absent))
        if is_indicated(settings, name):
            stacked.append(absent.expand(-1, 1, *given.shape[2:]))
    return torch.cat(stacked, 1)


def plane_stem(
    settings: "GeneratorSettings", spec: "SignalsSpec", *, latent_size: int, tile_size: int
) -> nn.Sequential:
    """What turns stacked planes into `plane_width` channels at the latent's resolution.

    `convolutions`: one strided convolution a halving. `bilinear`: halvings, then one 1x1
    convolution without a bias, as HeteroTissue-Diffuse's code has it.

    Raises
    ------
    InputError
        No power of two lies between the tile's side and the latent's.
    """
    halvings = log2(tile_size / latent_size)
    if halvings != int(halvings) or halvings < 0:
        raise InputError(
            f"tiles of {tile_size} px and latents of {latent_size} px: planes need a power "
            "of two between them; use another autoencoder or tile size"
        )
    channels = sum(count + is_indicated(settings, name) for name, count in spec.planes.items())
    width = settings.plane_width
    if settings.plane_encoder == "bilinear":
        shrink = [BilinearHalving() for _ in range(int(halvings))]
        return nn.Sequential(*shrink, nn.Conv2d(channels, width, 1, bias=False))
    layers: list[nn.Module] = []
    for _ in range(int(halvings)):
        layers += [nn.Conv2d(channels, width, 3, stride=2, padding=1), nn.SiLU()]
        channels = width
    return nn.Sequential(*layers, nn.Conv2d(channels, width, 3, padding=1))
