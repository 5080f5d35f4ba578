"""Solvers follow the exact reverse process of a Gaussian, and agree with diffusers' schedulers."""

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, UniPCMultistepScheduler

from histosynth.diffusion.network import ConditionBatch, SignalsSpec
from histosynth.diffusion.process import Process, noise_variances
from histosynth.diffusion.sample import sample_latents
from histosynth.diffusion.solvers import time_grid
from histosynth.generator_settings import SOLVERS, GeneratorSettings

NOISE = torch.linspace(-2, 2, 16, dtype=torch.float64).reshape(1, 1, 4, 4)
COMBINATIONS = [(target, solver) for target, solvers in SOLVERS.items() for solver in solvers]


class ByTimeAlone:
    """A network without conditions."""

    spec = SignalsSpec()

    def prepare(self, conditions, drop):
        return None


class Gaussian(ByTimeAlone):
    """The exact prediction for latents from N(mean, scale^2)."""

    mean, scale = 0.7, 0.5

    def __init__(self, target: str, **settings) -> None:
        self.process = Process(GeneratorSettings(target=target, **settings))

    def denoise(self, noisy, times, prepared):
        signal, noise = self.process.mix(times)
        score = (noisy - signal * self.mean) / (signal**2 * self.scale**2 + noise**2)
        clean, direction = self.mean + signal * self.scale**2 * score, noise * score
        if self.process.settings.target == "epsilon":
            return direction
        if self.process.settings.target == "flow":
            return direction - clean
        return signal * direction - noise * clean

    def error(self, solver: str, steps: int) -> float:
        """From where the flow of the probability ends: every quantile keeps its place."""
        grid = time_grid(self.process, solver, steps)
        (start, *_, end), (start_noise, *_, end_noise) = grid.signal, grid.noise
        place = (NOISE - start * self.mean) / np.hypot(start * self.scale, start_noise)
        exact = end * self.mean + np.hypot(end * self.scale, end_noise) * place
        made = sample_latents(self, NOISE, ConditionBatch(), solver=solver, steps=steps)
        return float((made - exact).abs().max())


# Steps from 25 to 100 (a flow: from 100 to 400, there is no grid of times to hit) and the order
# they show. Half an order is left: next to both ends steps stay wide in lambda, whatever their
# number, so that the multistep solvers reach their second order but for a logarithm.
@pytest.mark.parametrize(("target", "solver"), COMBINATIONS)
def test_solvers_converge_to_the_exact_flow_of_a_gaussian_at_their_order(target, solver):
    first = 100 if target == "flow" else 25
    # finer steps towards no noise than usual, so that the 1,000 times themselves cost nothing
    gaussian = Gaussian(target, betas=(1e-6, 0.02), beta_schedule="linear")
    errors = [gaussian.error(solver, steps) for steps in (first, 4 * first)]
    order = np.log(errors[0] / errors[1]) / np.log(4)
    assert errors[0] < 0.11
    assert order == pytest.approx(1 if solver in ("euler", "ddim") else 2, abs=0.5)


@pytest.mark.parametrize("solver", ["dpmpp", "unipc"])
def test_twenty_multistep_steps_come_five_times_as_near_as_twenty_of_first_order(solver):
    assert Gaussian("flow").error(solver, 20) < Gaussian("flow").error("euler", 20) / 5
    for target in ("velocity", "epsilon"):
        assert Gaussian(target).error(solver, 20) < Gaussian(target).error("ddim", 20) / 5


def curved(noisy: torch.Tensor, time: float) -> torch.Tensor:
    """Some prediction that depends on latent and time in no simple way."""
    return torch.sin(2 * noisy + time) + 0.3 * noisy


class Curved(ByTimeAlone):
    def __init__(self, target: str) -> None:
        self.process = Process(GeneratorSettings(target=target))

    def denoise(self, noisy, times, prepared):
        return curved(noisy, float(times[0]))


def betas_of(process: Process) -> np.ndarray:
    return noise_variances(process.settings)


PREDICTION = {"epsilon": "epsilon", "velocity": "v_prediction", "flow": "flow_prediction"}


@pytest.mark.parametrize("eta", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("target", ["epsilon", "velocity"])
def test_ddim_is_diffusers_ddim(target, eta):
    """At the settings of the published models: leading times with offset 1, no clean end."""
    network = Curved(target)
    added = torch.randn(40, *NOISE.shape[1:], dtype=torch.float64, generator=torch.manual_seed(0))
    scheduler = DDIMScheduler(
        trained_betas=betas_of(network.process),
        timestep_spacing="leading",
        steps_offset=1,
        set_alpha_to_one=False,
        clip_sample=False,
        prediction_type=PREDICTION[target],
    )
    scheduler.set_timesteps(40)
    expected = NOISE
    for step, k in enumerate(scheduler.timesteps):
        predicted = curved(expected, float(k) / 999)
        noise = added[step : step + 1] if eta else None
        expected = scheduler.step(predicted, k, expected, eta=eta, variance_noise=noise).prev_sample
    made = sample_latents(
        network,
        NOISE,
        ConditionBatch(),
        solver="ddim",
        steps=40,
        eta=eta,
        step_noise=lambda step: added[step : step + 1],
    )
    # diffusers keeps its shares in float32
    torch.testing.assert_close(made, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("target", "solver"),
    [("flow", "dpmpp"), *[(t, s) for t in ("velocity", "epsilon") for s in ("dpmpp", "unipc")]],
)
def test_multistep_solvers_are_diffusers_schedulers_at_the_same_times(target, solver):
    """UniPC of diffusers cannot start from a flow's pure noise, so there is no such case."""
    network = Curved(target)
    grid = time_grid(network.process, solver, 12)
    kind = DPMSolverMultistepScheduler if solver == "dpmpp" else UniPCMultistepScheduler
    scheduler = kind(
        trained_betas=betas_of(network.process),
        prediction_type=PREDICTION[target],
        use_flow_sigmas=target == "flow",
    )
    scheduler.set_timesteps(12)
    ratio = grid.noise if target == "flow" else grid.noise / grid.signal
    scheduler.sigmas = torch.from_numpy(ratio)
    scheduler.timesteps = torch.from_numpy(np.round(grid.times[:-1] * 999).astype(int))
    expected = NOISE
    for time, k in zip(grid.times[:-1], scheduler.timesteps, strict=True):
        expected = scheduler.step(curved(expected, time), k, expected).prev_sample
    made = sample_latents(network, NOISE, ConditionBatch(), solver=solver, steps=12)
    torch.testing.assert_close(made, expected, rtol=1e-6, atol=1e-6)


def test_ddim_takes_the_times_of_the_published_models():
    process = Process(GeneratorSettings(target="epsilon"))
    times = np.round(time_grid(process, "ddim", 200).times * 999).astype(int)
    assert times.tolist() == [*range(996, 0, -5), 0]
    for solver in ("ddim", "dpmpp", "unipc"):
        for steps in (1, 2, 7, 30, 333, 999):
            grid = time_grid(process, solver, steps)
            assert (np.diff(grid.noise) < 0).all() and len(grid.times) <= steps + 1
