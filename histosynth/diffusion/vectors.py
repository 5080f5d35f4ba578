"""How a vector becomes a token: standardised, then projected."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

Statistics = Mapping[str, tuple[np.ndarray, np.ndarray]]
"""Vector signal -> mean and standard deviation of its components, float32 (width,) each."""


class VectorLayer(nn.Linear):
    """A projection of (..., width) behind a standardisation that does nothing until it is set.

    Mean and standard deviation are buffers: kept with the weights, never trained.
    """

    mean: torch.Tensor
    spread: torch.Tensor

    def __init__(self, width: int, token_width: int) -> None:
        super().__init__(width, token_width)
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("spread", torch.ones(width))

    @torch.no_grad()
    def standardise(self, mean: np.ndarray, spread: np.ndarray) -> None:
        self.mean.copy_(torch.from_numpy(mean))
        self.spread.copy_(torch.from_numpy(spread))

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        return super().forward((vectors - self.mean) / self.spread)
