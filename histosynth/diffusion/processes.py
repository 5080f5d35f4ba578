"""One training on several processes, a device each, through accelerate.

Each process takes its part of every batch. What is random in a sample is a function of seed, step
and position, gradients are averaged before they are clipped, and all processes step alike, so the
weights are those of one process but for rounding. The first alone writes.
"""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from histosynth.device import pick_device
from histosynth.diffusion.state import ResumableState
from histosynth.errors import InputError


@dataclass(frozen=True)
class Processes:
    """This process among `count`; a launcher (torchrun, accelerate launch) starts the others."""

    device: torch.device
    index: int = 0
    count: int = 1

    @classmethod
    def join(cls, device: torch.device | None = None) -> "Processes":
        """Meet the others, where a launcher started this process as one of several."""
        if int(os.environ.get("WORLD_SIZE", "1")) == 1:
            return cls(device or pick_device())
        from accelerate import PartialState

        joined = PartialState(cpu=not torch.cuda.is_available())
        return cls(joined.device, joined.process_index, joined.num_processes)

    @property
    def is_first(self) -> bool:
        return self.index == 0

    def share(self, batch_size: int) -> range:
        """The positions of a batch that this process takes.

        Raises
        ------
        InputError
            The batch cannot be shared evenly.
        """
        if batch_size % self.count:
            raise InputError(
                f"generator.batch_size: {batch_size} samples cannot be shared by {self.count} "
                f"processes; make it a multiple of {self.count}"
            )
        size = batch_size // self.count
        return range(self.index * size, (self.index + 1) * size)

    def average(self, tensors: Sequence[torch.Tensor]) -> None:
        """Replace tensors, on the same device, by their means over all processes, in one go."""
        if self.count == 1:
            return
        from accelerate.utils import reduce

        flat = reduce(torch.cat([t.detach().reshape(-1).float() for t in tensors]), "mean")
        parts = flat.split([t.numel() for t in tensors])
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.copy_(part.view(tensor.shape))

    def state(self, *arguments: Any, **options: Any) -> ResumableState:
        """A training's state: all processes go on from it, the first alone saves it."""
        return (ResumableState if self.is_first else _ReadState)(*arguments, **options)


class _ReadState(ResumableState):
    """Goes on from the first process's state, saves none, and leaves stopping to that one.

    Were it to stop at a signal by itself, the first would wait for its gradients in vain, and not
    save. When the first stops, the launcher or the broken connection ends this one.
    """

    def save(self, state: dict[str, Any], *, finished: bool) -> None:
        pass

    def save_if_due(self, collect: Callable[[], dict[str, Any]]) -> None:
        pass

    @contextlib.contextmanager
    def catching_signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
        before = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
