"""Images that are tiles already, with masks of the same size, listed in a table."""

import os
from pathlib import Path

import pandas as pd

from histosynth.cohort_settings import ImageMaskCohort
from histosynth.config import Study
from histosynth.errors import InputError
from histosynth.slides.cohorts.registry import register_cohort
from histosynth.slides.cohorts.tables import read_table, rooted


@register_cohort("image_mask", source="image")
def _image_mask(study: Study, table: Path | None) -> pd.DataFrame:
    settings = study.cohort
    assert isinstance(settings, ImageMaskCohort)
    path = Path(settings.index)
    index = read_table(path)
    ours = ["slide_id", "patient_id", "image", "mask", "label", "site", "split", "mpp"]
    unknown = sorted(set(settings.columns) - set(ours))
    if unknown:
        raise InputError(f"cohort.columns: unknown {', '.join(unknown)}; known: {', '.join(ours)}")
    rows = pd.DataFrame(index=index.index)
    for name in ours:
        column = settings.columns.get(name, name)
        if column in index:
            rows[name] = index[column]
        elif name in settings.columns:
            raise InputError(
                f"cohort.columns.{name}: {path} has no column {column!r}; "
                f"it has: {', '.join(index.columns)}"
            )
    if study.classes and "mask" not in rows:
        raise InputError(
            f"{path}: the study has `classes`, but no column holds the masks; name it in "
            "cohort.columns.mask, or remove `classes`"
        )
    if "slide_id" not in rows and "image" in rows:
        full = rows["image"].map(lambda image: os.path.splitext(image.replace("\\", "/"))[0])
        names = full.map(os.path.basename)
        rows["slide_id"] = names if names.is_unique else full
    return rooted(rows.rename(columns={"mask": "annotation"}), path)
