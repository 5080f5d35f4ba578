"""Folders of classes as NCT-CRC-HE is released: labels from folders, the official test set kept."""

import numpy as np
import pytest
import yaml
from conftest import ROOT
from patch_files import NCT_CLASSES, write_class_folders
from PIL import Image

from histosynth.config import Study
from histosynth.errors import InputError
from histosynth.grid import Grid
from histosynth.slides.chunks import tile_chunk
from histosynth.slides.cohorts import load_cohort
from histosynth.slides.gather import gather_splits
from histosynth.tilesets import TileSet

TRAIN, TEST = "NCT-CRC-HE-100K", "CRC-VAL-HE-7K"
OFFICIAL = {"train": TRAIN, "test": TEST}


def make_study(root, *, splits=None, patient=None, label=NCT_CLASSES, size=224, **changes) -> Study:
    cohort = {"kind": "class_folders", "root": str(root), "mpp": 0.5, "patient": patient}
    settings = {
        "study": "test",
        "cohort": cohort | {"splits": splits or {}},
        "label": {"names": list(label)} if label else None,
        "tiling": {"size": size, "mpp": None, "heterogeneity": None},
        "encoders": {"texture": {}},
        "conditions": {"plain": {"signals": []}},
        "evaluation": {"encoders": ["texture"]},
    }
    return Study.parse(settings | changes)


@pytest.fixture
def released(tmp_path):
    return write_class_folders(tmp_path / "nct")


def write_images(root, *places, side=32):
    for i, place in enumerate(places):
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(i).integers(0, 256, (side, side, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / place)


def test_images_reach_their_splits_tile_set_with_their_folders_label(released, tmp_path):
    study = make_study(released, splits=OFFICIAL)
    tile_chunk(load_cohort(study), study, tmp_path / "out", progress=False)
    gather_splits([tmp_path / "out"], study, tmp_path / "real")
    paths = {path.stem: path for path in released.rglob("[!.]*.tif")}
    seen = {}
    for split in ("train", "val", "test"):
        tiles = TileSet.open(tmp_path / "real" / split)
        for i, row in tiles.table.iterrows():
            path = paths[row["slide_id"]]
            assert row["label"] == path.parent.name and row["mpp"] == 0.5
            np.testing.assert_array_equal(tiles.image(i), np.asarray(Image.open(path)))
            seen[row["slide_id"]] = split, path.parts[-3]
    assert seen.keys() == paths.keys()
    # The official test set is the test set, whole and alone; val is dealt out of the rest.
    assert {part for split, part in seen.values() if split == "test"} == {TEST}
    assert {part for split, part in seen.values() if split != "test"} == {TRAIN}


def test_without_patients_every_image_stands_alone_and_the_cohort_says_so(released):
    cohort = load_cohort(make_study(released, splits=OFFICIAL))
    assert len(cohort) == 2 * 9 * 3 and cohort["patient_id"].is_unique
    assert set(cohort["split_unit"]) == {"image"}


def test_three_named_folders_are_the_three_splits(tmp_path):
    places = [f"{part}/{name}/{part}-{name}.png" for part in "abc" for name in ("X", "Y")]
    write_images(tmp_path, *places)
    study = make_study(
        tmp_path, splits={"val": "a", "train": "b", "test": "c"}, label=("X", "Y"), size=32
    )
    cohort = load_cohort(study).set_index("slide_id")
    expected = {"a": "val", "b": "train", "c": "test"}
    assert cohort["split"].to_dict() == {
        f"{part}-{name}": expected[part] for part in "abc" for name in ("X", "Y")
    }


def test_without_official_splits_the_root_holds_the_classes(released):
    cohort = load_cohort(make_study(released / TRAIN))
    assert sorted(cohort["split"].unique()) == ["test", "train", "val"]
    assert set(cohort["label"]) == set(NCT_CLASSES)


def test_images_of_one_patient_stay_together(tmp_path):
    places = [f"{c}/P{p}_{i}.png" for c in ("X", "Y") for p in range(5) for i in range(3)]
    write_images(tmp_path, *places)
    study = make_study(tmp_path, patient=r"^(P\d+)_", label=("X", "Y"), size=32)
    cohort = load_cohort(study)
    assert set(cohort["patient_id"]) == {f"P{p}" for p in range(5)}
    assert (cohort.groupby("patient_id")["split"].nunique() == 1).all()
    assert set(cohort["split_unit"]) == {"patient"}
    # Names repeat from class to class, so the folder is part of the id.
    assert "X_P0_0" in cohort["slide_id"].tolist() and cohort["slide_id"].is_unique


def test_a_patient_in_two_official_splits_is_named(tmp_path):
    places = [f"{part}/{c}/P{p}_{part}.png" for p, part in enumerate("abc") for c in ("X", "Y")]
    write_images(tmp_path, *places, "c/X/P0_again.png")
    study = make_study(
        tmp_path,
        splits={"train": "a", "val": "b", "test": "c"},
        patient=r"^(P\d+)_",
        label=("X", "Y"),
        size=32,
    )
    with pytest.raises(InputError, match=r"(?s)1 patient\(s\) in more than one split.*patient P0:"):
        load_cohort(study)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label": NCT_CLASSES[:-1]}, r"class folders TUM are not among ADI, .*, STR; add them"),
        ({"label": (*NCT_CLASSES, "FAT")}, r"label\.names FAT are not among ADI, .*, TUM; they"),
        ({"splits": {"test": TEST}}, r"cohort\.splits: test, but no train"),
        ({"splits": {"train": "train"}}, r"nct/train: no such folder"),
        ({"patient": "TCGA"}, r"cohort\.patient: 'TCGA' has 0 groups; expected one"),
        ({"patient": "("}, r"cohort\.patient: '\(' is no regular expression"),
        ({"patient": "TCGA-(.*)"}, r"ADI-\w+\.tif: cohort\.patient 'TCGA-.*' finds no patient"),
        ({"classes": [{"name": "tumour", "values": [1]}]}, "has no masks; remove `classes`"),
    ],
)
def test_a_study_that_does_not_fit_the_folders_is_told_where(released, change, message):
    with pytest.raises(InputError, match=message):
        load_cohort(make_study(released, **{"splits": OFFICIAL} | change))


