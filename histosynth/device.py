"""Which device a job computes on, and with which versions of what."""

import platform
from importlib.metadata import version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def pick_device() -> "torch.device":
    """The first CUDA device where there is one, else the CPU. Imports torch only when called."""
    import torch

    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def versions(*packages: str) -> dict[str, str]:
    """Versions of Python, this project and some installed packages, for a record."""
    found = {name: version(name) for name in packages}
    return {"python": platform.python_version(), **found}
