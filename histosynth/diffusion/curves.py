"""Training curves as TensorBoard scalars, without repeats after a resume.

The saved state holds the whole history, so a run that goes on writes its folder anew from there.
"""

import shutil
from pathlib import Path
from typing import Any

from histosynth.diffusion.history import History

TENSORBOARD = "tensorboard"
POINTS = 1000  # at most so many of a training's losses


class Curves:
    """A folder of TensorBoard events: loss and gradient norm by step, validation scores.

    Parameters
    ----------
    folder : replaced
    history : what is drawn; its first `done` steps are known
    """

    def __init__(self, folder: Path, history: History, *, done: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        shutil.rmtree(folder, ignore_errors=True)
        self._writer = SummaryWriter(folder)
        self._history = history
        self._width = -(-len(history.losses) // POINTS)
        self._written = 0
        for row in history.validation:
            self.add_validation(row)
        self.add_losses(done)

    def add_losses(self, done: int) -> None:
        """Write the points that are whole with `done` steps, each a mean over its steps."""
        means = {"loss": self._history.losses, "gradient_norm": self._history.norms}
        while self._written + self._width <= done:
            part = slice(self._written, self._written + self._width)
            self._written += self._width
            for name, values in means.items():
                self._writer.add_scalar(f"train/{name}", float(values[part].mean()), self._written)

    def add_validation(self, row: dict[str, Any]) -> None:
        for name, value in row.items():
            if name != "step":
                self._writer.add_scalar(f"validation/{name}", value, row["step"])

    def close(self) -> None:
        self._writer.close()
