"""Camelyon16 as released: breast lymph nodes with and without metastases, outlined as polygons.

Files are known by their names, so that both layouts are read: the challenge's (training/normal,
training/tumor, testing/images, each with lesion_annotations) and that of the GigaScience database
and AWS (images, annotations, masks).

    normal_NNN.tif, tumor_NNN.tif, test_NNN.tif     slides
    tumor_NNN.xml, test_NNN.xml                     polygons of ASAP, cohort.annotations: xml
    tumor_NNN_mask.tif, test_NNN_Mask.tif           masks, cohort.annotations: mask
    reference.csv                                   the test slides' labels, where it is there

The release names no patients; it has one slide a patient (Litjens et al., GigaScience 2018), so the
slide's name stands for the patient. Training slides were numbered centre by centre; the centre of a
test slide is not told, so its site is "unknown". The official test slides stay the test split; the
others are dealt into train and val.

The release's README says what is wrong with it. Nothing is left out for that, but the log tells:

- 20 tumour slides and test_114 are not outlined exhaustively (most hold two sections, one of them
  outlined), so tumour counts as normal there;
- normal_086 was a tumour slide, renamed tumor_111, and test_049 a duplicate: old copies have both.
"""

import csv
import re
from pathlib import Path

import pandas as pd

from histosynth.cohort_settings import Camelyon16Cohort
from histosynth.config import Study
from histosynth.errors import InputError
from histosynth.scripting import log
from histosynth.slides.annotations import UNIFORM
from histosynth.slides.cohorts.folders import list_files, release_folder
from histosynth.slides.cohorts.registry import register_cohort

_SLIDE = re.compile(r"((normal|tumor|test)_(\d{3}))\.tif", re.IGNORECASE)
_ANNOTATION = re.compile(r"((normal|tumor|test)_\d{3})(_mask\.tif|\.xml)", re.IGNORECASE)
_NO_SLIDE = re.compile(r".*_(mask|tissue)\.tif", re.IGNORECASE)  # tissue: the AWS copy's
_RADBOUD = {"normal": 100, "tumor": 70}  # the last number of the first centre's slides
_PARTLY = {
    *(f"tumor_{n:03d}" for n in (10, 15, 18, 20, 25, 29, 33, 34, 44, 46, 51, 54, 55, 56, 67, 79)),
    *("tumor_085", "tumor_092", "tumor_095", "tumor_110", "test_114"),
}
_RETRACTED = {"normal_086": "a tumour slide, now tumor_111", "test_049": "a duplicate"}


@register_cohort("camelyon16")
def _camelyon16(study: Study, table: Path | None) -> pd.DataFrame:
    settings = study.cohort
    assert isinstance(settings, Camelyon16Cohort)
    root = release_folder(settings.root, holds="Camelyon16's folders, as released")
    files = list_files(root, ".tif", ".xml", "reference.csv")
    slides = _slides(files, root)
    outlines = _outlines(files)
    tumours = {name for name in slides if name.startswith("tumor_")}
    tests = {name for name in slides if name.startswith("test_")}
    if tests:
        known = files.get("reference.csv")
        told = _referenced(known[0]) if known else _outlined_tests(outlines, root)
        tumours |= tests & told
    own = outlines["mask" if settings.annotations == "mask" else "xml"]
    rows = pd.DataFrame({"slide_id": slides.keys(), "image": slides.values()}, index=slides.keys())
    rows["patient_id"] = rows["slide_id"]
    rows["site"] = [_site(name) for name in slides]
    rows["split"] = ["test" if name in tests else "" for name in slides]
    rows["label"] = ["tumor" if name in tumours else "normal" for name in slides]
    if study.classes:
        missing = sorted(tumours - own.keys())
        if missing:
            raise _unannotated(missing, settings, root)
        normal = {site: _normal_class(study, site) for site in set(rows["site"])}
        rows["annotation"] = [
            own[row.slide_id] if row.slide_id in tumours else UNIFORM + normal[row.site]
            for row in rows.itertuples()
        ]
    _log_flaws(slides.keys() & _PARTLY if study.classes else set(), slides)
    rows.attrs["source"] = str(root)
    return rows


