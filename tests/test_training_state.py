"""A saved state is whole or refused: torn files, broken bits and full disks cost no training."""

import contextlib
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from histosynth.diffusion.state import ResumableState
from histosynth.errors import InputError


def state_of(step: int, numbers: int = 1000) -> dict:
    return {"step": step, "model": {"weight": torch.full((numbers,), float(step))}}


def open_state(folder: Path, said: list[str] | None = None) -> ResumableState:
    log = print if said is None else said.append
    return ResumableState(folder, {"a": 1}, every_seconds=60, log=log)


def saved_twice(folder: Path, said: list[str] | None = None) -> ResumableState:
    state = open_state(folder, said)
    for step in (1, 2):
        state.save(state_of(step), finished=False)
    return state


def cut_short(content: bytes) -> bytes:
    return content[: len(content) // 2]


def one_bit_flipped(content: bytes) -> bytes:
    """In the middle, so in the weights: torch alone would load it without a word."""
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def emptied(_content: bytes) -> bytes:
    return b""


@pytest.mark.parametrize("damage", [cut_short, one_bit_flipped, emptied])
def test_a_damaged_newest_state_falls_back_to_the_one_before(tmp_path, damage):
    said: list[str] = []
    state = saved_twice(tmp_path, said)
    assert state.load()["step"] == 2 and not said
    state.path.write_bytes(damage(state.path.read_bytes()))
    saved = state.load()
    assert saved["step"] == 1 and (saved["model"]["weight"] == 1).all()
    assert re.search(r"state\.pt: cannot be read \(.+\); going on from .*previous\.pt", said[0])


def test_a_kill_between_the_two_renames_loses_one_save(tmp_path):
    state = saved_twice(tmp_path)
    state.path.unlink()
    assert state.load()["step"] == 1


def test_two_damaged_states_are_refused_rather_than_trained_over(tmp_path):
    state = saved_twice(tmp_path)
    for path in (state.path, state.previous):
        path.write_bytes(b"not a state")
    with pytest.raises(InputError, match=r"state\.pt: .+previous\.pt: .+delete"):
        state.load()


def save_under(folder: Path, *, limit: int | None) -> str:
    """Save a state of 4 MB in a process of its own, with files limited to `limit` bytes."""

    def restrict() -> None:
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    done = subprocess.run(
        [sys.executable, __file__, str(folder)],
        cwd=Path(__file__).parent.parent,
        preexec_fn=restrict,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def check_message(said: str, folder: Path) -> None:
    assert said.startswith(f"{folder}: no room"), said
    assert "takes 4.0 MB" in said and "MB are free" in said and "Make room" in said
    assert f"the last one saved is whole ({folder / 'state.pt'})" in said
    assert open_state(folder).load()["step"] == 2
    assert sorted(path.name for path in folder.iterdir()) == ["previous.pt", "state.pt"]


def test_a_limit_on_files_while_saving_leaves_the_states_and_says_what_room_it_takes(tmp_path):
    saved_twice(tmp_path)
    check_message(save_under(tmp_path, limit=2**20), tmp_path)


def test_a_full_disk_while_saving_leaves_the_states_and_says_what_room_it_takes(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    with contextlib.ExitStack() as stack:
        try:
            subprocess.run(mount, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            pytest.skip("a disk of 1 MB can be mounted only with the right to")
        stack.callback(subprocess.run, ["umount", str(disk)], check=True)
        saved_twice(disk)
        check_message(save_under(disk, limit=None), disk)


if __name__ == "__main__":
    try:
        open_state(Path(sys.argv[1])).save(state_of(3, numbers=2**20), finished=False)
    except InputError as error:
        print(error)
