"""The latent space of a study: a diffusers autoencoder, and the resolution it sees tiles at.

Shared by all conditions of a study, since it is the floor that no generator beats. What is used
here of an autoencoder is alike for all: mean and standard deviation of a tile's latent, and the
image of a latent. `autoencoder_pretrained` finds ready ones, `autoencoder_fitting` trains.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import torch
from diffusers import AutoencoderKL, AutoencoderTiny, VQModel
from torch import nn
from torch.nn import functional

from histosynth.diffusion.tiny_autoencoder import NormedAutoencoderTiny
from histosynth.errors import InputError
from histosynth.files import atomic_folder, read_json, write_json
from histosynth.resizing import resize

if TYPE_CHECKING:
    from histosynth.generator_settings import AutoencoderSettings

AutoencoderNetwork: TypeAlias = AutoencoderKL | AutoencoderTiny | VQModel
CLASSES: dict[str, type[AutoencoderNetwork]] = {
    "AutoencoderKL": AutoencoderKL,
    "AutoencoderTiny": AutoencoderTiny,
    "NormedAutoencoderTiny": NormedAutoencoderTiny,
    "VQModel": VQModel,
}
RESOLUTION_FILE = "resolution.json"


class Autoencoder(nn.Module):
    """An autoencoder's network, and what is done to a tile before and to an image after it.

    Attributes
    ----------
    network
        AutoencoderKL, AutoencoderTiny or VQModel of diffusers.
    resolution
        The side in pixels to which tiles are resized before encoding; None leaves them.
    tile_size
        The side to which decoded images are brought back; None without `resolution`.
    """

    def __init__(
        self,
        network: AutoencoderNetwork,
        *,
        resolution: int | None = None,
        tile_size: int | None = None,
    ) -> None:
        super().__init__()
        if (resolution is None) != (tile_size is None):
            raise ValueError("resolution and tile_size go together")
        self.network = network
        self.resolution, self.tile_size = resolution, tile_size

    @property
    def has_posterior(self) -> bool:
        """Whether a tile has a distribution of latents; else its latent is one point."""
        return isinstance(self.network, AutoencoderKL)

    @property
    def downsampling(self) -> int:
        """Pixels a latent along one side, at the network's resolution: f4, f8."""
        return 2 ** (len(self.network.config["block_out_channels"]) - 1)

    @property
    def latent_channels(self) -> int:
        config = self.network.config
        return config.get("vq_embed_dim") or config["latent_channels"]

    @property
    def device(self) -> torch.device:
        return next(self.network.parameters()).device

    def network_input(self, images: np.ndarray) -> torch.Tensor:
        """Uint8 (n, H, W, 3) to what the network sees, float32 (n, 3, h, w) in [-1, 1]."""
        batch = to_network_range(images).to(self.device)
        return batch if self.resolution is None else resized(batch, self.resolution)

    def check_side(self, tile_size: int) -> None:
        """Refuse tiles whose side at the network's resolution its halvings do not divide.

        Raises
        ------
        InputError
        """
        side = self.resolution or tile_size
        if side % self.downsampling:
            key = "autoencoder.resolution" if self.resolution else "tiling.size"
            raise InputError(
                f"{key}: {side} px, but the autoencoder ({type(self.network).__name__}) halves "
                f"until {self.downsampling} px are one latent; take a multiple of that"
            )


def build_autoencoder(
    settings: "AutoencoderSettings", *, tile_size: int | None = None
) -> Autoencoder:
    """An untrained AutoencoderKL of len(channels) - 1 halvings, drawn from `settings.seed`.

    Parameters
    ----------
    tile_size
        Side of the tiles in pixels, needed with `settings.resolution`.
    """
    levels = len(settings.channels)
    groups = next(g for g in (8, 4, 2, 1) if all(c % g == 0 for c in settings.channels))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        network = AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * levels,
            up_block_types=("UpDecoderBlock2D",) * levels,
            block_out_channels=tuple(settings.channels),
            layers_per_block=settings.layers_per_block,
            latent_channels=settings.latent_channels,
            norm_num_groups=groups,
            mid_block_add_attention=False,
            scaling_factor=1.0,  # latents are whitened by histosynth.diffusion.latents
        )
    return Autoencoder(
        network,
        resolution=settings.resolution,
        tile_size=tile_size if settings.resolution else None,
    )


def resized(batch: torch.Tensor, side: int) -> torch.Tensor:
    """Resize (n, 3, H, W) to `side` as diffusers' training scripts do: bilinear, antialiased."""
    return functional.interpolate(
        batch, size=(side, side), mode="bilinear", antialias=True
    ).contiguous(memory_format=torch.channels_last)


def to_network_range(images: np.ndarray) -> torch.Tensor:
    """(n, H, W, 3) uint8 -> (n, 3, H, W) float32 in [-1, 1], channels last in memory."""
    batch = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2)
    return batch.float().div_(127.5).sub_(1).contiguous(memory_format=torch.channels_last)


