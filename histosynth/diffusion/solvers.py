"""Solvers of the reverse process, from noise (t = 1) to a latent (t = 0).

A flow's are euler and heun on dx/dt = v. All others work with the estimate x0 of the clean latent
and the process's shares, x_t = alpha_t x + sigma_t noise with lambda = log(alpha / sigma), and so
serve flow, velocity and epsilon alike:

- ddim: Song et al. 2021, arXiv 2010.02502, equation 12 (on a flow it would be euler);
- dpmpp: DPM-Solver++(2M), Lu et al. 2022, arXiv 2211.01095, algorithm 2;
- unipc: UniPC-2 with B(h) = e^h - 1, Zhao et al. 2023, arXiv 2302.04867: its predictor is dpmpp's
  step, and the corrector redoes the step once the estimate at its end is known.

Coefficients are float64 numbers, so that float64 latents are integrated in float64. One pass of
the network a step; heun takes two.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from histosynth.diffusion.process import DIFFUSION_STEPS, Process

# latents (b, c, h, w), a time in [0, 1] -> the process's target there
Predictor = Callable[[torch.Tensor, float], torch.Tensor]
# step -> standard normal noise like the latents
StepNoise = Callable[[int], torch.Tensor]


@dataclass(frozen=True)
class TimeGrid:
    """Times of `steps` steps and the process's shares there, each float64 (steps + 1,)."""

    times: np.ndarray
    signal: np.ndarray
    noise: np.ndarray

    @property
    def widths(self) -> np.ndarray:
        """Widths of the steps in lambda, (steps,): infinite from pure noise and to none."""
        with np.errstate(divide="ignore"):
            return np.diff(np.log(self.signal) - np.log(self.noise))