def _slides(files: dict[str, list[str]], root: Path) -> dict[str, str]:
    """Slide name -> path."""
    slides: dict[str, str] = {}
    for name, paths in files.items():
        if not name.lower().endswith(".tif") or _NO_SLIDE.fullmatch(name):
            continue
        parsed = _SLIDE.fullmatch(name)
        if not parsed:
            raise InputError(
                f"{paths[0]}: no slide name of Camelyon16; expected normal_NNN.tif, tumor_NNN.tif "
                "or test_NNN.tif (masks: ..._mask.tif). Restore its released name, or move it out "
                f"of {root}"
            )
        _add(slides, parsed[1].lower(), paths, what="slide")
    if not slides:
        raise InputError(
            f"cohort.root: {root} holds no slide normal_NNN.tif, tumor_NNN.tif or test_NNN.tif; "
            "give the folder that holds Camelyon16's released folders"
        )
    return slides


def _add(found: dict[str, str], slide: str, paths: list[str], *, what: str) -> None:
    paths = [found[slide], *paths] if slide in found else paths
    if len(paths) > 1:
        raise InputError(
            f"{what} {slide}: there {len(paths)} times: {', '.join(paths[:4])}; keep one"
        )
    found[slide] = paths[0]


def _outlines(files: dict[str, list[str]]) -> dict[str, dict[str, str]]:
    """Slide name -> path of its polygons ("xml"), or of its mask ("mask")."""
    outlines: dict[str, dict[str, str]] = {"xml": {}, "mask": {}}
    for name, paths in files.items():
        if parsed := _ANNOTATION.fullmatch(name):
            mine = outlines["xml" if parsed[3].lower() == ".xml" else "mask"]
            _add(mine, parsed[1].lower(), paths, what="annotation of slide")
    return outlines


def _referenced(path: str) -> set[str]:
    """Test slides that reference.csv (no header: slide, Tumor or Normal, ...) calls tumours."""
    tumours = set()
    with open(path, encoding="utf-8-sig", newline="") as stream:
        for number, row in enumerate(csv.reader(stream), start=1):
            slide = row[0].strip().lower().removesuffix(".tif") if row else ""
            if not slide.startswith("test_"):  # a header, in some copies
                continue
            label = row[1].strip().lower() if len(row) > 1 else ""
            if label not in ("tumor", "normal"):
                raise InputError(
                    f"{path}, line {number}: label {label!r} of {slide}; expected Tumor or Normal "
                    "in the second column, as released"
                )
            if label == "tumor":
                tumours.add(slide)
    return tumours


def _outlined_tests(outlines: dict[str, dict[str, str]], root: Path) -> set[str]:
    """Test slides with an annotation: the tumours, where there is no reference.csv.

    Where nothing is annotated, the annotations were not unpacked rather than all slides normal; and
    where normal slides have masks as well (the AWS copy), a mask tells nothing.
    """
    for kind in ("xml", "mask"):
        tests = {slide for slide in outlines[kind] if slide.startswith("test_")}
        if tests and not any(slide.startswith("normal_") for slide in outlines[kind]):
            return tests
    raise InputError(
        f"{root}: nothing tells which test slides hold tumour; unpack "
        "testing/lesion_annotations.zip (or annotations/) there, or put reference.csv there"
    )


def _site(slide: str) -> str:
    kind, number = slide.split("_")
    if kind == "test":
        return "unknown"
    # tumor_111 was normal_086.
    return "Radboud" if int(number) <= _RADBOUD[kind] or slide == "tumor_111" else "Utrecht"


def _normal_class(study: Study, site: str) -> str:
    for tissue_class in study.classes:
        if 0 in tissue_class.values_at(site):
            return tissue_class.name
    raise InputError(
        "classes: normal slides are of the class with mask value 0, and no class has it"
        f" (site {site}); add `values: [0]` to the class of normal tissue"
    )


def _unannotated(missing: list[str], settings: Camelyon16Cohort, root: Path) -> InputError:
    wanted = "_mask.tif" if settings.annotations == "mask" else ".xml"
    other = "xml" if settings.annotations == "mask" else "mask"
    return InputError(
        f"{len(missing)} tumour slide(s) have no annotation: {', '.join(missing[:5])}; looked for "
        f"{missing[0]}{wanted} at any depth below {root}. Unpack lesion_annotations.zip there, or "
        f"set cohort.annotations: {other}"
    )


def _log_flaws(partly: set[str], slides: dict[str, str]) -> None:
    if partly:
        log(
            f"camelyon16: {len(partly)} slide(s) are not outlined exhaustively, says the release; "
            f"tumour may count as normal there: {', '.join(sorted(partly))}"
        )
    for slide, reason in _RETRACTED.items():
        if slide in slides:
            log(f"camelyon16: {slide} was withdrawn from the release ({reason}); delete it")
