"""Training of an autoencoder on the tiles of the train split.

Latent diffusion after Rombach et al. 2022 (arXiv 2112.10752): a KL-regularized convolutional
autoencoder, here without attention. Two terms join the L1 loss: the L1 distance of Fourier
magnitudes, which keeps nuclei from being blurred away where their exact place cannot be told, and
L1 distances at lower resolutions, which keep the stain's hue.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional

from histosynth.diffusion.autoencoder import Autoencoder, build_autoencoder, to_network_range
from histosynth.diffusion.ema import copy_into
from histosynth.diffusion.loop import Plan, train_loop
from histosynth.diffusion.randomness import SampleRandom
from histosynth.diffusion.state import EpochOrder, ResumableState
from histosynth.errors import InputError

if TYPE_CHECKING:
    from histosynth.generator_settings import AutoencoderSettings

EMA_DECAY = 0.999


def train_autoencoder(
    images: Sequence[np.ndarray],
    settings: "AutoencoderSettings",
    *,
    state_folder: Path,
    log: Callable[[str], None],
    images_fingerprint: str = "",
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
    _check_images(images, settings)
    autoencoder = build_autoencoder(settings, tile_size=images[0].shape[0])
    autoencoder = autoencoder.to(device, memory_format=torch.channels_last)
    network = autoencoder.network
    order = EpochOrder(len(images), settings.batch_size, seed=settings.seed)
    identity = settings.model_dump(mode="json", exclude={"kind", "path", "save_every_seconds"})
    identity |= {"images": images_fingerprint, "n_images": len(images)}

    def inputs_of(step: int, positions: range) -> tuple[torch.Tensor, torch.Tensor]:
        rows = order.rows(step)[positions.start : positions.stop]
        batch = _training_batch(images, rows, settings, step, positions)
        return batch, _latent_noise(batch, settings, step, positions)

    def loss_of(inputs: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        batch, noise = (part.to(device) for part in inputs)
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            posterior = network.encode(batch).latent_dist
            latents = posterior.mean + posterior.std * noise[:, 0]
            # the decoder learns to read latents that are a little off, as a generator's are
            spread = latents.detach().float().std()
            decoded = network.decode(latents + settings.latent_noise * spread * noise[:, 1]).sample
        divergence = posterior.kl().float().mean()
        return _reconstruction_loss(decoded.float(), batch, settings) + (
            settings.kl_weight * divergence
        )

    trained = train_loop(
        autoencoder,
        inputs_of,
        loss_of,
        plan=Plan(
            steps=settings.steps,
            batch_size=settings.batch_size,
            learning_rate=settings.learning_rate,
            warmup_steps=settings.warmup_steps,
            ema_decay=EMA_DECAY,
        ),
        names_of=lambda step: [f"row {row}" for row in order.rows(step)],
        state=ResumableState(
            state_folder, identity, every_seconds=settings.save_every_seconds, log=log
        ),
        name="autoencoder",
        log=log,
    )
    copy_into(autoencoder, next(iter(trained.averages.values())))
    return autoencoder, trained.record


def _check_images(images: Sequence[np.ndarray], settings: "AutoencoderSettings") -> None:
    if len(images) == 0:
        raise InputError("autoencoder: no train images; loosen the tiling's rules or add slides")
    height, width = images[0].shape[:2]
    halvings = 2 ** (len(settings.channels) - 1)
    crop = min(settings.crop or height, height, width)
    for name, side in (("tile height", height), ("tile width", width), ("autoencoder.crop", crop)):
        if side % halvings:
            raise InputError(
                f"autoencoder.channels: {len(settings.channels)} levels need sides divisible by "
                f"{halvings}, but the {name} is {side}; change the tile size, crop or levels"
            )


def _training_batch(
    images: Sequence[np.ndarray],
    rows: np.ndarray,
    settings: "AutoencoderSettings",
    step: int,
    positions: range,
) -> torch.Tensor:
    """Random crops in one of the eight flips and turns, float32 (b, 3, crop, crop) in [-1, 1]."""
    crops = []
    streams = SampleRandom(settings.seed, step, positions, stream=1).generators
    for row, random in zip(rows, streams, strict=True):
        image = np.asarray(images[row])
        side = min(settings.crop or image.shape[0], *image.shape[:2])
        y = int(random.integers(image.shape[0] - side + 1))
        x = int(random.integers(image.shape[1] - side + 1))
        crop = np.rot90(image[y : y + side, x : x + side], int(random.integers(4)))
        crops.append(crop[:, ::-1] if random.random() < 0.5 else crop)
    return to_network_range(np.stack(crops))


def _latent_noise(
    batch: torch.Tensor, settings: "AutoencoderSettings", step: int, positions: range
) -> torch.Tensor:
    """For each sample one draw from its posterior and one to be added: (b, 2, c, h, w)."""
    halvings = 2 ** (len(settings.channels) - 1)
    b, _, h, w = batch.shape
    shape = (b, 2, settings.latent_channels, h // halvings, w // halvings)
    random = SampleRandom(settings.seed, step, positions, stream=2)
    return torch.from_numpy(random.standard_normal(shape, dtype=np.float32))


def _reconstruction_loss(
    decoded: torch.Tensor, target: torch.Tensor, settings: "AutoencoderSettings"
) -> torch.Tensor:
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
