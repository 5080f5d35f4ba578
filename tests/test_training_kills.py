"""However a training is killed or cut, it ends with the weights of one that never stopped."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from training_runs import GENERATOR, SPEC, conditions, latent_cache

from histosynth.diffusion.latents import LatentCache
from histosynth.diffusion.train import train_generator
from histosynth.files import write_json
from histosynth.generator_settings import GeneratorSettings

# Pieces of a batch and two averages, so that both are part of what must come back.
SETTINGS = GENERATOR.model_copy(
    update={"steps": 24, "micro_batch": 3, "ema_widths": [0.05, 0.2], "save_every_seconds": 1e-9}
)


def train(folder: Path, latents: Path, settings: GeneratorSettings = SETTINGS) -> None:
    """Train in `folder`; leaves weights, averages and record there."""
    torch.set_num_threads(1)  # bit-equality is claimed for the same machine and threads
    network, record = train_generator(
        LatentCache.open(latents),
        conditions,
        settings,
        seed=3,
        spec=SPEC,
        tile_size=32,
        state_folder=folder / "state",
        log=lambda _: None,
        device="cpu",
    )
    torch.save(network.state_dict(), folder / "weights.pt")
    write_json(folder / "record.json", record)


def forked(work: Callable[[], None]) -> int:
    """Run `work` in a copy of this process; its number."""
    number = os.fork()
    if number:
        return number
    code = 1
    try:
        work()
        code = 0
    except SystemExit as exit_:
        code = int(exit_.code or 0)
    finally:
        os._exit(code)
    raise AssertionError


def step_of(folder: Path) -> int:
    for name in ("state.pt", "previous.pt"):  # between two renames there is only the second
        with suppress(FileNotFoundError):
            return torch.load(folder / "state" / name, weights_only=True)["step"]
    return 0


def killed_at_random(folder: Path, latents: Path) -> list[int]:
    """Kill after random steps, at any moment of a step or a save; the steps that were saved."""
    chance, steps = random.Random(0), [0]
    while True:
        child = forked(lambda: train(folder, latents))
        end = steps[-1] + chance.randint(1, 7)
        while end < SETTINGS.steps and step_of(folder) < end:
            time.sleep(0.01)
        if end >= SETTINGS.steps:
            assert os.waitpid(child, 0)[1] == 0
            return steps[1:]
        time.sleep(chance.uniform(0, 0.05))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        steps.append(step_of(folder))


def cut_in_three(folder: Path, latents: Path) -> list[int]:
    """Two time slices ended as a cluster does, a warning in each, and a third to the end."""
    steps = []
    for _ in range(2):
        begun = step_of(folder)
        child = forked(lambda: train(folder, latents))
        while step_of(folder) < begun + 6:
            time.sleep(0.01)
        os.kill(child, signal.SIGUSR1)  # the end is near: save, and go on
        time.sleep(0.05)
        os.kill(child, signal.SIGTERM)
        _, status = os.waitpid(child, 0)
        assert os.WIFEXITED(status) and os.WEXITSTATUS(status) == 128 + signal.SIGTERM
        steps.append(step_of(folder))
    child = forked(lambda: train(folder, latents))
    assert os.waitpid(child, 0)[1] == 0
    return steps


def run_all(folder: Path) -> None:
    torch.set_num_threads(1)
    latent_cache(folder / "latents")
    for name in ("whole", "killed", "cut"):
        (folder / name).mkdir()
    # A copy each time: a process that has trained is not what a started one is.
    child = forked(lambda: train(folder / "whole", folder / "latents"))
    assert os.waitpid(child, 0)[1] == 0
    found = {
        "killed": killed_at_random(folder / "killed", folder / "latents"),
        "cut": cut_in_three(folder / "cut", folder / "latents"),
    }
    write_json(folder / "steps.json", found)


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """Trainings in a process that may fork: it has one thread."""
    folder = tmp_path_factory.mktemp("runs")
    subprocess.run(
        [sys.executable, __file__, str(folder)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=True,
    )
    return folder


@pytest.mark.parametrize("name", ["killed", "cut"])
def test_a_training_killed_at_random_or_cut_in_three_ends_bit_equal(runs, name):
    steps = json.loads((runs / "steps.json").read_text())[name]
    print(f"{name} after steps {steps} of {SETTINGS.steps}")
    assert len(steps) >= 2 and steps == sorted(steps) and len(set(steps)) >= 2
    whole, other = (
        torch.load(runs / folder / "weights.pt", weights_only=True) for folder in ("whole", name)
    )
    assert whole.keys() == other.keys()
    assert all(torch.equal(whole[key], other[key]) for key in whole)
    states = [
        torch.load(runs / folder / "state" / "state.pt", weights_only=True)
        for folder in ("whole", name)
    ]
    for key, values in states[0]["averages"].items():
        pairs = zip(values, states[1]["averages"][key], strict=True)
        assert all(torch.equal(a, b) for a, b in pairs), key
    records = [
        json.loads((runs / folder / "record.json").read_text()) for folder in ("whole", name)
    ]
    assert records[0]["loss"] == records[1]["loss"]


def test_a_job_whose_log_is_ended_by_the_same_signal_saves_all_the_same(tmp_path):
    """As a rule runs it: through a pipe to `tee`, which SIGTERM to the whole job ends too."""
    log, state = tmp_path / "log", tmp_path / "state" / "state.pt"
    command = f"{sys.executable} {__file__} {tmp_path} piped 2>&1 | tee {log}"
    env = {**os.environ, "OMP_NUM_THREADS": "1", "TQDM_MININTERVAL": "0"}  # a line each step
    with subprocess.Popen(
        ["bash", "-c", command], env=env, stdout=subprocess.DEVNULL, start_new_session=True
    ) as job:
        until = time.monotonic() + 60
        while "5/100000" not in (log.read_text() if log.exists() else ""):
            assert time.monotonic() < until and job.poll() is None
            time.sleep(0.05)
        assert not state.exists()  # no save was due by the clock
        os.killpg(job.pid, signal.SIGTERM)
        while not state.exists():
            assert time.monotonic() < until, "the state was lost"
            time.sleep(0.05)
    assert torch.load(state, weights_only=True)["step"] >= 5


if __name__ == "__main__":
    made = Path(sys.argv[1])
    if sys.argv[2:] == ["piped"]:
        latent_cache(made / "latents")
        slow = SETTINGS.model_copy(update={"steps": 100_000, "save_every_seconds": 1e9})
        train(made, made / "latents", slow)
    else:
        run_all(made)
