"""A cohort is checked before any work: every typo is named with its place and cure."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from histosynth.config import Study
from histosynth.errors import InputError
from histosynth.slides.chunks import tile_chunk
from histosynth.slides.cohorts import COHORT_COLUMNS, load_cohort, read_table
from histosynth.slides.sources import ImageSource
from histosynth.tilesets import TileSet


def make_study(cohort: dict, **changes) -> Study:
    settings = {
        "study": "test",
        "cohort": cohort,
        "tiling": {"size": 16, "mpp": None, "heterogeneity": None},
        "encoders": {"texture": {}},
        "conditions": {"plain": {"signals": []}},
        "evaluation": {"encoders": ["texture"]},
    }
    return Study.parse(settings | changes)


LINES = [
    ["slide_id", "patient_id", "image", "site", "mpp", "label"],
    ["007", "NA", "s/a.svs", "north, wing", "0.25", "x"],
    ["b", "p2", "s/b.svs", "", "", "y"],
    ["c", "p3", "s/c.svs", "south", "0.5", "x"],
]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "s").mkdir()
    for name in "abc":
        (tmp_path / f"s/{name}.svs").write_bytes(b"a file is there; what it holds is read later")
    return tmp_path


def table(folder, lines=LINES, *, separator=",", encoding="utf-8", name="cohort.csv"):
    quoted = [[f'"{cell}"' if separator in cell else cell for cell in line] for line in lines]
    text = "\r\n".join(separator.join(line) for line in quoted) + "\r\n"
    (folder / name).write_text(text, encoding=encoding)
    return make_study({"kind": "table", "table": str(folder / name), "mpp": 0.75})


def changed(row, column, value):
    lines = [list(line) for line in LINES]
    lines[row][LINES[0].index(column)] = value
    return lines


def without(column):
    place = LINES[0].index(column)
    return [line[:place] + line[place + 1 :] for line in LINES]


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_table_reads_alike_whatever_its_separator_and_byte_order_mark(
    folder, separator, encoding
):
    cohort = load_cohort(table(folder, separator=separator, encoding=encoding))
    assert list(cohort.columns) == COHORT_COLUMNS
    assert cohort["slide_id"].tolist() == ["007", "b", "c"]  # text, zeros and all
    assert cohort["patient_id"].tolist() == ["NA", "p2", "p3"]
    assert cohort["site"].tolist() == ["north, wing", "unknown", "south"]
    assert cohort["mpp"].tolist() == [0.25, 0.75, 0.5]  # cohort.mpp where the cell is empty
    assert cohort["image"].tolist() == [str(folder / f"s/{name}.svs") for name in "abc"]
    assert sorted(cohort["split"]) == ["test", "train", "val"]


def test_a_parquet_table_reads_as_its_csv(folder):
    from_csv = load_cohort(table(folder))
    frame = read_table(folder / "cohort.csv")
    frame["mpp"] = pd.to_numeric(frame["mpp"])  # numbers and a missing one, as Parquet has them
    frame.to_parquet(folder / "cohort.parquet")
    study = make_study({"kind": "table", "table": str(folder / "cohort.parquet"), "mpp": 0.75})
    pd.testing.assert_frame_equal(load_cohort(study), from_csv)


@pytest.mark.parametrize("column", ["slide_id", "patient_id", "image"])
def test_a_missing_column_is_named(folder, column):
    with pytest.raises(InputError, match=rf"cohort\.csv: column '{column}' is missing; found: "):
        load_cohort(table(folder, without(column)))


@pytest.mark.parametrize(
    ("row", "column", "value", "message"),
    [
        (2, "slide_id", "007", r"slide_id is not unique .*'007' in line 2, '007' in line 3"),
        (2, "slide_id", "b c", None),
        (2, "patient_id", "", r"patient_id is empty in 1 row\(s\), the first in line 3"),
        (3, "image", "s/d.svs", r"(?s)1 `image` file\(s\) do not exist.*slide c, line 4: .*s/d\.s"),
        (1, "mpp", "0,25", r"mpp '0,25' of slide 007 is no positive number"),
        (1, "mpp", "-1", r"mpp '-1' of slide 007 is no positive number"),
    ],
)
def test_a_wrong_cell_is_named_with_its_line(folder, row, column, value, message):
    study = table(folder, changed(row, column, value))
    if message is None:
        assert load_cohort(study)["slide_id"][row - 1] == "b_c"  # fit for a path
    else:
        with pytest.raises(InputError, match=message):
            load_cohort(study)


def test_slide_ids_that_become_one_are_refused(folder):
    lines = changed(1, "slide_id", "b.1")
    lines[2][0] = "b 1"
    with pytest.raises(InputError, match=r"'b\.1' in line 2, 'b 1' in line 3"):
        load_cohort(table(folder, lines))


def test_labels_must_be_among_the_studys_names(folder):
    study = table(folder)
    known = make_study(study.cohort.model_dump(), label={"names": ["x", "y"]})
    assert load_cohort(known)["label"].tolist() == ["x", "y", "x"]
    strange = make_study(study.cohort.model_dump(), label={"names": ["x", "z"]})
    with pytest.raises(InputError, match=r"label 'y' \(slide b\) is not in label\.names: x, z"):
        load_cohort(strange)


def test_tables_that_are_no_tables_are_named(tmp_path):
    (tmp_path / "empty.csv").write_text("slide_id,patient_id,image\n")
    (tmp_path / "latin.csv").write_bytes("slide_id\nM\xfcller\n".encode("latin-1"))
    (tmp_path / "bad.parquet").write_text("not parquet")
    for name, message in (
        ("absent.csv", "no such table"),
        ("empty.csv", "has no rows"),
        ("latin.csv", "not UTF-8"),
        ("bad.parquet", "cannot be read as a table"),
    ):
        with pytest.raises(InputError, match=rf"{name}: .*{message}"):
            read_table(tmp_path / name)


def test_the_phantom_needs_its_slides_first():
    with pytest.raises(InputError, match=r"scripts/phantom\.py.*--table"):
        load_cohort(make_study({"kind": "phantom"}))


# --- ready-made images with masks


def image_cohort(folder, *, sizes=(32,) * 6, mask_sizes=None, threshold=127, **changes) -> Study:
    rows = []
    for i, (size, mask_size) in enumerate(zip(sizes, mask_sizes or sizes, strict=True)):
        rng = np.random.default_rng(i)
        image = rng.integers(0, 256, (size, size, 3), dtype=np.uint8)
        mask = np.full((mask_size, mask_size), 20, np.uint8)
        mask[:, : mask_size // 2] = 200
        Image.fromarray(image).save(folder / f"{i}.png")
        Image.fromarray(mask).save(folder / f"{i}-mask.png")
        rows.append({"file": f"{i}.png", "truth": f"{i}-mask.png", "case": f"case {i}"})
    pd.DataFrame(rows).to_csv(folder / "index.csv", index=False)
    cohort = {
        "kind": "image_mask",
        "index": str(folder / "index.csv"),
        "columns": {"image": "file", "mask": "truth", "patient_id": "case"},
        "mask_threshold": threshold,
        "mpp": 0.5,
    }
    classes = [{"name": "outside", "values": [0]}, {"name": "lesion", "values": [1]}]
    return make_study(cohort, classes=classes, **changes)


def test_ready_made_images_become_tiles_with_thresholded_masks(tmp_path):
    study = image_cohort(tmp_path)
    tile_chunk(load_cohort(study).assign(split="train"), study, tmp_path / "out", progress=False)
    tiles = TileSet.open(tmp_path / "out/train")
    assert len(tiles) == 6
    expected = np.zeros((16, 16), np.uint8)
    expected[:, :8] = 1
    for i in range(6):
        np.testing.assert_array_equal(tiles.map(i), expected)
        image = Image.open(tmp_path / f"{i}.png").resize((16, 16), Image.Resampling.BICUBIC)
        np.testing.assert_allclose(tiles.image(i), np.asarray(image, float), atol=1)
    row = tiles.table.iloc[0]
    assert (row["x"], row["y"], row["tissue"], row["mpp"]) == (0, 0, 1, 1.0)  # 32 px at 0.5 to 16
    assert row["class_lesion"] == pytest.approx(0.5)


def test_images_of_their_tiles_size_are_kept_bit_by_bit(tmp_path):
    study = image_cohort(tmp_path, sizes=(16,) * 3)
    tile_chunk(load_cohort(study).assign(split="train"), study, tmp_path / "out", progress=False)
    tiles = TileSet.open(tmp_path / "out/train")
    for i in range(3):
        np.testing.assert_array_equal(tiles.image(i), np.asarray(Image.open(tmp_path / f"{i}.png")))


def test_images_of_mixed_sizes_are_refused_with_examples_and_counts(tmp_path):
    study = image_cohort(tmp_path, sizes=(32, 32, 48, 32))
    with pytest.raises(
        InputError, match=r"images of 2 sizes \(32 x 32: 3, as .*0\.png; 48 x 48: 1, as .*2\.png"
    ):
        load_cohort(study)


def test_a_mask_of_another_size_than_its_image_is_named(tmp_path):
    study = image_cohort(tmp_path, mask_sizes=(32, 32, 30, 32, 32, 32))
    with pytest.raises(InputError, match=r"mask .*2-mask\.png is 30 x 30 .*2\.png 32 x 32"):
        load_cohort(study)


def test_a_mask_value_without_a_class_fails_its_image(tmp_path):
    study = image_cohort(tmp_path, threshold=None)
    with pytest.raises(
        InputError, match=r"slide 0: mask value 20, 200 has no class; known: 0 \(outside\), 1 \(les"
    ):
        tile_chunk(load_cohort(study), study, tmp_path / "out", progress=False)


def test_a_broken_image_among_good_ones_is_listed_when_tiled(tmp_path):
    study = image_cohort(tmp_path)
    whole = (tmp_path / "3.png").read_bytes()
    (tmp_path / "3.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "4.png").write_text("no image")
    slides = tile_chunk(
        load_cohort(study).assign(split="train"), study, tmp_path / "out", progress=False
    )
    failed = {s["slide_id"]: s["reason"] for s in slides if s["status"] == "failed"}
    assert set(failed) == {"3", "4"}
    assert "3.png cannot be read" in failed["3"] and "4.png cannot be read" in failed["4"]
    assert len(TileSet.open(tmp_path / "out/train")) == 4


def test_a_column_the_index_lacks_is_named(tmp_path):
    study = image_cohort(tmp_path)
    for name, column, message in (
        ("patient_id", "biopsy", r"cohort\.columns\.patient_id: .* has no column 'biopsy'; it has"),
        ("masks", "truth", r"cohort\.columns: unknown masks; known: "),
    ):
        cohort = study.cohort.model_dump()
        cohort["columns"] = {**cohort["columns"], name: column}
        with pytest.raises(InputError, match=message):
            load_cohort(make_study(cohort))


def test_the_real_images_split_and_threshold_as_their_index_says(shared_data):
    index = pd.read_csv(shared_data / "ebhi_seg/index.csv")
    study = make_study(
        {
            "kind": "image_mask",
            "index": str(shared_data / "ebhi_seg/index.csv"),
            "columns": {"mask": "label", "patient_id": "case", "label": "cls"},
            "mask_threshold": 127,
        },
        classes=[{"name": "outside", "values": [0]}, {"name": "lesion", "values": [1]}],
        label={"names": sorted(set(index["cls"]))},
        tiling={"size": 224, "mpp": None, "heterogeneity": None},  # their own size
    )
    cohort = load_cohort(study)
    patients = cohort.groupby("split")["patient_id"].nunique().to_dict()
    assert patients == {"train": 60, "val": 15, "test": 28}
    for i in range(0, len(index), 50):
        with ImageSource(cohort.iloc[i], study) as source:
            share = source.candidates().fractions[0, 1]
        # Written with four digits.
        assert share == pytest.approx(index["fg_fraction"][i], abs=1e-4)