def time_grid(process: Process, solver: str, steps: int) -> TimeGrid:
    """Where a solver evaluates the network.

    Flow: t in equal steps from 1 to 0. A diffusion's times are whole steps k of its 1,000:

    - ddim: k = floor(1000 i / steps) + 1, ending at the signal share of k = 0, as CompVis' latent
      diffusion does it (200 steps: 996, 991, ..., 1; the little noise of k = 0 stays);
    - dpmpp, unipc: from k = 999 to no noise at all in equal steps of sigma / (alpha + sigma),
      which is a flow's t; the nearest k, each once. Steps equal in k, as usual elsewhere, leave
      much noise to the last step, and an error 10 times as large at 20 steps.
    """
    if process.settings.target == "flow":
        times = np.linspace(1.0, 0.0, steps + 1)
        return TimeGrid(times, 1 - times, times)
    last = DIFFUSION_STEPS - 1
    times = np.arange(DIFFUSION_STEPS) / last
    signal, noise = (share.flatten().numpy() for share in process.mix(torch.from_numpy(times)))
    if solver == "ddim":
        at = np.append((np.arange(steps) * DIFFUSION_STEPS // steps + 1)[::-1], 0)
        return TimeGrid(times[at], signal[at], noise[at])
    level = noise / (signal + noise)
    wanted = np.linspace(level[-1], 0, steps + 1)[:-1]
    at = np.unique(np.abs(level - wanted[:, None]).argmin(1))[::-1]
    return TimeGrid(
        np.append(times[at], 0.0), np.append(signal[at], 1.0), np.append(noise[at], 0.0)
    )


def solve(
    predict: Predictor,
    noise: torch.Tensor,
    process: Process,
    *,
    solver: str,
    steps: int,
    eta: float = 0.0,
    step_noise: StepNoise | None = None,
) -> torch.Tensor:
    """Integrate noise (b, c, h, w) to latents.

    Parameters
    ----------
    solver
        One that fits the process: `generator_settings.SOLVERS`.
    eta
        ddim: 0 is deterministic, 1 as noisy as ancestral sampling.
    step_noise
        ddim with eta > 0: the noise of a step; asked for at every step but those that need none.
    """
    grid = time_grid(process, solver, steps)
    if solver in ("euler", "heun"):
        return _along_slopes(predict, noise, grid, second_order=solver == "heun")

    def clean(latents: torch.Tensor, step: int) -> torch.Tensor:
        """The estimate x0 at the start of a step."""
        predicted = predict(latents, float(grid.times[step]))
        signal_share, noise_share = float(grid.signal[step]), float(grid.noise[step])
        if process.settings.target == "flow":
            return latents - noise_share * predicted
        if process.settings.target == "epsilon":
            return (latents - noise_share * predicted) / signal_share
        return signal_share * latents - noise_share * predicted

    if solver == "ddim":
        return _ddim(clean, noise, grid, eta, step_noise)
    return _multistep(clean, noise, grid, correct=solver == "unipc")


def _along_slopes(
    predict: Predictor, latents: torch.Tensor, grid: TimeGrid, *, second_order: bool
) -> torch.Tensor:
    for now, then in zip(grid.times[:-1], grid.times[1:], strict=True):
        slope = predict(latents, now)
        moved = latents + (then - now) * slope
        if second_order and then > 0:
            moved = latents + (then - now) * (slope + predict(moved, then)) / 2
        latents = moved
    return latents


CleanEstimate = Callable[[torch.Tensor, int], torch.Tensor]


def _ddim(
    clean: CleanEstimate,
    latents: torch.Tensor,
    grid: TimeGrid,
    eta: float,
    step_noise: StepNoise | None,
) -> torch.Tensor:
    for step in range(len(grid.times) - 1):
        (a, a_next), (s, s_next) = grid.signal[step : step + 2], grid.noise[step : step + 2]
        spread = float(eta * s_next / s * np.sqrt(1 - (a / a_next) ** 2))
        estimate = clean(latents, step)
        direction = (latents - float(a) * estimate) / float(s)
        latents = float(a_next) * estimate + float(np.sqrt(s_next**2 - spread**2)) * direction
        if spread > 0:
            if step_noise is None:
                raise ValueError("ddim with eta > 0 needs step_noise")
            latents = latents + spread * step_noise(step)
    return latents


def _multistep(
    clean: CleanEstimate, latents: torch.Tensor, grid: TimeGrid, *, correct: bool
) -> torch.Tensor:
    widths = grid.widths
    start = latents
    estimates: list[torch.Tensor] = []  # the last two

    def move(step: int, change: torch.Tensor) -> torch.Tensor:
        """The step from `start` for clean latents of the last estimate + `change` on average."""
        ratio = grid.noise[step + 1] / grid.noise[step]
        gain = grid.signal[step + 1] - ratio * grid.signal[step]
        return float(ratio) * start + float(gain) * (estimates[-1] + change)

    for step in range(len(widths)):
        now = clean(latents, step)
        if correct and step > 0:
            old, new = _corrector_weights(widths, step - 1)
            change = new * (now - estimates[-1])
            if old:
                change = change + old * (estimates[-2] - estimates[-1])
            latents = move(step - 1, change)
        estimates = [*estimates[-1:], now]
        start = latents
        change = torch.zeros_like(now)
        if step > 0 and np.isfinite(widths[step - 1 : step + 1]).all():
            share = widths[step] / (2 * widths[step - 1])
            change = float(share) * (estimates[-1] - estimates[-2])
        latents = move(step, change)
    return latents


def _corrector_weights(widths: np.ndarray, step: int) -> tuple[float, float]:
    """Weights of the estimates before and after a step, as differences to that at its start.

    Exact where the estimate is a polynomial in lambda through those at hand: UniPC's equation for
    orders 2 and 3 of accuracy. From pure noise the trapezoid's half is left.
    """
    width = widths[step]
    if step == 0 or not np.isfinite(widths[step - 1]):
        return 0.0, 0.5
    before = -widths[step - 1] / width
    phi = np.expm1(-width)
    first = -phi / width - 1
    second = -first / width - 0.5
    weights = np.linalg.solve([[1.0, 1.0], [before, 1.0]], [first / phi, 2 * second / phi])
    return float(weights[0] / before), float(weights[1])
