"""Tiles come from where they say, with the classes that lie there, and every other has a reason."""

import json

import numpy as np
import pandas as pd
import pytest
import tifffile
from PIL import Image
from scipy.stats import entropy
from slide_cohorts import CLASSES, make_study, one_slide, small_cohort, tiling, write_mask
from slide_files import damage_tile, tissue, write_slide

from histosynth.cohort_settings import Label, Tiling
from histosynth.errors import InputError
from histosynth.slides.annotations import Mask, class_fractions, downsample_classes
from histosynth.slides.chunks import tile_chunk
from histosynth.slides.gather import gather_splits
from histosynth.slides.sources import Candidates
from histosynth.slides.tiling import (
    class_entropy,
    grid_positions,
    is_heterogeneous,
    rejection_reasons,
    tile_entropy,
    tile_labels,
)
from histosynth.tilesets import TileSet

# --- the rules, on arrays


@pytest.mark.parametrize(("width", "step", "count"), [(100, 20, 4), (100, 10, 7), (39, 40, 0)])
def test_the_grid_holds_every_tile_that_fits_and_no_other(width, step, count):
    positions = grid_positions((width, 40), footprint=40, step=step)
    assert positions.tolist() == [[i * step, 0] for i in range(count)]


def test_a_grid_of_fractional_steps_does_not_drift():
    # 128 px at 1 um a pixel on a slide of 0.499: 256.513 level-0 pixels a tile.
    positions = grid_positions((2220, 300), footprint=128 / 0.499, step=128 / 0.499)
    assert positions[:, 0].tolist() == [round(i * 128 / 0.499) for i in range(8)]
    # Four tiles are 1026.05 pixels: a slide of 1026 holds them, one of 1025 does not.
    counts = [
        len(grid_positions((width, 300), footprint=128 / 0.499, step=128 / 0.499))
        for width in (1026, 1025)
    ]
    assert counts == [4, 3]


def test_entropy_is_scipys():
    fractions = np.array([[1, 0, 0], [0.5, 0.5, 0], [0.2, 0.3, 0.5], [0.1, 0.1, 0]], np.float32)
    np.testing.assert_allclose(class_entropy(fractions), entropy(fractions, axis=1), rtol=1e-6)


def test_entropy_without_a_map_is_unknown():
    assert np.isnan(class_entropy(np.array([[np.nan, np.nan]]))).all()
    assert np.isnan(class_entropy(np.zeros((2, 0)))).all()


def test_heterogeneous_means_two_classes_within_the_bounds():
    fractions = np.array([[0.2, 0.8, 0], [0.19, 0.81, 0], [0.9, 0.05, 0.05], [0.3, 0.3, 0.4]])
    assert is_heterogeneous(fractions, (0.2, 0.8)).tolist() == [True, False, False, True]


def test_every_rejected_tile_has_its_first_reason():
    faults = np.array(["", "", "", "unreadable: x", "pen", ""], dtype=object)
    found = Candidates(
        positions=np.zeros((6, 2), np.int64),
        tissue=np.array([0, 0.4, 0.5, 0.9, 0.1, 1]),
        fractions=np.array([[np.nan, np.nan], [1, 0], [0.5, 0.5], [1, 0], [1, 0], [1, 0]]),
        faults=faults,
        entropy=np.full(6, np.nan),
    )
    capped = Tiling(heterogeneity=(0.2, 0.8), min_tissue=0.5, max_tiles_per_slide=1)
    assert rejection_reasons(found, settings=capped).tolist() == [
        "little_tissue",
        "little_tissue",
        "",
        "unreadable: x",
        "pen",
        "one_class",
    ]
    whatever = Tiling(heterogeneity=None, min_tissue=0)
    assert rejection_reasons(found, settings=whatever).tolist() == faults.tolist()


def test_entropy_of_tissue_types_stands_in_where_there_is_no_annotation():
    fractions = np.array([[0.5, 0.5], [np.nan, np.nan], [np.nan, np.nan], [0, 0]])
    found = tile_entropy(fractions, np.array([0.1, 0.2, np.nan, 0.3]))
    np.testing.assert_allclose(found, [np.log(2), 0.2, np.nan, 0.3], rtol=1e-6)


