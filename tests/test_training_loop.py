"""Pieces of a batch add up to it; memory that runs out says what to set; curves are kept."""

import json
import math
import re
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import kstest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from histosynth.diffusion.curves import TENSORBOARD
from histosynth.diffusion.ema import copy_into
from histosynth.diffusion.loop import Plan, Validation, train_loop
from histosynth.diffusion.prefetch import Prefetch
from histosynth.diffusion.randomness import SampleRandom
from histosynth.diffusion.state import ResumableState
from histosynth.errors import InputError

PLAN = Plan(steps=8, batch_size=6, learning_rate=1e-2, warmup_steps=2, ema_widths=(0.1, 0.2))


class Net(torch.nn.Module):
    """A small regression that cannot take more than `most` rows at once."""

    def __init__(self, most: int = 100) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = torch.nn.Sequential(
            torch.nn.Linear(4, 8), torch.nn.GELU(), torch.nn.Linear(8, 1)
        )
        self.most = most

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if len(x) > self.most:
            raise torch.OutOfMemoryError(f"{len(x)} rows\nmore of it")
        return self.layers(x)


def inputs_of(step: int, positions: range) -> torch.Tensor:
    drawn = SampleRandom(3, step, positions, stream=1).standard_normal((len(positions), 4))
    return torch.from_numpy(drawn.astype(np.float32))


def mean_loss(net: torch.nn.Module):
    return lambda x: (net(x)[:, 0] - x.square().sum(1)).square().mean()


def train(folder: Path, net: Net, plan: Plan = PLAN, *, said=None, **hooks):
    log = print if said is None else said.append
    hooks.setdefault("loss_of", mean_loss(net))
    return train_loop(
        net,
        inputs_of,
        plan=plan,
        names_of=lambda step: [f"tile{step * plan.batch_size + i}" for i in range(plan.batch_size)],
        state=ResumableState(folder, {"plan": str(plan.steps)}, every_seconds=1e-9, log=log),
        name="generator",
        log=log,
        **hooks,
    )


def weights(net: torch.nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in net.parameters()])


def changed(**changes) -> Plan:
    return Plan(**{**PLAN.__dict__, **changes})


@pytest.mark.parametrize("micro_batch", [1, 4, 100])
def test_pieces_of_a_batch_train_as_the_batch_does(tmp_path, micro_batch):
    whole, pieces = Net(), Net(most=micro_batch)
    one = train(tmp_path / "a", whole)
    two = train(tmp_path / "b", pieces, changed(micro_batch=micro_batch))
    # sums in another order: some float32 roundings over eight steps
    assert torch.allclose(weights(whole), weights(pieces), atol=1e-6)
    for name, values in one.averages.items():
        for a, b in zip(values, two.averages[name], strict=True):
            assert torch.allclose(a, b, atol=1e-6)
    assert two.record["loss"] == pytest.approx(one.record["loss"], rel=1e-5)
    assert two.record["flops_per_step"] == one.record["flops_per_step"] > 0


def test_out_of_memory_says_step_and_size_and_what_to_set(tmp_path):
    with pytest.raises(
        InputError,
        match=r"step 0: out of memory with 6 samples at once \(6 rows\)\. "
        r"Set generator\.micro_batch to 3, or to auto",
    ):
        train(tmp_path, Net(most=2))
    with pytest.raises(InputError, match="a single sample does not fit"):
        train(
            tmp_path, Net(most=0), changed(micro_batch="auto"), loss_of=single_row_fits_at_first()
        )


def single_row_fits_at_first():
    """A loss for which even one row is too much once training has begun."""
    net, calls = Net(), []

    def loss_of(x: torch.Tensor) -> torch.Tensor:
        calls.append(len(x))
        if len(calls) > 1:
            raise torch.OutOfMemoryError("no")
        return mean_loss(net)(x)

    return loss_of


def test_auto_finds_what_fits_keeps_it_over_a_restart_and_trains_as_if_set(tmp_path):
    found, fixed, said = Net(most=2), Net(most=1), []
    record = train(tmp_path / "auto", found, changed(micro_batch="auto"), said=said).record
    assert record["micro_batch"] == 1  # 6, 3, 1: halves until it fits
    assert [line for line in said if "out of memory with 3 samples" in line]
    train(tmp_path / "fixed", fixed, changed(micro_batch=1))
    assert torch.equal(weights(found), weights(fixed))
    again = train(tmp_path / "auto", Net(most=2), changed(micro_batch="auto")).record
    assert again["micro_batch"] == 1


