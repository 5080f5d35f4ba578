"""PANDA as released on Kaggle: prostate biopsies of two providers, graded and roughly outlined.

    train.csv                               image_id, data_provider, isup_grade, gleason_score
    train_images/<image_id>.tiff            slides
    train_label_masks/<image_id>_mask.tiff  masks, whose values mean other things by provider

Masks of Karolinska: 0 background, 1 benign, 2 cancer. Masks of Radboud: 0 background, 1 stroma,
2 benign epithelium, 3 to 5 cancer of that Gleason pattern. So `classes.values` go by site, which is
the data provider.

About a hundred of the 10,616 slides come without a mask. Where a rule for tiles needs masks
(`tiling.heterogeneity`) those are left out, and the log tells how many; else they are unlabelled.

Patients are not told, though some gave several biopsies: the split keeps slides apart, not
patients, and results say so. Gleason scores of benign slides are "negative" at one provider and
"0+0" at the other; both become "0+0".
"""

from pathlib import Path

import pandas as pd

from histosynth.cohort_settings import PandaCohort
from histosynth.config import Study
from histosynth.errors import InputError
from histosynth.scripting import log
from histosynth.slides.cohorts.folders import list_files, release_folder
from histosynth.slides.cohorts.registry import register_cohort
from histosynth.slides.cohorts.tables import read_table

PROVIDERS = ("karolinska", "radboud")


@register_cohort("panda")
def _panda(study: Study, table: Path | None) -> pd.DataFrame:
    settings = study.cohort
    assert isinstance(settings, PandaCohort)
    root = release_folder(settings.root, holds="train.csv, train_images and train_label_masks")
    path = root / "train.csv"
    listed = _read(path, settings.label_column)
    rows = pd.DataFrame({"slide_id": listed["image_id"]})
    rows["patient_id"] = rows["slide_id"]
    rows["site"] = listed["data_provider"]
    rows["label"] = listed[settings.label_column].replace("negative", "0+0")
    rows["image"] = [str(root / f"train_images/{name}.tiff") for name in rows["slide_id"]]
    if study.classes:
        _check_values(study, set(rows["site"]))
        rows["annotation"] = _masks(rows["slide_id"], root / "train_label_masks")
        bare = rows["annotation"] == ""
        if bare.any():
            needed = study.tiling.heterogeneity is not None
            log(
                f"panda: {bare.sum()} of {len(rows)} slides have no mask; "
                + ("left out, as tiling.heterogeneity needs one" if needed else "kept, unlabelled")
            )
            rows = rows[~bare] if needed else rows
    rows.attrs["source"] = str(path)
    rows.attrs["split_unit"] = "slide"
    return rows


def _read(path: Path, label: str) -> pd.DataFrame:
    listed = read_table(path)
    for name in ("image_id", "data_provider", label):
        if name not in listed:
            raise InputError(
                f"{path}: column {name!r} is missing; found: {', '.join(listed.columns)}. Take "
                "train.csv as Kaggle has it"
            )
    strange = listed[~listed["data_provider"].isin(PROVIDERS)]
    if len(strange):
        first = strange.iloc[0]
        raise InputError(
            f"{path}: data_provider {first['data_provider']!r} of image {first['image_id']} "
            f"({len(strange)} image(s) in all); expected {' or '.join(PROVIDERS)}"
        )
    return listed


def _masks(slides: pd.Series, folder: Path) -> list[str]:
    """The path of each slide's mask, or ""."""
    if not folder.is_dir():
        raise InputError(
            f"{folder} does not exist; the study has `classes`, so PANDA's masks must lie there: "
            "unpack them, or remove `classes`"
        )
    found = {name: paths[0] for name, paths in list_files(folder, "_mask.tiff").items()}
    masks = [found.get(f"{name}_mask.tiff", "") for name in slides]
    if not any(masks):
        raise InputError(f"{folder} holds no <image_id>_mask.tiff of any slide; unpack the masks")
    return masks


def _check_values(study: Study, sites: set[str]) -> None:
    for site in sorted(sites):
        if not any(c.values_at(site) for c in study.classes):
            raise InputError(
                f"classes: no class has `values` for site {site}; give every class its values by "
                "site, as in `values: {karolinska: [2], radboud: [3, 4, 5]}`"
            )