def to_image_range(batch: torch.Tensor) -> np.ndarray:
    """(n, 3, H, W) in [-1, 1], clipped -> (n, H, W, 3) uint8."""
    levels = (batch.float().clamp(-1, 1) + 1) * 127.5
    return levels.round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().cpu().numpy()


def images_at_once(side: int) -> int:
    """How many images of this side a pass takes: 32 of 256 px, 8 of 512 px, never more than 32.

    A decoder of Stable Diffusion's shape holds several tensors of 128 channels at full size, a
    quarter of a gigabyte each for one image of 512 px.
    """
    return max(1, min(32, 32 * 256**2 // side**2))


@torch.inference_mode()
def encode(
    autoencoder: Autoencoder,
    images: Sequence[np.ndarray] | np.ndarray,
    *,
    batch_size: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each image's latent, unscaled.

    Parameters
    ----------
    images
        n arrays (H, W, 3) uint8, or one array (n, H, W, 3).
    batch_size
        Images a pass; by default as many as `images_at_once`.

    Returns
    -------
    mean, std
        float32 (n, c, h, w). The std of an autoencoder without a posterior is zero; the latent of
        a VQModel is the one before quantization.
    """
    means, stds = [], []
    batch_size = batch_size or images_at_once(autoencoder.resolution or max(images[0].shape))
    for start in range(0, len(images), batch_size):
        stop = min(start + batch_size, len(images))
        batch = autoencoder.network_input(np.stack([images[i] for i in range(start, stop)]))
        encoded = autoencoder.network.encode(batch)
        if autoencoder.has_posterior:
            mean, std = encoded.latent_dist.mean, encoded.latent_dist.std
        else:
            mean = encoded.latents
            std = torch.zeros_like(mean)
        means.append(mean.float().cpu().numpy())
        stds.append(std.float().cpu().numpy())
    return np.concatenate(means), np.concatenate(stds)


@torch.inference_mode()
def decode(
    autoencoder: Autoencoder, latents: np.ndarray, *, batch_size: int | None = None
) -> np.ndarray:
    """Images (n, H, W, 3) uint8 of unscaled latents (n, c, h, w), at the tiles' own size."""
    decoded = []
    batch_size = batch_size or images_at_once(max(latents.shape[2:]) * autoencoder.downsampling)
    for chunk in np.array_split(latents, range(batch_size, len(latents), batch_size)):
        batch = torch.from_numpy(chunk).float().to(autoencoder.device)
        images = to_image_range(autoencoder.network.decode(batch).sample)
        side = autoencoder.tile_size
        decoded.append(
            np.stack([resize(image, (side, side)) for image in images]) if side else images
        )
    return np.concatenate(decoded)


def round_trip(
    autoencoder: Autoencoder,
    images: Sequence[np.ndarray] | np.ndarray,
    *,
    batch_size: int | None = None,
) -> np.ndarray:
    """What the autoencoder leaves of images: decode(mean of encode), (n, H, W, 3) uint8."""
    mean, _ = encode(autoencoder, images, batch_size=batch_size)
    return decode(autoencoder, mean, batch_size=batch_size)


def save_autoencoder(autoencoder: Autoencoder, folder: Path) -> None:
    """Write diffusers' layout (config.json, diffusion_pytorch_model.safetensors), atomically.

    With a resolution, `resolution.json` beside them holds it and the tiles' size.
    """
    with atomic_folder(folder) as partial:
        autoencoder.network.save_pretrained(partial)
        if autoencoder.resolution is not None:
            sides = {"resolution": autoencoder.resolution, "tile_size": autoencoder.tile_size}
            write_json(partial / RESOLUTION_FILE, sides)


def load_autoencoder(folder: Path, *, device: str | torch.device = "cpu") -> Autoencoder:
    """Open a folder in diffusers' layout, of the class that its config.json names, in float32.

    Raises
    ------
    InputError
        A file is missing or broken, or the class is not one of CLASSES.
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
    try:
        network = CLASSES[name].from_pretrained(
            folder, local_files_only=True, low_cpu_mem_usage=False, torch_dtype=torch.float32
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(
            f"{folder}: its weights cannot be read as {name} ({error}); copy the folder again"
        ) from error
    sides = read_json(folder / RESOLUTION_FILE) if (folder / RESOLUTION_FILE).is_file() else {}
    made = Autoencoder(network, **sides)
    return made.eval().to(device).to(memory_format=torch.channels_last)


def autoencoder_fingerprint(autoencoder: Autoencoder) -> str:
    """SHA-256 of the class's name, all weights and the sides; the same before and after a save."""
    digest = hashlib.sha256(type(autoencoder.network).__name__.encode())
    if autoencoder.resolution is not None:
        digest.update(f"{autoencoder.resolution} {autoencoder.tile_size}".encode())
    for name, value in sorted(autoencoder.network.state_dict().items()):
        array = value.detach().cpu()
        digest.update(f"{name} {array.dtype} {tuple(array.shape)}".encode())
        digest.update(array.numpy().tobytes())
    return digest.hexdigest()
