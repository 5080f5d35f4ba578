"""Pretrained models by name: a local folder, or `owner/name` of the Hugging Face hub.

A name of the hub may go on with a folder of the repository (`owner/name/vae`). What is fetched
lies in the hub's own cache, and is opened as the same layout in a local folder is.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

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
        raise InputError(
            f"{key}: {name} is no folder here, and fetching it from the hub failed "
            f"({_first_line(error)}); give the folder of a copy"
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


def load_weights(model: Any, folder: Path, *, key: str, **options: Any) -> Any:
    """`model.from_pretrained(folder)` of diffusers or transformers, from safetensors there alone.

    Raises
    ------
    InputError
        A file cannot be read, or lacks a weight: the libraries would draw it at random.
    """
    from safetensors import SafetensorError

    try:
        made, told = model.from_pretrained(
            folder,
            local_files_only=True,
            use_safetensors=True,
            output_loading_info=True,
            **options,
        )
    except (OSError, RuntimeError, ValueError, SafetensorError) as error:
        raise InputError(
            f"{key}: the weights in {folder} cannot be read ({_first_line(error)}); fetch them "
            "again (a copy by git needs git-lfs)"
        ) from error
    if missing := sorted(told["missing_keys"]):
        raise InputError(
            f"{key}: the weights in {folder} lack {len(missing)} of the model's, the first is "
            f"{missing[0]}; they belong to another config.json, so copy the folder whole"
        )
    return made


def _first_line(error: Exception) -> str:
    said = str(error).strip().splitlines()
    return f"{type(error).__name__}: {said[0]}" if said else type(error).__name__
