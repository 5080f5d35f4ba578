"""The denoising network: a diffusers UNet2DConditionModel between plane and token conditions.

Planes (maps, crops) come at the tile's resolution, are reduced to the latent's by a few learned
strided convolutions, and join the noisy latent as channels. Tokens (label, cluster, later vectors
such as an encoder's features or a prompt) are a short sequence for cross-attention. A dropped
condition is a plane of zeros under an indicator channel, and learned null tokens, so that one
network serves classifier-free guidance (Ho and Salimans, arXiv 2207.12598).
"""

from dataclasses import asdict, dataclass, field
from math import log2
from typing import TYPE_CHECKING, Any

import torch
from diffusers import UNet2DConditionModel
from torch import nn

from histosynth.errors import InputError

if TYPE_CHECKING:
    from histosynth.settings import GeneratorSettings

HEAD_WIDTH = 32


@dataclass(frozen=True)
class SignalsSpec:
    """What a condition feeds the network; decides the network's shape.

    Attributes
    ----------
    plane_channels
        Number of planes, 0 for none.
    token_sizes
        Token signal -> number of its values, in the order of the columns of `tokens`.
    vector_widths
        Vector signal -> width of its vectors, e.g. an encoder's features.
    """

    plane_channels: int = 0
    token_sizes: dict[str, int] = field(default_factory=dict)
    vector_widths: dict[str, int] = field(default_factory=dict)

    @property
    def conditional(self) -> bool:
        return bool(self.plane_channels or self.token_sizes or self.vector_widths)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class ConditionBatch:
    """The conditions of a batch of b samples.

    Attributes
    ----------
    planes
        float32 (b, P, H, W) in [-1, 1] at the tile's resolution, or None.
    tokens
        int64 (b, T), one column a token signal, or None.
    vectors
        Vector signal -> float32 (b, width) or (b, length, width).
    """

    planes: torch.Tensor | None = None
    tokens: torch.Tensor | None = None
    vectors: dict[str, torch.Tensor] = field(default_factory=dict)

    def to(self, device: torch.device) -> "ConditionBatch":
        def move(tensor: torch.Tensor | None) -> torch.Tensor | None:
            return None if tensor is None else tensor.to(device, non_blocking=True)

        return ConditionBatch(
            move(self.planes),
            move(self.tokens),
            {name: vector.to(device) for name, vector in self.vectors.items()},
        )

    def repeat(self, times: int) -> "ConditionBatch":
        """The batch `times` over, for guidance in one pass."""

        def tile(tensor: torch.Tensor | None) -> torch.Tensor | None:
            return None if tensor is None else torch.cat([tensor] * times)

        return ConditionBatch(
            tile(self.planes),
            tile(self.tokens),
            {name: torch.cat([vector] * times) for name, vector in self.vectors.items()},
        )


