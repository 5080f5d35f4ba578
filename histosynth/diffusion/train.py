"""Training of one condition's generator on cached latents, resumed bit for bit.

Order, flips, times, noise and dropout of step k are pure functions of (seed, k), drawn on the CPU,
so they do not depend on the device, on a restart or on the clock.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from histosynth.diffusion.inherit import start_from
from histosynth.diffusion.latents import FLIPS, LatentCache
from histosynth.diffusion.loop import train_loop
from histosynth.diffusion.network import (
    ConditionBatch,
    ConditionedNetwork,
    SignalsSpec,
    build_network,
)
from histosynth.diffusion.process import Process
from histosynth.diffusion.state import EpochOrder, ResumableState, step_random
from histosynth.errors import InputError
from histosynth.files import atomic_file, sha256_file

if TYPE_CHECKING:
    from histosynth.generator_settings import GeneratorSettings

# rows (b,), flips (b,) as in latents.FLIPS, and a seed for what a signal draws at random
ConditionSource = Callable[[np.ndarray, np.ndarray, int], ConditionBatch]

# Bump when a change here alters the weights that the same settings give.
TRAINER_VERSION = 2


@dataclass(frozen=True)
class StepDraw:
    """Everything random in one step; `drop` is bool (b, S), a column a signal."""

    rows: np.ndarray
    flips: np.ndarray
    latents: torch.Tensor
    noise: torch.Tensor
    times: torch.Tensor
    drop: torch.Tensor
    condition_seed: int


def draw_step(
    cache: LatentCache,
    order: EpochOrder,
    process: Process,
    signals: Sequence[str],
    *,
    seed: int,
    step: int,
) -> StepDraw:
    """Draw the batch of one step, a pure function of (seed, step)."""
    settings = process.settings
    rows = order.rows(step)
    random = step_random(seed, step, stream=1)
    flips = random.integers(len(FLIPS), size=len(rows))
    times = process.draw_times(len(rows), random)
    alone = np.array([settings.signal_dropout.get(name, 0.0) for name in signals])
    drop = random.random((len(rows), len(signals))) < alone
    drop |= random.random((len(rows), 1)) < settings.condition_dropout
    condition_seed = int(random.integers(2**31))
    latents = cache.sample(rows, flips, random)
    noise = random.standard_normal(latents.shape, dtype=np.float32)
    return StepDraw(
        rows,
        flips,
        torch.from_numpy(latents),
        torch.from_numpy(noise),
        torch.from_numpy(times),
        torch.from_numpy(drop),
        condition_seed,
    )


def batch_loss(
    network: ConditionedNetwork, draw: StepDraw, conditions: ConditionBatch, device: torch.device
) -> torch.Tensor:
    """Mean loss of a batch under the network's process, scalar."""
    latents = draw.latents.to(device, memory_format=torch.channels_last)
    noise = draw.noise.to(device, memory_format=torch.channels_last)
    times = draw.times.to(device)
    process = network.process
    noisy = process.noisy(latents, noise, times)
    with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
        predicted = network(noisy, times, conditions.to(device), draw.drop.to(device))
    return process.loss(predicted, process.target(latents, noise, times), times).mean()


