"""What a training was like, step by step: losses, gradient norms, validation scores."""

from collections.abc import Callable, Sequence
from typing import Any

import torch

POINTS_OF_RECORD = 100


class History:
    """Kept on the CPU and in the saved state; a device's losses wait until they are read.

    Attributes
    ----------
    losses, norms : float32 (steps,), of which those of the steps done are known
    validation : rows with `step` and scores by name
    """

    def __init__(self, steps: int, names_of: Callable[[int], Sequence[str]]) -> None:
        self.losses, self.norms = torch.zeros(steps), torch.zeros(steps)
        self.validation: list[dict[str, Any]] = []
        self._names_of = names_of
        self._waiting: list[torch.Tensor] = []

    @property
    def waiting(self) -> int:
        """How many steps were not read yet."""
        return len(self._waiting)

    def add(self, loss: torch.Tensor, norm: torch.Tensor) -> None:
        """Take in a step's loss and gradient norm without waiting for the device."""
        self._waiting.append(torch.stack([loss, norm]))

    def read(self, done: int) -> None:
        """Read what waits, of the last of `done` steps.

        Raises
        ------
        FloatingPointError
            A loss or gradient is not finite; its step and samples are named.
        """
        if not self._waiting:
            return
        losses, norms = torch.stack(self._waiting).float().cpu().unbind(1)
        self._waiting.clear()
        first = done - len(losses)
        bad = torch.nonzero(~(torch.isfinite(losses) & torch.isfinite(norms)))
        if len(bad):
            i = int(bad[0])
            names = ", ".join(self._names_of(first + i))
            raise FloatingPointError(
                f"loss {float(losses[i])}, gradient norm {float(norms[i])} at step {first + i}, "
                f"tiles {names}; the last good state is kept. Look at those tiles, or lower the "
                "learning rate."
            )
        self.losses[first:done], self.norms[first:done] = losses, norms

    def state_dict(self) -> dict[str, Any]:
        return {"losses": self.losses, "norms": self.norms, "validation": self.validation}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        self.losses, self.norms = saved["losses"], saved["norms"]
        self.validation = saved["validation"]

    def record(self) -> dict[str, Any]:
        """The curves for train.json: mean losses over `loss_every` steps, and all validations."""
        width = max(1, -(-len(self.losses) // POINTS_OF_RECORD))
        return {
            "loss": [float(chunk.mean()) for chunk in self.losses.split(width)],
            "loss_every": width,
            "validation": self.validation,
        }