def test_a_class_folder_without_images_is_named(released):
    for path in (released / TEST / "LYM").glob("*.tif"):
        path.unlink()
    with pytest.raises(InputError, match=rf"class folder .*{TEST}/LYM has no image; remove it"):
        load_cohort(make_study(released, splits=OFFICIAL))


def test_a_root_that_holds_splits_says_to_name_them(released):
    with pytest.raises(InputError, match=r"CRC-VAL-HE-7K has no image; .*cohort\.splits"):
        load_cohort(make_study(released))


def test_ids_that_differ_by_their_ending_only_are_named_by_their_files(tmp_path):
    write_images(tmp_path, "X/a.png", "X/a.tif", "Y/b.png")
    with pytest.raises(InputError, match=r"not unique .*'X/a' in X/a\.png, 'X/a' in X/a\.tif"):
        load_cohort(make_study(tmp_path, label=("X", "Y"), size=32))


def test_images_of_two_sizes_are_refused(tmp_path):
    write_images(tmp_path, "X/a.png", "X/b.png", "Y/c.png")
    write_images(tmp_path, "Y/d.png", side=40)
    with pytest.raises(InputError, match=r"images of 2 sizes \(32 x 32: 3, .*; 40 x 40: 1"):
        load_cohort(make_study(tmp_path, label=("X", "Y"), size=32))


def test_the_study_plans_on_the_release(released):
    settings = yaml.safe_load((ROOT / "studies/nct_crc_he.yaml").read_text())
    settings["cohort"]["root"] = str(released)
    study = Grid.from_config(settings).study
    cohort = load_cohort(study)
    assert study.label_names == sorted(cohort["label"].unique())
    assert cohort["split"].value_counts().to_dict() == {"test": 27, "train": 26, "val": 1}
