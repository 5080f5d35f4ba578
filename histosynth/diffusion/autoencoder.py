"""The latent space: an AutoencoderKL trained on the train split, or a diffusers folder.

Trained once a study and shared by all its conditions, since it is the floor that no generator
beats. Latent diffusion after Rombach et al. 2022 (arXiv 2112.10752): a KL-regularized convolutional
autoencoder; here without attention and without a pretrained perceptual network. Two terms join the
L1 loss: the L1 distance of Fourier magnitudes, which keeps nuclei from being blurred away where
their exact place cannot be told, and L1 distances at lower resolutions, which keep the stain's hue.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from diffusers import AutoencoderKL, AutoencoderTiny
from torch.nn import functional

from histosynth.diffusion.loop import train_loop
from histosynth.diffusion.state import EpochOrder, ResumableState, step_random
from histosynth.errors import InputError
from histosynth.files import atomic_folder

if TYPE_CHECKING:
    from histosynth.generator_settings import AutoencoderSettings

Autoencoder: TypeAlias = AutoencoderKL | AutoencoderTiny
CLASSES: dict[str, type[Autoencoder]] = {
    "AutoencoderKL": AutoencoderKL,
    "AutoencoderTiny": AutoencoderTiny,
}
EMA_DECAY = 0.999


def build_autoencoder(settings: "AutoencoderSettings") -> AutoencoderKL:
    """An untrained autoencoder of len(channels) - 1 halvings, drawn from `settings.seed`."""
    levels = len(settings.channels)
    groups = next(g for g in (8, 4, 2, 1) if all(c % g == 0 for c in settings.channels))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        return AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * levels,
            up_block_types=("UpDecoderBlock2D",) * levels,
            block_out_channels=tuple(settings.channels),
            layers_per_block=settings.layers_per_block,
            latent_channels=settings.latent_channels,
            norm_num_groups=groups,
            mid_block_add_attention=False,
            scaling_factor=1.0,  # latents are whitened by histosynth.diffusion.latents
        )


def train_autoencoder(
    images: Sequence[np.ndarray],
    settings: "AutoencoderSettings",
    *,
    state_folder: Path,
    log: Callable[[str], None],
    images_fingerprint: str = "",
    device: str | torch.device | None = None,
) -> tuple[AutoencoderKL, dict[str, Any]]:
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
    autoencoder = build_autoencoder(settings).to(device, memory_format=torch.channels_last)
    order = EpochOrder(len(images), settings.batch_size, seed=settings.seed)
    identity = settings.model_dump(mode="json", exclude={"kind", "path", "save_every_seconds"})
    identity |= {"images": images_fingerprint, "n_images": len(images)}

    def step_loss(step: int) -> torch.Tensor:
        batch = _training_batch(images, order.rows(step), settings, step).to(device)
        noise = _latent_noise(batch, settings, step).to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            posterior = autoencoder.encode(batch).latent_dist
            latents = posterior.mean + posterior.std * noise[0]
            # the decoder learns to read latents that are a little off, as a generator's are
            spread = latents.detach().float().std()
            decoded = autoencoder.decode(latents + settings.latent_noise * spread * noise[1]).sample
        divergence = posterior.kl().float().mean()
        return _reconstruction_loss(decoded.float(), batch, settings) + (
            settings.kl_weight * divergence
        )

    record = train_loop(
        autoencoder,
        step_loss,
        steps=settings.steps,
        batch_size=settings.batch_size,
        peak_rate=settings.learning_rate,
        warmup_steps=settings.warmup_steps,
        weight_decay=0.0,
        ema_decay=EMA_DECAY,
        rows_of_step=order.rows,
        state=ResumableState(
            state_folder, identity, every_seconds=settings.save_every_seconds, log=log
        ),
        name="autoencoder",
        log=log,
    )
    return autoencoder, record


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
    images: Sequence[np.ndarray], rows: np.ndarray, settings: "AutoencoderSettings", step: int
) -> torch.Tensor:
    """Random crops in one of the eight flips and turns, float32 (b, 3, crop, crop) in [-1, 1]."""
    random = step_random(settings.seed, step, stream=1)
    crops = []
    for row in rows:
        image = np.asarray(images[row])
        side = min(settings.crop or image.shape[0], *image.shape[:2])
        y = int(random.integers(image.shape[0] - side + 1))
        x = int(random.integers(image.shape[1] - side + 1))
        crop = np.rot90(image[y : y + side, x : x + side], int(random.integers(4)))
        crops.append(crop[:, ::-1] if random.random() < 0.5 else crop)
    return to_network_range(np.stack(crops))


def _latent_noise(batch: torch.Tensor, settings: "AutoencoderSettings", step: int) -> torch.Tensor:
    halvings = 2 ** (len(settings.channels) - 1)
    b, _, h, w = batch.shape
    shape = (2, b, settings.latent_channels, h // halvings, w // halvings)
    random = step_random(settings.seed, step, stream=2)
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


def to_network_range(images: np.ndarray) -> torch.Tensor:
    """(n, H, W, 3) uint8 -> (n, 3, H, W) float32 in [-1, 1], channels last in memory."""
    batch = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2)
    return batch.float().div_(127.5).sub_(1).contiguous(memory_format=torch.channels_last)


def to_image_range(batch: torch.Tensor) -> np.ndarray:
    """(n, 3, H, W) in [-1, 1], clipped -> (n, H, W, 3) uint8."""
    levels = (batch.float().clamp(-1, 1) + 1) * 127.5
    return levels.round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().cpu().numpy()


@torch.inference_mode()
def encode(
    autoencoder: Autoencoder, images: Sequence[np.ndarray] | np.ndarray, *, batch_size: int = 32
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each image's latent, unscaled.

    Parameters
    ----------
    images
        n arrays (H, W, 3) uint8, or one array (n, H, W, 3).

    Returns
    -------
    mean, std
        float32 (n, c, h, w). The std of an AutoencoderTiny is zero: it has no posterior.
    """
    device = next(autoencoder.parameters()).device
    means, stds = [], []
    for start in range(0, len(images), batch_size):
        stop = min(start + batch_size, len(images))
        batch = to_network_range(np.stack([images[i] for i in range(start, stop)])).to(device)
        encoded = autoencoder.encode(batch)
        if hasattr(encoded, "latent_dist"):
            mean, std = encoded.latent_dist.mean, encoded.latent_dist.std
        else:
            mean = encoded.latents
            std = torch.zeros_like(mean)
        means.append(mean.float().cpu().numpy())
        stds.append(std.float().cpu().numpy())
    return np.concatenate(means), np.concatenate(stds)


