"""Scores on held-out tiles while a generator trains, and the choice among its averaged weights.

The loss is taken on the same tiles with the same noise and times whenever it is, so that its curve
shows the weights alone. The choice is by kernel distance between samples and real validation tiles
(Karras et al. 2024, arXiv 2312.02696, choose by a distance too): all averages start from the same
noise. Samples are unguided and of few steps, so that the choice depends on no setting of sampling,
which may change without training anew.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from histosynth.conditions.targets import Targets, TilePool
from histosynth.diffusion.autoencoder import (
    Autoencoder,
    autoencoder_fingerprint,
    encode,
    load_autoencoder,
)
from histosynth.diffusion.conditioning import condition_batch, sampling_source
from histosynth.diffusion.draws import StepDraw
from histosynth.diffusion.latent_scaling import scaled
from histosynth.diffusion.latents import LatentCache
from histosynth.diffusion.loop import Validation
from histosynth.diffusion.network import ConditionedNetwork
from histosynth.diffusion.sample import sample_images, seeded_noise
from histosynth.diffusion.throughput import uses_bf16
from histosynth.diffusion.train import batch_loss
from histosynth.encoders import load_encoder
from histosynth.errors import InputError
from histosynth.generator_settings import SOLVERS, SamplingSettings
from histosynth.metrics import kernel_distance

if TYPE_CHECKING:
    import torch

    from histosynth.conditions.spec import ConditionSpec
    from histosynth.config import Study
    from histosynth.diffusion.latents import Whitening
    from histosynth.generator_settings import GeneratorSettings
    from histosynth.tilesets import TileSet

LOSS_TILES = 64  # so few that validating every 200 steps of 16 samples costs under 1 % of them
FEWEST_TILES = 8  # of a kernel distance
STEPS = 10  # of the solver
STREAM = 3  # of random numbers; training draws from others


@dataclass(frozen=True)
class ValidationTiles:
    """Validation tiles with the conditions that they make.

    Attributes
    ----------
    images : uint8 (n, H, W, 3)
    targets : the tiles as targets of the condition's signals
    """

    spec: "ConditionSpec"
    settings: "GeneratorSettings"
    images: np.ndarray
    targets: Targets
    autoencoder: Autoencoder
    whitening: "Whitening"
    device: "torch.device"

    @classmethod
    def of(
        cls,
        spec: "ConditionSpec",
        val: "TileSet",
        study: "Study",
        cache: LatentCache,
        autoencoder: Path | None,
        *,
        clusters: Any = None,
        features: Mapping[str, Path] | None = None,
        device: "torch.device",
    ) -> "ValidationTiles":
        """Read the tiles: all, or as many as a score uses, drawn the same for all conditions.

        Raises
        ------
        InputError
            No autoencoder, or not the one of the latents to train on; or a tile lacks what a signal
            needs.
        """
        if autoencoder is None:
            raise InputError("--val needs --autoencoder: the model that made the latents")
        settings = study.generator_of(spec.name)
        loaded = load_autoencoder(autoencoder, device=device)
        fingerprint = autoencoder_fingerprint(loaded)
        if fingerprint != cache.autoencoder:
            raise InputError(
                f"{cache.folder}: latents of autoencoder {cache.autoencoder[:12]}, but "
                f"{autoencoder} is {fingerprint[:12]}; run scripts/latents.py again"
            )
        pool = TilePool.of(
            val, spec.needs, label_names=study.label_names, clusters=clusters, features=features
        )
        n = min(len(val), max(LOSS_TILES, settings.selection_images))
        rows = np.sort(np.random.default_rng(0).permutation(len(val))[:n])
        return cls(
            spec,
            settings,
            val.images(rows) if n else np.zeros((0, *val.size, 3), np.uint8),
            # A crop comes from another slide among them; where there is none, it stays away.
            Targets(pool, rows, [(0, STREAM, int(row)) for row in rows]),
            loaded,
            scaled(cache, settings.latents).whitening,
            device,
        )

    def __len__(self) -> int:
        return len(self.images)

    def loss(self) -> Validation | None:
        """The mean loss every so many steps; None where the study wants none or has no tiles."""
        if not (self.settings.validate_every and len(self)):
            return None
        return Validation(
            self.settings.validate_every, lambda network: {"loss": self._loss(network)}
        )

    def _loss(self, network: Any) -> float:
        bf16 = uses_bf16(self.settings.precision, self.device)
        total, size = 0.0, self.settings.micro_batch
        size = size if isinstance(size, int) else min(self.settings.batch_size, LOSS_TILES)
        n = min(len(self), LOSS_TILES)
        for start in range(0, n, size):
            some = np.arange(start, min(start + size, n))
            draw = self._draw(network, some)
            conditions = condition_batch(self.spec, self.targets.take(some))
            loss = batch_loss(network, draw, conditions, self.device, bf16=bf16)
            total += float(loss) * len(some)
        return total / n

    def _draw(self, network: ConditionedNetwork, some: np.ndarray) -> StepDraw:
        """Latents, noise and times of some tiles, the same at every call; nothing is withheld."""
        import torch

        latents = self._latents[some]
        times = network.process.draw_times(len(self._latents), np.random.default_rng([0, STREAM]))[
            some
        ]
        return StepDraw(
            rows=self.targets.rows[some],
            flips=np.zeros(len(some), np.int64),
            latents=torch.from_numpy(latents),
            noise=seeded_noise(some, latents.shape[1:]),
            times=torch.from_numpy(times),
            drop=torch.zeros(len(some), len(network.spec.names), dtype=torch.bool),
            seeds=[self.targets.seeds[i] for i in some],
        )

    @cached_property
    def _latents(self) -> np.ndarray:
        mean, _ = encode(self.autoencoder, self.images[:LOSS_TILES])
        return self.whitening.apply(mean)


@dataclass(frozen=True)
class Selection:
    """How averaged weights are told apart.

    Attributes
    ----------
    score : kernel distance of a network's samples; None where it is not taken, as `record` says
    record : what train.json says of it
    """

    score: Callable[[ConditionedNetwork], float] | None
    record: dict[str, Any]

    @classmethod
    def of(cls, tiles: ValidationTiles | None, study: "Study") -> "Selection":
        """By the study's `selection_encoder`, on as many tiles as `selection_images`."""
        if len(study.generator.ema_widths) < 2:
            return cls(None, {"images": 0, "reason": "there are no averages to choose among"})
        wanted = study.generator.selection_images
        found = 0 if tiles is None else len(tiles)
        n = min(found, wanted)
        if tiles is None or n < FEWEST_TILES:
            why = f"{found} validation tiles, and {FEWEST_TILES} are needed"
            if wanted < FEWEST_TILES:
                why = f"generator.selection_images is {wanted}, and {FEWEST_TILES} are needed"
            return cls(None, {"images": 0, "reason": f"the first average is taken: {why}"})
        name = study.selection_encoder
        sampling = SamplingSettings(
            n=n,
            solver=SOLVERS[tiles.settings.target][0],
            steps=STEPS,
            guidance_scale=1.0,
            batch_size=min(n, 32),
        )
        encoder = load_encoder(name, study.encoders[name])
        real = encoder(tiles.images[:n])

        def score(network: ConditionedNetwork) -> float:
            images = sample_images(
                network,
                tiles.autoencoder,
                tiles.whitening,
                sampling_source(tiles.spec, tiles.targets.take(np.arange(n))),
                seeds=np.arange(n),
                settings=sampling,
                device=tiles.device,
            )
            return kernel_distance(real, encoder(images))

        record = {"metric": "kernel_distance", "encoder": name, "images": n, "steps": STEPS}
        return cls(score, record | {"solver": sampling.solver, "guidance_scale": 1.0})
