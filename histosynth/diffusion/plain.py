"""Architecture `plain`: a diffusers UNet2DModel that knows planes only.

The network of HeteroTissue-Diffuse's code (arXiv 2509.17847): planes join the noisy latent as
channels, and self-attention stands in the middle block only. (Their configuration lists attention
at 32, 16 and 8, which their UNet compares with its downsampling rates 1, 2 and 4: none matches.)
"""

from typing import Any

import torch
from diffusers import UNet2DModel
from diffusers.models.attention_processor import Attention
from diffusers.models.resnet import ResnetBlock2D
from torch import nn

from histosynth.diffusion.network import (
    ConditionBatch,
    ConditionedNetwork,
    Prepared,
    check_levels,
    norm_groups,
)
from histosynth.diffusion.planes import plane_stem, stack_planes
from histosynth.errors import InputError


class PlainNetwork(ConditionedNetwork):
    """Noisy latent and planes through one UNet; unconditional where there are no planes."""

    def build(self, origin: dict[str, Any] | None) -> None:
        settings, spec, latent_shape = self.settings, self.spec, self.latent_shape
        others = [*spec.tokens, *spec.vectors]
        if others:
            raise InputError(
                f"signal {others[0]!r} is no plane, and generator.architecture: plain (preset "
                f"{settings.preset}) takes planes only; set architecture: conditioned"
            )
        channels, side = latent_shape[0], latent_shape[1]
        check_levels(settings.channels, side)
        if spec.planes:
            self.plane_stem = plane_stem(settings, spec, latent_size=side, tile_size=self.tile_size)
        levels = len(settings.channels)
        self.unet = UNet2DModel(
            sample_size=side,
            in_channels=channels + (settings.plane_width if spec.planes else 0),
            out_channels=channels,
            block_out_channels=tuple(settings.channels),
            layers_per_block=settings.layers_per_block,
            down_block_types=("DownBlock2D",) * levels,
            up_block_types=("UpBlock2D",) * levels,
            attention_head_dim=min(settings.head_width, settings.channels[-1]),
            norm_num_groups=norm_groups(settings.channels),
        )
        self._start_blocks_as_identities()

    def prepare(self, conditions: ConditionBatch, drop: torch.Tensor) -> Prepared:
        if not self.spec.planes:
            return Prepared()
        planes = stack_planes(self.settings, self.spec, conditions, self.withheld(drop))
        return Prepared(self.plane_stem(planes))

    def denoise(self, noisy: torch.Tensor, times: torch.Tensor, prepared: Prepared) -> torch.Tensor:
        hidden = noisy
        if prepared.planes is not None:
            hidden = torch.cat([noisy, prepared.planes.to(noisy.dtype)], 1)
        return self.unet(hidden, self.process.network_times(times), return_dict=False)[0]

    def _start_blocks_as_identities(self) -> None:
        """Zero the last layer of every block and of the network, as latent diffusion's UNet is."""
        for module in self.unet.modules():
            if isinstance(module, ResnetBlock2D):
                _zero(module.conv2)
            elif isinstance(module, Attention):
                _zero(module.to_out[0])
        _zero(self.unet.conv_out)


def _zero(layer: nn.Module) -> None:
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
