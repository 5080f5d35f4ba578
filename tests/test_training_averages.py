"""Averages of weights are the weighted means of their closed forms, and change nothing else."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from histosynth.diffusion.ema import (
    Ema,
    averages_of,
    copy_into,
    exponential_decay,
    gamma_of_width,
    holding,
    power_decay,
    trainable,
)
from histosynth.generator_settings import GeneratorSettings

STEPS = 200


def walk(average_of) -> tuple[np.ndarray, np.ndarray]:
    """A module's weight after each step of a random walk, float64, and its average at the end."""
    module = torch.nn.Linear(3, 1, bias=False).double()
    average = average_of(module)
    random = np.random.default_rng(0)
    seen = []
    for step in range(STEPS):
        with torch.no_grad():
            module.weight.add_(torch.from_numpy(random.standard_normal((1, 3))))
        seen.append(module.weight.detach().numpy().copy())
        average.update(step)
    return np.stack(seen), average.values[0].numpy()


@pytest.mark.parametrize("width", [0.02, 0.05, 0.1, 0.25])
def test_a_power_function_average_is_the_mean_weighed_by_the_integral_of_its_profile(width):
    """Step k of T weighs what the profile (gamma + 1) t^gamma has between (k - 1)/T and k/T."""
    seen, average = walk(lambda module: Ema(module, power_decay(width)))
    edges = (np.arange(STEPS + 1) / STEPS) ** (gamma_of_width(width) + 1)
    expected = np.einsum("k,kij->ij", np.diff(edges), seen)
    np.testing.assert_allclose(average, expected, rtol=1e-9)  # float64 over 200 steps


@pytest.mark.parametrize("width", [0.01, 0.05, 0.1, 0.25])
def test_the_width_is_the_standard_deviation_of_the_profile(width):
    """Moments by quadrature, so that the cubic and its root are held against the definition."""
    gamma = gamma_of_width(width)
    times = (np.arange(2_000_000) + 0.5) / 2_000_000
    weights = (gamma + 1) * times**gamma
    mean = np.mean(weights * times)
    assert np.sqrt(np.mean(weights * (times - mean) ** 2)) == pytest.approx(width, rel=1e-4)


def test_an_exponential_average_is_its_geometric_sum():
    torch.manual_seed(0)
    seen, average = walk(lambda module: Ema(module, exponential_decay(0.9)))
    torch.manual_seed(0)
    _, expected = walk(lambda module: Ema(module, lambda _: 1.0))  # where the walk started
    for step, value in enumerate(seen):
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * value
    np.testing.assert_allclose(average, expected, rtol=1e-9)


def test_frozen_parameters_are_neither_averaged_nor_overwritten():
    module = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2))
    module[0].requires_grad_(False)
    (average,) = averages_of(module, widths=[0.1], decay=None).values()
    assert [v.shape for v in average.values] == [p.shape for p in trainable(module)]
    assert len(average.values) == 2
    before = module[0].weight.clone()
    copy_into(module, [torch.full_like(value, 7) for value in average.values])
    assert torch.equal(module[0].weight, before) and (module[1].weight == 7).all()


def test_holding_other_weights_gives_the_own_ones_back_even_after_an_error():
    module = torch.nn.Linear(2, 2).train()
    own = [p.detach().clone() for p in module.parameters()]

    def fail() -> None:
        with holding(module, [torch.zeros_like(value) for value in own]):
            assert not module.training and (module.weight == 0).all()
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert module.training
    assert all(torch.equal(p, value) for p, value in zip(module.parameters(), own, strict=True))


def test_both_kinds_of_average_at_once_are_refused():
    with pytest.raises(ValidationError, match=r"ema_decay.*ema_widths: \[\]"):
        GeneratorSettings(ema_decay=0.999)
    assert GeneratorSettings(ema_decay=0.999, ema_widths=[]).ema_decay == 0.999
    with pytest.raises(ValidationError, match=r"ema_widths"):
        GeneratorSettings(ema_widths=[0.3])  # wider than a plain mean of all steps (0.2887)
