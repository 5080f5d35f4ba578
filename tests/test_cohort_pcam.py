"""PatchCamelyon as downloaded: every patch arrives with its slide, place, label and pixels."""

import gzip
import shutil

import h5py
import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import ROOT
from patch_files import write_pcam_hdf5, write_pcam_kaggle
from PIL import Image

from histosynth.config import Study
from histosynth.errors import InputError
from histosynth.grid import Grid
from histosynth.slides.chunks import tile_chunk
from histosynth.slides.cohorts import load_cohort
from histosynth.slides.gather import gather_splits
from histosynth.slides.patches import PatchSource
from histosynth.tilesets import TileSet

STEM = "camelyonpatch_level_2_split_"
PARTS = [f"{STEM}{s}_{k}" for s in ("train", "valid", "test") for k in ("x.h5", "y.h5", "meta.csv")]


def make_study(root, *, size=96, label=("healthy", "cancer"), **changes) -> Study:
    settings = {
        "study": "test",
        "cohort": {"kind": "pcam", "root": str(root)},
        "label": {"names": list(label)} if label else None,
        "tiling": {"size": size, "mpp": None, "heterogeneity": None},
        "encoders": {"texture": {}},
        "conditions": {"plain": {"signals": []}},
        "evaluation": {"encoders": ["texture"]},
    }
    return Study.parse(settings | changes)


@pytest.fixture
def official(tmp_path):
    return write_pcam_hdf5(tmp_path / "pcam")


def read_split(root, split):
    """The three files of a split, read without the code under test."""
    meta = pd.read_csv(root / f"{STEM}{split}_meta.csv", index_col=0)
    with h5py.File(root / f"{STEM}{split}_x.h5") as x, h5py.File(root / f"{STEM}{split}_y.h5") as y:
        return meta, x["x"][:], y["y"][:].ravel()


def change_meta(root, split, change):
    path = root / f"{STEM}{split}_meta.csv"
    change(pd.read_csv(path, index_col=0)).to_csv(path)


def test_every_slide_is_a_row_in_its_official_split(official):
    cohort = load_cohort(make_study(official))
    for ours, theirs in {"train": "train", "val": "valid", "test": "test"}.items():
        rows = cohort[cohort["split"] == ours]
        assert set(rows["slide_id"]) == set(read_split(official, theirs)[0]["wsi"])
        assert set(rows["image"]) == {str(official / f"{STEM}{theirs}_x.h5")}
    assert (cohort["patient_id"] == cohort["slide_id"]).all()
    assert set(cohort["split_unit"]) == {"patient"}
    assert set(cohort["mpp"]) == {0.972} and set(cohort["mpp_source"]) == {"study"}


def test_patches_reach_their_splits_tile_set_with_pixels_place_and_label(official, tmp_path):
    study = make_study(official)
    cohort = load_cohort(study)
    for chunk in (0, 1):
        tile_chunk(cohort, study, tmp_path / f"{chunk}", chunk=chunk, chunks=2, progress=False)
    gather_splits([tmp_path / "0", tmp_path / "1"], study, tmp_path / "real")
    for ours, theirs in {"train": "train", "val": "valid", "test": "test"}.items():
        meta, images, labels = read_split(official, theirs)
        tiles = TileSet.open(tmp_path / "real" / ours)
        assert len(tiles) == len(meta) == 18
        for i, row in tiles.table.iterrows():
            places = (meta["coord_x"] == row["x"]) & (meta["coord_y"] == row["y"])
            (place,) = np.flatnonzero(places & (meta["wsi"] == row["slide_id"]))
            assert row["label"] == ("healthy", "cancer")[labels[place]]
            np.testing.assert_array_equal(tiles.image(i), images[place])
            assert (row["tissue"], row["mpp"], row["mpp_source"]) == (1, 0.972, "study")