def test_labels_follow_the_slide_or_the_area_of_classes():
    fractions = np.array([[0.95, 0.05], [0.9, 0.1], [0, 1], [np.nan, np.nan]], np.float32)
    area = Label(source="class_fraction", names=["no", "yes"], classes=["b"], threshold=0.1)
    column = Label(names=["no", "yes"])
    both = {"class_names": ["a", "b"], "slide_label": "yes"}
    assert tile_labels(fractions, label=area, **both).tolist() == ["no", "yes", "yes", None]
    assert tile_labels(fractions, label=column, **both).tolist() == ["yes"] * 4
    assert tile_labels(fractions, label=None, **both).tolist() == [None] * 4


# --- masks


@pytest.mark.parametrize(
    "options",
    [
        {"tile": (32, 48), "compression": "deflate"},
        {"tile": (64, 64), "compression": "lzw", "dtype": np.uint16},
        {"rowsperstrip": 7},
        {"rowsperstrip": 16, "compression": "zlib"},
        {"png": True},
        {"rgb": True, "tile": (64, 64)},
    ],
)
def test_a_mask_of_any_layout_gives_its_values_back(tmp_path, options):
    values = np.random.default_rng(0).choice([1, 2, 7], (150, 200))
    truth = (values == 2).astype(np.uint8)  # 1 and 7 are both stroma, class 0
    values = values.astype(options.pop("dtype", np.uint8))
    path = tmp_path / "mask.tiff"
    if options.pop("png", False):
        path = tmp_path / "mask.png"
        Image.fromarray(values).save(path)
    elif options.pop("rgb", False):
        empty = np.zeros_like(values)
        write_mask(path, np.dstack([values, empty, empty]), photometric="rgb", **options)
    else:
        write_mask(path, values, **options)
    with Mask(path, dimensions=(200, 150), classes=CLASSES, slide_id="S1") as mask:
        np.testing.assert_array_equal(mask.region(37, 11, 120, scale=1.0), truth[11:131, 37:157])
        # By 2: the centre of output pixel 0 lies on the corner of four; the lower right counts.
        np.testing.assert_array_equal(mask.region(10, 20, 50, scale=2.0), truth[21:121:2, 11:111:2])


def test_a_coarse_mask_agrees_with_the_fine_one(tmp_path):
    coarse = np.random.default_rng(0).choice([1, 2], (40, 60)).astype(np.uint8)
    fine = coarse.repeat(8, axis=0).repeat(8, axis=1)
    maps = []
    for name, values in (("coarse", coarse), ("fine", fine)):
        path = write_mask(tmp_path / f"{name}.tiff", values)
        with Mask(path, dimensions=(480, 320), classes=CLASSES, slide_id="S1") as mask:
            maps.append(mask.region(52, 36, 64, scale=2.0))
    np.testing.assert_array_equal(*maps)


def test_only_the_finest_level_of_a_mask_counts(tmp_path):
    # Coarser levels made by averaging hold values that were never drawn.
    values = np.where(np.indices((256, 256)).sum(axis=0) % 2, 1, 7).astype(np.uint8)
    with tifffile.TiffWriter(tmp_path / "mask.tiff") as writer:
        writer.write(values, tile=(64, 64))
        writer.write(np.full((128, 128), 4, np.uint8), tile=(64, 64), subfiletype=1)
    with Mask(
        tmp_path / "mask.tiff", dimensions=(256, 256), classes=CLASSES, slide_id="S1"
    ) as mask:
        assert (mask.region(0, 0, 64, scale=4.0) == 0).all()


def test_a_mask_of_another_shape_than_its_slide_is_refused(tmp_path):
    path = write_mask(tmp_path / "mask.tiff", np.ones((100, 150), np.uint8))
    with pytest.raises(InputError, match=r"slide S1: mask .* is 150 x 100 .* 2000 x 1000: another"):
        Mask(path, dimensions=(2000, 1000), classes=CLASSES, slide_id="S1")
    # 150 x 100 of 1507 x 1003 is rounding, not another shape.
    Mask(path, dimensions=(1507, 1003), classes=CLASSES, slide_id="S1").close()


