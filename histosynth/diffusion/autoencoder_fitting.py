"""Training of an autoencoder on the tiles of the train split: from nothing, or a ready one.

Latent diffusion after Rombach et al. 2022 (arXiv 2112.10752): a KL-regularized convolutional
autoencoder, here without attention. Two terms join the L1 loss: the L1 distance of Fourier
magnitudes, which keeps nuclei from being blurred away where their exact place cannot be told, and
L1 distances at lower resolutions, which keep the stain's hue. A perceptual and an adversarial
term, as first stages are usually trained with, may join.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional

from histosynth.diffusion.adversary import Adversary
from histosynth.diffusion.autoencoder import (
    Autoencoder,
    AutoencoderNetwork,
    autoencoder_fingerprint,
    build_autoencoder,
    resized,
)
from histosynth.diffusion.ema import copy_into
from histosynth.diffusion.loop import Plan, train_loop
from histosynth.diffusion.randomness import SampleRandom
from histosynth.diffusion.state import EpochOrder, ResumableState
from histosynth.encoders.perceptual import PerceptualDistance
from histosynth.errors import InputError

if TYPE_CHECKING:
    from histosynth.generator_settings import AutoencoderSettings

EMA_DECAY = 0.999
DECODER_PARTS = ("decoder.", "post_quant_conv.")
# What the weights do not depend on, or what is told otherwise.
NOT_IN_IDENTITY = {
    "kind",
    "path",
    "subfolder",
    "perceptual",
    "cached_flips",
    "micro_batch",
    "save_every_seconds",
}


@dataclass(frozen=True)
class Inputs:
    """Some samples of a step: crops (b, 3, s, s) in [-1, 1], noise (2, b, c, h, w)."""

    step: int
    position: int
    crops: torch.Tensor
    noise: torch.Tensor


def train_autoencoder(
    images: Sequence[np.ndarray],
    settings: "AutoencoderSettings",
    *,
    state_folder: Path,
    log: Callable[[str], None],
    images_fingerprint: str = "",
    base: Autoencoder | None = None,
    device: str | torch.device | None = None,
) -> tuple[Autoencoder, dict[str, Any]]:
    """Train an autoencoder on random crops, flipped and turned; resumes from `state_folder`.

    Parameters
    ----------
    images
        n arrays (H, W, 3) uint8, or one array (n, H, W, 3); read by index, a crop at a time.
    settings
        `settings.steps` is the budget; the weights do not depend on the clock.
    images_fingerprint
        Names the images; a state trained on others is not resumed.
    base
        A ready autoencoder to go on from, changed in place: all of it, or only its decoder
        (`settings.finetune`). Default: one is drawn from `settings`.

    Returns
    -------
    The autoencoder with its averaged weights, in eval mode on `device`, and a plain dict for the
    record: loss curve, seconds, images a second, device, peak memory.

    Raises
    ------
    InputError
        A tile smaller than the crop, a side the halvings do not divide, or a state of a run
        with other settings.
    """
    device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if len(images) == 0:
        raise InputError("autoencoder: no train images; loosen the tiling's rules or add slides")
    tile_size = images[0].shape[0]
    autoencoder = base or build_autoencoder(settings, tile_size=tile_size)
    autoencoder = autoencoder.to(device).to(memory_format=torch.channels_last)
    crop = _crop_side(autoencoder, tile_size, settings)
    if base is not None and settings.finetune == "decoder":
        for name, parameter in autoencoder.network.named_parameters():
            parameter.requires_grad_(name.startswith(DECODER_PARTS))
    order = EpochOrder(len(images), settings.batch_size, seed=settings.seed)
    loss = AutoencoderLoss(autoencoder.network, settings, device)
    identity = settings.model_dump(mode="json", exclude=NOT_IN_IDENTITY)
    identity |= {"images": images_fingerprint, "n_images": len(images)} | loss.identity
    identity["base"] = autoencoder_fingerprint(base) if base is not None else None

    def inputs_of(step: int, positions: range) -> Inputs:
        rows = order.rows(step)[positions.start : positions.stop]
        crops = _random_crops(
            images,
            rows,
            SampleRandom(settings.seed, step, positions, stream=1),
            crop=crop,
            resolution=autoencoder.resolution,
        )
        channels, side = autoencoder.latent_channels, crop // autoencoder.downsampling
        random = SampleRandom(settings.seed, step, positions, stream=2)
        noise = random.standard_normal((len(rows), 2, channels, side, side), dtype=np.float32)
        return Inputs(step, positions.start, crops, torch.from_numpy(noise).transpose(0, 1))

    trained = train_loop(
        autoencoder.network,
        inputs_of,
        loss,
        plan=Plan(
            steps=settings.steps,
            batch_size=settings.batch_size,
            learning_rate=settings.learning_rate,
            warmup_steps=settings.warmup_steps,
            ema_decay=EMA_DECAY,
            micro_batch=settings.micro_batch,
        ),
        names_of=lambda step: [f"row {row}" for row in order.rows(step)],
        state=ResumableState(
            state_folder, identity, every_seconds=settings.save_every_seconds, log=log
        ),
        name="autoencoder",
        log=log,
        parts=loss.parts,
        after_step=loss.adversary.learn if loss.adversary else None,
    )
    copy_into(autoencoder.network, next(iter(trained.averages.values())))
    return autoencoder.eval(), trained.record


class AutoencoderLoss:
    """The loss of some crops under a network's present weights."""

    def __init__(
        self, network: AutoencoderNetwork, settings: "AutoencoderSettings", device: torch.device
    ) -> None:
        self.network, self.settings, self.device = network, settings, device
        self.encoder_trains = next(network.encoder.parameters()).requires_grad
        self.perceptual: PerceptualDistance | None = None
        if settings.perceptual and settings.perceptual.weight:
            weights = settings.perceptual.weights
            self.perceptual = PerceptualDistance(weights, key="autoencoder.perceptual.weights")
            self.perceptual = self.perceptual.to(device)
        self.adversary: Adversary | None = None
        if settings.adversarial_weight:
            start, seed = settings.adversarial_start, settings.seed
            self.adversary = Adversary(start=start, seed=seed, device=device)

    @property
    def parts(self) -> dict[str, Any]:
        """What else a step changes."""
        if self.adversary is None:
            return {}
        return {
            "discriminator": self.adversary.discriminator,
            "discriminator_optimizer": self.adversary.optimizer,
        }

    @property
    def identity(self) -> dict[str, Any]:
        """What the weights depend on through frozen networks."""
        if self.perceptual is None or self.settings.perceptual is None:
            return {"perceptual": None}
        return {"perceptual": [self.perceptual.fingerprint, self.settings.perceptual.weight]}

    def __call__(self, inputs: Inputs) -> torch.Tensor:
        settings = self.settings
        crops = inputs.crops.to(self.device, memory_format=torch.channels_last, non_blocking=True)
        noise = inputs.noise.to(self.device, non_blocking=True)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            with torch.set_grad_enabled(self.encoder_trains):
                latents, divergence = self._encode(crops, noise[0])
            # the decoder learns to read latents that are a little off, as a generator's are
            spread = latents.detach().float().std()
            output = self.network.decode(latents + settings.latent_noise * spread * noise[1])
        decoded = output.sample.float()
        loss = reconstruction_loss(decoded, crops, settings) + settings.kl_weight * divergence
        commitment = getattr(output, "commit_loss", None)  # a VQModel's: draws the codebook near
        if commitment is not None:
            loss = loss + commitment.float().mean()
        if self.perceptual and settings.perceptual:
            loss = loss + settings.perceptual.weight * self.perceptual(decoded, crops).mean()
        if self.adversary:
            objection = self.adversary.objection(inputs.step, inputs.position, crops, decoded)
            loss = loss + settings.adversarial_weight * objection
        return loss

    def _encode(
        self, crops: torch.Tensor, noise: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor | float]:
        """Latents drawn from the posterior, and its divergence; of one point, where it is none."""
        encoded = self.network.encode(crops)
        if not hasattr(encoded, "latent_dist"):
            return encoded.latents, 0.0
        posterior = encoded.latent_dist
        return posterior.mean + posterior.std * noise, posterior.kl().float().mean()


