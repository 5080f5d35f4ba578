"""Cohorts of small slides with masks, for tests of tiling."""

import numpy as np
import pandas as pd
import tifffile
from slide_files import TILE, tissue, write_slide

from histosynth.cohort_settings import TissueClass
from histosynth.config import Study

CLASSES = [
    TissueClass(name="stroma", values=[1, 7]),
    TissueClass(name="tumour", values=[2]),
]


def make_study(**changes) -> Study:
    settings = {
        "study": "test",
        "cohort": {"kind": "table", "table": "unused.csv"},
        "classes": [c.model_dump() for c in CLASSES],
        "label": {
            "source": "class_fraction",
            "names": ["healthy", "cancer"],
            "classes": ["tumour"],
            "threshold": 0.5,
        },
        "tiling": {"size": 32, "mpp": 2.0, "heterogeneity": None, "min_tissue": 0.5},
        "encoders": {"texture": {}},
        "conditions": {"plain": {"signals": []}},
        "evaluation": {"encoders": ["texture"]},
    }
    return Study.parse(settings | changes)


def tiling(**changes) -> dict:
    return {"size": 32, "mpp": 2.0, "heterogeneity": None, "min_tissue": 0.5} | changes


def write_mask(path, values, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, values, **options)
    return path


def one_slide(folder, name="S1", *, split="train", image=None, mask=None, seed=0) -> dict:
    """A cohort row: a slide of 512 x 512 um, tissue all over, stroma left and tumour right."""
    image = tissue(512, 512, seed=seed) if image is None else image
    if mask is None:
        mask = np.where(np.arange(512) < 256, 1, 2).astype(np.uint8)[None].repeat(512, axis=0)
    return {
        "slide_id": name,
        "patient_id": f"patient-{name}",
        "site": "here",
        "split": split,
        "image": str(write_slide(folder / f"{name}.tiff", image)),
        "annotation": str(write_mask(folder / f"{name}-mask.tiff", mask, tile=(TILE, TILE))),
        "label": None,
        "mpp": np.nan,
        "mpp_source": "",
        "split_unit": "patient",
    }


def small_cohort(folder) -> pd.DataFrame:
    splits = ["train", "train", "train", "val", "test"]
    return pd.DataFrame(
        [one_slide(folder, f"S{i}", split=split, seed=i) for i, split in enumerate(splits)]
    )
