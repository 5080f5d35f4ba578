"""What the command line says of folders to score: names, encoders, labels, places to write."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml
from pydantic import TypeAdapter, ValidationError

from histosynth.config import RESERVED_CONDITIONS
from histosynth.config_errors import NAME_PATTERN
from histosynth.encoders import known_encoders
from histosynth.errors import InputError
from histosynth.external import FOLDERS, REAL, TRAIN
from histosynth.files import atomic_file
from histosynth.settings import EncoderSettings
from histosynth.settings_base import Name


def check_writable(*paths: Path) -> None:
    """Make sure that files can be written there, before the work that would be lost."""
    for path in paths:
        if path.is_dir():
            raise InputError(f"{path} is a folder; expected the name of a file")
        try:
            with atomic_file(path) as partial:
                partial.touch()
                raise _Probed
        except _Probed:
            continue
        except OSError as error:
            raise InputError(f"{path} cannot be written: {error}; choose another place") from None


class _Probed(Exception):
    """Ends a trial of writing, so that nothing is left of it."""


def read_encoders(specs: Sequence[str]) -> dict[str, EncoderSettings]:
    """Encoders to score in, by name: `texture` and those given.

    Parameters
    ----------
    specs : KIND[:MODEL][:WEIGHTS], as timm:resnet18:random or inception:weights.pth; or a YAML file
        with an `encoders` section, as every study has

    Raises
    ------
    InputError : neither of these.
    """
    found = {"texture": EncoderSettings()}
    for spec in specs:
        if spec.lower().endswith((".yaml", ".yml")):
            found |= _encoders_of_file(Path(spec))
            continue
        kind, *rest = spec.split(":", 2 if spec.startswith(("timm:", "torchvision:")) else 1)
        if kind not in known_encoders():
            raise InputError(
                f"--encoder {spec}: unknown kind {kind!r}; expected {', '.join(known_encoders())} "
                "as KIND[:MODEL][:WEIGHTS], or a YAML file"
            )
        keys = ("weights",) if kind == "inception" else ("model", "weights")
        given = dict(zip(keys, rest, strict=False))  # weights may be left to the encoder's default
        name = re.sub(r"[^A-Za-z0-9]+", "_", given.get("model", kind)).strip("_")
        found[name] = EncoderSettings(kind=kind, **given)
    return found


def _encoders_of_file(path: Path) -> dict[str, EncoderSettings]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise InputError(f"--encoder {path}: cannot be read: {error}") from None
    section = content.get("encoders") if isinstance(content, dict) else None
    try:
        found = TypeAdapter(dict[Name, EncoderSettings]).validate_python(section)
    except ValidationError as error:
        raise InputError(f"--encoder {path}: bad `encoders` section: {error}") from None
    return found


def read_labels(
    given: Sequence[str], folders: Mapping[str, Path]
) -> Mapping[str, str] | str | None:
    """Tables by set, from NAME=TABLE; or `folders`, where the label is the subfolder's name."""
    if list(given) in ([], [FOLDERS]):
        return FOLDERS if given else None
    return _by_set(given, folders, f"--labels {{}}: expected {FOLDERS} alone, or NAME=TABLE")


def _by_set(given: Sequence[str], folders: Mapping[str, Path], expected: str) -> dict[str, str]:
    """Paths by set, from NAME=PATH; `expected` is the error's beginning, with {} for the text."""
    found: dict[str, str] = {}
    for text in given:
        name, sign, path = text.partition("=")
        if not sign or name in found or name not in folders:
            raise InputError(
                f"{expected.format(text)} once a set, NAME being one of {', '.join(folders)}"
            )
        found[name] = path
    return found


def read_masks(
    given: Sequence[str],
    classes: str | None,
    folders: Mapping[str, Path],
    labels: Mapping[str, str] | str | None,
) -> tuple[dict[str, Path], tuple[str, ...]]:
    """Mask folders by set, from NAME=FOLDER, and the names of their values 0, 1, ...

    Raises
    ------
    InputError : a set that is not there or has labels already, masks without classes or of none.
    """
    found = _by_set(given, folders, "--masks {}: expected NAME=FOLDER")
    masks = {name: Path(folder) for name, folder in found.items()}
    for name, folder in masks.items():
        text = f"{name}={folder}"
        if labels == FOLDERS or name in (labels or {}):
            raise InputError(f"--masks {text}: {name} has --labels too; leave one of them out")
        for other, images in folders.items():
            if folder.resolve().is_relative_to(images.resolve()):
                raise InputError(
                    f"--masks {text}: lies inside {images} ({other}), whose subfolders are searched"
                    " for images; move the masks out"
                )
    names = tuple(name.strip() for name in (classes or "").split(",") if name.strip())
    if bool(masks) != bool(names) or len(set(names)) < len(names):
        raise InputError(
            f"--masks and --classes go together: found {len(masks)} folders of masks and the "
            f"classes {', '.join(names) or 'none'}; name the class of each value 0, 1, ... once"
        )
    if masks and REAL not in masks:
        raise InputError(f"--masks: expected {REAL}=FOLDER too, as classes are compared with it")
    return masks, names


def name_folders(real: Path, synthetic: Sequence[str], train: Path | None) -> dict[str, Path]:
    """Set names and their folders, `real` first.

    Parameters
    ----------
    synthetic : FOLDER, named by its last part, or NAME=FOLDER

    Raises
    ------
    InputError : no such folder, two sets of one name, a folder given twice or inside another.
    """
    folders = {REAL: real}
    for given in synthetic:
        name, sign, path = given.partition("=")
        if not sign or Path(given).is_dir():
            path = given
            name = re.sub(r"[^A-Za-z0-9]+", "_", Path(path).resolve().name).strip("_")
            if name in (*RESERVED_CONDITIONS, TRAIN):
                name = f"{name}_images"
        if not re.match(NAME_PATTERN, name) or name in (*RESERVED_CONDITIONS, TRAIN):
            raise InputError(
                f"--synthetic {given}: the name {name!r} is "
                f"{'kept' if re.match(NAME_PATTERN, name) else 'not of letters and digits'}; give "
                "another as NAME=FOLDER"
            )
        if name in folders:
            raise InputError(
                f"--synthetic {given}: a set named {name!r} is there already; name them apart, as "
                "NAME=FOLDER"
            )
        folders[name] = Path(path)
    if train is not None:
        folders[TRAIN] = train
    _check_apart(folders)
    return folders


def _check_apart(folders: Mapping[str, Path]) -> None:
    seen: dict[str, Path] = {}
    for name, folder in folders.items():
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder of images (given as {name})")
        for other, path in seen.items():
            a, b = folder.resolve(), path.resolve()
            if a == b:
                raise InputError(
                    f"{folder} is given as {other} and as {name}; a folder cannot be scored "
                    "against itself, or twice"
                )
            if a.is_relative_to(b) or b.is_relative_to(a):
                inner, outer = (folder, path) if a.is_relative_to(b) else (path, folder)
                raise InputError(
                    f"{inner} lies inside {outer}, and subfolders are searched, so its images "
                    "would count on both sides; move it out"
                )
        seen[name] = folder