def reconstruction_loss(
    decoded: torch.Tensor, target: torch.Tensor, settings: "AutoencoderSettings"
) -> torch.Tensor:
    """L1 of pixels, Fourier magnitudes and lower resolutions, of batches (b, 3, h, w)."""
    error = decoded - target
    loss = error.abs().mean()
    if settings.fourier_weight:
        spectra = [torch.fft.rfft2(x, norm="ortho").abs() for x in (decoded, target)]
        loss = loss + settings.fourier_weight * (spectra[0] - spectra[1]).abs().mean()
    if settings.pooled_weight:
        for _ in range(3):
            error = functional.avg_pool2d(error, 2)
            loss = loss + settings.pooled_weight * error.abs().mean()
    return loss


def _crop_side(autoencoder: Autoencoder, tile_size: int, settings: "AutoencoderSettings") -> int:
    """The side of the crops, at the network's resolution."""
    autoencoder.check_side(tile_size)
    side = autoencoder.resolution or tile_size
    crop = min(settings.crop or side, side)
    if crop % autoencoder.downsampling:
        raise InputError(
            f"autoencoder.crop: {crop} px, but the autoencoder halves until "
            f"{autoencoder.downsampling} px are one latent; take a multiple of that"
        )
    return crop


def _random_crops(
    images: Sequence[np.ndarray],
    rows: np.ndarray,
    random: SampleRandom,
    *,
    crop: int,
    resolution: int | None,
) -> torch.Tensor:
    """Random crops in one of the eight flips and turns, float32 (b, 3, crop, crop) in [-1, 1]."""
    crops = []
    for row, draw in zip(rows, random.generators, strict=True):
        pixels = torch.from_numpy(np.array(images[row])).permute(2, 0, 1)
        if resolution is not None:
            pixels = resized(pixels[None].float(), resolution)[0]
        y = int(draw.integers(pixels.shape[1] - crop + 1))
        x = int(draw.integers(pixels.shape[2] - crop + 1))
        part = torch.rot90(pixels[:, y : y + crop, x : x + crop], int(draw.integers(4)), (1, 2))
        crops.append(part.flip(2) if draw.random() < 0.5 else part)
    batch = torch.stack(crops).float().div_(127.5).sub_(1)
    return batch.contiguous(memory_format=torch.channels_last)
