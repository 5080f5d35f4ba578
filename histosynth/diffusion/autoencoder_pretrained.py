"""Finding a ready autoencoder: in a folder, in a pipeline's subfolder, or on the hub."""

from pathlib import Path
from typing import TYPE_CHECKING

from histosynth.diffusion.autoencoder import Autoencoder, load_autoencoder
from histosynth.diffusion.tiny_autoencoder import read_tiny_autoencoder, tiny_files
from histosynth.errors import InputError
from histosynth.hub import pretrained_folder

if TYPE_CHECKING:
    import torch

    from histosynth.generator_settings import AutoencoderSettings

KEY = "autoencoder.path"
SUBFOLDERS = ("vae", "vqvae")  # where pipelines keep their autoencoder
FILES = ("config.json", "diffusion_pytorch_model.safetensors")


def open_pretrained(
    settings: "AutoencoderSettings", *, tile_size: int, device: "str | torch.device" = "cpu"
) -> Autoencoder:
    """Open the autoencoder at `settings.path`, for tiles of `tile_size` pixels.

    Raises
    ------
    InputError
        Nothing is there, a file is missing, the hub cannot be reached, or the tiles do not fit.
    """
    assert settings.path is not None
    below = [settings.subfolder] if settings.subfolder else ["", *SUBFOLDERS]
    root = pretrained_folder(
        settings.path,
        key=KEY,
        files=[(Path(place) / file).as_posix() for place in below for file in FILES],
    )
    network = _open_first([root / place for place in below]).network
    made = Autoencoder(
        network,
        resolution=settings.resolution,
        tile_size=tile_size if settings.resolution else None,
    )
    made.check_side(tile_size)
    return made.eval().to(device)


def _open_first(places: list[Path]) -> Autoencoder:
    for place in places:
        if (place / "config.json").is_file():
            return load_autoencoder(place)
        if files := tiny_files(place):
            return Autoencoder(read_tiny_autoencoder(*files, key=KEY))
    raise InputError(
        f"{KEY}: no autoencoder in {', '.join(map(str, places))}: expected config.json with "
        "diffusion_pytorch_model.safetensors (diffusers' layout), or NAME_encoder.pth with "
        "NAME_decoder.pth"
    )
