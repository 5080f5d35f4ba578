"""Resumable training state: saved atomically, by the clock and on signals.

The state holds everything that a step changes (weights, optimizer, EMA, losses, step) and nothing
random: order, noise and times are pure functions of (seed, step). So a run that is killed at any
moment and started again ends with the same bits, on the same machine, as one that never stopped.
"""

import contextlib
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from histosynth.errors import InputError
from histosynth.files import atomic_file

STATE_FILE = "state.pt"


class ResumableState:
    """Where a training loop keeps its state, and when it saves it.

    Parameters
    ----------
    folder
        Holds `state.pt`; lies beside a job's declared outputs, so that it survives a retry.
    identity
        Every setting and fingerprint that the final weights depend on, as plain values. A state
        of another identity is refused.
    every_seconds
        Time between saves; it decides what a kill costs, never what comes out.
    """

    def __init__(
        self,
        folder: Path,
        identity: dict[str, Any],
        *,
        every_seconds: float,
        log: Callable[[str], None],
    ) -> None:
        self.path = Path(folder) / STATE_FILE
        self.identity = identity
        self.every_seconds = every_seconds
        self.log = log
        self._last_save = time.monotonic()
        self._signal: int | None = None

    def load(self) -> dict[str, Any] | None:
        """Return the saved state (on the CPU), or None where there is nothing to resume.

        Raises
        ------
        InputError
            The state belongs to an unfinished run with other settings; the keys are named.
        """
        if not self.path.exists():
            return None
        saved = torch.load(self.path, map_location="cpu", weights_only=True)
        differing = {
            key: (saved["identity"].get(key), self.identity.get(key))
            for key in sorted(saved["identity"].keys() | self.identity.keys())
            if saved["identity"].get(key) != self.identity.get(key)
        }
        if not differing:
            return saved
        if saved["finished"]:
            # Nothing is lost with a finished run: its weights were written to the outputs.
            names = ", ".join(differing)
            self.log(f"{self.path}: a finished run with other {names}; starting anew")
            return None
        details = "; ".join(
            f"{key}: saved {old!r}, now {new!r}" for key, (old, new) in differing.items()
        )
        raise InputError(
            f"{self.path}: the unfinished run there has other settings ({details}). "
            f"Restore them to go on, or delete {self.path.parent} to start afresh."
        )

    def save(self, state: dict[str, Any], *, finished: bool) -> None:
        """Write `state` so that a kill at any moment leaves the previous or the new one, whole."""
        with atomic_file(self.path) as partial, open(partial, "wb") as stream:
            torch.save({**state, "identity": self.identity, "finished": finished}, stream)
            stream.flush()
            os.fsync(stream.fileno())
        self._last_save = time.monotonic()

    def save_if_due(self, collect: Callable[[], dict[str, Any]]) -> None:
        """Save when the clock or a signal asks for it; after SIGTERM and SIGINT also stop.

        SIGUSR1 is a warning from a cluster that the end is near: save, and go on while it lasts.
        """
        received, self._signal = self._signal, None
        if received is None and time.monotonic() - self._last_save < self.every_seconds:
            return
        self.save(collect(), finished=False)
        if received is None:
            return
        self.log(f"{signal.Signals(received).name}: state saved to {self.path}")
        if received == signal.SIGINT:
            raise KeyboardInterrupt
        if received == signal.SIGTERM:
            raise SystemExit(128 + signal.SIGTERM)

    @contextlib.contextmanager
    def catching_signals(self) -> Iterator[None]:
        """Turn SIGTERM, SIGINT and SIGUSR1 into a save at the end of the running step."""
        if threading.current_thread() is not threading.main_thread():
            yield  # only the main thread may install handlers
            return

        def remember(number: int, _frame: Any) -> None:
            self._signal = number

        numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
        before = {number: signal.signal(number, remember) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def discard_state(folder: Path) -> None:
    """Remove a run's state, once its outputs are safely written."""
    shutil.rmtree(folder, ignore_errors=True)


class EpochOrder:
    """Which rows a step sees: shuffled epochs back to back, a pure function of (seed, step)."""

    def __init__(self, n: int, batch_size: int, *, seed: int) -> None:
        self.n, self.batch_size, self.seed = n, batch_size, seed
        self._epochs: dict[int, np.ndarray] = {}

    def _epoch(self, epoch: int) -> np.ndarray:
        if epoch not in self._epochs:
            if len(self._epochs) > 2:
                self._epochs.clear()
            self._epochs[epoch] = step_random(self.seed, epoch, stream=0).permutation(self.n)
        return self._epochs[epoch]

    def rows(self, step: int) -> np.ndarray:
        """The row numbers of step `step`, int64 of shape (batch_size,)."""
        positions = np.arange(step * self.batch_size, (step + 1) * self.batch_size)
        return np.array([self._epoch(int(p) // self.n)[p % self.n] for p in positions])


def step_random(seed: int, step: int, *, stream: int) -> np.random.Generator:
    """An independent generator for each (seed, step) and purpose (`stream`)."""
    return np.random.default_rng([seed, step, stream])
