"""The noising process: what a noisy latent is, what the network predicts of it, and its loss.

Time t runs from 0 (a clean latent) to 1 (noise only) for every process.

- flow: x_t = (1 - t) x + t noise, target noise - x (Liu et al. 2022, arXiv 2209.03003);
- velocity, epsilon: x_t = alpha_t x + sigma_t noise of a variance-preserving diffusion of 1,000
  steps (Ho et al. 2020, arXiv 2006.11239); target alpha noise - sigma x (Salimans and Ho 2022,
  arXiv 2202.00512) or the noise.
"""

from typing import TYPE_CHECKING

import numpy as np
import torch

from histosynth.diffusion.randomness import Random

if TYPE_CHECKING:
    from histosynth.generator_settings import GeneratorSettings

DIFFUSION_STEPS = 1000


class Process:
    """The process that a generator's settings name."""

    def __init__(self, settings: "GeneratorSettings") -> None:
        self.settings = settings
        kept = np.cumprod(1 - noise_variances(settings))
        # alpha and sigma of each step, (2, 1000); on a device once, since copying waits for it
        self._shares = {torch.device("cpu"): torch.from_numpy(np.sqrt([kept, 1 - kept]))}

    def draw_times(self, n: int, random: Random) -> np.ndarray:
        """Times of n samples, float32 (n,) in [0, 1]; a diffusion's are k / 999."""
        if self.settings.times == "logit_normal":  # Esser et al. 2024, arXiv 2403.03206
            times = 1 / (1 + np.exp(-random.standard_normal(n)))
        else:
            times = random.random(n)
        if self.settings.target != "flow":
            # floor, so that uniform times give every step the same chance, the ends included
            steps = np.minimum(np.floor(times * DIFFUSION_STEPS), DIFFUSION_STEPS - 1)
            times = steps / (DIFFUSION_STEPS - 1)
        return times.astype(np.float32)

    def mix(self, times: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Shares of latent and noise in x_t, each (b, 1, 1, 1) like `times` (b,)."""
        if self.settings.target == "flow":
            signal, noise = 1 - times, times
        else:
            steps = (times * (DIFFUSION_STEPS - 1)).round().long()
            if times.device not in self._shares:
                self._shares[times.device] = self._shares[torch.device("cpu")].to(times.device)
            signal, noise = self._shares[times.device][:, steps].to(times.dtype)
        return signal[:, None, None, None], noise[:, None, None, None]

    def network_times(self, times: torch.Tensor) -> torch.Tensor:
        """What the network's time embedding is given."""
        if self.settings.target == "flow":
            return 1000 * times
        return (times * (DIFFUSION_STEPS - 1)).round()

    def noisy(
        self, latents: torch.Tensor, noise: torch.Tensor, times: torch.Tensor
    ) -> torch.Tensor:
        """x_t of latents and noise (b, c, h, w) at times (b,)."""
        signal_share, noise_share = self.mix(times)
        return signal_share * latents + noise_share * noise

    def target(
        self, latents: torch.Tensor, noise: torch.Tensor, times: torch.Tensor
    ) -> torch.Tensor:
        """What the network is to predict, (b, c, h, w)."""
        if self.settings.target == "flow":
            return noise - latents
        if self.settings.target == "epsilon":
            return noise
        signal_share, noise_share = self.mix(times)
        return signal_share * noise - noise_share * latents

    def loss(
        self, predicted: torch.Tensor, target: torch.Tensor, times: torch.Tensor
    ) -> torch.Tensor:
        """The loss of each sample, (b,): mean error over its latent, weighed by its time."""
        error = predicted.float() - target
        error = error.abs() if self.settings.loss == "l1" else error.square()
        return error.mean((1, 2, 3)) * self._weights(times)

    def _weights(self, times: torch.Tensor) -> torch.Tensor:
        """min-SNR-gamma (Hang et al. 2023, arXiv 2303.09556), turned to what is predicted."""
        gamma = self.settings.min_snr_gamma
        if gamma is None:
            return torch.ones_like(times)
        signal_share, noise_share = (share.flatten() for share in self.mix(times))
        snr = (signal_share / noise_share.clamp_min(1e-6)).square()
        capped = snr.clamp_max(gamma)  # the weight of an error in the clean latent
        if self.settings.target == "epsilon":
            return capped / snr.clamp_min(1e-12)
        if self.settings.target == "velocity":
            return capped / (snr + 1)
        return capped * noise_share.square()  # x = x_t - t v: an error in v is t times one in x


def noise_variances(settings: "GeneratorSettings") -> np.ndarray:
    """The variances beta of the 1,000 steps, float64."""
    first, last = settings.betas
    if settings.beta_schedule == "linear":
        return np.linspace(first, last, DIFFUSION_STEPS)
    return np.linspace(first**0.5, last**0.5, DIFFUSION_STEPS) ** 2
