"""Which device a job computes on."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def pick_device() -> "torch.device":
    """The first CUDA device where there is one, else the CPU. Imports torch only when called."""
    import torch

    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
