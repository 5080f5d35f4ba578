"""Sampling: image i comes from its own seed, whatever the batch, shard or device count.

Integrates dx/dt = v from noise (t = 1) to a latent (t = 0) in equal steps, by Euler or Heun, with
classifier-free guidance v = v_null + scale (v_condition - v_null).
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from tqdm import tqdm

from histosynth.diffusion.autoencoder import Autoencoder, decode
from histosynth.diffusion.latents import Whitening
from histosynth.diffusion.network import ConditionBatch, ConditionedNetwork

if TYPE_CHECKING:
    from histosynth.generator_settings import SamplingSettings


def seeded_noise(seeds: np.ndarray, shape: tuple[int, ...]) -> torch.Tensor:
    """Standard normal float32 (len(seeds), *shape); row i depends on seeds[i] alone.

    Drawn on the CPU, so that an image is the same on every device up to rounding.
    """
    noise = [np.random.default_rng(int(s)).standard_normal(shape, dtype=np.float32) for s in seeds]
    return torch.from_numpy(np.stack(noise))


@torch.inference_mode()
def sample_latents(
    network: ConditionedNetwork,
    noise: torch.Tensor,
    conditions: ConditionBatch,
    *,
    solver: str = "euler",
    steps: int = 25,
    guidance_scale: float = 1.5,
) -> torch.Tensor:
    """Integrate a batch of noise (b, c, h, w) to whitened latents of the same shape."""
    device = noise.device
    signals = len(network.spec.names)
    guided = signals > 0 and guidance_scale != 1
    drop = torch.zeros(len(noise), signals, dtype=torch.bool, device=device)
    if guided:
        conditions = conditions.repeat(2)
        drop = torch.cat([~drop, drop])

    def velocity(latents: torch.Tensor, time: float) -> torch.Tensor:
        inputs = torch.cat([latents, latents]) if guided else latents
        times = torch.full((len(inputs),), time, dtype=noise.dtype, device=device)
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            predicted = network(inputs, times, conditions, drop)
        predicted = predicted.float() if predicted.dtype == torch.bfloat16 else predicted
        if not guided:
            return predicted
        null, conditional = predicted.chunk(2)
        return null + guidance_scale * (conditional - null)

    latents = noise.contiguous(memory_format=torch.channels_last)
    grid = np.linspace(1.0, 0.0, steps + 1)
    for now, then in zip(grid[:-1], grid[1:], strict=True):
        slope = velocity(latents, now)
        moved = latents + (then - now) * slope
        if solver == "heun" and then > 0:
            moved = latents + (then - now) * (slope + velocity(moved, then)) / 2
        latents = moved
    return latents


def sample_images(
    network: ConditionedNetwork,
    autoencoder: Autoencoder,
    whitening: Whitening,
    condition_source: Callable[[np.ndarray], ConditionBatch],
    *,
    seeds: np.ndarray,
    settings: "SamplingSettings",
    device: str | torch.device | None = None,
) -> np.ndarray:
    """Sample one image for each seed.

    Parameters
    ----------
    condition_source
        Called with positions in `seeds` (b,); returns the conditions of those images.
    seeds
        (n,) one seed an image. A shard is a slice of them, with a source over the same slice.

    Returns
    -------
    (n, H, W, 3) uint8. Batches of other sizes agree up to float32 rounding, at most a grey level
    or two on single pixels, since matrix kernels sum in another order.
    """
    device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    network = network.to(device).eval()
    autoencoder = autoencoder.to(device)
    images = []
    for start in tqdm(range(0, len(seeds), settings.batch_size), desc="sample"):
        rows = np.arange(start, min(start + settings.batch_size, len(seeds)))
        latents = sample_latents(
            network,
            seeded_noise(seeds[rows], network.latent_shape).to(device),
            condition_source(rows).to(device),
            solver=settings.solver,
            steps=settings.steps,
            guidance_scale=settings.guidance_scale,
        )
        images.append(decode(autoencoder, whitening.invert(latents.cpu().numpy())))
    return np.concatenate(images)
