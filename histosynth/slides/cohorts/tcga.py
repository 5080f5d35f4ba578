"""TCGA slides: `.svs` in folders as gdc-client leaves them, or those of a manifest or sample sheet.

A slide's name begins with its barcode (GDC, "TCGA Barcode"):

    TCGA-A1-A0SB-01Z-00-DX1.<uuid>.svs
    TCGA-A1              tissue source site, our `site`
    TCGA-A1-A0SB         patient
    01Z                  sample type (01 primary tumour, 11 normal tissue, ...) and vial
    00                   portion
    DX1                  the slide: DX diagnostic (fixed in formalin), TS, MS, BS frozen

All slides found are taken, frozen ones and normal tissue included; a sample sheet says which ones a
study wants. The label is the project (TCGA-BRCA): the sheet's, else that of a folder with such a
name on the slide's path.
"""

import os
import re
from pathlib import Path

import pandas as pd

from histosynth.cohort_settings import TcgaCohort
from histosynth.config import Study
from histosynth.errors import InputError
from histosynth.slides.cohorts.folders import list_files, release_folder
from histosynth.slides.cohorts.registry import register_cohort
from histosynth.slides.cohorts.tables import read_table

_BARCODE = re.compile(
    r"(?P<barcode>(?P<patient>TCGA-(?P<site>[A-Z0-9]{2})-[A-Z0-9]{4})"
    r"-\d{2}[A-Z]-\d{2}-(?:DX|TS|MS|BS)[A-Z0-9]*)(?:\.[0-9A-Fa-f-]+)?\.svs",
    re.IGNORECASE,
)
_PROJECT = re.compile(r"TCGA-[A-Z]{2,4}")
# Our name -> the manifest's and the sample sheet's.
_MANIFEST = {"file_id": "id", "name": "filename"}
_SHEET = {"file_id": "File ID", "name": "File Name", "project": "Project ID", "case": "Case ID"}


@register_cohort("tcga")
def _tcga(study: Study, table: Path | None) -> pd.DataFrame:
    settings = study.cohort
    assert isinstance(settings, TcgaCohort)
    root = release_folder(settings.root, holds="the .svs files of TCGA, at any depth")
    files = list_files(root, ".svs")
    if settings.sheet_path:
        sheet = Path(settings.sheet_path)
        rows = _listed(sheet, files, root)
        rows.attrs["source"] = str(sheet)
    else:
        rows = _found(files, root)
        rows.attrs["source"] = str(root)
    source = rows.attrs["source"]
    parsed = [_parse(name, source) for name in rows["name"]]
    rows["patient_id"] = [match["patient"].upper() for match in parsed]
    rows["site"] = [match["site"].upper() for match in parsed]
    rows["slide_id"] = _slide_ids(rows["name"], [match["barcode"] for match in parsed])
    if "case" in rows:
        _check_cases(rows, source)
    bare = rows["label"] == ""
    if study.label and study.label.source == "column" and bare.any():
        raise InputError(
            f"{source}: {bare.sum()} slide(s) have no project for a label, the first is "
            f"{rows['image'][bare].iloc[0]}; give a GDC sample sheet in cohort.sheet (a manifest "
            "names no projects), lay slides in folders named as TCGA-BRCA, or remove `label`"
        )
    return rows


def _found(files: dict[str, list[str]], root: Path) -> pd.DataFrame:
    """All slides below `root`; a file name stands in one folder only."""
    if not files:
        raise InputError(f"cohort.root: {root} holds no .svs file at any depth")
    for name, paths in files.items():
        if len(paths) > 1:
            raise InputError(
                f"{name} is there {len(paths)} times: {', '.join(paths[:4])}; keep one, or list "
                "the slides wanted in cohort.sheet"
            )
    images = [paths[0] for paths in files.values()]
    return pd.DataFrame(
        {"name": list(files), "image": images, "label": [_folder_project(p) for p in images]},
        index=images,
    )


def _listed(sheet: Path, files: dict[str, list[str]], root: Path) -> pd.DataFrame:
    """The slides of a manifest or sample sheet, with their files below `root`."""
    table = read_table(sheet)
    columns = _SHEET if "File Name" in table else _MANIFEST
    lacking = [name for name in columns.values() if name not in table]
    if lacking:
        raise InputError(
            f"{sheet}: neither a GDC manifest ({', '.join(_MANIFEST.values())}) nor a sample sheet "
            f"({', '.join(_SHEET.values())}): no column {', '.join(lacking)}; found: "
            f"{', '.join(table.columns)}"
        )
    rows = pd.DataFrame({ours: table[theirs] for ours, theirs in columns.items()})
    rows = rows[rows["name"].str.lower().str.endswith(".svs")]
    rows = rows.drop_duplicates(["file_id", "name"])  # a sheet may list a file once a sample
    if rows.empty:
        raise InputError(f"{sheet}: lists no .svs file; take the slide images in the GDC's cart")
    rows["image"] = [
        _locate(name, file_id, files.get(name, []))
        for name, file_id in zip(rows["name"], rows["file_id"], strict=True)
    ]
    missing = rows["name"][rows["image"] == ""]
    if len(missing):
        raise InputError(
            f"{sheet}: {len(missing)} of {len(rows)} slides are not below {root}: "
            f"{', '.join(missing.iloc[:5])}; download them (gdc-client download -m {sheet.name}), "
            "or take them out of the sheet"
        )
    told = rows.get("project", pd.Series("", rows.index))
    rows["label"] = told.where(told != "", rows["image"].map(_folder_project))
    return rows


def _locate(name: str, file_id: str, paths: list[str]) -> str:
    """Of the files of this name, the one in gdc-client's folder (its id), else the only one."""
    for path in paths:
        if os.path.basename(os.path.dirname(path)) == file_id:
            return path
    if len(paths) > 1:
        raise InputError(
            f"{name} is there {len(paths)} times, and not in a folder {file_id}: "
            f"{', '.join(paths[:4])}; keep one"
        )
    return paths[0] if paths else ""


def _parse(name: str, source: str) -> re.Match[str]:
    parsed = _BARCODE.fullmatch(name)
    if not parsed:
        raise InputError(
            f"{source}: {name} does not begin with a TCGA slide barcode; expected a name as "
            "TCGA-A1-A0SB-01Z-00-DX1.<uuid>.svs. Restore its name from the GDC, or take it away"
        )
    return parsed


def _slide_ids(names: pd.Series, barcodes: list[str]) -> pd.Series:
    """The barcode; for slides scanned twice, barcode and uuid."""
    ids = pd.Series(barcodes, index=names.index).str.upper()
    return ids.where(~ids.duplicated(keep=False), names.str[: -len(".svs")])


def _folder_project(path: str) -> str:
    return next((part for part in reversed(Path(path).parts) if _PROJECT.fullmatch(part)), "")


def _check_cases(rows: pd.DataFrame, source: str) -> None:
    for row in rows.itertuples():
        # A file of several samples lists each with its case.
        if row.patient_id not in {case.strip().upper() for case in row.case.split(",")}:
            raise InputError(
                f"{source}: {row.image} is of patient {row.patient_id} by its barcode, but of case "
                f"{row.case!r} by the sheet; correct the sheet"
            )
