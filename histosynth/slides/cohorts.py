"""Cohorts: whatever lists slides and patients, as one table with one row a slide.

An adapter turns a study's `cohort` section into raw rows; `load_cohort` checks them, so that a typo
costs seconds. A further kind of cohort is one function under `register_cohort` (and its settings in
`histosynth/config.py`). Files are checked for existence here; a file that is there but broken is
found when it is tiled, and reported then.
"""

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from histosynth.config import Study
from histosynth.errors import InputError
from histosynth.settings import ImageMaskCohort
from histosynth.slides.splits import assign_splits

COHORT_COLUMNS = "slide_id patient_id site split image annotation label mpp".split()
_SEPARATORS = (",", ";", "\t", "|")


class Adapter(NamedTuple):
    """How one kind of cohort is read.

    load : (study, table) -> text columns, some of `COHORT_COLUMNS` ("" for unknown)
    ready_made : its images are tiles already, not slides
    """

    load: Callable[[Study, Path | None], pd.DataFrame]
    ready_made: bool = False


ADAPTERS: dict[str, Adapter] = {}


def register_cohort(kind: str, *, ready_made: bool = False) -> Callable[[Callable], Callable]:
    """Register a loader for `cohort.kind`."""

    def register(load: Callable[[Study, Path | None], pd.DataFrame]) -> Callable:
        ADAPTERS[kind] = Adapter(load, ready_made)
        return load

    return register


def load_cohort(study: Study, *, table: Path | None = None) -> pd.DataFrame:
    """The study's cohort, checked, with a split for every slide.

    Parameters
    ----------
    study : its `cohort`, `split` and `label` are used
    table : the table that the phantom wrote; only for kind phantom

    Returns
    -------
    DataFrame of `COHORT_COLUMNS`: text, "" where there is no annotation, None where no label is
    known; mpp float, NaN where only the slide can say

    Raises
    ------
    InputError : a column is missing, an id is empty or double, a file does not exist, a label is
        unknown, a patient is in two splits, ready-made images differ in size.
    """
    adapter = ADAPTERS[study.cohort.kind]
    raw = adapter.load(study, table)
    source = raw.attrs["source"]
    cohort = pd.DataFrame(index=raw.index)
    for column in ("slide_id", "patient_id", "image"):
        cohort[column] = _filled(raw, column, source)
    cohort["slide_id"] = _clean_ids(cohort["slide_id"], source)
    for column, default in (("site", "unknown"), ("split", ""), ("annotation", "")):
        cohort[column] = raw.get(column, pd.Series("", raw.index)).replace("", default)
    cohort["label"] = _labels(raw, cohort, study, source)
    cohort["mpp"] = _mpp(raw, cohort, getattr(study.cohort, "mpp", None), source)
    for column in ("image", "annotation"):
        _check_files(cohort, column, source)
    if adapter.ready_made:
        _check_sizes(cohort, source)
    cohort["split"] = assign_splits(cohort, study.split, source=source)
    return cohort[COHORT_COLUMNS].reset_index(drop=True)


@register_cohort("phantom")
def _phantom(study: Study, table: Path | None) -> pd.DataFrame:
    if table is None:
        raise InputError(
            "cohort.kind phantom: draw the slides first (scripts/phantom.py), then give their "
            "table with --table <folder>/cohort.csv"
        )
    return _rooted(read_table(table), table)


@register_cohort("table")
def _table(study: Study, table: Path | None) -> pd.DataFrame:
    path = Path(study.cohort.table)  # type: ignore[union-attr]
    return _rooted(read_table(path), path)


@register_cohort("image_mask", ready_made=True)
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
        stems = rows["image"].map(lambda image: Path(image).stem)
        full = rows["image"].map(lambda image: str(Path(image).with_suffix("")))
        rows["slide_id"] = stems if stems.is_unique else full
    return _rooted(rows.rename(columns={"mask": "annotation"}), path)


