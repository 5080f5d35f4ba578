"""Pretrained models by name: a local folder, or `owner/name` of the Hugging Face hub.

A name of the hub may go on with a folder of the repository (`owner/name/vae`). What is fetched
lies in the hub's own cache, and is opened as the same layout in a local folder is.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from histosynth.errors import InputError

_NAME = re.compile(r"\w[\w.-]*/\w[\w.-]*(/\w[\w./-]*)?")


def is_hub_name(name: str) -> bool:
    """Whether `name` is no path that exists, and can name a repository of the hub."""
    return not Path(name).exists() and _NAME.fullmatch(name) is not None


def pretrained_folder(name: str, *, key: str, files: Sequence[str]) -> Path:
    """The folder that `name` stands for, fetched from the hub where it is not here.

    Parameters
    ----------
    key
        The setting that holds the name, for messages.
    files
        Patterns of the files that are needed; no others are fetched. Weights are taken as
        safetensors only.

    Raises
    ------
    InputError
        No such folder, and no such repository or no way to it.
    """
    if Path(name).is_dir():
        return Path(name)
    if not is_hub_name(name):
        raise InputError(
            f"{key}: {name} is no folder (relative paths start at {Path.cwd()}); give one that "
            "holds a model in the hub's layout, or a hub's owner/name"
        )
    from huggingface_hub import snapshot_download

    owner, repository, *inner = name.split("/", 2)
    prefix = f"{inner[0].rstrip('/')}/" if inner else ""
    try:
        root = snapshot_download(
            f"{owner}/{repository}", allow_patterns=[prefix + pattern for pattern in files]
        )
    except Exception as error:  # the client raises dozens of kinds: no network, no such name, ...
        reason = str(error).strip().splitlines()[0] if str(error).strip() else ""
        raise InputError(
            f"{key}: {name} is no folder here, and fetching it from the hub failed "
            f"({type(error).__name__}: {reason}); give the folder of a copy"
        ) from error
    return Path(root) / prefix


def require_files(folder: Path, files: Sequence[str], *, key: str, what: str) -> None:
    """Check that a folder holds all of `files`.

    Raises
    ------
    InputError
        Names the folder and each missing file.
    """
    missing = [file for file in files if not (folder / file).is_file()]
    if missing:
        raise InputError(
            f"{key}: {folder} lacks {', '.join(missing)}; expected {what} with "
            f"{', '.join(files)}. Copy the folder whole"
        )
