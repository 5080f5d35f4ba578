"""The scale in which a generator sees latents: whitened a channel, as they are, or the model's."""

import json
from dataclasses import replace
from typing import Literal

from histosynth.diffusion.latents import LatentCache, Whitening

Latents = Literal["whitened", "unscaled", "model"]


def scaled(cache: LatentCache, latents: Latents) -> LatentCache:
    """The cache with the whitening that the setting `generator.latents` names.

    `model` is the convention of Stable Diffusion's pipelines: (latent - shift_factor) *
    scaling_factor, of which an autoencoder that names none has 0 and 1.
    """
    if latents == "whitened":
        return cache
    shift, factor = 0.0, 1.0
    if latents == "model":
        record = json.loads((cache.folder / "latents.json").read_text(encoding="utf-8"))
        shift, factor = record.get("shift_factor") or shift, record.get("scaling_factor") or factor
    channels = cache.latent_shape[0]
    return replace(cache, whitening=Whitening((shift,) * channels, (1 / factor,) * channels))