def read_table(path: str | Path) -> pd.DataFrame:
    """A CSV, TSV or Parquet table as text, "" for empty cells.

    The separator is whichever of `, ; tab |` the header line has most of; a byte-order mark and
    blanks around names and values are dropped. Ids such as 007 and NA stay what they are.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such table")
    try:
        if path.suffix.lower() in (".parquet", ".pq"):
            table = pd.read_parquet(path)
            table = table.astype(object).where(table.notna(), "").astype(str)
        else:
            text = path.read_bytes().decode("utf-8-sig")
            header = text.lstrip().split("\n", 1)[0]
            separator = max(_SEPARATORS, key=header.count)
            table = pd.read_csv(
                io.StringIO(text), sep=separator, dtype=str, keep_default_na=False, index_col=False
            )
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text ({error}); save it as CSV UTF-8") from None
    except Exception as error:  # pandas and pyarrow each have their own
        raise InputError(f"{path}: cannot be read as a table: {error}") from None
    table.columns = [str(name).strip() for name in table.columns]
    if table.empty:
        raise InputError(f"{path}: the table has no rows")
    return table.apply(lambda column: column.str.strip())


def _rooted(rows: pd.DataFrame, table: Path) -> pd.DataFrame:
    """Paths of a table start at the table's folder."""
    for column in ("image", "annotation"):
        if column in rows:
            paths = rows[column].map(lambda p: str(table.parent / Path(p).expanduser()) if p else p)
            rows = rows.assign(**{column: paths})
    rows.attrs["source"] = str(table)
    return rows


def _filled(raw: pd.DataFrame, column: str, source: str) -> pd.Series:
    if column not in raw:
        raise InputError(
            f"{source}: column {column!r} is missing; found: {', '.join(raw.columns)}. Rename or "
            "add it (kind image_mask: name it in cohort.columns)"
        )
    empty = raw.index[raw[column] == ""]
    if len(empty):
        raise InputError(
            f"{source}: {column} is empty in {len(empty)} row(s), the first in line "
            f"{_line(empty[0])}; fill it"
        )
    return raw[column]


def _clean_ids(ids: pd.Series, source: str) -> pd.Series:
    """Ids that may stand in tile names and paths: letters, digits, `_` and `-`."""
    cleaned = ids.map(lambda text: re.sub(r"[^A-Za-z0-9_-]+", "_", text).strip("_-") or "slide")
    double = cleaned[cleaned.duplicated(keep=False)]
    if len(double):
        same = double.index[double == double.iloc[0]]
        where = ", ".join(f"{ids[i]!r} in line {_line(i)}" for i in same[:4])
        raise InputError(
            f"{source}: slide_id is not unique ({double.nunique()} case(s)): {where}; give every "
            "slide its own id (only letters, digits, `_` and `-` count)"
        )
    return cleaned


def _labels(raw: pd.DataFrame, cohort: pd.DataFrame, study: Study, source: str) -> pd.Series:
    known = study.label_names
    if not study.label or study.label.source != "column":
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


def _mpp(raw: pd.DataFrame, cohort: pd.DataFrame, default: float | None, source: str) -> pd.Series:
    texts = raw.get("mpp", pd.Series("", raw.index))
    values = pd.to_numeric(texts.replace({"": np.nan, "nan": np.nan}), errors="coerce")
    wrong = (texts != "") & (texts != "nan") & ~((values > 0) & np.isfinite(values))
    if wrong.any():
        first = wrong.idxmax()
        raise InputError(
            f"{source}: mpp {texts[first]!r} of slide {cohort['slide_id'][first]} is no positive "
            "number; give micrometres a pixel with a decimal point, or leave it empty"
        )
    return values.astype(float).fillna(np.nan if default is None else default)


def _check_files(cohort: pd.DataFrame, column: str, source: str) -> None:
    missing = [
        f"  slide {row.slide_id}, line {_line(row.Index)}: {getattr(row, column)}"
        for row in cohort.itertuples()
        if getattr(row, column) and not Path(getattr(row, column)).exists()
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


def _line(index: int) -> int:
    return int(index) + 2  # the header is line 1