def test_a_mask_value_without_a_class_is_named_with_those_known(tmp_path):
    values = np.ones((64, 64), np.uint8)
    values[5, 6] = 9
    path = write_mask(tmp_path / "mask.tiff", values)
    with (
        Mask(path, dimensions=(64, 64), classes=CLASSES, slide_id="S1") as mask,
        pytest.raises(
            InputError,
            match=r"slide S1: mask value 9 has no class; known: 1 \(stroma\), 7 \(stroma\), 2",
        ),
    ):
        mask.region(0, 0, 64, scale=1.0)


def test_masks_that_are_no_masks_are_named(tmp_path):
    (tmp_path / "text.tiff").write_text("not a mask")
    write_mask(tmp_path / "float.tiff", np.ones((8, 8), np.float32))
    for name in ("text.tiff", "float.tiff"):
        with pytest.raises(InputError, match=rf"{name} cannot be opened"):
            Mask(tmp_path / name, dimensions=(8, 8), classes=CLASSES, slide_id="S1")
    with pytest.raises(InputError, match=r"no such mask .*absent\.tiff"):
        Mask(tmp_path / "absent.tiff", dimensions=(8, 8), classes=CLASSES, slide_id="S1")


def test_maps_shrink_by_majority_and_keep_unlabelled_pixels():
    class_map = np.array([[0, 1, 1, 1], [0, 0, 1, 255], [255, 255, 2, 2], [255, 0, 2, 0]], np.uint8)
    assert downsample_classes(class_map, (2, 2), count=3).tolist() == [[0, 1], [255, 2]]
    np.testing.assert_allclose(class_fractions(class_map, 3), [5 / 16, 4 / 16, 3 / 16])


# --- whole slides


def test_tiles_hold_the_pixels_and_classes_of_their_place(tmp_path):
    row = one_slide(tmp_path)
    study = make_study(tiling=tiling(mpp=1.0, stride=48))
    slides = tile_chunk(pd.DataFrame([row]), study, tmp_path / "out", progress=False)
    tiles = TileSet.open(tmp_path / "out/train")
    # 11 tiles of 32 px fit 512 px at a stride of 48.
    assert len(tiles) == 121 and slides[0]["counts"] == {"accepted": 121}
    image = tifffile.imread(row["image"], key=0)
    mask = tifffile.imread(row["annotation"])
    for i, tile in tiles.table.iterrows():
        here = np.s_[tile["y"] : tile["y"] + 32, tile["x"] : tile["x"] + 32]
        np.testing.assert_array_equal(tiles.image(i), image[here])
        np.testing.assert_array_equal(tiles.map(i), mask[here] - 1)
        assert tile["class_tumour"] == pytest.approx((mask[here] == 2).mean())
        assert tile["label"] == ("cancer" if (mask[here] == 2).mean() >= 0.5 else "healthy")
        assert tile["tile_id"] == f"S1_x{tile['x']}_y{tile['y']}"


def test_kept_and_rejected_tiles_together_are_the_grid(tmp_path):
    image = tissue(512, 512)
    image[256:] = 244  # glass
    row = one_slide(tmp_path, image=image)
    study = make_study(tiling=tiling(heterogeneity=(0.2, 0.8), stride=16, max_tiles_per_slide=3))
    (slide,) = tile_chunk(pd.DataFrame([row]), study, tmp_path / "out", progress=False)
    kept = TileSet.open(tmp_path / "out/train").table
    rejected = pd.read_parquet(tmp_path / "out/rejected.parquet")
    assert list(kept.columns) == list(rejected.columns)
    grid = {(x, y) for x in range(0, 449, 32) for y in range(0, 449, 32)}
    # What has too little tissue, or is over a cap, is most of a slide: counted, not listed.
    both = pd.concat([kept, rejected])
    places = set(zip(both["x"], both["y"], strict=True))
    assert (
        len(places) == len(both) and places <= grid and sum(slide["counts"].values()) == len(grid)
    )
    assert kept["accepted"].all() and not rejected["accepted"].any()
    assert len(kept) == 3
    # The border between stroma and tumour is x = 256; tiles are 64 um wide, every 32 um.
    assert set(kept["x"]) == {224} and kept["y"].max() <= 224
    assert set(rejected["reason"]) == {"one_class"} and rejected["y"].max() <= 224
    # 8 of the 15 rows of tiles are at least half on tissue; each has 1 place with two classes.
    one_class = 8 * 14
    expected = {"accepted": 3, "one_class": one_class, "over_cap": 8 - 3, "little_tissue": 7 * 15}
    assert slide["counts"] == expected and len(rejected) == one_class


