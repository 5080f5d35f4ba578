"""A killed training goes on to the same weights; a wrong or broken one stops with the culprit."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from training_runs import (
    AUTOENCODER,
    GENERATOR,
    SPEC,
    STEPS,
    Stop,
    StoppingImages,
    conditions,
    latent_cache,
    tiles,
)

from histosynth.diffusion.autoencoder_fitting import train_autoencoder
from histosynth.diffusion.train import train_generator
from histosynth.errors import InputError


def train(folder: Path, **changes):
    torch.set_num_threads(1)  # bit-equality is claimed for the same machine and threads
    settings = GENERATOR.model_copy(update=changes)
    return train_generator(
        latent_cache(folder / "latents"),
        conditions,
        settings,
        seed=3,
        spec=SPEC,
        tile_size=32,
        state_folder=folder / "state",
        log=print,
        device="cpu",
    )


def state_dicts_equal(one, other) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


def train_in_subprocess(folder: Path) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, __file__, str(folder)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)},
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_state(folder: Path, process: subprocess.Popen) -> None:
    for _ in range(6000):
        if (folder / "state" / "state.pt").exists():
            return
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.01)
    raise AssertionError("no state within a minute")


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    network, _ = train(tmp_path_factory.mktemp("uninterrupted"))
    return network.state_dict()


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGTERM, 143)]
)
def test_a_killed_training_resumes_to_bit_equal_weights(tmp_path, uninterrupted, number, code):
    process = train_in_subprocess(tmp_path)
    wait_for_state(tmp_path, process)
    process.send_signal(number)
    process.communicate()
    assert process.returncode == code
    saved = torch.load(tmp_path / "state" / "state.pt", weights_only=True)
    assert 0 < saved["step"] < STEPS and not saved["finished"]
    network, record = train(tmp_path)
    assert state_dicts_equal(network.state_dict(), uninterrupted)
    assert record["steps"] == STEPS and len(record["loss"]) * record["loss_every"] >= STEPS


def test_a_finished_training_started_again_gives_the_same_weights_at_once(tmp_path):
    first, _ = train(tmp_path, steps=4)
    again, record = train(tmp_path, steps=4)
    assert state_dicts_equal(first.state_dict(), again.state_dict())
    assert record["steps"] == 4


def test_resuming_with_other_settings_is_refused_and_names_the_keys(tmp_path):
    train(tmp_path, steps=4)
    path = tmp_path / "state" / "state.pt"
    torch.save({**torch.load(path, weights_only=True), "finished": False}, path)
    with pytest.raises(InputError, match=r"learning_rate: saved 0.001, now 0.005.*delete"):
        train(tmp_path, steps=4, learning_rate=5e-3)


def test_a_loss_that_is_not_finite_stops_with_step_and_rows_and_keeps_the_good_state(tmp_path):
    def poisoned(rows, flips, seeds):
        batch = conditions(rows, flips, seeds)
        batch["map"][rows == 7] = float("nan")
        return batch

    with pytest.raises(FloatingPointError, match=r"step \d+, tiles .*\btile7\b"):
        train_generator(
            latent_cache(tmp_path / "latents"),
            poisoned,
            GENERATOR.model_copy(update={"save_every_seconds": 1e-9}),
            tile_ids=[f"tile{row}" for row in range(12)],
            seed=3,
            spec=SPEC,
            tile_size=32,
            state_folder=tmp_path / "state",
            log=print,
            device="cpu",
        )
    state = tmp_path / "state" / "state.pt"
    if state.exists():  # row 7 may be in the very first batch
        saved = torch.load(state, weights_only=True)
        assert all(torch.isfinite(value).all() for value in saved["model"].values())


def test_an_autoencoder_cut_in_two_ends_with_bit_equal_weights(tmp_path):
    torch.set_num_threads(1)
    settings = AUTOENCODER.model_copy(update={"steps": 8, "save_every_seconds": 1e-9})

    whole, _ = train_autoencoder(tiles(), settings, state_folder=tmp_path / "a", log=print)
    with pytest.raises(Stop):
        train_autoencoder(StoppingImages(9), settings, state_folder=tmp_path / "b", log=print)
    resumed, _ = train_autoencoder(tiles(), settings, state_folder=tmp_path / "b", log=print)
    assert state_dicts_equal(whole.state_dict(), resumed.state_dict())


def test_a_failed_save_leaves_the_previous_state(tmp_path):
    from histosynth.diffusion.state import ResumableState

    state = ResumableState(tmp_path, {"a": 1}, every_seconds=60, log=print)
    state.save({"step": 1}, finished=False)
    with pytest.raises((TypeError, AttributeError, RuntimeError)):
        state.save({"step": lambda: None}, finished=False)  # cannot be written
    assert state.load()["step"] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["state.pt"]


if __name__ == "__main__":
    train(Path(sys.argv[1]), save_every_seconds=1e-9)
