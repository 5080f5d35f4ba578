"""The denoising network: a diffusers UNet2DConditionModel between plane and token conditions.

Planes (maps, crops) come at the tile's resolution, are reduced to the latent's by a few learned
strided convolutions, and join the noisy latent as channels. Tokens (label, cluster, and vectors
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

from histosynth.diffusion.process import Process
from histosynth.errors import InputError

if TYPE_CHECKING:
    from histosynth.generator_settings import GeneratorSettings

HEAD_WIDTH = 32


@dataclass(frozen=True)
class SignalsSpec:
    """What a condition feeds the network; decides the network's shape.

    Attributes
    ----------
    planes
        Plane signal -> number of its planes.
    tokens
        Token signal -> number of its values.
    vectors
        Vector signal -> width of its vectors, e.g. an encoder's features.
    fingerprints
        Signal -> what names the frozen network that its vectors are made with, where one is:
        another network's vectors mean something else.
    added
        Token and vector signals that the model from which training started did not have: they
        shift its tokens, at first by nothing.
    """

    planes: dict[str, int] = field(default_factory=dict)
    tokens: dict[str, int] = field(default_factory=dict)
    vectors: dict[str, int] = field(default_factory=dict)
    fingerprints: dict[str, str] = field(default_factory=dict)
    added: list[str] = field(default_factory=list)

    @property
    def names(self) -> list[str]:
        """The signals in the order of the columns of `drop`: planes, tokens, vectors."""
        return [*self.planes, *self.tokens, *self.vectors]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class ConditionBatch:
    """The conditions of a batch of b samples, by signal.

    Attributes
    ----------
    values
        Of a plane signal float32 (b, P, H, W) in [-1, 1] at the tile's resolution; of a token
        signal int64 (b,); of a vector signal float32 (b, width) or (b, length, width).
    nulls
        Of a vector signal that names one, what stands for it where it is withheld, float32
        (width,) or (length, width); a network that learns its own null does not look.
    """

    values: dict[str, torch.Tensor] = field(default_factory=dict)
    nulls: dict[str, torch.Tensor] = field(default_factory=dict)

    def to(self, device: torch.device) -> "ConditionBatch":
        return ConditionBatch(
            {name: value.to(device, non_blocking=True) for name, value in self.values.items()},
            {name: null.to(device, non_blocking=True) for name, null in self.nulls.items()},
        )

    def repeat(self, times: int) -> "ConditionBatch":
        """The batch `times` over, for guidance in one pass."""
        return ConditionBatch(
            {name: torch.cat([value] * times) for name, value in self.values.items()}, self.nulls
        )

    def __getitem__(self, signal: str) -> torch.Tensor:
        if signal not in self.values:
            given = ", ".join(self.values) or "none"
            raise ValueError(f"the network needs the signal {signal}; given: {given}")
        return self.values[signal]


class ConditionedNetwork(nn.Module):
    """Predicts a process's target from a noisy latent and conditions; see `build_network`."""

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
        self.process = Process(settings)
        width = settings.token_width
        plane_width = settings.plane_width if spec.planes else 0
        if spec.planes:
            halvings = log2(tile_size / latent_size)
            if halvings != int(halvings):
                raise InputError(
                    f"tiles of {tile_size} px and latents of {latent_size} px: planes need a power "
                    "of two between them; use another autoencoder or tile size"
                )
            channels = sum(planes + 1 for planes in spec.planes.values())  # + 1: the indicator
            self.plane_stem = _plane_stem(channels, plane_width, int(halvings))
        # The last id of each table is the null token.
        self.token_tables = nn.ModuleDict(
            {name: nn.Embedding(size + 1, width) for name, size in spec.tokens.items()}
        )
        self.vector_layers = nn.ModuleDict(
            {name: nn.Linear(size, width) for name, size in spec.vectors.items()}
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
        self.unet = _unet(settings, latent_channels, plane_width, latent_size)

    def forward(
        self,
        noisy: torch.Tensor,
        times: torch.Tensor,
        conditions: ConditionBatch,
        drop: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Predict the process's target, (b, c, h, w).

        Parameters
        ----------
        noisy
            (b, c, h, w): the process's x_t.
        times
            (b,) in [0, 1]; 1 is pure noise.
        drop
            (b, S) bool in the order of `spec.names`: signals that are withheld from a sample;
            None withholds none.
        """
        if drop is None:
            drop = torch.zeros(
                len(noisy), len(self.spec.names), dtype=torch.bool, device=noisy.device
            )
        dropped = dict(zip(self.spec.names, drop.unbind(1), strict=True))
        hidden = noisy
        if self.spec.planes:
            hidden = torch.cat([noisy, self._planes(conditions, dropped).to(noisy.dtype)], 1)
        tokens = self._tokens(conditions, dropped, len(noisy))
        return self.unet(
            hidden,
            self.process.network_times(times),
            tokens,
            class_labels=tokens.mean(1),
            return_dict=False,
        )[0]

    def _planes(self, conditions: ConditionBatch, dropped: dict[str, torch.Tensor]) -> torch.Tensor:
        planes = []
        for name, count in self.spec.planes.items():
            given = conditions[name]
            if given.shape[1] != count:
                raise ValueError(f"expected {count} planes of {name}, found {given.shape[1]}")
            withheld = dropped[name].to(given.dtype)[:, None, None, None]
            indicator = withheld.expand(-1, 1, *given.shape[2:])
            planes += [given * (1 - withheld), indicator]
        return self.plane_stem(torch.cat(planes, 1))

    def _tokens(
        self, conditions: ConditionBatch, dropped: dict[str, torch.Tensor], n: int
    ) -> torch.Tensor:
        sequences = {}
        for name, size in self.spec.tokens.items():
            ids = torch.where(dropped[name], size, conditions[name])
            sequences[name] = self.token_tables[name](ids)[:, None]
        for name in self.spec.vectors:
            vectors = self.vector_layers[name](conditions[name])
            vectors = vectors[:, None] if vectors.ndim == 2 else vectors
            null = self.null_vectors[name]
            sequences[name] = torch.where(dropped[name][:, None, None], null, vectors)
        own = [tokens for name, tokens in sequences.items() if name not in self.spec.added]
        sequence = torch.cat(own, 1) if own else self.null_token.expand(n, -1, -1)
        for name in self.spec.added:
            # Each token under each shift. Zeros only repeat the tokens, all as often, which
            # changes neither attention over them nor their mean.
            sequence = (sequence[:, None] + sequences[name][:, :, None]).flatten(1, 2)
        return sequence


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
