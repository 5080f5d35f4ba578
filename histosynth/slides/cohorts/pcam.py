"""PatchCamelyon: the official HDF5 files, one row a slide, or Kaggle's folder, one row an image.

The official splits are kept: no slide is in two of them, and Camelyon16 has one slide a patient.
Kaggle's copy names no slides, so there patients cannot be kept apart.
"""

from pathlib import Path

import pandas as pd

from histosynth.cohort_settings import PcamCohort
from histosynth.config import Study
from histosynth.errors import InputError
from histosynth.slides.cohorts.folders import release_folder
from histosynth.slides.cohorts.pcam_files import PatchFiles, read_places
from histosynth.slides.cohorts.registry import register_cohort
from histosynth.slides.cohorts.tables import read_table, where

_SPLITS = {"train": "train", "val": "valid", "test": "test"}  # ours -> in the files' names
_KAGGLE = "train_labels.csv"


@register_cohort("pcam", source="patches")
def _pcam(study: Study, table: Path | None) -> pd.DataFrame:
    assert isinstance(study.cohort, PcamCohort)
    root = release_folder(study.cohort.root, holds=f"PCam's HDF5 files, or Kaggle's {_KAGGLE}")
    _check_study(study)
    official = any(root.glob("camelyonpatch_level_2_split_*"))
    if not official and (root / _KAGGLE).exists():
        return _kaggle(root, study)
    return _official(root)


def _check_study(study: Study) -> None:
    if study.classes:
        raise InputError("the study has `classes`, but PCam comes without masks; remove `classes`")
    if study.label and len(study.label.names) != 2:
        raise InputError(
            f"label.names: {', '.join(study.label.names)}; PCam's labels are 0 and 1: give two "
            "names, in this order, as [healthy, cancer]"
        )


def _official(root: Path) -> pd.DataFrame:
    names = {ours: root / f"camelyonpatch_level_2_split_{n}_x.h5" for ours, n in _SPLITS.items()}
    _check_present(root, [file for images in names.values() for file in PatchFiles.of(images)])
    rows = []
    for split, images in names.items():
        for slide in read_places(images)["slide"].unique():
            rows.append(
                {"slide_id": slide, "patient_id": slide, "image": str(images), "split": split}
            )
    cohort = pd.DataFrame(rows, dtype=str)
    double = cohort[cohort["slide_id"].duplicated(keep=False)]
    if len(double):
        first = double[double["slide_id"] == double["slide_id"].iloc[0]]
        raise InputError(
            f"{root}: slide {first['slide_id'].iloc[0]} is in the files of "
            f"{' and '.join(first['split'])}; the official splits share no slide: download them "
            "again"
        )
    cohort.index = pd.Index(cohort["image"] + ", " + cohort["slide_id"])
    cohort.attrs |= {"source": str(root), "tile_labels": True}
    return cohort


def _check_present(root: Path, files: list[Path]) -> None:
    missing = [file for file in files if not file.exists()]
    packed = [file for file in missing if file.with_name(f"{file.name}.gz").exists()]
    if packed:
        raise InputError(
            f"{root}: {', '.join(file.name for file in packed)} still packed; unpack with "
            f"`gunzip {root}/*.gz`"
        )
    if missing:
        raise InputError(
            f"{root}: not there: {', '.join(file.name for file in missing)}; expected the nine "
            f"files of github.com/basveeling/pcam, or Kaggle's {_KAGGLE} with train/"
        )


def _kaggle(root: Path, study: Study) -> pd.DataFrame:
    path = root / _KAGGLE
    table = read_table(path)
    for name in ("id", "label"):
        if name not in table:
            raise InputError(f"{path}: no column {name!r}; it has: {', '.join(table.columns)}")
    strange = ~table["label"].isin(["0", "1"])
    if strange.any():
        first = strange.idxmax()
        raise InputError(
            f"{path}: {where(first)}: label {table['label'][first]!r}, expected 0 or 1"
        )
    images = f"{root / 'train'}/" + table["id"] + ".tif"
    rows = pd.DataFrame({"slide_id": table["id"], "patient_id": table["id"], "image": images})
    if study.label:
        rows["label"] = table["label"].map(dict(zip("01", study.label.names, strict=True)))
    rows.attrs |= {"source": str(path), "split_unit": "image", "rows": "image"}
    return rows
