"""Training of one condition's generator on cached latents, resumed bit for bit.

Order, flips, times, noise and dropout of a sample are pure functions of (seed, step, position in
the batch), drawn on the CPU: they do not depend on the device, on a restart, on the clock, or on
how a batch is cut.
"""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from histosynth.device import pick_device
from histosynth.diffusion.draws import StepDraw, draw_step
from histosynth.diffusion.ema import copy_into, holding
from histosynth.diffusion.inherit import start_from
from histosynth.diffusion.latent_scaling import scaled
from histosynth.diffusion.latents import LatentCache
from histosynth.diffusion.loop import Plan, Validation, train_loop
from histosynth.diffusion.network import (
    ConditionBatch,
    ConditionedNetwork,
    SignalsSpec,
    build_network,
)
from histosynth.diffusion.processes import Processes
from histosynth.diffusion.state import EpochOrder
from histosynth.diffusion.throughput import compiled, uses_bf16
from histosynth.diffusion.vectors import Statistics
from histosynth.errors import InputError
from histosynth.files import atomic_file, sha256_file

if TYPE_CHECKING:
    from histosynth.generator_settings import GeneratorSettings

# rows (b,), flips (b,) as in latents.FLIPS, and b seeds (tuples of ints) for what signals draw
ConditionSource = Callable[[np.ndarray, np.ndarray, Sequence[tuple[int, ...]]], ConditionBatch]

# Bump when a change here alters the weights that the same settings give.
TRAINER_VERSION = 3

# Settings that decide what a run costs or tells; a run may go on with others.
NOT_IN_IDENTITY = {
    "save_every_seconds",
    "micro_batch",
    "processes",
    "validate_every",
    "selection_images",
    "selection_encoder",
}


