"""Training curves as TensorBoard scalars, without repeats after a resume.

The saved state holds every loss, so a run that goes on writes its folder anew from there.
"""

import shutil
from pathlib import Path
from typing import Any

import torch

TENSORBOARD = "tensorboard"
POINTS = 1000  # at most so many of a training's losses


class Curves:
    """A folder of TensorBoard events: loss and gradient norm by step, validation scores.

    Parameters
    ----------
    folder : replaced
    losses, norms : float32 (steps,), of which the first `done` are known
    validation : rows with `step` and scores by name
    """

    def __init__(
        self,
        folder: Path,
        *,
        losses: torch.Tensor,
        norms: torch.Tensor,
        done: int,
        validation: list[dict[str, Any]],
    ) -> None:
        from torch.utils.tensorboard import SummaryWriter

        shutil.rmtree(folder, ignore_errors=True)
        self._writer = SummaryWriter(folder)
        self._losses, self._norms = losses, norms
        self._width = -(-len(losses) // POINTS)
        self._written = 0
        for row in validation:
            self.add_validation(row)
        self.add_losses(done)

    def add_losses(self, done: int) -> None:
        """Write the points that are whole with `done` steps, each a mean over its steps."""
        while self._written + self._width <= done:
            part = slice(self._written, self._written + self._width)
            self._written += self._width
            self._writer.add_scalar("train/loss", float(self._losses[part].mean()), self._written)
            self._writer.add_scalar(
                "train/gradient_norm", float(self._norms[part].mean()), self._written
            )

    def add_validation(self, row: dict[str, Any]) -> None:
        for name, value in row.items():
            if name != "step":
                self._writer.add_scalar(f"validation/{name}", value, row["step"])

    def close(self) -> None:
        self._writer.close()
