"""From train tiles to the autoencoder on disk, with what its round trip costs."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from histosynth.conditions.targets import tile_images
from histosynth.device import versions
from histosynth.diffusion.autoencoder import (
    Autoencoder,
    autoencoder_fingerprint,
    round_trip,
    save_autoencoder,
)
from histosynth.diffusion.autoencoder_fitting import train_autoencoder
from histosynth.diffusion.autoencoder_pretrained import open_pretrained
from histosynth.files import atomic_folder, write_json
from histosynth.tilesets import TileSet

if TYPE_CHECKING:
    import torch

    from histosynth.generator_settings import AutoencoderSettings

VAL_TILES = 256  # of which the reported error is taken


def make_autoencoder(
    train: TileSet,
    val: TileSet,
    settings: "AutoencoderSettings",
    *,
    state: Path,
    output: Path,
    device: "torch.device",
    log: Callable[[str], None],
) -> dict[str, Any]:
    """Train an autoencoder, or take the one at `settings.path` and train it on where asked to.

    It and its train.json are written to `output`.

    Returns
    -------
    What train.json holds.
    """
    base: Autoencoder | None = None
    record: dict[str, Any]
    if settings.path is not None:
        base = open_pretrained(settings, tile_size=train.size[0], device=device)
    if base is not None and settings.kind == "pretrained":
        model, record = base, {"seconds": 0.0, "source": settings.path}
    else:
        model, record = train_autoencoder(
            tile_images(train),
            settings,
            state_folder=state,
            log=log,
            images_fingerprint=train.fingerprint,
            base=base,
            device=device,
        )
    record |= {
        "settings": settings.model_dump(mode="json"),
        "tiles": len(train),
        "gpu_seconds": record["seconds"] if device.type == "cuda" else 0.0,
        "val": reconstruction_error(model, val.images(np.arange(min(VAL_TILES, len(val))))),
        "autoencoder": autoencoder_fingerprint(model),
        "versions": versions("torch", "diffusers", "numpy"),
    }
    with atomic_folder(output) as folder:
        save_autoencoder(model, folder)
        write_json(folder / "train.json", record)
    return record


def reconstruction_error(
    autoencoder: Autoencoder, images: Sequence[np.ndarray] | np.ndarray
) -> dict[str, float | int | None]:
    """What the round trip costs on uint8 images: the floor of every condition.

    Returns
    -------
    tiles; mean_absolute_error in grey levels; psnr in dB, of the mean squared error over all tiles
    """
    if len(images) == 0:
        return {"tiles": 0, "mean_absolute_error": None, "psnr": None}
    difference = round_trip(autoencoder, images).astype(np.float64) - np.asarray(images)
    squared = max(float(np.mean(np.square(difference))), 1e-12)
    return {
        "tiles": len(images),
        "mean_absolute_error": float(np.abs(difference).mean()),
        "psnr": float(10 * np.log10(255**2 / squared)),
    }
