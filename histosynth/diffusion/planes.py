"""Plane signals (maps, crops) on their way from the tile's resolution to the latent's."""

from math import floor, log2
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

if TYPE_CHECKING:
    from histosynth.diffusion.network import ConditionBatch, SignalsSpec
    from histosynth.generator_settings import GeneratorSettings


class BilinearHalving(nn.Module):
    """Half the side by bilinear interpolation, which at this factor is the mean of 2 x 2 pixels."""

    def forward(self, planes: torch.Tensor) -> torch.Tensor:
        return functional.interpolate(planes, scale_factor=0.5, mode="bilinear")


class PlaneStem(nn.Sequential):
    """Layers for planes of a certain side, to which others are brought first, bilinearly.

    Planes are of the tile's side; where an autoencoder sees tiles at a resolution of its own, no
    whole number of halvings need lie between that and the latent's.
    """

    def __init__(self, *layers: nn.Module, side: int) -> None:
        super().__init__(*layers)
        self.side = side

    def forward(self, planes: torch.Tensor) -> torch.Tensor:
        if planes.shape[-1] != self.side:
            size = (self.side, self.side)
            planes = functional.interpolate(planes, size=size, mode="bilinear", antialias=True)
        return super().forward(planes)


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
) -> PlaneStem:
    """What turns stacked planes into `plane_width` channels at the latent's resolution.

    `convolutions`: one strided convolution a halving. `bilinear`: halvings, then one 1x1
    convolution without a bias, as HeteroTissue-Diffuse's code has it.
    """
    halvings = max(0, floor(log2(tile_size / latent_size)))
    side = latent_size * 2**halvings
    channels = sum(count + is_indicated(settings, name) for name, count in spec.planes.items())
    width = settings.plane_width
    if settings.plane_encoder == "bilinear":
        shrink = [BilinearHalving() for _ in range(halvings)]
        return PlaneStem(*shrink, nn.Conv2d(channels, width, 1, bias=False), side=side)
    layers: list[nn.Module] = []
    for _ in range(halvings):
        layers += [nn.Conv2d(channels, width, 3, stride=2, padding=1), nn.SiLU()]
        channels = width
    return PlaneStem(*layers, nn.Conv2d(channels, width, 3, padding=1), side=side)
