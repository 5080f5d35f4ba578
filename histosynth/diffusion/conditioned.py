"""Architecture `conditioned`: a diffusers UNet2DConditionModel between planes and tokens.

Planes (maps, crops) join the noisy latent as channels, or the UNet through a ControlNet branch.
Tokens (label, cluster, and vectors such as an encoder's features) are a short sequence for
cross-attention. A withheld condition is a plane of zeros under an indicator channel, and learned
null tokens: one network serves classifier-free guidance (Ho and Salimans, arXiv 2207.12598).
"""

from typing import TYPE_CHECKING, Any

import torch
from diffusers import UNet2DConditionModel
from torch import nn

from histosynth.diffusion.control import ControlBranch
from histosynth.diffusion.network import (
    ConditionBatch,
    ConditionedNetwork,
    Prepared,
    check_levels,
    norm_groups,
)
from histosynth.diffusion.planes import plane_stem, stack_planes
from histosynth.diffusion.vectors import Statistics, VectorLayer

if TYPE_CHECKING:
    from histosynth.generator_settings import GeneratorSettings


class CrossAttentionNetwork(ConditionedNetwork):
    """Any signals, each of which can be withheld alone."""

    def build(self, origin: dict[str, Any] | None) -> None:
        settings, spec, latent_shape = self.settings, self.spec, self.latent_shape
        latent_channels, latent_size = latent_shape[0], latent_shape[1]
        check_levels(settings.channels, latent_size)
        width = settings.token_width
        concatenated = bool(spec.planes) and settings.planes_join == "concat"
        if concatenated:
            self.plane_stem = plane_stem(
                settings, spec, latent_size=latent_size, tile_size=self.tile_size
            )
        # The last id of each table is the null token.
        self.token_tables = nn.ModuleDict(
            {name: nn.Embedding(size + 1, width) for name, size in spec.tokens.items()}
        )
        self.vector_layers = nn.ModuleDict(
            {name: VectorLayer(size, width) for name, size in spec.vectors.items()}
        )
        self.null_vectors = nn.ParameterDict(
            {name: nn.Parameter(torch.zeros(width)) for name in spec.vectors}
        )
        for name in spec.added:
            layer = self.token_tables[name] if name in spec.tokens else self.vector_layers[name]
            for parameter in layer.parameters():
                nn.init.zeros_(parameter)
        if not {*spec.tokens, *spec.vectors}.difference(spec.added):
            self.null_token = nn.Parameter(torch.zeros(1, 1, width))
        channels = latent_channels + (settings.plane_width if concatenated else 0)
        self.unet = _unet(settings, channels, latent_channels, latent_size)
        self.control: ControlBranch | None = None
        if spec.planes and not concatenated:
            stem = plane_stem(settings, spec, latent_size=latent_size, tile_size=self.tile_size)
            self.control = ControlBranch(self.unet, stem, settings.plane_width)

    def prepare(self, conditions: ConditionBatch, drop: torch.Tensor) -> Prepared:
        withheld = self.withheld(drop)
        planes = None
        if self.spec.planes:
            planes = stack_planes(self.settings, self.spec, conditions, withheld)
            if self.control is None:
                planes = self.plane_stem(planes)
        return Prepared(planes, self._tokens(conditions, withheld, len(drop)))

    def denoise(self, noisy: torch.Tensor, times: torch.Tensor, prepared: Prepared) -> torch.Tensor:
        planes, tokens = prepared.planes, prepared.tokens
        assert tokens is not None
        network_times = self.process.network_times(times)
        hidden, skips, middle = noisy, None, None
        if self.control is not None:
            skips, middle = self.control(noisy, network_times, tokens, planes)
        elif planes is not None:
            hidden = torch.cat([noisy, planes.to(noisy.dtype)], 1)
        return self.unet(
            hidden,
            network_times,
            tokens,
            class_labels=tokens.mean(1),
            down_block_additional_residuals=skips,
            mid_block_additional_residual=middle,
            return_dict=False,
        )[0]

    def standardise(self, statistics: Statistics) -> None:
        for name, (mean, spread) in statistics.items():
            layer = self.vector_layers[name]
            assert isinstance(layer, VectorLayer)
            layer.standardise(mean, spread)

    def _tokens(
        self, conditions: ConditionBatch, withheld: dict[str, torch.Tensor], n: int
    ) -> torch.Tensor:
        sequences = {}
        for name, size in self.spec.tokens.items():
            ids = torch.where(withheld[name], size, conditions[name])
            sequences[name] = self.token_tables[name](ids)[:, None]
        for name in self.spec.vectors:
            vectors = self.vector_layers[name](conditions[name])
            vectors = vectors[:, None] if vectors.ndim == 2 else vectors
            null = self.null_vectors[name]
            sequences[name] = torch.where(withheld[name][:, None, None], null, vectors)
        own = [tokens for name, tokens in sequences.items() if name not in self.spec.added]
        sequence = torch.cat(own, 1) if own else self.null_token.expand(n, -1, -1)
        for name in self.spec.added:
            # Each token under each shift. Zeros only repeat the tokens, all as often, which
            # changes neither attention over them nor their mean.
            sequence = (sequence[:, None] + sequences[name][:, :, None]).flatten(1, 2)
        return sequence


def _unet(
    settings: "GeneratorSettings", in_channels: int, out_channels: int, latent_size: int
) -> UNet2DConditionModel:
    channels = tuple(settings.channels)
    levels = len(channels)
    attend = [level >= levels - settings.attention_levels for level in range(levels)]
    return UNet2DConditionModel(
        sample_size=latent_size,
        in_channels=in_channels,
        out_channels=out_channels,
        block_out_channels=channels,
        layers_per_block=settings.layers_per_block,
        down_block_types=tuple("CrossAttnDownBlock2D" if a else "DownBlock2D" for a in attend),
        up_block_types=tuple("CrossAttnUpBlock2D" if a else "UpBlock2D" for a in attend[::-1]),
        cross_attention_dim=settings.token_width,
        # diffusers reads this argument as the number of heads, not as their width
        attention_head_dim=tuple(max(1, c // settings.head_width) for c in channels),
        norm_num_groups=norm_groups(channels),
        # the tokens' mean also joins the time embedding: it reaches every level, attending or not
        class_embed_type="simple_projection",
        projection_class_embeddings_input_dim=settings.token_width,
    )