def test_memory_that_the_system_refuses_is_told_like_a_full_device(tmp_path):
    """The limit is real: a process of its own may not grow by the activations of a whole batch."""
    done = subprocess.run(
        [sys.executable, __file__, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert "out of memory with 64 samples at once" in done.stdout
    assert re.search(r"found (\d+)", done.stdout), done.stdout
    assert int(re.search(r"found (\d+)", done.stdout)[1]) < 64


def test_a_gradient_that_is_not_finite_stops_before_it_is_saved(tmp_path):
    """The loss of that step is finite still; its gradient, the root's at zero, is not."""
    net = Net()

    def loss_of(x: torch.Tensor) -> torch.Tensor:
        loss = mean_loss(net)(x)
        poisoned = bool((x == inputs_of(5, range(6))[2]).all(1).any())
        return loss + (0 * loss).sqrt() if poisoned else loss

    with pytest.raises(
        FloatingPointError, match=r"gradient norm nan at step 5, tiles tile30, .*35"
    ):
        train(tmp_path, net, loss_of=loss_of)
    saved = torch.load(tmp_path / "state.pt", weights_only=True)
    assert saved["step"] == 5
    assert all(torch.isfinite(value).all() for value in saved["model"].values())


class Stop(Exception):
    pass


def stop_after(step: int):
    def after(done: int) -> None:
        if done == step:
            raise Stop

    return after


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    events = EventAccumulator(str(folder)).Reload()
    return {
        name: [(event.step, event.value) for event in events.Scalars(name)]
        for name in events.Tags()["scalars"]
    }


def test_curves_of_a_resumed_training_are_those_of_a_whole_one_without_repeats(tmp_path):
    score = Validation(every=3, score=lambda net: {"sum": float(weights(net).sum())})
    whole = train(tmp_path / "whole", Net(), validation=score)
    with pytest.raises(Stop):
        train(tmp_path / "cut", Net(), validation=score, after_step=stop_after(6))
    resumed = train(tmp_path / "cut", Net(), validation=score)
    assert resumed.record["validation"] == whole.record["validation"]
    assert [row["step"] for row in resumed.record["validation"]] == [3, 6]
    assert resumed.record["loss"] == whole.record["loss"]
    drawn = scalars(tmp_path / "cut" / TENSORBOARD)
    assert drawn == scalars(tmp_path / "whole" / TENSORBOARD)
    assert [step for step, _ in drawn["train/loss"]] == list(range(1, 9))
    assert [value for _, value in drawn["train/loss"]] == pytest.approx(whole.record["loss"])
    json.dumps(resumed.record)


def test_validation_sees_the_first_average_and_training_goes_on_from_its_own_weights(tmp_path):
    seen = []
    score = Validation(every=8, score=lambda net: seen.append(weights(net)) or {"one": 1.0})
    plain, validated = Net(), Net()
    train(tmp_path / "a", plain)
    trained = train(tmp_path / "b", validated, validation=score)
    assert torch.equal(weights(plain), weights(validated))
    copy_into(validated, next(iter(trained.averages.values())))
    assert torch.equal(seen[0], weights(validated))
    assert not torch.equal(seen[0], weights(plain))


def test_what_else_is_trained_is_saved_and_resumed_with_it(tmp_path):
    """As a discriminator is: a module and optimizer of their own, stepped after each step."""

    def with_critic(folder: Path, stop: int | None = None) -> torch.Tensor:
        torch.manual_seed(1)
        critic = torch.nn.Linear(4, 1)
        optimizer = torch.optim.Adam(critic.parameters(), lr=0.1)
        net = Net()

        def after_step(step: int) -> None:
            if step == stop:
                raise Stop
            optimizer.zero_grad()
            critic(inputs_of(step, range(6))).square().mean().backward()
            optimizer.step()

        def loss_of(x: torch.Tensor) -> torch.Tensor:
            return mean_loss(net)(x) + critic(x).detach().mean() * net(x).mean()

        parts = {"critic": critic, "critic_optimizer": optimizer}
        train(folder, net, loss_of=loss_of, parts=parts, after_step=after_step)
        return torch.cat([weights(net), weights(critic)])

    whole = with_critic(tmp_path / "whole")
    with pytest.raises(Stop):
        with_critic(tmp_path / "cut", stop=5)
    assert torch.equal(with_critic(tmp_path / "cut"), whole)


def test_the_rate_warms_up_then_falls_to_zero_or_stays():
    falling, constant = changed(warmup_steps=4), changed(warmup_steps=4, decay="constant")
    assert [constant.rate(k) / 1e-2 for k in range(8)] == [0.25, 0.5, 0.75, 1, 1, 1, 1, 1]
    expected = [(k + 1) / 4 * (1 - k / 8) if k < 4 else 1 - k / 8 for k in range(8)]
    assert [falling.rate(k) / 1e-2 for k in range(8)] == pytest.approx(expected)


def test_no_average_leaves_the_last_weights(tmp_path):
    net = Net()
    trained = train(tmp_path, net, changed(ema_widths=()))
    assert list(trained.averages) == ["last"]
    assert torch.equal(torch.cat([v.flatten() for v in trained.averages["last"]]), weights(net))


def test_streams_of_samples_are_alike_in_any_cut_and_independent():
    whole = SampleRandom(7, 5, range(8), stream=1)
    first, second = (SampleRandom(7, 5, part, stream=1) for part in (range(3), range(3, 8)))
    for draw in ("random", "standard_normal"):
        parts = [getattr(first, draw)((3, 2)), getattr(second, draw)((5, 2))]
        np.testing.assert_array_equal(getattr(whole, draw)((8, 2)), np.concatenate(parts))
    assert whole.random((8, 0)).shape == (8, 0)
    # The first and the next number of neighbouring streams, in position, step, seed and stream.
    keys = [(seed, step, stream) for seed in (0, 1) for step in range(50) for stream in (1, 2)]
    drawn = np.stack(
        [SampleRandom(s, k, range(20), stream=t).standard_normal((20, 2)) for s, k, t in keys]
    )
    assert kstest(drawn.ravel(), "norm").pvalue > 1e-3
    assert len(np.unique(drawn)) == drawn.size
    table = np.corrcoef(drawn.reshape(len(keys), -1).T)
    # off-diagonal correlations of 200 rows are N(0, 1/200); the largest of 780 is below 4.5 of it
    assert np.abs(table - np.eye(len(table))).max() < 4.5 / math.sqrt(len(keys))


def test_inputs_made_ahead_are_those_made_when_asked_even_when_the_cut_changes():
    asked: list[tuple[int, range]] = []
    size = [4]

    def make(step: int, positions: range) -> list[tuple[int, int]]:
        asked.append((step, positions))
        return [(step, place) for place in positions]

    def following(piece):
        step, positions = piece
        start = positions.stop % 8
        step += start == 0
        return (step, range(start, min(8, start + size[0]))) if step < 3 else None

    inputs = Prefetch(make, following, ahead=2)
    try:
        assert inputs.get(0, range(4)) == [(0, i) for i in range(4)]
        size[0] = 2  # memory ran out: what was made ahead is of no use
        for step in range(3):
            for start in range(0, 8, 2):
                positions = range(start, start + 2)
                assert inputs.get(step, positions) == make(step, positions)
    finally:
        inputs.close()
    assert max(step for step, _ in asked) == 2


def limited(folder: Path) -> None:
    """Train with activations of 64 samples beyond the memory that this process may still take."""
    torch.set_num_threads(1)
    net = torch.nn.Sequential(torch.nn.Linear(4, 2**19), torch.nn.Tanh(), torch.nn.Linear(2**19, 1))
    plan = Plan(steps=2, batch_size=64, learning_rate=1e-4)
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + 400 * 2**20,) * 2)
    with pytest.raises(InputError) as error:
        train(folder / "fixed", net, plan)
    print(error.value)
    auto = Plan(**{**plan.__dict__, "micro_batch": "auto"})
    print("found", train(folder / "auto", net, auto).record["micro_batch"])


if __name__ == "__main__":
    limited(Path(sys.argv[1]))
