"""Planes joined by a ControlNet branch (Zhang et al., arXiv 2302.05543) instead of as channels.

A copy of the UNet's encoder reads the noisy latent and the planes; zero-initialised 1x1
convolutions add what it finds to the UNet's skip connections and middle block. At the start the
network is the one without planes.
"""

from copy import deepcopy

import torch
from diffusers import ControlNetModel, UNet2DConditionModel
from torch import nn


class ControlBranch(nn.Module):
    """The branch beside `unet`, whose encoder's weights it starts from.

    Parameters
    ----------
    plane_stem
        Brings stacked planes to `width` channels at the latent's resolution.
    """

    def __init__(self, unet: UNet2DConditionModel, plane_stem: nn.Module, width: int) -> None:
        super().__init__()
        self.encoder = ControlNetModel.from_unet(unet)
        # from_unet leaves out an embedding of this kind, and its own stem has three fixed halvings
        self.encoder.class_embedding = deepcopy(unet.class_embedding)
        join = nn.Conv2d(width, unet.config.block_out_channels[0], 1)
        for parameter in join.parameters():
            nn.init.zeros_(parameter)
        self.encoder.controlnet_cond_embedding = nn.Sequential(plane_stem, join)

    def forward(
        self,
        noisy: torch.Tensor,
        times: torch.Tensor,
        tokens: torch.Tensor,
        planes: torch.Tensor,
    ) -> tuple[list[torch.Tensor], torch.Tensor]:
        """What is to be added to the UNet's skip connections, and to its middle block.

        Parameters
        ----------
        times
            As `Process.network_times` gives them.
        tokens
            (b, length, width) of cross-attention; their mean joins the time embedding.
        planes
            (b, channels, H, W) as `planes.stack_planes` gives them.
        """
        return self.encoder(
            noisy,
            times,
            tokens,
            controlnet_cond=planes,
            class_labels=tokens.mean(1),
            return_dict=False,
        )