def test_patches_of_another_size_are_resized_and_their_mpp_with_them(official):
    study = make_study(official, size=48, label=None)
    row = load_cohort(study).iloc[0]
    with PatchSource(row, study) as source:
        found = source.candidates()
        x, y = found.positions[0].tolist()
        image, class_map = source.tile(x, y)
        assert source.mpp == pytest.approx(2 * 0.972)
    assert class_map is None and found.labels.tolist() == [None] * 6
    meta, images, _ = read_split(official, "train")
    (place,) = np.flatnonzero((meta["coord_x"] == x) & (meta["coord_y"] == y))
    expected = Image.fromarray(images[place]).resize((48, 48), Image.Resampling.BICUBIC)
    np.testing.assert_allclose(image, np.asarray(expected, float), atol=1)


def test_a_place_given_twice_is_one_tile_and_a_contradiction_none(official, tmp_path):
    meta, _, labels = read_split(official, "train")
    slide = meta["wsi"][0]
    mine = np.flatnonzero(meta["wsi"] == slide)
    healthy, cancer = mine[labels[mine] == 0], mine[labels[mine] == 1]
    columns = [meta.columns.get_loc(name) for name in ("coord_x", "coord_y")]

    def change(table):
        table.iloc[healthy[1], columns] = table.iloc[healthy[0], columns]  # the same label
        table.iloc[cancer[1], columns] = table.iloc[healthy[2], columns]  # another label
        return table

    change_meta(official, "train", change)
    study = make_study(official)
    cohort = load_cohort(study)
    slides = tile_chunk(cohort, study, tmp_path / "out", progress=False)
    (entry,) = [entry for entry in slides if entry["slide_id"] == slide]
    assert entry["reason"] == (
        "3 of 6 patches at places given more than once are left out "
        "(2 since their labels contradict each other)"
    )
    gather_splits([tmp_path / "out"], study, tmp_path / "real")
    tiles = TileSet.open(tmp_path / "real/train")
    assert len(tiles) == 18 - 3 and tiles.table["tile_id"].is_unique
    assert (tiles.table["slide_id"] == slide).sum() == 3


@pytest.mark.parametrize("name", PARTS)
def test_a_missing_file_is_named(official, name):
    (official / name).unlink()
    with pytest.raises(InputError, match=rf"pcam: not there: {name}; expected the nine files"):
        load_cohort(make_study(official))


@pytest.mark.parametrize("renamed", [False, True])
def test_a_packed_file_comes_with_the_command_that_unpacks_it(official, renamed):
    path = official / f"{STEM}valid_x.h5"
    with path.open("rb") as whole, gzip.open(f"{path}.gz", "wb") as packed:
        shutil.copyfileobj(whole, packed)
    if renamed:
        path.with_name(f"{path.name}.gz").replace(path)
    else:
        path.unlink()
    with pytest.raises(InputError, match=r"(?s)valid_x\.h5 .*`gunzip"):
        load_cohort(make_study(official))


def test_files_of_different_lengths_are_named_with_their_counts(official):
    change_meta(official, "train", lambda table: table.iloc[:-1])
    with pytest.raises(InputError, match=r"train_x\.h5 18, .*train_y\.h5 18, .*train_meta\.csv 17"):
        load_cohort(make_study(official))


def damage(root, kind):
    x, y = root / f"{STEM}test_x.h5", root / f"{STEM}test_y.h5"
    if kind == "dataset":
        with h5py.File(x, "a") as file:
            file.move("x", "images")
    elif kind == "shape":
        with h5py.File(x, "w") as file:
            file["x"] = np.zeros((18, 96, 96), np.uint8)
    elif kind == "label":
        with h5py.File(y, "a") as file:
            file["y"][3] = 7
    elif kind == "column":
        change_meta(root, "test", lambda table: table.rename(columns={"wsi": "slide"}))
    elif kind == "place":
        change_meta(root, "test", lambda table: table.assign(coord_x="here"))
    elif kind == "slide":
        names = read_split(root, "train")[0]["wsi"]
        change_meta(root, "test", lambda table: table.assign(wsi=names[0]))


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("dataset", r"test_x\.h5: no dataset 'x'; it holds: images"),
        ("shape", r"test_x\.h5: dataset 'x' is uint8 \(18, 96, 96\), expected uint8"),
        ("label", r"test_y\.h5: labels other than 0 and 1"),
        ("column", r"test_meta\.csv: no column 'wsi'; it has: .*slide"),
        ("place", r"test_meta\.csv: column 'coord_x' holds values that are no whole numbers"),
        ("slide", r"slide camelyon16_train_tumor_00\d is in the files of train and test"),
    ],
)
def test_files_that_are_not_as_released_are_named(official, kind, message):
    damage(official, kind)
    with pytest.raises(InputError, match=message):
        load_cohort(make_study(official))