def train_generator(
    cache: LatentCache,
    condition_source: ConditionSource,
    settings: "GeneratorSettings",
    *,
    seed: int,
    spec: SignalsSpec,
    tile_size: int,
    state_folder: Path,
    log: Callable[[str], None],
    device: str | torch.device | None = None,
    base: Path | None = None,
) -> tuple[ConditionedNetwork, dict[str, Any]]:
    """Train a generator for `settings.steps` steps; resumes from `state_folder`.

    Parameters
    ----------
    cache
        Latents of the train tiles.
    condition_source
        Called with tile rows (b,), their flips (b,) as numbered in `latents.FLIPS`, and a seed;
        returns their conditions, planes flipped in step with the latents.
    spec
        What the source gives; must match the batches it returns.
    tile_size
        Side of the planes in pixels.
    base
        Weights of another condition, written by `save_network`, to start from.

    Returns
    -------
    The network with its averaged weights, in eval mode on `device`, and a plain dict for
    train.json: loss curve, seconds, images a second, device, peak memory.

    Raises
    ------
    InputError
        No tiles, or an unfinished state of other settings, seed, latents or signals.
    FloatingPointError
        A loss that is not finite; step and tile rows are named, the last good state is kept.
    """
    if len(cache) == 0:
        raise InputError(f"{cache.folder}: no latents to train on")
    device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    network = build_network(
        settings, spec, latent_shape=cache.latent_shape, tile_size=tile_size, seed=seed
    )
    if base is not None:
        start_from(network, load_network(base)[0], name=str(base))
    network = network.to(device)
    order = EpochOrder(len(cache), settings.batch_size, seed=seed)
    identity = settings.model_dump(mode="json", exclude={"save_every_seconds"})
    identity |= {
        "seed": seed,
        "signals": spec.to_dict(),
        "autoencoder": cache.autoencoder,
        "tiles": cache.tiles,
        "tile_size": tile_size,
        "trainer_version": TRAINER_VERSION,
        "base": None if base is None else sha256_file(base),
    }

    def step_loss(step: int) -> torch.Tensor:
        draw = draw_step(cache, order, network.process, spec.names, seed=seed, step=step)
        conditions = condition_source(draw.rows, draw.flips, draw.condition_seed)
        return batch_loss(network, draw, conditions, device)

    record = train_loop(
        network,
        step_loss,
        steps=settings.steps,
        batch_size=settings.batch_size,
        peak_rate=settings.learning_rate,
        warmup_steps=settings.warmup_steps,
        weight_decay=settings.weight_decay,
        ema_decay=settings.ema,
        rows_of_step=lambda step: cache.rows[order.rows(step)],
        state=ResumableState(
            state_folder, identity, every_seconds=settings.save_every_seconds, log=log
        ),
        name="generator",
        log=log,
    )
    record["parameters"] = sum(p.numel() for p in network.parameters())
    return network, record


def save_network(path: Path, network: ConditionedNetwork, cache: LatentCache) -> None:
    """Write `weights.safetensors`, with what is needed to sample from it in its metadata.

    That is the signals, the latents' shape and whitening, the tile size and the autoencoder's
    fingerprint: the weights say themselves with which latent space they go.
    """
    record = {
        "settings": network.settings.model_dump(mode="json"),
        "signals": network.spec.to_dict(),
        "latent_shape": list(network.latent_shape),
        "tile_size": network.tile_size,
        "whitening": {"mean": cache.whitening.mean, "std": cache.whitening.std},
        "autoencoder": cache.autoencoder,
    }
    weights = {name: value.contiguous() for name, value in network.state_dict().items()}
    with atomic_file(path) as partial:
        save_file(weights, partial, metadata={"histosynth": json.dumps(record)})


def load_network(
    path: Path, *, device: str | torch.device = "cpu"
) -> tuple[ConditionedNetwork, dict[str, Any]]:
    """Read `save_network`'s file: the network in eval mode, and its record.

    Raises
    ------
    InputError
        The file is missing or was not written by `save_network`.
    """
    from histosynth.generator_settings import GeneratorSettings

    if not Path(path).is_file():
        raise InputError(f"{path}: no such weights; train the condition first")
    with safe_open(path, "pt") as stream:
        text = (stream.metadata() or {}).get("histosynth")
        if text is None:
            raise InputError(f"{path}: not weights of this project (no metadata 'histosynth')")
        weights = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118 (no mapping)
    record = json.loads(text)
    network = build_network(
        GeneratorSettings(**record["settings"]),
        SignalsSpec(**record["signals"]),
        latent_shape=tuple(record["latent_shape"]),
        tile_size=record["tile_size"],
    )
    network.load_state_dict(weights)
    return network.to(device).eval(), record
