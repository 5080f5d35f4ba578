"""Tiny but complete releases of Camelyon16, PANDA and TCGA, with the real ones' files and names.

A slide is 512 px of tissue at 0.5 um a pixel with glass around it. Its tumour is a grid of darker
discs with holes, so that every tile of 64 or 128 um (as 256 px at 0.5, 64 px at 1.0 or 2.0) holds
20 to 80 % of tumour.
"""

import functools
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
import tifffile
import yaml
from conftest import ROOT
from slide_files import tissue, write_slide

from histosynth.config import Study
from histosynth.grid import Grid
from histosynth.slides.chunks import tile_chunk
from histosynth.slides.cohorts import load_cohort
from histosynth.slides.gather import gather_splits
from histosynth.slides.splits import SPLITS
from histosynth.tilesets import TileSet

SIDE, MARGIN, PERIOD, RADIUS, HOLE = 512, 8, 128, 44, 12  # pixels
MPP = 0.5
GLASS, BENIGN, TUMOUR = 0, 1, 2

# Up to normal_100 and tumor_070 they are Radboud's, the others Utrecht's. Enough tumours that train
# and val get one each.
CAMELYON16_TRAINING = [
    *("normal_001", "normal_101"),
    *("tumor_001", "tumor_002", "tumor_070", "tumor_071", "tumor_072", "tumor_110"),
]
CAMELYON16_TEST = {"test_001": True, "test_002": False}

# image_id, provider, ISUP grade, Gleason score, whether the release has its mask
PANDA = [
    ("00000000000000000000000000000001", "karolinska", "0", "0+0", True),
    ("00000000000000000000000000000002", "karolinska", "1", "3+3", True),
    ("00000000000000000000000000000003", "karolinska", "4", "4+4", True),
    ("00000000000000000000000000000004", "radboud", "0", "negative", True),
    ("00000000000000000000000000000005", "radboud", "2", "3+4", True),
    ("00000000000000000000000000000006", "radboud", "5", "4+5", True),
    ("00000000000000000000000000000007", "radboud", "3", "4+3", False),
]

# project, barcode: four patients of two projects, one with a frozen slide besides the diagnostic.
TCGA = [
    ("TCGA-BRCA", "TCGA-A1-A0SB-01Z-00-DX1"),
    ("TCGA-BRCA", "TCGA-A1-A0SB-01A-01-TS1"),
    ("TCGA-BRCA", "TCGA-E2-A14V-01Z-00-DX1"),
    ("TCGA-LUAD", "TCGA-05-4244-01Z-00-DX1"),
    ("TCGA-LUAD", "TCGA-44-2655-11A-01-BSA"),
]


class Specimen(NamedTuple):
    """A slide's image, its regions, and where its tumour discs lie.

    image : uint8 (SIDE, SIDE, 3)
    regions : uint8 (SIDE, SIDE) of GLASS, BENIGN, TUMOUR
    centres : x, y of each disc in pixels
    """

    image: np.ndarray
    regions: np.ndarray
    centres: list[tuple[int, int]]


