"""A discriminator that learns to tell decoded patches from real ones, and what it says of them.

A PatchGAN (Isola et al. 2017, arXiv 1611.07004) with the hinge loss (Lim and Ye 2017, arXiv
1705.02894), as Esser et al. 2021 (arXiv 2012.09841) train first stages with, but under a fixed
weight and with group norm: then what it says of a crop does not depend on the rest of the batch.
"""

import torch
from torch import nn
from torch.nn import functional

WIDTH = 32
LEARNING_RATE = 2e-4
BETAS = (0.5, 0.9)


class Adversary:
    """A discriminator in training beside an autoencoder.

    Parameters
    ----------
    start
        The step from which it trains and is listened to.

    Attributes
    ----------
    discriminator, optimizer
        What a step changes, to be saved with the autoencoder.
    """

    def __init__(self, *, start: int, seed: int, device: torch.device) -> None:
        self.start = start
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.discriminator = build_discriminator().to(device)
        self.optimizer = torch.optim.AdamW(
            self.discriminator.parameters(), lr=LEARNING_RATE, betas=BETAS, weight_decay=0.0
        )
        self._step = -1
        self._seen: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def objection(
        self, step: int, position: int, real: torch.Tensor, decoded: torch.Tensor
    ) -> torch.Tensor:
        """The autoencoder's term, minus the mean score of `decoded`; 0 before `start`.

        Parameters
        ----------
        position
            Where in the batch of `step` these crops begin: they are kept for `learn`, once, even
            where a piece of the batch goes through again.
        real, decoded
            (b, 3, h, w) in [-1, 1].
        """
        if step < self.start:
            return decoded.new_zeros(())
        if step != self._step:
            self._step, self._seen = step, {}
        self._seen[position] = (real.detach(), decoded.detach())
        self.discriminator.requires_grad_(False)
        return -self.discriminator(decoded).mean()

    def learn(self, step: int) -> None:
        """Train on the crops of `step`, after the autoencoder's own step."""
        if step < self.start:
            return
        self.discriminator.requires_grad_(True)
        count = sum(len(real) for real, _ in self._seen.values())
        for real, decoded in self._seen.values():
            scores = self.discriminator(real), self.discriminator(decoded)
            loss = functional.relu(1 - scores[0]).mean() + functional.relu(1 + scores[1]).mean()
            (loss / 2 * len(real) / count).backward()
        self._seen = {}
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)


def build_discriminator() -> nn.Sequential:
    """Scores (b, 1, h', w') of overlapping patches of 34 px, from images (b, 3, h, w)."""

    def block(inputs: int, outputs: int, stride: int) -> list[nn.Module]:
        return [
            nn.Conv2d(inputs, outputs, 4, stride=stride, padding=1, bias=False),
            nn.GroupNorm(8, outputs),
            nn.LeakyReLU(0.2),
        ]

    return nn.Sequential(
        nn.Conv2d(3, WIDTH, 4, stride=2, padding=1),
        nn.LeakyReLU(0.2),
        *block(WIDTH, 2 * WIDTH, 2),
        *block(2 * WIDTH, 4 * WIDTH, 1),
        nn.Conv2d(4 * WIDTH, 1, 4, padding=1),
    )
