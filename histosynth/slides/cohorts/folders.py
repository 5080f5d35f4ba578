"""Files of a release in a folder: listed once, by name, whatever the folders between are called."""

import os
from collections import defaultdict
from pathlib import Path

from histosynth.errors import InputError


def release_folder(root: str, *, holds: str) -> Path:
    """`cohort.root` as a folder, or an error that says what it should hold."""
    path = Path(root)
    if not path.is_dir():
        found = "is a file" if path.exists() else "does not exist"
        raise InputError(f"cohort.root: {path} {found}; expected a folder with {holds}")
    return path


def list_files(root: Path, *suffixes: str) -> dict[str, list[str]]:
    """File name -> its paths below `root`, for the given suffixes (lower case); sorted.

    Links to folders are followed. Hidden files (as macOS leaves `._name` beside a copied file) are
    not looked at. The tree is walked once and no file is opened or asked for its size, since a
    cohort of ten thousand slides lies on a network drive.

    Raises
    ------
    InputError : a folder cannot be listed.
    """
    found: dict[str, list[str]] = defaultdict(list)
    for folder, _, names in os.walk(root, followlinks=True, onerror=_refuse):
        for name in names:
            if name.lower().endswith(suffixes) and not name.startswith("."):
                found[name].append(os.path.join(folder, name))
    return {name: sorted(found[name]) for name in sorted(found)}


def _refuse(error: OSError) -> None:
    raise InputError(
        f"{error.filename}: the folder cannot be listed ({error.strerror}); check its permissions"
    )
