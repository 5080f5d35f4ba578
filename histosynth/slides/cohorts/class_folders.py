"""Ready-made images in one folder a class, as NCT-CRC-HE is released: root/CLASS/*.tif.

NCT-CRC-HE names no patients, so its images are split one by one; its own test set, CRC-VAL-HE-7K,
is of other patients, and stays the test set.
"""

import re
from pathlib import Path

import pandas as pd

from histosynth.cohort_settings import ClassFoldersCohort
from histosynth.config import Study
from histosynth.errors import InputError
from histosynth.slides.cohorts.folders import release_folder
from histosynth.slides.cohorts.registry import register_cohort
from histosynth.slides.splits import SPLITS

_SUFFIXES = {".tif", ".tiff", ".png", ".jpg", ".jpeg", ".bmp"}


@register_cohort("class_folders", source="image")
def _class_folders(study: Study, table: Path | None) -> pd.DataFrame:
    settings = study.cohort
    assert isinstance(settings, ClassFoldersCohort)
    if study.classes:
        raise InputError(
            "the study has `classes`, but kind class_folders has no masks; remove `classes`"
        )
    root = release_folder(settings.root, holds="a folder a class, or those of cohort.splits")
    pattern = _pattern(settings.patient)
    rows = []
    for folder, split in _split_folders(root, settings):
        for image in _images(folder):
            rows.append(
                {
                    "slide_id": image.stem,
                    "patient_id": _patient(image, root, pattern),
                    "image": str(image),
                    "label": image.parent.name,
                    "split": split,
                }
            )
    cohort = pd.DataFrame(rows, dtype=str)
    cohort.index = pd.Index([str(Path(image).relative_to(root)) for image in cohort["image"]])
    if not cohort["slide_id"].is_unique:
        cohort["slide_id"] = [str(Path(place).with_suffix("")) for place in cohort.index]
    _check_labels(set(cohort["label"]), study, root)
    cohort.attrs |= {"source": str(root), "split_unit": "patient" if pattern else "image"}
    return cohort


def _split_folders(root: Path, settings: ClassFoldersCohort) -> list[tuple[Path, str]]:
    """Folders of class folders, each with the split of its images, "" where it is to be dealt."""
    if not settings.splits:
        return [(root, "")]
    if "train" not in settings.splits:
        raise InputError(
            f"cohort.splits: {', '.join(settings.splits)}, but no train; name its folder too"
        )
    # What has no folder of its own is dealt out of the train folder's images.
    dealt = set(SPLITS) - set(settings.splits)
    return [
        (root / folder, "" if split == "train" and dealt else split)
        for split, folder in settings.splits.items()
    ]


def _images(folder: Path) -> list[Path]:
    """The images of all class folders; other files are passed over, hidden folders too."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; expected one folder a class in it")
    classes = sorted(
        f for f in folder.iterdir() if f.is_dir() and not f.name.startswith((".", "__"))
    )
    if not classes:
        raise InputError(f"{folder}: no folders in it; expected one a class, images in each")
    found = []
    for place in classes:
        images = sorted(f for f in place.iterdir() if f.suffix.lower() in _SUFFIXES and f.is_file())
        images = [image for image in images if not image.name.startswith(".")]  # macOS: ._name.tif
        if not images:
            inner = any(f.is_dir() for f in place.iterdir())
            cure = (
                "it holds folders: if these are the classes, name it in cohort.splits"
                if inner
                else "remove it, or unpack its images again"
            )
            raise InputError(f"class folder {place} has no image; {cure}")
        found += images
    return found


def _pattern(patient: str | None) -> re.Pattern | None:
    if patient is None:
        return None
    try:
        pattern = re.compile(patient)
    except re.error as error:
        raise InputError(f"cohort.patient: {patient!r} is no regular expression: {error}") from None
    if pattern.groups != 1:
        raise InputError(
            f"cohort.patient: {patient!r} has {pattern.groups} groups; expected one, round the "
            "patient, as ^([A-Z0-9]+)_"
        )
    return pattern


def _patient(image: Path, root: Path, pattern: re.Pattern | None) -> str:
    if pattern is None:
        return str(image.relative_to(root))
    found = pattern.search(image.name)
    if not found or not found[1]:
        raise InputError(
            f"{image}: cohort.patient {pattern.pattern!r} finds no patient in this name; correct "
            "the expression, or leave it out"
        )
    return found[1]


def _check_labels(found: set[str], study: Study, root: Path) -> None:
    if not study.label:
        return
    for names, others, what, cure in (
        (found, study.label_names, "class folders", "add them to label.names, or remove them"),
        (study.label_names, found, "label.names", "they have no folder: correct the names"),
    ):
        rest = sorted(set(names) - set(others))
        if rest:
            raise InputError(
                f"{root}: {what} {', '.join(rest)} are not among "
                f"{', '.join(sorted(others))}; {cure}"
            )
