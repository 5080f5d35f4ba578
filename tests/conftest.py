"""What tests share: where the shared data lies, and tools that CI requires."""

import os
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def missing(what: str) -> None:
    """Skip where something is not installed; in CI its absence is a failure."""
    if os.environ.get("CI"):
        pytest.fail(f"{what}, which CI requires")
    pytest.skip(what)


@pytest.fixture(scope="module")
def one_thread():
    """Networks this small are many times slower on threads that contend for cores."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real slides, images and weights (HISTOSYNTH_DATA, else ../shared/data)."""
    folder = Path(os.environ.get("HISTOSYNTH_DATA", ROOT.parent / "shared" / "data")).resolve()
    if not (folder / "SHA256SUMS").is_file():
        missing(f"no shared data at {folder} (set HISTOSYNTH_DATA)")
    return folder


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of a Chromium that runs headless."""
    path = shutil.which("chromium")
    if path is None:
        missing("chromium is not installed")
    assert path is not None
    return path
