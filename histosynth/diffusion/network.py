"""What every denoising network is given and gives, and the one place that makes them.

An architecture is a file with a `ConditionedNetwork` in it and a line in `build_network`.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from histosynth.diffusion.process import Process
from histosynth.diffusion.vectors import Statistics
from histosynth.errors import InputError

if TYPE_CHECKING:
    from histosynth.generator_settings import GeneratorSettings


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

    def pinned(self) -> "ConditionBatch":
        """In page-locked memory, which a CUDA device copies from without waiting."""
        return ConditionBatch(
            {name: value.pin_memory() for name, value in self.values.items()},
            {name: null.pin_memory() for name, null in self.nulls.items()},
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


@dataclass(frozen=True)
class Prepared:
    """What the network makes of a batch's conditions: the same at every time.

    Attributes
    ----------
    planes
        What joins the noisy latent or a branch, (b, channels, h, w); None without plane signals.
    tokens
        What cross-attention reads, (b, length, width); None where there is none.
    """

    planes: torch.Tensor | None = None
    tokens: torch.Tensor | None = None


class ConditionedNetwork(nn.Module, ABC):
    """Predicts a process's target from a noisy latent and conditions; see `build_network`.

    Attributes
    ----------
    origin : what a pretrained network was made of, to build it again; None for one of ours
    """

    def __init__(
        self,
        settings: "GeneratorSettings",
        spec: SignalsSpec,
        *,
        latent_shape: tuple[int, int, int],
        tile_size: int,
        origin: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.settings, self.spec, self.tile_size = settings, spec, tile_size
        self.origin = origin
        self.latent_shape = latent_shape
        self.process = Process(settings)
        self.build(origin)

    @abstractmethod
    def build(self, origin: dict[str, Any] | None) -> None:
        """Make the layers, by what `__init__` was given.

        Raises
        ------
        InputError
            Latents or signals that the architecture does not take.
        """

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
            names = len(self.spec.names)
            drop = torch.zeros(len(noisy), names, dtype=torch.bool, device=noisy.device)
        return self.denoise(noisy, times, self.prepare(conditions, drop))

    @abstractmethod
    def prepare(self, conditions: ConditionBatch, drop: torch.Tensor) -> Prepared:
        """The part of `forward` that does not depend on time, done once for all steps."""

    @abstractmethod
    def denoise(self, noisy: torch.Tensor, times: torch.Tensor, prepared: Prepared) -> torch.Tensor:
        """The rest of `forward`."""

    def withheld(self, drop: torch.Tensor) -> dict[str, torch.Tensor]:
        """Signal -> bool (b,), from the `drop` of `forward`."""
        return dict(zip(self.spec.names, drop.unbind(1), strict=True))

    def standardise(self, statistics: Statistics) -> None:
        """Set by which mean and spread vectors are standardised, before training."""
        if statistics:
            raise InputError(
                f"generator.architecture: {self.settings.architecture} does not standardise "
                f"vectors, as the signal {', '.join(statistics)} needs; take conditioned"
            )

    def weights_to_save(self) -> dict[str, torch.Tensor]:
        """Name -> weight, of all that training may have changed."""
        return self.state_dict()

    def load_weights(self, weights: dict[str, torch.Tensor]) -> None:
        """Take what `weights_to_save` gave."""
        self.load_state_dict(weights)


def check_levels(channels: Sequence[int], latent_size: int) -> None:
    """Refuse (`InputError`) latents whose side the levels' halvings do not divide."""
    levels = len(channels)
    if latent_size % 2 ** (levels - 1):
        raise InputError(
            f"generator.channels: {levels} levels need latents divisible by {2 ** (levels - 1)}, "
            f"but they are {latent_size} px wide; use fewer levels or larger tiles"
        )


def norm_groups(channels: Sequence[int]) -> int:
    """The largest number of groups that divides all levels, each of at least two channels."""
    return next(g for g in (32, 16, 8, 4, 2, 1) if all(c % (2 * g) == 0 for c in channels))


def build_network(
    settings: "GeneratorSettings",
    spec: SignalsSpec,
    *,
    latent_shape: tuple[int, int, int],
    tile_size: int,
    seed: int = 0,
    origin: dict[str, Any] | None = None,
) -> ConditionedNetwork:
    """An untrained network with weights drawn from `seed`, or the pretrained one.

    Parameters
    ----------
    spec
        The planes and tokens that the condition's signals give.
    latent_shape
        Channels, height and width of a latent.
    tile_size
        Side of the planes in pixels.
    origin
        Of a network that was saved, its `origin`: what a pretrained one was made of.

    Raises
    ------
    InputError
        Latents that the levels' halvings do not divide, or a signal that the
        architecture does not take.
    """
    made = _architecture(settings.architecture)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = made(
            settings, spec, latent_shape=latent_shape, tile_size=tile_size, origin=origin
        )
    return network.to(memory_format=torch.channels_last)


def _architecture(name: str) -> type[ConditionedNetwork]:
    if name == "plain":
        from histosynth.diffusion.plain import PlainNetwork

        return PlainNetwork
    if name == "pretrained":
        from histosynth.diffusion.pretrained import PretrainedNetwork

        return PretrainedNetwork
    from histosynth.diffusion.conditioned import CrossAttentionNetwork

    return CrossAttentionNetwork
