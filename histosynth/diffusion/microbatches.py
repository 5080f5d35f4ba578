"""Gradient accumulation: a batch goes through in pieces that fit, and counts as one.

The gradient of a mean over the batch is the mean of the pieces' gradients weighed by their sizes,
so the pieces' size decides memory and rounding, and nothing else.
"""

from collections.abc import Callable
from typing import Literal

import torch

from histosynth.errors import InputError

MicroBatch = int | Literal["auto"] | None


class MicroBatches:
    """How many samples go through at once; `auto` halves the number where memory runs out.

    Parameters
    ----------
    key : the config section that holds `micro_batch`, for errors
    """

    def __init__(
        self, wanted: MicroBatch, *, batch_size: int, key: str, log: Callable[[str], None]
    ) -> None:
        self.auto = wanted == "auto"
        self.size = min(wanted, batch_size) if isinstance(wanted, int) else batch_size
        self.key, self.log = key, log

    def pieces(self, positions: range) -> list[range]:
        """The positions of a batch in the pieces that go through at once."""
        return [positions[i : i + self.size] for i in range(0, len(positions), self.size)]

    def shrink(self, step: int, reason: str) -> None:
        """Halve the size after memory ran out at `step`.

        Raises
        ------
        InputError
            The size is fixed by the study, or is one already; what to set is named.
        """
        smaller = self.size // 2
        found = (
            f"{self.key}, step {step}: out of memory with {self.size} samples at once ({reason})"
        )
        if smaller < 1:
            raise InputError(
                f"{found}; a single sample does not fit. Use a smaller network or smaller tiles, "
                f"precision bf16, or a device with more memory"
            )
        if not self.auto:
            raise InputError(
                f"{found}. Set {self.key}.micro_batch to {smaller}, or to auto, which finds one; "
                "the effective batch stays the same, and a started run goes on from its state"
            )
        self.log(f"{found}; going on with micro_batch {smaller}")
        self.size = smaller


def memory_ran_out(error: BaseException) -> bool:
    """Whether an error is a device's, torch's CPU allocator's or Python's out of memory."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    # torch's CPU allocator raises a plain RuntimeError
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
