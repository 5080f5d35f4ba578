"""Two processes that share each batch end with the weights of one, but for rounding."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT

from histosynth.diffusion.autoencoder import build_autoencoder
from histosynth.diffusion.latents import LatentCache, write_latents
from histosynth.diffusion.network import ConditionBatch, SignalsSpec, build_network
from histosynth.diffusion.processes import Processes
from histosynth.diffusion.train import train_generator
from histosynth.errors import InputError
from histosynth.generator_settings import AutoencoderSettings, GeneratorSettings

SETTINGS = GeneratorSettings(
    channels=[8, 16], token_width=8, plane_width=4, steps=6, batch_size=4, warmup_steps=1,
    signal_dropout={"map": 0.3}, save_every_seconds=1e-9,
)  # fmt: skip
SPEC = SignalsSpec(planes={"map": 1}, tokens={"label": 2})


def conditions(rows, _flips, seeds) -> ConditionBatch:
    drawn = [np.random.default_rng(s).uniform(-1, 1, (1, 32, 32)) for s in seeds]
    planes = torch.from_numpy(np.stack(drawn).astype(np.float32))
    return ConditionBatch({"map": planes, "label": torch.from_numpy(rows % 2)})


def train(latents: Path, state: Path, processes: Processes, *, source=conditions):
    return train_generator(
        LatentCache.open(latents),
        source,
        SETTINGS,
        seed=3,
        spec=SPEC,
        tile_size=32,
        state_folder=state,
        log=print,
        processes=processes,
    )


def main(folder: Path) -> None:
    """What each of two processes runs: a training, and the rest of one that was cut short."""
    torch.set_num_threads(1)
    together = Processes.join()
    network, record = train(folder / "latents", folder / "two", together)
    if together.is_first:
        assert record["processes"] == 2
        torch.save(network.state_dict(), folder / "two.pt")
    network, _ = train(folder / "latents", folder / "cut", together)
    if together.is_first:
        torch.save(network.state_dict(), folder / "resumed.pt")


class Killed(Exception):
    pass


@pytest.mark.usefixtures("one_thread")
def test_two_processes_end_with_the_weights_of_one(tmp_path: Path) -> None:
    latents, alone = tmp_path / "latents", Processes(torch.device("cpu"))
    images = np.random.default_rng(0).integers(0, 255, (12, 32, 32, 3), dtype=np.uint8)
    autoencoder = build_autoencoder(
        AutoencoderSettings(channels=[8, 8, 8], latent_channels=2, crop=16)
    )
    shape = write_latents(latents, autoencoder, images, tiles_fingerprint="t").latent_shape
    whole = train(latents, tmp_path / "whole", alone)[0].state_dict()

    def cut_short(rows, flips, seeds) -> ConditionBatch:
        if seeds[0][2] == 3:  # the step
            raise Killed
        return conditions(rows, flips, seeds)

    with pytest.raises(Killed):
        train(latents, tmp_path / "cut", alone, source=cut_short)

    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    paths = os.pathsep.join(map(str, (ROOT, ROOT / "tests")))
    done = subprocess.run(
        [*launcher, "--nproc-per-node", "2", __file__, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("resumed at step 3 of 6") == 2
    start = build_network(SETTINGS, SPEC, latent_shape=shape, tile_size=32, seed=3).state_dict()
    moved = torch.cat([(start[name] - weight).abs().ravel() for name, weight in whole.items()])
    for name in ("two.pt", "resumed.pt"):
        found = torch.load(tmp_path / name, weights_only=True)
        apart = torch.cat([(found[name] - weight).abs().ravel() for name, weight in whole.items()])
        # Gradients are summed in another order, and AdamW divides each by its size: rounding of
        # those that are all but zero moves single weights by up to a few hundredths of a step.
        assert apart.mean() < 1e-3 * moved.mean() and apart.max() < 0.1 * moved.max(), name


def test_processes_share_a_batch_evenly_or_not_at_all() -> None:
    cpu = torch.device("cpu")
    shares = [Processes(cpu, index, 4).share(12) for index in range(4)]
    assert [position for share in shares for position in share] == list(range(12))
    with pytest.raises(InputError, match=r"10 samples cannot be shared by 4 .*a multiple of 4"):
        Processes(cpu, 0, 4).share(10)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
