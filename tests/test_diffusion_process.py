"""Noisy latents, targets, losses and weights are those of the papers, whatever is predicted."""

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler

from histosynth.diffusion.process import Process
from histosynth.generator_settings import GeneratorSettings

SCHEDULES = {"linear": (0.0015, 0.0205), "scaled_linear": (0.00085, 0.012)}
STEPS = torch.tensor([0, 1, 30, 500, 998, 999])


def process(**settings) -> Process:
    return Process(GeneratorSettings(**settings))


def drawn(seed: int, *, n: int = 6) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((n, 3, 4, 4))).float()


def reference(schedule: str) -> DDPMScheduler:
    first, last = SCHEDULES[schedule]
    return DDPMScheduler(1000, beta_start=first, beta_end=last, beta_schedule=schedule)


def diffusion(target: str, schedule: str, **settings) -> Process:
    return process(
        target=target,
        betas=SCHEDULES[schedule],
        beta_schedule=schedule,
        times="uniform",
        **settings,
    )


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_noisy_latents_and_targets_are_those_of_diffusers_scheduler(schedule):
    latents, noise, times = drawn(0), drawn(1), STEPS / 999
    scheduler = reference(schedule)
    for target, expected in (
        ("epsilon", noise),
        ("velocity", scheduler.get_velocity(latents, noise, STEPS)),
    ):
        ours = diffusion(target, schedule)
        # theirs sums in float32: 1 - alpha^2 of the first steps keeps four to five digits
        torch.testing.assert_close(
            ours.noisy(latents, noise, times),
            scheduler.add_noise(latents, noise, STEPS),
            rtol=1e-4,
            atol=1e-5,
        )
        torch.testing.assert_close(
            ours.target(latents, noise, times), expected, rtol=1e-4, atol=1e-5
        )
        assert torch.equal(ours.network_times(times), STEPS.float())


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_every_steps_shares_are_those_of_diffusers_scheduler(schedule):
    ours = diffusion("epsilon", schedule)
    signal, noise = ours.mix(torch.arange(1000, dtype=torch.float64) / 999)
    cumulative = reference(schedule).alphas_cumprod.double()
    torch.testing.assert_close(signal.flatten() ** 2, cumulative, rtol=1e-4, atol=0)
    torch.testing.assert_close(signal**2 + noise**2, torch.ones_like(noise))


def test_the_flow_is_a_straight_line_and_its_target_the_lines_slope():
    ours, latents, noise = process(target="flow"), drawn(0), drawn(1)
    times = torch.tensor([0, 0.1, 0.25, 0.5, 0.9, 1])
    noisy = ours.noisy(latents, noise, times)
    assert torch.equal(noisy[0], latents[0]) and torch.equal(noisy[-1], noise[-1])
    later = ours.noisy(latents, noise, times + 0.125)
    target = ours.target(latents, noise, times)
    torch.testing.assert_close((later - noisy) / 0.125, target, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ours.network_times(times), 1000 * times)


def clean_latent(ours: Process, noisy, predicted, times) -> torch.Tensor:
    """The latent that a prediction at x_t stands for, by each parametrisation's definition."""
    signal, noise = ours.mix(times)
    if ours.settings.target == "flow":
        return noisy - noise * predicted
    if ours.settings.target == "epsilon":
        return (noisy - noise * predicted) / signal
    return signal * noisy - noise * predicted


@pytest.mark.parametrize("target", ["flow", "velocity", "epsilon"])
@pytest.mark.parametrize("gamma", [1.0, 5.0])
def test_min_snr_weighs_the_squared_error_of_the_clean_latent_by_the_capped_ratio(target, gamma):
    """Whatever is predicted, the loss is min(snr, gamma) times the clean latent's squared error."""
    ours = process(target=target, min_snr_gamma=gamma)
    times = torch.tensor([5, 100, 300, 500, 700, 990]).double() / 999
    latents, noise = drawn(0).double(), drawn(1).double()
    noisy, exact = ours.noisy(latents, noise, times), ours.target(latents, noise, times)
    wrong = exact + 0.1 * drawn(2).double()
    error = (clean_latent(ours, noisy, wrong, times) - latents).square().mean((1, 2, 3))
    signal, share = (s.flatten() for s in ours.mix(times))
    expected = torch.minimum((signal / share) ** 2, torch.tensor(gamma)) * error
    # the loss itself is taken in float32
    torch.testing.assert_close(ours.loss(wrong, exact, times).double(), expected, rtol=1e-3, atol=0)


@pytest.mark.parametrize("target", ["epsilon", "velocity"])
def test_min_snr_weights_are_the_papers_formula(target):
    ours = diffusion(target, "linear", min_snr_gamma=5.0)
    cumulative = reference("linear").alphas_cumprod.double()[STEPS]
    snr = cumulative / (1 - cumulative)
    expected = snr.clamp(max=5.0) / (snr if target == "epsilon" else snr + 1)
    found = ours.loss(torch.ones(6, 1, 2, 2), torch.zeros(6, 1, 2, 2), STEPS / 999)
    torch.testing.assert_close(found.double(), expected, rtol=1e-3, atol=0)


@pytest.mark.parametrize(("loss", "expected"), [("l1", 1.5), ("l2", 2.5)])
def test_the_loss_is_the_mean_absolute_or_squared_error_of_each_sample(loss, expected):
    predicted = torch.tensor([1.0, -2.0]).reshape(1, 1, 1, 2)
    found = process(loss=loss).loss(predicted, torch.zeros(1, 1, 1, 2), torch.ones(1))
    assert found.tolist() == [expected]


def test_uniform_times_give_every_step_of_a_diffusion_the_same_chance():
    times = diffusion("epsilon", "linear").draw_times(200_000, np.random.default_rng(0))
    steps = np.round(times * 999).astype(int)
    np.testing.assert_allclose(times, (steps / 999).astype(np.float32))
    counts = np.bincount(steps, minlength=1000)
    assert len(counts) == 1000
    # 200 a step, deviation 14: six of them for the worst of 1,000 steps
    assert np.abs(counts - 200).max() < 85


def test_logit_normal_times_are_logistic_of_standard_normals():
    times = process(times="logit_normal").draw_times(50_000, np.random.default_rng(0))
    logits = np.log(times / (1 - times))
    # standard errors 0.0045 and 0.0032
    assert abs(logits.mean()) < 0.02 and abs(logits.std() - 1) < 0.02