@torch.inference_mode()
def decode(autoencoder: Autoencoder, latents: np.ndarray, *, batch_size: int = 32) -> np.ndarray:
    """Images (n, H, W, 3) uint8 of unscaled latents (n, c, h, w)."""
    device = next(autoencoder.parameters()).device
    decoded = [
        to_image_range(autoencoder.decode(torch.from_numpy(chunk).float().to(device)).sample)
        for chunk in np.array_split(latents, range(batch_size, len(latents), batch_size))
    ]
    return np.concatenate(decoded)


def round_trip(
    autoencoder: Autoencoder, images: Sequence[np.ndarray], *, batch_size: int = 32
) -> np.ndarray:
    """What the autoencoder leaves of images: decode(mean of encode), (n, H, W, 3) uint8."""
    mean, _ = encode(autoencoder, images, batch_size=batch_size)
    return decode(autoencoder, mean, batch_size=batch_size)


def save_autoencoder(autoencoder: Autoencoder, folder: Path) -> None:
    """Write diffusers' layout (config.json, diffusion_pytorch_model.safetensors), atomically."""
    with atomic_folder(folder) as partial:
        autoencoder.save_pretrained(partial)


def load_autoencoder(folder: Path, *, device: str | torch.device = "cpu") -> Autoencoder:
    """Open a folder in diffusers' layout, of the class that its config.json names.

    Raises
    ------
    InputError
        A file is missing, or the class is neither AutoencoderKL nor AutoencoderTiny.
    """
    folder = Path(folder)
    config = folder / "config.json"
    if not config.is_file():
        raise InputError(f"{folder}: no config.json; expected a folder in diffusers' layout")
    name = json.loads(config.read_text(encoding="utf-8")).get("_class_name")
    if name not in CLASSES:
        raise InputError(
            f"{config}: _class_name is {name!r}; autoencoders known here: {', '.join(CLASSES)}"
        )
    if not any(folder.glob("diffusion_pytorch_model*")):
        raise InputError(f"{folder}: no diffusion_pytorch_model.safetensors beside config.json")
    autoencoder = CLASSES[name].from_pretrained(
        folder, local_files_only=True, low_cpu_mem_usage=False
    )
    return autoencoder.eval().to(device, memory_format=torch.channels_last)


def autoencoder_fingerprint(autoencoder: Autoencoder) -> str:
    """SHA-256 of the class's name and all weights; the same before and after a save."""
    digest = hashlib.sha256(type(autoencoder).__name__.encode())
    for name, value in sorted(autoencoder.state_dict().items()):
        array = value.detach().cpu()
        digest.update(f"{name} {array.dtype} {tuple(array.shape)}".encode())
        digest.update(array.numpy().tobytes())
    return digest.hexdigest()