def test_a_study_that_asks_for_what_pcam_lacks_is_refused(official):
    with pytest.raises(InputError, match=r"label\.names: a, b, c; PCam's labels are 0 and 1"):
        load_cohort(make_study(official, label=("a", "b", "c")))
    with pytest.raises(InputError, match="PCam comes without masks; remove `classes`"):
        load_cohort(make_study(official, classes=[{"name": "tumour", "values": [1]}]))
    with pytest.raises(InputError, match=r"cohort\.root: .*nowhere does not exist"):
        load_cohort(make_study(official / "nowhere"))


def test_a_file_changed_between_two_reads_is_read_anew(official):
    study = make_study(official)
    load_cohort(study)
    change_meta(official, "train", lambda table: table.assign(wsi="camelyon16_train_normal_123"))
    assert "camelyon16_train_normal_123" in load_cohort(study)["slide_id"].tolist()


# --- Kaggle's copy


def test_kaggles_images_are_rows_that_no_slide_binds_together(tmp_path):
    root = write_pcam_kaggle(tmp_path / "kaggle")
    study = make_study(root)
    cohort = load_cohort(study)
    truth = pd.read_csv(root / "train_labels.csv")
    assert cohort["slide_id"].tolist() == truth["id"].tolist()
    assert set(cohort["split_unit"]) == {"image"} and cohort["patient_id"].is_unique
    tile_chunk(cohort, study, tmp_path / "out", progress=False)
    gather_splits([tmp_path / "out"], study, tmp_path / "real")
    names = truth.set_index("id")["label"].map({0: "healthy", 1: "cancer"})
    seen = []
    for split in ("train", "val", "test"):
        tiles = TileSet.open(tmp_path / "real" / split)
        for i, row in tiles.table.iterrows():
            assert row["label"] == names[row["slide_id"]]
            image = Image.open(root / f"train/{row['slide_id']}.tif")
            np.testing.assert_array_equal(tiles.image(i), np.asarray(image))
            seen.append(row["slide_id"])
    assert sorted(seen) == sorted(truth["id"])


def test_kaggles_faults_are_named(tmp_path):
    root = write_pcam_kaggle(tmp_path / "kaggle")
    table = pd.read_csv(root / "train_labels.csv")
    gone = table["id"][4]
    (root / f"train/{gone}.tif").unlink()
    with pytest.raises(InputError, match=rf"(?s)1 `image` file\(s\) do not.*line 6: .*{gone}"):
        load_cohort(make_study(root))
    table.assign(label=table["label"].replace(1, 2)).to_csv(root / "train_labels.csv", index=False)
    with pytest.raises(InputError, match=r"train_labels\.csv: line 3: label '2', expected 0 or 1"):
        load_cohort(make_study(root))
    table.drop(columns="label").to_csv(root / "train_labels.csv", index=False)
    with pytest.raises(InputError, match=r"train_labels\.csv: no column 'label'; it has: id"):
        load_cohort(make_study(root))
    (root / "train_labels.csv").unlink()
    with pytest.raises(InputError, match=r"or Kaggle's train_labels\.csv with train/"):
        load_cohort(make_study(root))


# --- the study


def test_the_study_of_the_paper_plans_on_either_release(tmp_path):
    settings = yaml.safe_load((ROOT / "studies/pcam.yaml").read_text())
    for write in (write_pcam_hdf5, write_pcam_kaggle):
        settings["cohort"]["root"] = str(write(tmp_path / write.__name__))
        study = Grid.from_config(settings).study
        assert set(load_cohort(study)["split"]) == {"train", "val", "test"}
    assert (study.clusters.k, study.tiling.outliers) == (33, "osorio")
    settings["cohort"]["root"] = str(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"cohort\.root: .*nowhere does not exist"):
        Grid.from_config(settings)