def batch_loss(
    network: ConditionedNetwork,
    draw: StepDraw,
    conditions: ConditionBatch,
    device: torch.device,
    *,
    bf16: bool = False,
    forward: Callable[..., torch.Tensor] | None = None,
) -> torch.Tensor:
    """Mean loss of some samples under the network's process, scalar.

    `forward` is the network's pass where it is not its own, e.g. compiled; `bf16`: under autocast.
    """
    latents = draw.latents.to(device, memory_format=torch.channels_last, non_blocking=True)
    noise = draw.noise.to(device, memory_format=torch.channels_last, non_blocking=True)
    times, drop = (part.to(device, non_blocking=True) for part in (draw.times, draw.drop))
    process = network.process
    noisy = process.noisy(latents, noise, times)
    with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
        predicted = (forward or network)(noisy, times, conditions.to(device), drop)
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
    processes: Processes | None = None,
    base: Path | None = None,
    tile_ids: Sequence[str] | None = None,
    validation: Validation | None = None,
    score: Callable[[ConditionedNetwork], float] | None = None,
    statistics: Statistics | None = None,
) -> tuple[ConditionedNetwork, dict[str, Any]]:
    """Train a generator for `settings.steps` steps; resumes from `state_folder`.

    Parameters
    ----------
    cache
        Latents of the train tiles.
    condition_source
        Called with tile rows (b,), their flips (b,) as numbered in `latents.FLIPS`, and b seeds;
        returns their conditions, planes flipped in step with the latents. On CUDA it is called
        from a thread.
    spec
        What the source gives; must match the batches it returns.
    tile_size
        Side of the planes in pixels.
    processes
        Those that share the training; default: this one alone, on `device`.
    base
        Weights of another condition, written by `save_network`, to start from.
    statistics
        By which the vectors of some signals are standardised.
    tile_ids
        Names of the cache's tiles, for errors; default: their rows.
    validation
        Scores of the weights while they train, kept in the record.
    score
        Chooses among averages of the weights: the network with the lowest is returned. Without
        it, and among one, it is the first.

    Returns
    -------
    The network with its averaged weights, in eval mode on `device`, and a plain dict for
    train.json: `train_loop`'s, and `average` (the name of the one chosen), `averages` (the scores
    of all), `parameters` and `bf16`.

    Raises
    ------
    InputError
        No tiles, or an unfinished state of other settings, seed, latents or signals.
    FloatingPointError
        A loss that is not finite; step and tiles are named, the last good state is kept.
    """
    if len(cache) == 0:
        raise InputError(f"{cache.folder}: no latents to train on")
    cache = scaled(cache, settings.latents)
    together = processes or Processes(torch.device(device) if device else pick_device())
    device = together.device
    network = build_network(
        settings, spec, latent_shape=cache.latent_shape, tile_size=tile_size, seed=seed
    )
    if base is not None:
        start_from(network, load_network(base)[0], name=str(base))
    network.standardise(statistics or {})
    network = network.to(device)
    order = EpochOrder(len(cache), settings.batch_size, seed=seed)
    identity = settings.model_dump(mode="json", exclude=NOT_IN_IDENTITY)
    identity |= {
        "seed": seed,
        "signals": spec.to_dict(),
        "autoencoder": cache.autoencoder,
        "tiles": cache.tiles,
        "tile_size": tile_size,
        "pretrained": None if network.origin is None else network.origin["fingerprint"],
        "trainer_version": TRAINER_VERSION,
        "base": None if base is None else sha256_file(base),
    }

    bf16 = uses_bf16(settings.precision, device)
    forward = compiled(network, settings.compile)
    names = [str(row) for row in cache.rows] if tile_ids is None else tile_ids

    def inputs_of(step: int, positions: range) -> tuple[StepDraw, ConditionBatch]:
        draw = draw_step(
            cache, order, network.process, spec.names, seed=seed, step=step, positions=positions
        )
        conditions = condition_source(draw.rows, draw.flips, draw.seeds)
        if device.type == "cuda":  # so that copies to the device overlap with its work
            return draw.pinned(), conditions.pinned()
        return draw, conditions

    def loss_of(inputs: tuple[StepDraw, ConditionBatch]) -> torch.Tensor:
        return batch_loss(network, *inputs, device, bf16=bf16, forward=forward)

    trained = train_loop(
        network,
        inputs_of,
        loss_of,
        plan=Plan(
            steps=settings.steps,
            batch_size=settings.batch_size,
            learning_rate=settings.learning_rate,
            warmup_steps=settings.warmup_steps,
            decay=settings.decay,
            weight_decay=settings.weight_decay,
            beta2=settings.beta2,
            max_gradient_norm=settings.max_gradient_norm or math.inf,
            ema_widths=settings.ema_widths,
            ema_decay=settings.ema_decay,
            micro_batch=settings.micro_batch,
        ),
        names_of=lambda step: [names[row] for row in order.rows(step)],
        state=together.state(
            state_folder, identity, every_seconds=settings.save_every_seconds, log=log
        ),
        name="generator",
        log=log,
        validation=validation if together.is_first else None,
        processes=together,
    )
    scores: dict[str, float | None] = dict.fromkeys(trained.averages)
    if score is not None and len(scores) > 1 and together.is_first:
        for name, values in trained.averages.items():
            with holding(network, values):
                scores[name] = score(network)
    chosen = min(scores, key=lambda name: scores[name] or 0.0)  # unscored: the first
    copy_into(network, trained.averages[chosen])
    return network, trained.record | {
        "average": chosen,
        "averages": scores,
        "parameters": sum(p.numel() for p in network.parameters()),
        "bf16": bf16,
        "processes": together.count,
    }


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
        "origin": network.origin,
        "whitening": asdict(scaled(cache, network.settings.latents).whitening),
        "autoencoder": cache.autoencoder,
    }
    weights = {name: value.contiguous() for name, value in network.weights_to_save().items()}
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
        origin=record.get("origin"),
    )
    network.load_weights(weights)
    return network.to(device).eval(), record
