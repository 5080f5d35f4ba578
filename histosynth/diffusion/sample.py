"""Sampling: image i comes from its own seed, whatever the batch, shard or device count.

The solvers are in `solvers.py`, what guidance asks of the network in `guidance.py`.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from tqdm import tqdm

from histosynth.diffusion.autoencoder import Autoencoder, decode
from histosynth.diffusion.guidance import guidance_stages
from histosynth.diffusion.latents import Whitening
from histosynth.diffusion.network import ConditionBatch, ConditionedNetwork
from histosynth.diffusion.solvers import StepNoise, solve
from histosynth.diffusion.throughput import uses_bf16

if TYPE_CHECKING:
    from histosynth.generator_settings import SamplingSettings


def seeded_noise(
    seeds: np.ndarray, shape: tuple[int, ...], *, step: int | None = None
) -> torch.Tensor:
    """Standard normal float32 (len(seeds), *shape); row i depends on seeds[i] (and `step`) alone.

    Drawn on the CPU, so that an image is the same on every device up to rounding. `step` names
    the noise that a solver adds on the way, None the noise it starts from.
    """
    noise = []
    for seed in seeds:
        sequence = np.random.SeedSequence(int(seed), spawn_key=() if step is None else (step,))
        noise.append(np.random.default_rng(sequence).standard_normal(shape, dtype=np.float32))
    return torch.from_numpy(np.stack(noise))


@torch.inference_mode()
def sample_latents(
    network: ConditionedNetwork,
    noise: torch.Tensor,
    conditions: ConditionBatch,
    *,
    solver: str = "euler",
    steps: int = 25,
    guidance_scale: float | Mapping[str, float] = 1.5,
    eta: float = 0.0,
    step_noise: StepNoise | None = None,
) -> torch.Tensor:
    """Turn a batch of noise (b, c, h, w) into whitened latents of the same shape.

    Parameters
    ----------
    guidance_scale
        Of all signals together, or by signal; see `guidance.py`.
    solver, steps, eta, step_noise
        See `solvers.solve`.
    """
    device = noise.device
    stages = guidance_stages(guidance_scale, network.spec.names)
    withheld = [[name in stage.withheld for name in network.spec.names] for stage in stages]
    drop = torch.tensor(withheld, dtype=torch.bool, device=device)
    drop = drop.repeat_interleave(len(noise), 0)
    bf16 = uses_bf16(network.process.settings.precision, device)
    with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
        prepared = network.prepare(conditions.repeat(len(stages)), drop)

    def predict(latents: torch.Tensor, time: float) -> torch.Tensor:
        inputs = torch.cat([latents] * len(stages)) if len(stages) > 1 else latents
        times = torch.full((len(inputs),), time, dtype=noise.dtype, device=device)
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            predicted = network.denoise(inputs, times, prepared)
        predicted = predicted.float() if predicted.dtype == torch.bfloat16 else predicted
        first, *others = predicted.chunk(len(stages))
        guided = before = first
        for stage, given in zip(stages[1:], others, strict=True):
            guided = guided + stage.scale * (given - before)
            before = given
        return guided

    return solve(
        predict,
        noise.contiguous(memory_format=torch.channels_last),
        network.process,
        solver=solver,
        steps=steps,
        eta=eta,
        step_noise=step_noise,
    )


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

    def noise_of(batch: np.ndarray) -> StepNoise:
        return lambda step: seeded_noise(batch, network.latent_shape, step=step).to(device)

    images = []
    for start in tqdm(range(0, len(seeds), settings.batch_size), desc="sample"):
        rows = np.arange(start, min(start + settings.batch_size, len(seeds)))
        latents = sample_latents(
            network,
            seeded_noise(seeds[rows], network.latent_shape).to(device),
            condition_source(rows).to(device),
            solver=settings.solver,
            steps=settings.steps,
            guidance_scale=settings.guidance,
            eta=settings.eta,
            step_noise=noise_of(seeds[rows]),
        )
        images.append(decode(autoencoder, whitening.invert(latents.cpu().numpy())))
    return np.concatenate(images)