@functools.cache
def specimen(seed: int, *, tumour: bool = True) -> Specimen:
    """A slide; without `tumour` benign throughout."""
    rng = np.random.default_rng(seed)
    x, y = (int(v) for v in PERIOD // 2 + rng.integers(-8, 9, 2))
    centres = [(i, j) for j in range(y, SIDE, PERIOD) for i in range(x, SIDE, PERIOD)]
    regions = np.full((SIDE, SIDE), GLASS, np.uint8)
    regions[MARGIN:-MARGIN, MARGIN:-MARGIN] = BENIGN
    if tumour:
        columns, rows = np.meshgrid(np.arange(SIDE) + 0.5, np.arange(SIDE) + 0.5)
        for i, j in centres:
            distance = np.hypot(columns - i, rows - j)
            regions[(distance < RADIUS) & (distance >= HOLE)] = TUMOUR
    image = np.full((SIDE, SIDE, 3), 244, np.uint8)
    image[regions == BENIGN] = tissue(SIDE, SIDE, seed=seed)[regions == BENIGN]
    nuclei = np.array([120, 60, 140]) + rng.normal(0, 25, (SIDE, SIDE, 1))
    image[regions == TUMOUR] = np.clip(nuclei, 0, 255).astype(np.uint8)[regions == TUMOUR]
    return Specimen(image, regions, centres)


def write_camelyon16(folder: Path, *, masks: bool = False) -> Path:
    """Eight training and two test slides in the challenge's folders; `masks` beside the XML."""
    tumours = {name: name.startswith("tumor") for name in CAMELYON16_TRAINING} | CAMELYON16_TEST
    for seed, (name, tumour) in enumerate(tumours.items()):
        kind = name.split("_")[0]
        test = kind == "test"
        part = folder / ("testing" if test else "training")
        made = specimen(seed, tumour=tumour)
        write_slide(part / ("images" if test else kind) / f"{name}.tif", made.image, mpp=MPP)
        if tumour:
            path = part / f"lesion_annotations/{name}.xml"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(asap_xml(made.centres), encoding="utf-8")
            if masks:
                path = folder / f"masks/{name}_mask.tif"
                write_mask(path, (made.regions == TUMOUR).astype(np.uint8))
    return folder


def asap_xml(centres: list[tuple[int, int]]) -> str:
    """The outlines of discs (group _0) and of their holes (group _2), as ASAP writes them."""
    turns = np.linspace(0, 2 * np.pi, 90, endpoint=False)
    annotations = []
    for x, y in centres:
        for group, radius in (("_0", RADIUS), ("_2", HOLE)):
            corners = [
                f'<Coordinate Order="{i}" X="{x + radius * np.cos(turn):.4f}" '
                f'Y="{y + radius * np.sin(turn):.4f}" />'
                for i, turn in enumerate(turns)
            ]
            annotations.append(
                f'<Annotation Name="Annotation {len(annotations)}" Type="Polygon" '
                f'PartOfGroup="{group}" Color="#F4FA58"><Coordinates>{"".join(corners)}'
                "</Coordinates></Annotation>"
            )
    return (
        '<?xml version="1.0"?>\n<ASAP_Annotations><Annotations>'
        + "".join(annotations)
        + '</Annotations><AnnotationGroups><Group Name="_2" PartOfGroup="None" Color="#00ff00">'
        "<Attributes /></Group></AnnotationGroups></ASAP_Annotations>\n"
    )


def write_panda(folder: Path) -> Path:
    """Seven slides of two providers, one without a mask, and train.csv."""
    lines = ["image_id,data_provider,isup_grade,gleason_score"]
    for seed, (name, provider, isup, gleason, masked) in enumerate(PANDA):
        lines.append(f"{name},{provider},{isup},{gleason}")
        made = specimen(seed)
        write_slide(folder / f"train_images/{name}.tiff", made.image, mpp=MPP)
        if masked:
            values = panda_values(made, provider)
            rgb = np.stack([values, np.zeros_like(values), np.zeros_like(values)], axis=-1)
            write_mask(folder / f"train_label_masks/{name}_mask.tiff", rgb)
    (folder / "train.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def panda_values(made: Specimen, provider: str) -> np.ndarray:
    """Mask values as a provider gives them: Radboud tells stroma, epithelium and patterns apart."""
    if provider == "karolinska":
        return made.regions.copy()
    left = np.arange(SIDE)[None, :] < SIDE // 2
    benign, tumour = np.where(left, 1, 2), np.where(left, 3, 5)
    values = np.where(made.regions == TUMOUR, tumour, np.where(made.regions == BENIGN, benign, 0))
    return values.astype(np.uint8)


def write_tcga(folder: Path) -> Path:
    """Five slides as gdc-client leaves them, with the manifest and the sample sheet."""
    manifest = ["id\tfilename\tmd5\tsize\tstate"]
    sheet = [
        "File ID\tFile Name\tData Category\tData Type\tProject ID\tCase ID\tSample ID\tSample Type"
    ]
    for seed, (project, barcode) in enumerate(TCGA):
        file_id, name = tcga_file(barcode)
        path = write_slide(folder / file_id / name, specimen(seed).image, mpp=MPP)
        (path.parent / "logs").mkdir()
        (path.parent / f"logs/{name}.parcel").write_bytes(b"")
        case, sample = barcode[:12], barcode[:16]
        kind = "Solid Tissue Normal" if barcode[13:15] == "11" else "Primary Tumor"
        manifest.append(f"{file_id}\t{name}\t{'0' * 32}\t{path.stat().st_size}\treleased")
        sheet.append(
            f"{file_id}\t{name}\tBiospecimen\tSlide Image\t{project}\t{case}\t{sample}\t{kind}"
        )
    (folder / "gdc_manifest.txt").write_text("\n".join(manifest) + "\n", encoding="utf-8")
    (folder / "gdc_sample_sheet.tsv").write_text("\n".join(sheet) + "\n", encoding="utf-8")
    return folder


def tcga_file(barcode: str) -> tuple[str, str]:
    """The GDC's id of a slide's file, and its name."""
    digits = hashlib.sha256(barcode.encode()).hexdigest()
    file_id = f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:32]}"
    return file_id, f"{barcode}.{file_id.upper()}.svs"


def write_mask(path: Path, values: np.ndarray) -> None:
    """A tiled mask of the slide's size."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, values, tile=(64, 64), compression="deflate")


def tcga_path(folder: Path, barcode: str) -> Path:
    """Where `write_tcga` puts a slide."""
    return folder.joinpath(*tcga_file(barcode))


def study_of(name: str, folder: Path, **cohort: Any) -> Study:
    """`studies/<name>.yaml` with another root, a sheet only if given, and 64-px tiles at 1 um."""
    settings = yaml.safe_load((ROOT / f"studies/{name}.yaml").read_text(encoding="utf-8"))
    settings["cohort"].pop("sheet", None)
    settings["cohort"] |= {"root": str(folder)} | {k: str(v) for k, v in cohort.items()}
    settings["tiling"] |= {"size": 64, "mpp": 1.0, "chunks": 1}
    return Study.parse(settings)


def grid_of(name: str, data: Path, monkeypatch: pytest.MonkeyPatch) -> Grid:
    """`studies/<name>.yaml` as it is, with HISTOSYNTH_DATA set to `data`."""
    monkeypatch.setenv("HISTOSYNTH_DATA", str(data))
    return Grid.from_config(yaml.safe_load((ROOT / f"studies/{name}.yaml").read_text("utf-8")))


def tiles_of(study: Study, folder: Path) -> Iterator[tuple[pd.Series, np.ndarray | None]]:
    """Each tile's row and map, from the cohort through to the sets of the splits."""
    tile_chunk(load_cohort(study), study, folder / "chunk", progress=False)
    gather_splits([folder / "chunk"], study, folder / "sets")
    for split in SPLITS:
        tiles = TileSet.open(folder / "sets" / split)
        for i, (_, row) in enumerate(tiles.table.iterrows()):
            yield row, tiles.map(i)