def test_the_sets_do_not_depend_on_the_number_of_chunks(tmp_path):
    cohort, study = small_cohort(tmp_path), make_study()
    fingerprints = []
    for chunks in (1, 2, 6):  # six: one of them is empty
        folders = [tmp_path / f"{chunks}/chunk{i}" for i in range(chunks)]
        for i, folder in enumerate(folders):
            tile_chunk(cohort, study, folder, chunk=i, chunks=chunks, progress=False)
        gather_splits(folders, study, tmp_path / f"{chunks}/real")
        sets = [TileSet.open(tmp_path / f"{chunks}/real/{name}") for name in ("train", "val")]
        fingerprints.append([tiles.fingerprint for tiles in sets])
    assert fingerprints[0] == fingerprints[1] == fingerprints[2]


def test_a_splits_tiles_are_those_of_its_patients(tmp_path):
    cohort, study = small_cohort(tmp_path), make_study()
    tile_chunk(cohort, study, tmp_path / "chunk", progress=False)
    summary = gather_splits([tmp_path / "chunk"], study, tmp_path / "real")
    for name, patients in (("train", {0, 1, 2}), ("val", {3}), ("test", {4})):
        tiles = TileSet.open(tmp_path / "real" / name)
        assert set(tiles.table["patient_id"]) == {f"patient-S{i}" for i in patients}
        assert (tiles.table["split"] == name).all()
        counts = summary["splits"][name]
        assert counts["tiles"] == len(tiles) == sum(counts["tiles_by_patient"].values())
        assert counts["labels"] == {"healthy": len(tiles) / 2, "cancer": len(tiles) / 2}
    assert json.loads((tmp_path / "real/summary.json").read_text()) == summary


def test_bad_slides_among_good_ones_are_listed_and_the_rest_goes_on(tmp_path, shared_data):
    bad = [one_slide(tmp_path, f"bad{i}") for i in range(4)]
    bad[0]["image"] = str(shared_data / "slides/broken.svs")
    bad[1]["image"] = str(shared_data / "slides/unreadable.svs")
    write_mask(tmp_path / "bad2-mask.tiff", np.full((512, 512), 9, np.uint8))
    write_mask(tmp_path / "bad3-mask.tiff", np.ones((512, 300), np.uint8))
    bad.append(one_slide(tmp_path, "dark"))
    bad[4] |= {"image": str(shared_data / "slides/stritt_test3_DAPI.ndpi"), "annotation": ""}
    cohort = pd.concat([pd.DataFrame(bad), small_cohort(tmp_path)], ignore_index=True)
    study = make_study()
    slides = {s["slide_id"]: s for s in tile_chunk(cohort, study, tmp_path / "c", progress=False)}
    assert [name for name, s in slides.items() if s["status"] == "failed"] == [
        "bad0",
        "bad1",
        "bad2",
        "bad3",
    ]
    assert "broken.svs" in slides["bad0"]["reason"]
    assert "unreadable.svs" in slides["bad1"]["reason"]
    assert "mask value 9" in slides["bad2"]["reason"]
    assert "another aspect ratio" in slides["bad3"]["reason"]
    assert slides["dark"]["status"] == "ok" and "dark field" in slides["dark"]["reason"]
    assert set(slides["dark"]["counts"]) == {"little_tissue"}
    summary = gather_splits([tmp_path / "c"], study, tmp_path / "real")
    assert [s["slide_id"] for s in summary["failed_slides"]] == ["bad0", "bad1", "bad2", "bad3"]
    assert summary["splits"]["train"]["slides"] == 3


