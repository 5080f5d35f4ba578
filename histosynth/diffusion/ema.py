"""Averages of a module's weights over its training.

A power-function average gives the weights after step k a weight that grows as k^gamma, so that it
is of the same relative width however long the training was (Karras et al. 2024, arXiv 2312.02696,
section 3.1). An exponential one is what published recipes use.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch


class Ema:
    """A running average of the weights that train.

    Attributes
    ----------
    values : tensors in the order of `trainable(module)`
    decay : of a step's number, from 0, the share of the average so far that is kept
    """

    def __init__(self, module: torch.nn.Module, decay: Callable[[int], float]) -> None:
        self.decay = decay
        self._weights = trainable(module)
        self.values = [p.detach().clone() for p in self._weights]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the module's weights after step `step`."""
        torch._foreach_lerp_(self.values, self._weights, 1 - self.decay(step))

    @torch.no_grad()
    def load(self, values: Sequence[torch.Tensor]) -> None:
        torch._foreach_copy_(self.values, list(values))


def trainable(module: torch.nn.Module) -> list[torch.Tensor]:
    """The parameters that are trained, in the module's order; frozen ones are left out."""
    return [p for p in module.parameters() if p.requires_grad]


def averages_of(
    module: torch.nn.Module, *, widths: Sequence[float], decay: float | None
) -> dict[str, Ema]:
    """The averages that settings ask for, by a name for the record; none for neither."""
    if decay is not None:
        return {f"exponential {decay:g}": Ema(module, exponential_decay(decay))}
    return {f"power {width:g}": Ema(module, power_decay(width)) for width in widths}


def power_decay(width: float) -> Callable[[int], float]:
    """The decay of a power-function average of a relative width (its equation 127)."""
    exponent = gamma_of_width(width) + 1
    return lambda step: (1 - 1 / (step + 1)) ** exponent


def exponential_decay(decay: float) -> Callable[[int], float]:
    """A constant decay but for a warm-up, so that early averages forget the random start."""
    return lambda step: min(decay, (1 + step) / (10 + step))


def gamma_of_width(width: float) -> float:
    """The exponent gamma of the profile k^gamma whose standard deviation is `width` of the run.

    width = (gamma + 1)^(1/2) (gamma + 2)^-1 (gamma + 3)^(-1/2), solved as a cubic in gamma.
    """
    inverse = width**-2
    return float(np.roots([1, 7, 16 - inverse, 12 - inverse]).real.max())


@torch.no_grad()
def copy_into(module: torch.nn.Module, values: Sequence[torch.Tensor]) -> None:
    """Give the trained parameters other values, in place."""
    torch._foreach_copy_(trainable(module), list(values))


@contextlib.contextmanager
def holding(module: torch.nn.Module, values: Sequence[torch.Tensor]) -> Iterator[None]:
    """The module with other values and in eval mode; its own and its mode come back after."""
    own, training = [p.detach().clone() for p in trainable(module)], module.training
    copy_into(module, values)
    module.eval()
    try:
        yield
    finally:
        copy_into(module, own)
        module.train(training)
