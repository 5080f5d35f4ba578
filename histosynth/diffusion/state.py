"""Resumable training state: saved atomically, by the clock and on signals.

The state holds everything that a step changes (weights, optimizer, averages, losses, step) and
nothing random: order, noise and times are pure functions of (seed, step, position). So a run that
is killed at any moment and started again ends with the same bits, on the same machine, as one that
never stopped. The last two states are kept, in case the newest cannot be read.
"""

import contextlib
import errno
import os
import pickle
import shutil
import signal
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from histosynth.errors import InputError
from histosynth.files import atomic_file

STATE_FILE, PREVIOUS_FILE = "state.pt", "previous.pt"
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# What opening a file may raise that is cut off, empty, overwritten or on a failing disk.
UNREADABLE = (
    zipfile.BadZipFile,
    pickle.UnpicklingError,
    RuntimeError,
    EOFError,
    ValueError,
    KeyError,
    OSError,
)


class ResumableState:
    """Where a training loop keeps its state, and when it saves it.

    Parameters
    ----------
    folder
        Holds `state.pt` and the state saved before it, `previous.pt`; lies beside a job's declared
        outputs, so that it survives a retry.
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
        self.previous = Path(folder) / PREVIOUS_FILE
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
            The state belongs to an unfinished run with other settings; the keys are named. Or
            neither of the two states can be read.
        """
        saved = self._newest_readable()
        if saved is None:
            return None
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

    def _newest_readable(self) -> dict[str, Any] | None:
        broken = {}
        for path in (self.path, self.previous):
            if not path.exists():
                continue
            try:
                saved = _read_whole(path)
            except UNREADABLE as error:
                broken[path] = str(error).split("\n")[0]
                continue
            for other, why in broken.items():
                self.log(f"{other}: cannot be read ({why}); going on from {path}")
            return saved
        if broken:
            found = "; ".join(f"{path}: {why}" for path, why in broken.items())
            raise InputError(
                f"the training state cannot be read ({found}). Put back a copy of it, or delete "
                f"{self.path.parent} to start afresh"
            )
        return None

    def save(self, state: dict[str, Any], *, finished: bool) -> None:
        """Write `state` so that a kill at any moment leaves the one before or the new one, whole.

        Raises
        ------
        InputError
            No room on the disk, or under a limit on files; the states saved before stay.
        """
        try:
            with atomic_file(self.path) as partial:
                with open(partial, "wb") as stream:
                    torch.save({**state, "identity": self.identity, "finished": finished}, stream)
                    stream.flush()
                    os.fsync(stream.fileno())
                if self.path.exists():
                    os.replace(self.path, self.previous)
        except (OSError, RuntimeError) as error:
            if not _lacks_room(error):
                raise
            raise InputError(self._no_room_message(state)) from error
        self._last_save = time.monotonic()

    def _no_room_message(self, state: dict[str, Any]) -> str:
        needed = _tensor_bytes(state) / 2**20
        free = shutil.disk_usage(self.path.parent).free / 2**20
        kept = (
            f"the last one saved is whole ({self.path})" if self.path.exists() else "none is saved"
        )
        return (
            f"{self.path.parent}: no room to save the training state: it takes {needed:.1f} MB "
            f"beside the two kept, {free:.1f} MB are free (a quota or a limit on the size of files "
            f"may allow less). Make room and start again; {kept}"
        )

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


def _read_whole(path: Path) -> dict[str, Any]:
    """Read a state once its checksums hold; torch itself does not look at them."""
    with zipfile.ZipFile(path) as archive:
        if bad := archive.testzip():
            raise ValueError(f"checksum of {bad} does not hold")
    return torch.load(path, map_location="cpu", weights_only=True)


def _lacks_room(error: BaseException) -> bool:
    """Whether a full disk is the cause; torch raises another error while it handles that one."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in NO_ROOM:
            return True
        cause = cause.__cause__ or cause.__context__
    return False


def _tensor_bytes(value: Any) -> int:
    if isinstance(value, torch.Tensor):
        return value.nbytes
    if isinstance(value, dict):
        value = list(value.values())
    return sum(map(_tensor_bytes, value)) if isinstance(value, list | tuple) else 0


def discard_state(folder: Path) -> None:
    """Remove a run's state, once its outputs are safely written."""
    shutil.rmtree(folder, ignore_errors=True)


class EpochOrder:
    """Which rows a step sees: shuffled epochs back to back, a pure function of (seed, step)."""

    def __init__(self, n: int, batch_size: int, *, seed: int) -> None:
        self.n, self.batch_size, self.seed = n, batch_size, seed
        self._epochs: dict[int, np.ndarray] = {}

    def _epoch(self, epoch: int) -> np.ndarray:
        order = self._epochs.get(epoch)  # two threads may ask
        if order is None:
            if len(self._epochs) > 2:
                self._epochs.clear()
            order = np.random.default_rng([self.seed, epoch, 0]).permutation(self.n)
            self._epochs[epoch] = order
        return order

    def rows(self, step: int) -> np.ndarray:
        """The row numbers of step `step`, int64 of shape (batch_size,)."""
        positions = np.arange(step * self.batch_size, (step + 1) * self.batch_size)
        return np.array([self._epoch(int(p) // self.n)[p % self.n] for p in positions])
