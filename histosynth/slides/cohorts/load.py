"""From a cohort's raw rows to the one table of slides, checked so that a typo costs seconds.

Files are checked for existence here; a file that is there but broken is found when it is tiled,
and reported then.
"""

import os
import re
from pathlib import Path

import numpy as np
import pandas as pd

from histosynth.config import Study
from histosynth.errors import InputError
from histosynth.slides.annotations import UNIFORM
from histosynth.slides.cohorts.registry import ADAPTERS, COHORT_COLUMNS
from histosynth.slides.cohorts.tables import where
from histosynth.slides.splits import assign_splits, check_own_images


def load_cohort(study: Study, *, table: Path | None = None) -> pd.DataFrame:
    """The study's cohort, checked, with a split for every slide.

    Parameters
    ----------
    study : its `cohort`, `split` and `label` are used
    table : the table that the phantom wrote; only for kind phantom

    Returns
    -------
    DataFrame of `COHORT_COLUMNS`: text, "" where there is no annotation, None where no label is
    known; mpp float, NaN where only the slide can say, and mpp_source "table", "study" or ""

    Raises
    ------
    InputError : a column is missing, an id is empty or double, a file does not exist, a label is
        unknown, a patient is in two splits or an image of two patients, ready-made images differ
        in size.
    """
    adapter = ADAPTERS[study.cohort.kind]
    raw = adapter.load(study, table)
    source = raw.attrs["source"]
    cohort = pd.DataFrame(index=raw.index)
    for column in ("image", "slide_id", "patient_id"):
        cohort[column] = _filled(raw, column, source)
    cohort["slide_id"] = _clean_ids(cohort["slide_id"], source)
    for column, default in (("site", "unknown"), ("split", ""), ("annotation", "")):
        cohort[column] = raw.get(column, pd.Series("", raw.index)).replace("", default)
    cohort["label"] = _labels(raw, cohort, study, source)
    study_mpp: float | None = getattr(study.cohort, "mpp", None)
    cohort["mpp"] = _mpp(raw, cohort, source)
    cohort["mpp_source"] = np.where(cohort["mpp"].notna(), "table", "study" if study_mpp else "")
    cohort["mpp"] = cohort["mpp"].fillna(np.nan if study_mpp is None else study_mpp)
    cohort["split_unit"] = raw.attrs.get("split_unit", "patient")
    for column in ("image", "annotation"):
        _check_files(cohort, column, source)
    if raw.attrs.get("rows", adapter.source) == "image":
        _check_sizes(cohort, source)
    if adapter.source != "patches":  # there the slides of a split share its file
        check_own_images(cohort, source=source)
    cohort["split"] = assign_splits(cohort, study.split, source=source)
    return cohort[COHORT_COLUMNS].reset_index(drop=True)


def _filled(raw: pd.DataFrame, column: str, source: str) -> pd.Series:
    if column not in raw:
        raise InputError(
            f"{source}: column {column!r} is missing; found: {', '.join(raw.columns)}. Rename or "
            "add it (kind image_mask: name it in cohort.columns)"
        )
    empty = raw.index[raw[column] == ""]
    if len(empty):
        raise InputError(
            f"{source}: {column} is empty in {len(empty)} row(s), the first in {where(empty[0])}; "
            "fill it"
        )
    return raw[column]


def _clean_ids(ids: pd.Series, source: str) -> pd.Series:
    """Ids that may stand in tile names and paths: letters, digits, `_` and `-`."""
    cleaned = ids.map(lambda text: re.sub(r"[^A-Za-z0-9_-]+", "_", text).strip("_-") or "slide")
    double = cleaned[cleaned.duplicated(keep=False)]
    if len(double):
        same = double.index[double == double.iloc[0]]
        listed = ", ".join(f"{ids[i]!r} in {where(i)}" for i in same[:4])
        raise InputError(
            f"{source}: slide_id is not unique ({double.nunique()} case(s)): {listed}; give every "
            "slide its own id (only letters, digits, `_` and `-` count)"
        )
    return cleaned


def _labels(raw: pd.DataFrame, cohort: pd.DataFrame, study: Study, source: str) -> pd.Series:
    known = study.label_names
    if not study.label or study.label.source != "column" or raw.attrs.get("tile_labels"):
        return pd.Series(None, index=raw.index, dtype=object)
    labels = _filled(raw, "label", source)
    strange = ~labels.isin(known)
    if strange.any():
        found = ", ".join(sorted(set(labels[strange]))[:6])
        raise InputError(
            f"{source}: label {found!r} (slide {cohort['slide_id'][strange].iloc[0]}) is not in "
            f"label.names: {', '.join(known)}; add it there, or correct the table"
        )
    return labels


def _mpp(raw: pd.DataFrame, cohort: pd.DataFrame, source: str) -> pd.Series:
    texts = raw.get("mpp", pd.Series("", raw.index))
    values = pd.to_numeric(texts.replace({"": np.nan, "nan": np.nan}), errors="coerce")
    wrong = (texts != "") & (texts != "nan") & ~((values > 0) & np.isfinite(values))
    if wrong.any():
        first = wrong.idxmax()
        raise InputError(
            f"{source}: mpp {texts[first]!r} of slide {cohort['slide_id'][first]} is no positive "
            "number; give micrometres a pixel with a decimal point, or leave it empty"
        )
    return values.astype(float)


def _check_files(cohort: pd.DataFrame, column: str, source: str) -> None:
    missing = [
        f"  slide {row.slide_id}, {where(row.Index)}: {path}"
        for row in cohort.itertuples()
        if (path := getattr(row, column))
        and not path.startswith(UNIFORM)
        and not os.path.exists(path)  # Path.exists raises where a name is too long
    ]
    if missing:
        raise InputError(
            f"{source}: {len(missing)} `{column}` file(s) do not exist; correct the paths (they "
            "start at the table's folder) or remove the rows:\n" + "\n".join(missing[:5])
        )


def _check_sizes(cohort: pd.DataFrame, source: str) -> None:
    """Ready-made images must be square and of one size, masks as large as their images."""
    sizes: dict[tuple[int, int], list[str]] = {}
    for row in cohort.itertuples():
        size = _image_size(row.image)
        if size is None:  # broken: listed as a failed slide when it is tiled
            continue
        sizes.setdefault(size, []).append(row.image)
        mask = _image_size(row.annotation) if row.annotation else None
        if mask is not None and mask != size:
            raise InputError(
                f"{source}: mask {row.annotation} is {mask[0]} x {mask[1]} pixels, its image "
                f"{row.image} {size[0]} x {size[1]}; expected equal sizes: export the mask again"
            )
    if len(sizes) > 1:
        most = sorted(sizes.items(), key=lambda item: -len(item[1]))
        listed = "; ".join(f"{w} x {h}: {len(p)}, as {p[0]}" for (w, h), p in most[:4])
        raise InputError(
            f"{source}: images of {len(sizes)} sizes ({listed}); expected one size: resize or "
            "crop them to one, since a resize here would mix resolutions"
        )
    for (width, height), paths in sizes.items():
        if width != height:
            raise InputError(
                f"{source}: images are {width} x {height} pixels, as {paths[0]}; tiles are square: "
                "crop them first"
            )


def _image_size(path: str) -> tuple[int, int] | None:
    from PIL import Image

    try:
        with Image.open(path) as image:  # the header only
            return image.size
    except Exception:
        return None