class ConditionedNetwork(nn.Module):
    """Velocity of a noisy latent under conditions; built by `build_network`."""

    def __init__(
        self,
        settings: "GeneratorSettings",
        spec: SignalsSpec,
        *,
        latent_shape: tuple[int, int, int],
        tile_size: int,
    ) -> None:
        super().__init__()
        latent_channels, latent_size = latent_shape[0], latent_shape[1]
        self.settings, self.spec, self.tile_size = settings, spec, tile_size
        self.latent_shape = tuple(latent_shape)
        width = settings.token_width
        plane_width = settings.plane_width if spec.plane_channels else 0
        if spec.plane_channels:
            halvings = log2(tile_size / latent_size)
            if halvings != int(halvings):
                raise InputError(
                    f"tiles of {tile_size} px and latents of {latent_size} px: planes need a power "
                    "of two between them; use another autoencoder or tile size"
                )
            self.plane_stem = _plane_stem(spec.plane_channels + 1, plane_width, int(halvings))
        # The last id of each table is the null token.
        self.token_tables = nn.ModuleDict(
            {name: nn.Embedding(size + 1, width) for name, size in spec.token_sizes.items()}
        )
        self.vector_layers = nn.ModuleDict(
            {name: nn.Linear(size, width) for name, size in spec.vector_widths.items()}
        )
        self.null_vectors = nn.ParameterDict(
            {name: nn.Parameter(torch.zeros(width)) for name in spec.vector_widths}
        )
        if not (spec.token_sizes or spec.vector_widths):
            self.null_token = nn.Parameter(torch.zeros(1, 1, width))
        self.unet = _unet(settings, latent_channels, plane_width, latent_size)

    def forward(
        self,
        noisy: torch.Tensor,
        times: torch.Tensor,
        conditions: ConditionBatch,
        drop: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Predict the velocity noise - latent.

        Parameters
        ----------
        noisy
            (b, c, h, w): (1 - t) latent + t noise.
        times
            (b,) in [0, 1]; 1 is pure noise.
        drop
            (b,) bool: samples whose conditions are withheld; None withholds none.
        """
        if drop is None:
            drop = torch.zeros(len(noisy), dtype=torch.bool, device=noisy.device)
        hidden = noisy
        if self.spec.plane_channels:
            hidden = torch.cat([noisy, self._planes(conditions.planes, drop, noisy)], 1)
        tokens = self._tokens(conditions, drop, len(noisy))
        return self.unet(
            hidden, 1000 * times, tokens, class_labels=tokens.mean(1), return_dict=False
        )[0]

    def _planes(
        self, planes: torch.Tensor | None, drop: torch.Tensor, noisy: torch.Tensor
    ) -> torch.Tensor:
        if planes is None or planes.shape[1] != self.spec.plane_channels:
            found = "none" if planes is None else planes.shape[1]
            raise ValueError(f"expected {self.spec.plane_channels} planes, found {found}")
        dropped = drop.to(planes.dtype)[:, None, None, None]
        indicator = dropped.expand(-1, 1, *planes.shape[2:])
        return self.plane_stem(torch.cat([planes * (1 - dropped), indicator], 1)).to(noisy.dtype)

    def _tokens(self, conditions: ConditionBatch, drop: torch.Tensor, n: int) -> torch.Tensor:
        sequence = []
        for column, (name, size) in enumerate(self.spec.token_sizes.items()):
            assert conditions.tokens is not None, f"no tokens given, expected {name}"
            ids = torch.where(drop, size, conditions.tokens[:, column])
            sequence.append(self.token_tables[name](ids)[:, None])
        for name in self.spec.vector_widths:
            vectors = self.vector_layers[name](conditions.vectors[name])
            vectors = vectors[:, None] if vectors.ndim == 2 else vectors
            sequence.append(torch.where(drop[:, None, None], self.null_vectors[name], vectors))
        return torch.cat(sequence, 1) if sequence else self.null_token.expand(n, -1, -1)


def _plane_stem(channels: int, width: int, halvings: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for _ in range(halvings):
        layers += [nn.Conv2d(channels, width, 3, stride=2, padding=1), nn.SiLU()]
        channels = width
    return nn.Sequential(*layers, nn.Conv2d(channels, width, 3, padding=1))


def _unet(
    settings: "GeneratorSettings", latent_channels: int, plane_width: int, latent_size: int
) -> UNet2DConditionModel:
    channels = tuple(settings.channels)
    levels = len(channels)
    attend = [level >= levels - settings.attention_levels for level in range(levels)]
    if latent_size % 2 ** (levels - 1):
        raise InputError(
            f"generator.channels: {levels} levels need latents divisible by {2 ** (levels - 1)}, "
            f"but they are {latent_size} px wide; use fewer levels or larger tiles"
        )
    groups = next(g for g in (32, 16, 8, 4, 2, 1) if all(c % (2 * g) == 0 for c in channels))
    return UNet2DConditionModel(
        sample_size=latent_size,
        in_channels=latent_channels + plane_width,
        out_channels=latent_channels,
        block_out_channels=channels,
        layers_per_block=settings.layers_per_block,
        down_block_types=tuple("CrossAttnDownBlock2D" if a else "DownBlock2D" for a in attend),
        up_block_types=tuple("CrossAttnUpBlock2D" if a else "UpBlock2D" for a in attend[::-1]),
        cross_attention_dim=settings.token_width,
        # diffusers reads this argument as the number of heads, not as their width
        attention_head_dim=tuple(max(1, c // HEAD_WIDTH) for c in channels),
        norm_num_groups=groups,
        # the tokens' mean also joins the time embedding: it reaches every level, attending or not
        class_embed_type="simple_projection",
        projection_class_embeddings_input_dim=settings.token_width,
    )


def build_network(
    settings: "GeneratorSettings",
    spec: SignalsSpec,
    *,
    latent_shape: tuple[int, int, int],
    tile_size: int,
    seed: int = 0,
) -> ConditionedNetwork:
    """An untrained network with weights drawn from `seed`.

    Parameters
    ----------
    spec
        The planes and tokens that the condition's signals give.
    latent_shape
        Channels, height and width of a latent.
    tile_size
        Side of the planes in pixels.

    Raises
    ------
    InputError
        Latents that the levels or the planes' strided convolutions do not divide.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = ConditionedNetwork(settings, spec, latent_shape=latent_shape, tile_size=tile_size)
    return network.to(memory_format=torch.channels_last)