def test_a_damaged_region_costs_its_tiles_only(tmp_path):
    row = one_slide(tmp_path, image=tissue(512, 512))
    damage_tile(tmp_path / "S1.tiff", 9)  # at (64, 64)
    study = make_study(tiling=tiling(mpp=1.0, size=64))  # the overview reads the sound level
    (slide,) = tile_chunk(pd.DataFrame([row]), study, tmp_path / "out", progress=False)
    assert slide["status"] == "ok" and "1 tile(s) unreadable" in slide["reason"]
    rejected = pd.read_parquet(tmp_path / "out/rejected.parquet")
    assert rejected[["x", "y"]].to_numpy().tolist() == [[64, 64]]
    assert "S1.tiff cannot be read" in rejected["reason"].iloc[0]
    assert len(TileSet.open(tmp_path / "out/train")) == 63


def test_all_slides_failing_is_an_error(tmp_path):
    rows = [one_slide(tmp_path, f"S{i}") for i in range(3)]
    for row in rows:
        write_mask(tmp_path / f"{row['slide_id']}-mask.tiff", np.full((512, 512), 9, np.uint8))
    cohort, study = pd.DataFrame(rows), make_study()
    with pytest.raises(InputError, match=r"all 3 slide\(s\) failed:\n.*mask value 9"):
        tile_chunk(cohort, study, tmp_path / "all", progress=False)
    assert not (tmp_path / "all").exists()
    folders = [tmp_path / "c0", tmp_path / "c1"]
    for i, folder in enumerate(folders):  # a chunk alone cannot know
        tile_chunk(cohort, study, folder, chunk=i, chunks=2, progress=False)
    with pytest.raises(InputError, match=r"all 3 slide\(s\) failed"):
        gather_splits(folders, study, tmp_path / "real")


def test_a_split_without_tiles_is_an_error_that_names_it(tmp_path):
    cohort = small_cohort(tmp_path)
    write_slide(tmp_path / "S3.tiff", np.full((512, 512, 3), 244, np.uint8))  # the only one of val
    tile_chunk(cohort, make_study(), tmp_path / "c", progress=False)
    with pytest.raises(InputError, match=r"no tile was kept for val .*little_tissue.*split\.seed"):
        gather_splits([tmp_path / "c"], make_study(), tmp_path / "real")


def test_the_heterogeneity_rule_without_masks_is_refused_at_once(tmp_path):
    rule = tiling(heterogeneity=(0.2, 0.8))
    cohort = pd.DataFrame([one_slide(tmp_path) | {"annotation": ""}])
    with pytest.raises(InputError, match=r"1 have none, the first is S1; set tiling\.h"):
        tile_chunk(cohort, make_study(tiling=rule), tmp_path / "a", progress=False)
    bare = make_study(tiling=rule, classes=[], label=None)
    with pytest.raises(InputError, match=r"tiling\.heterogeneity needs `classes`"):
        tile_chunk(cohort, bare, tmp_path / "b", progress=False)


def test_a_slide_without_a_mask_gives_unlabelled_maps(tmp_path):
    cohort = pd.DataFrame([one_slide(tmp_path) | {"annotation": ""}])
    tile_chunk(cohort, make_study(), tmp_path / "out", progress=False)
    tiles = TileSet.open(tmp_path / "out/train")
    assert (tiles.maps() == 255).all()
    assert tiles.table[["class_stroma", "class_tumour", "entropy"]].isna().all(axis=None)
    assert tiles.table["label"].isna().all()


def test_the_real_slide_gives_tissue_tiles_at_the_requested_resolution(tmp_path, shared_data):
    row = one_slide(tmp_path) | {"image": str(shared_data / "slides/CMU-1-Small-Region.svs")}
    study = make_study(classes=[], label=None, tiling=tiling(size=128, mpp=1.0))
    (slide,) = tile_chunk(pd.DataFrame([row]), study, tmp_path / "out", progress=False)
    tiles = TileSet.open(tmp_path / "out/train")
    # 128 um tiles are its 256-px tiles, of which some 33 to 38 are half tissue (test_tissue.py).
    assert 31 <= len(tiles) <= 38 and len(tiles) == slide["counts"]["accepted"]
    assert slide["counts"]["accepted"] + slide["counts"]["little_tissue"] == 8 * 11
    images = tiles.images().astype(float)
    assert (images.max(axis=3) - images.min(axis=3)).mean() > 40  # coloured, as H&E is
