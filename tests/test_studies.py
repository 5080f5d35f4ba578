"""Every data set goes in as it is released: its study, run by Snakemake up to the tile sets.

The studies stand as they are; only where the data lies is given (HISTOSYNTH_DATA), and tiles are
made small enough for releases of a few hundred pixels.
"""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
import yaml
from cohort_files import write_camelyon16, write_panda, write_tcga
from conftest import ROOT
from patch_files import write_class_folders, write_pcam_hdf5, write_pcam_kaggle
from PIL import Image
from slide_files import tissue, write_slide
from test_pipeline import ENVIRONMENT, copy_of_the_checkout, snakemake

from histosynth.files import read_json
from histosynth.tilesets import TileSet

SMALL = {"size": 32, "mpp": 1.0, "min_tissue": 0.2, "chunks": 2, "max_tiles_per_slide": 40}


@dataclass
class Sets:
    """The tile sets of a study, and what its summary says."""

    train: TileSet
    val: TileSet
    test: TileSet
    summary: dict

    @property
    def table(self) -> pd.DataFrame:
        return pd.concat([self.train.table, self.val.table, self.test.table])


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Path:
    folder = copy_of_the_checkout(tmp_path_factory.mktemp("studies") / "checkout")
    (folder / "studies").symlink_to(ROOT / "studies")
    return folder


def tile(checkout: Path, study: str | Path, data: Path, **overlay) -> Sets:
    """Run a study to its tile sets, with `overlay` on top."""
    name = yaml.safe_load((checkout / study).read_text())["study"]
    (checkout / f"{name}-overlay.yaml").write_text(yaml.safe_dump(overlay))
    results = f"results/{name}/tilesets/real"
    snakemake(
        checkout,
        *("--profile", "profiles/local", f"{results}/summary.json"),
        *("--configfile", str(study), f"{name}-overlay.yaml"),
        environment=ENVIRONMENT | {"HISTOSYNTH_DATA": str(data)},
    )
    sets = [TileSet.open(checkout / results / split) for split in ("train", "val", "test")]
    return Sets(*sets, read_json(checkout / results / "summary.json"))


def test_camelyon16_goes_in_as_released(checkout, tmp_path):
    write_camelyon16(tmp_path / "camelyon16")
    sets = tile(checkout, "studies/camelyon16.yaml", tmp_path, tiling=SMALL)
    assert set(sets.test.table["slide_id"]) <= {"test_001", "test_002"}
    assert not any(name.startswith("test_") for name in sets.train.table["slide_id"])
    fractions = sets.table[["class_normal", "class_tumor"]]
    assert fractions.min(axis=None) >= 0.2 - 1e-6  # two classes, each of 20 to 80 %
    assert sets.summary["split_unit"] == "patient"


def test_panda_goes_in_as_released_and_its_providers_mean_the_same(checkout, tmp_path):
    write_panda(tmp_path / "panda")
    sets = tile(checkout, "studies/panda.yaml", tmp_path, tiling=SMALL)
    assert set(sets.table["site"]) == {"karolinska", "radboud"}
    # Both draw the same discs: were benign epithelium taken for cancer, Radboud would have more.
    cancer = sets.table.groupby("site")["class_cancer"].mean()
    assert cancer["radboud"] == pytest.approx(cancer["karolinska"], abs=0.1)
    assert sets.summary["split_unit"] == "slide"


def test_tcga_goes_in_as_downloaded(checkout, tmp_path):
    write_tcga(tmp_path / "tcga")
    sets = tile(checkout, "studies/tcga.yaml", tmp_path, tiling=SMALL)
    assert sets.table["patient_id"].str.fullmatch(r"TCGA-\w\w-\w{4}").all()
    assert sets.table["label"].str.startswith("TCGA-").all()
    assert sets.table["entropy"].notna().all()  # of tissue types: there are no classes
    assert (sets.table["mpp_source"] == "slide").all()


def test_pcam_goes_in_as_released(checkout, tmp_path):
    write_pcam_hdf5(tmp_path / "pcam")
    sets = tile(checkout, "studies/pcam.yaml", tmp_path, tiling={"outliers": None})
    assert sets.train.size == (96, 96)
    assert set(sets.table["label"]) == {"healthy", "cancer"}
    assert sets.summary["split_unit"] == "patient"


def test_kaggles_pcam_goes_in_and_says_that_patients_are_unknown(checkout, tmp_path):
    write_pcam_kaggle(tmp_path / "pcam")
    kaggle = yaml.safe_load((ROOT / "studies/pcam.yaml").read_text()) | {"study": "kaggle"}
    (checkout / "kaggle.yaml").write_text(yaml.safe_dump(kaggle))
    sets = tile(checkout, "kaggle.yaml", tmp_path, tiling={"outliers": None})
    assert sets.summary["split_unit"] == "image"
    assert sets.test.provenance["split_unit"] == "image"


def test_nct_crc_he_goes_in_as_released(checkout, tmp_path):
    write_class_folders(tmp_path / "nct_crc_he")
    sets = tile(checkout, "studies/nct_crc_he.yaml", tmp_path, tiling={"size": 32})
    assert set(sets.train.table["label"]) == set(sets.test.table["label"])
    assert sets.summary["split_unit"] == "image"


def test_a_table_of_slides_and_one_of_images_go_in(checkout, tmp_path):
    lines = ["slide_id;patient_id;image;mpp"]
    for i in range(4):
        write_slide(tmp_path / f"slides/s{i}.tif", tissue(256, 320, seed=i), mpp=None)
        lines.append(f"s{i};p{i};slides\\s{i}.tif;{0.5 if i else ''}")
        Image.fromarray(tissue(48, 48, seed=i)).save(tmp_path / f"i{i}.png")
    (tmp_path / "slides.csv").write_text("\ufeff" + "\r\n".join(lines) + "\r\n", encoding="utf-8")
    images = [f"p{i},i{i}.png" for i in range(4)]
    (tmp_path / "images.csv").write_text("\n".join(["patient_id,image", *images]) + "\n")
    rest = {
        "encoders": {"texture": {}},
        "conditions": {"plain": {"signals": []}},
        "evaluation": {"encoders": ["texture"]},
    }
    for name, cohort in {
        "listed": {"kind": "table", "table": str(tmp_path / "slides.csv"), "mpp": 0.25},
        "ready": {"kind": "image_mask", "index": str(tmp_path / "images.csv"), "mpp": 0.5},
    }.items():
        study = {"study": name, "cohort": cohort} | rest
        (checkout / f"{name}.yaml").write_text(yaml.safe_dump(study))
    plain = {"size": 32, "heterogeneity": None, "chunks": 1}
    sets = tile(checkout, "listed.yaml", tmp_path, tiling=plain | {"mpp": 0.5})
    # Half a micrometre by the table for three slides, a quarter by the study for the first.
    assert sets.summary["mpp_sources"] == {"study": 1, "table": 3}
    assert sets.table.groupby("slide_id").size().to_dict() == {
        "s0": 20,
        "s1": 80,
        "s2": 80,
        "s3": 80,
    }
    sets = tile(checkout, "ready.yaml", tmp_path, tiling=plain)
    assert len(sets.table) == 4 and sets.table["mpp"].tolist() == [0.75] * 4
