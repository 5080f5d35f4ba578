"""Supervised training of a segmenter or classifier for a fixed number of optimizer steps.

One function serves judges and downstream models, so that every arm of a comparison is trained
alike. What a step sees (which tiles, which flips, which stains) is a function of (seed, step)
alone. AdamW, one learning-rate cycle up and down to zero, gradients clipped at norm 1.
"""

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from histosynth.errors import InputError
from histosynth.judges.networks import Network, Task, build_network
from histosynth.tilesets import UNLABELLED

if TYPE_CHECKING:
    from histosynth.settings import NetworkTraining

_WARM_UP = 0.2  # share of the steps in which the learning rate rises
_STAIN = 0.15  # spread of the stains' strength and colour balance
_OFFSET = 0.02  # spread of the background's optical density


def train_network(
    task: Task,
    images: np.ndarray,
    targets: np.ndarray,
    *,
    n_classes: int,
    settings: "NetworkTraining",
    seed: int,
    device: torch.device | str = "cpu",
) -> Network:
    """Train a network from its initial weights.

    The same arguments give the same network, bit by bit on a CPU; a GPU's sums may differ.

    Parameters
    ----------
    images : uint8 (n, H, W, 3)
    targets : uint8 (n, H, W) of class indices, 255 unlabelled; or integers (n,) of label indices
    n_classes : classes of the maps, or labels

    Returns
    -------
    The network in evaluation mode, on `device`.

    Raises
    ------
    InputError
        No images, targets that do not go with them or stand for no class, an unknown model.
    """
    _check(task, images, targets, n_classes)
    device = torch.device(device)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        network = build_network(
            task, settings, n_classes=n_classes, size=min(images.shape[1:3])
        ).to(device)
        network = network.to(memory_format=torch.channels_last)
        optimizer = torch.optim.AdamW(
            network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        network.train()
        for step in tqdm(range(settings.steps), desc=task, leave=False):
            rng = np.random.default_rng([seed, step])
            torch.manual_seed(int(rng.integers(2**63)))  # dropout
            for group in optimizer.param_groups:
                group["lr"] = settings.learning_rate * _cycle((step + 1) / settings.steps)
            rows = _batch_rows(len(images), settings.batch_size, seed=seed, step=step)
            batch, wanted = _augment(images[rows], targets[rows], rng)
            batch = batch.to(device, memory_format=torch.channels_last)
            with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
                logits = network(batch)
            loss = nn.functional.cross_entropy(
                logits.float(), wanted.to(device), ignore_index=UNLABELLED
            )
            if not torch.isfinite(loss):
                if (wanted == UNLABELLED).all():
                    continue  # a batch without a labelled pixel teaches nothing
                raise FloatingPointError(f"{task}: the loss is {loss.item()} at step {step}")
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
    return network.eval()


def _cycle(progress: float) -> float:
    """Learning rate over its peak: a linear rise, then half a cosine down to zero."""
    if progress < _WARM_UP:
        return progress / _WARM_UP
    return 0.5 * (1 + np.cos(np.pi * (progress - _WARM_UP) / (1 - _WARM_UP)))


def _batch_rows(n: int, batch_size: int, *, seed: int, step: int) -> np.ndarray:
    """The rows of a step: each epoch is a permutation of all, batches run on across epochs."""
    positions = np.arange(step * batch_size, (step + 1) * batch_size)
    rows = np.empty(batch_size, dtype=np.int64)
    for epoch in np.unique(positions // n):
        order = np.random.default_rng([seed, 1, int(epoch)]).permutation(n)
        of_epoch = positions // n == epoch
        rows[of_epoch] = order[positions[of_epoch] % n]
    return rows


def _augment(
    images: np.ndarray, targets: np.ndarray, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Flip, turn and restain; returns float32 (n, 3, H, W) in 0..1 and int64 targets."""
    images, targets = images.copy(), targets.copy()
    of_pixels = targets.ndim == 3
    square = images.shape[1] == images.shape[2]
    for i in range(len(images)):
        turns = int(rng.integers(4)) if square else 2 * int(rng.integers(2))
        mirrored = bool(rng.integers(2))
        images[i] = _turn(images[i], turns, mirrored)
        if of_pixels:
            targets[i] = _turn(targets[i], turns, mirrored)
    return _restain(images, rng), torch.from_numpy(targets.astype(np.int64))


def _turn(array: np.ndarray, turns: int, mirrored: bool) -> np.ndarray:
    array = np.rot90(array, turns)
    return array[:, ::-1] if mirrored else array


def _restain(images: np.ndarray, rng: np.random.Generator) -> torch.Tensor:
    """Vary how strongly and in which colour each tile is stained, in optical density."""
    shape = (len(images), 1, 1, 3)
    strength = np.exp(_STAIN * rng.standard_normal((len(images), 1, 1, 1)))
    balance = np.exp(_STAIN / 2 * rng.standard_normal(shape))
    offset = _OFFSET * rng.standard_normal(shape)
    factor = torch.from_numpy((strength * balance).astype(np.float32))
    pixels = (torch.from_numpy(images).float() + 1) / 256
    # -log I is the optical density: a factor on it is a power of I, an offset a factor on I.
    pixels = pixels.pow(factor) * torch.from_numpy(np.exp(-offset).astype(np.float32))
    return pixels.clamp(0, 1).permute(0, 3, 1, 2)


def _check(task: Task, images: np.ndarray, targets: np.ndarray, n_classes: int) -> None:
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != 3:
        raise InputError(f"{task}: expected images uint8 (n, H, W, 3), found {images.shape}")
    shape = images.shape[:3] if task == "segmentation" else images.shape[:1]
    if targets.shape != shape or len(images) == 0:
        raise InputError(
            f"{task}: {len(images)} images need targets of shape {shape}, found {targets.shape}; "
            "at least one tile is needed"
        )
    found = np.unique(targets)
    strange = found[(found < 0) | ((found >= n_classes) & (found != UNLABELLED))]
    if strange.size:
        raise InputError(
            f"{task}: targets {strange[:5].tolist()} stand for no class; "
            f"expected 0..{n_classes - 1}"
        )
    if np.all(found == UNLABELLED):
        raise InputError(f"{task}: no tile has a labelled pixel; nothing can be learned")
