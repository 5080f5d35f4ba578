"""Conditions: refused when a study cannot serve them, and showing the network what they claim."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from histosynth.conditions import (
    ConditionSpec,
    Signal,
    Targets,
    TilePool,
    check_conditions,
    register_signal,
    why_not,
)
from histosynth.conditions.table import (
    condition_table,
    noise_seeds,
    read_condition_table,
    table_targets,
)
from histosynth.conditions.windows import CropIndex, draw_window
from histosynth.config import Study
from histosynth.errors import InputError
from histosynth.generator_settings import SamplingSettings
from histosynth.tilesets import TileSet, TileSetWriter

SIZE = 32
CLASSES = ("stroma", "gland", "tumour")
LABELS = ("healthy", "cancer")


def study(*, drop: tuple[str, ...] = (), **conditions) -> Study:
    settings = {
        "study": "tiny",
        "cohort": {"kind": "phantom"},
        "classes": [{"name": name, "values": [i]} for i, name in enumerate(CLASSES)],
        "label": {"names": list(LABELS)},
        "encoders": {"texture": {}},
        "clusters": {"encoder": "texture", "k": 4},
        "evaluation": {"encoders": ["texture"]},
        "conditions": {name: {"signals": signals} for name, signals in conditions.items()},
    }
    return Study.parse({key: value for key, value in settings.items() if key not in drop})


def spec(*signals, **changes) -> ConditionSpec:
    return ConditionSpec.of(study(chosen=list(signals), **changes), "chosen")


def slide_color(slide: int) -> int:
    return 40 + 20 * slide


def write_tiles(folder: Path, *, slides: int = 4, per_slide: int = 6, seed: int = 0) -> TileSet:
    """Tiles of two or three classes in vertical bands; every pixel's value tells its slide."""
    random = np.random.default_rng(seed)
    with TileSetWriter(folder, classes=CLASSES) as writer:
        for slide in range(slides):
            for i in range(per_slide):
                cut = int(random.integers(8, SIZE - 8))
                map = np.zeros((SIZE, SIZE), np.uint8)
                map[:, cut:] = 1 + i % 2
                image = np.full((SIZE, SIZE, 3), slide_color(slide), np.uint8)
                image[..., 1] = 100 + map  # the class
                image[..., 2] = random.integers(0, 255, (SIZE, SIZE))
                row = {
                    "tile_id": f"s{slide}_{i}",
                    "slide_id": f"s{slide}",
                    "patient_id": f"p{slide}",
                    "site": "a",
                    "split": "test",
                    "label": LABELS[i % 2],
                }
                writer.add(image, row, map)
    return TileSet.open(folder)


@pytest.fixture(scope="module")
def tiles(tmp_path_factory: pytest.TempPathFactory) -> TileSet:
    return write_tiles(tmp_path_factory.mktemp("tiles") / "test")


@pytest.fixture(scope="module")
def pool(tiles: TileSet) -> TilePool:
    clusters = pd.DataFrame({"tile_id": tiles.table["tile_id"], "cluster": np.arange(24) % 4})
    needs = {"images", "maps", "labels", "clusters"}
    return TilePool.of(tiles, needs, label_names=LABELS, clusters=clusters)


def targets(pool: TilePool, rows: list[int], *, seed: int = 0) -> Targets:
    return Targets(pool, np.array(rows), [(seed, row) for row in rows])


# Bad studies


@pytest.mark.parametrize(
    ("signal", "dropped", "found", "cure"),
    [
        ("labell", (), "unknown signal 'labell'", "cluster, crop, crop_color, embedding, label"),
        ("cluster", ("clusters",), "needs clusters", "`clusters` is not configured; add it"),
        ("label", ("label",), "needs labels", "`label` is not configured; add it"),
        ("map", ("classes",), "needs maps", "list the tissue classes"),
        ({"kind": "crop", "source": "other_slide"}, ("classes",), "needs maps", "list the tissue"),
        ("crop", (), "source: is missing", "other_slide, same_slide, same_image, shuffled_class"),
        ({"kind": "crop", "source": "moon"}, (), "'moon'", "'same_image' or 'shuffled_class'"),
        (
            {"kind": "crop", "source": "same_image", "sise": 1},
            (),
            "sise",
            "source, training_source",
        ),
        ({"kind": "crop", "source": "same_image", "placement": "left"}, (), "'left'", "'centred'"),
        (
            {"kind": "crop", "source": "same_image", "rule": "htd", "size": 0.3},
            (),
            "rule htd",
            "out",
        ),
        ({"kind": "crop", "source": "same_slide"}, ("classes",), "needs maps", "list the tissue"),
        ({"kind": "map", "size": 1}, (), "no such option", "its options: values"),
        (
            {"kind": "crop", "source": "same_image", "size": [0.9, 0.2]},
            (),
            "size: found [0.9, 0.2]",
            "smallest <= largest",
        ),
    ],
)
def test_a_bad_signal_is_refused_with_its_key_and_the_cure(signal, dropped, found, cure) -> None:
    with pytest.raises(InputError) as error:
        check_conditions(study(drop=dropped, good=[], bad=[signal]))
    message = str(error.value)
    assert message.startswith("conditions.bad.signals[0]")
    assert found in message and cure in message


def test_all_bad_conditions_are_reported_at_once() -> None:
    with pytest.raises(InputError) as error:
        check_conditions(study(one=["map", "moon"], two=[], three=["sun"]))
    lines = str(error.value).splitlines()
    assert [line.split(":")[0] for line in lines] == [
        "conditions.one.signals[1]",
        "conditions.three.signals[0]",
    ]


def test_a_signal_given_twice_is_refused() -> None:
    with pytest.raises(InputError, match=r"signals\[1\].*given twice"):
        spec("label", "label")


def test_tiles_without_what_a_condition_needs_are_named(tiles: TileSet, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="24 of 24 tiles have no known label, the first is s0_0"):
        TilePool.of(tiles, {"labels"}, label_names=["benign", "malign"])
    with pytest.raises(InputError, match="--clusters"):
        TilePool.of(tiles, {"clusters"})
    some = pd.DataFrame({"tile_id": ["s0_0"], "cluster": [1]})
    with pytest.raises(InputError, match="23 of 24 tiles have no cluster, the first is s0_1"):
        TilePool.of(tiles, {"clusters"}, clusters=some)
    with TileSetWriter(tmp_path / "plain") as writer:
        writer.add(np.zeros((8, 8, 3), np.uint8), {"tile_id": "a", "slide_id": "s"})
    with pytest.raises(InputError, match="needs maps, but this tile set has none"):
        TilePool.of(TileSet.open(tmp_path / "plain"), {"maps"})


# What a condition makes possible


def test_evaluations_learn_what_a_condition_provides_and_why_not() -> None:
    assert spec().provides == set()
    assert spec("label", "cluster").provides == {"labels", "clusters"}
    assert spec("map", {"kind": "crop", "source": "same_image"}).provides == {"maps"}
    assert why_not(spec("map"), "maps") == ""
    assert "chosen requests no maps" in why_not(spec(), "maps")
    assert "(its signals: label)" in why_not(spec("label"), "maps")


def test_a_map_implies_the_label_where_labels_are_class_fractions() -> None:
    settings = study(map=["map"]).model_dump()
    settings["label"] |= {"source": "class_fraction", "classes": ["tumour"]}
    derived = ConditionSpec.of(Study.parse(settings), "map")
    assert derived.provides == {"maps", "labels"}
    assert spec("map").provides == {"maps"}


def test_a_condition_file_restores_the_same_condition(tmp_path: Path) -> None:
    import yaml

    made = spec("label", {"kind": "crop", "source": "other_slide", "size": [0.2, 0.3]})
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(made.resolved()))
    read = ConditionSpec.load(tmp_path / "c.yaml", study(other=[]))
    assert read.resolved() == made.resolved()
    assert read.resolved()["signals"][1]["min_share"] == 0.02  # defaults are written out


# What the network is told


def test_tokens_are_the_indices_of_label_and_cluster_in_the_order_of_the_signals(pool) -> None:
    made = spec("cluster", "label")
    assert made.widths("token") == {"cluster": 4, "label": 2} and not made.widths("planes")
    told = made.encode(targets(pool, [5, 6]))
    assert [value.tolist() for value in told.values()] == [[1, 2], [1, 0]]


def test_map_planes_tell_present_absent_and_unknown_apart() -> None:
    map = np.array([[0, 1], [2, 255]], np.uint8)
    pool = TilePool(["a"], np.zeros(1, np.int64), maps=[map], classes=3)
    planes = spec("map").encode(targets(pool, [0]))["map"]
    assert planes.dtype == np.float32
    expected = [[[1, -1], [-1, 0]], [[-1, 1], [-1, 0]], [[-1, -1], [1, 0]]]
    assert planes.tolist() == [expected]


def test_planes_and_latents_are_flipped_alike(pool) -> None:
    from histosynth.diffusion.conditioning import training_source
    from histosynth.diffusion.latents import flip

    source = training_source(spec("map", {"kind": "crop", "source": "other_slide"}), pool)
    rows = np.array([3, 3, 3, 3])
    seeds = [(9, i) for i in range(4)]
    kept = source(rows, np.zeros(4, int), seeds)
    flipped = source(rows, np.arange(4), seeds)
    for name in ("map", "crop"):
        for i in range(4):
            image = np.moveaxis(kept[name][i].numpy(), 0, -1)  # as images are, before encoding
            assert np.array_equal(np.moveaxis(flipped[name][i].numpy(), 0, -1), flip(image, i))


# Crops


def crop_of(planes: np.ndarray, c: int) -> tuple[np.ndarray, tuple[int, int]]:
    """The pixels (uint8) of class c's crop and its corner, from one sample's planes."""
    shown = planes[3 * c : 3 * c + 3]
    ys, xs = np.nonzero(np.any(shown != 0, 0))
    box = shown[:, ys.min() : ys.max() + 1, xs.min() : xs.max() + 1]
    return np.round((box.transpose(1, 2, 0) + 1) * 127.5).astype(int), (ys.min(), xs.min())


def test_a_crop_of_another_slide_shows_nothing_of_the_targets_slide(pool) -> None:
    made = spec({"kind": "crop", "source": "other_slide"})
    rows = list(range(len(pool)))
    planes = made.encode(targets(pool, rows))["crop"]
    assert planes.shape == (24, 9, SIZE, SIZE) and abs(planes).max() <= 1
    donors = set()
    for row in rows:
        for c in np.unique(pool.maps[row]):
            pixels, _ = crop_of(planes[row], c)
            (color,) = np.unique(pixels[..., 0])
            assert color != slide_color(int(pool.slides[row]))
            assert (pixels[..., 1] == 100 + c).mean() >= 0.9  # the share that `purity` promises
            assert pixels.shape[0] == pixels.shape[1] and 8 <= pixels.shape[0] <= 16
            donors.add(color)
    assert len(donors) == 4  # every slide gives crops to the others


def test_a_class_that_is_absent_from_the_target_gets_no_crop(pool) -> None:
    planes = spec({"kind": "crop", "source": "other_slide"}).encode(targets(pool, [0]))["crop"]
    assert set(np.unique(pool.maps[0])) == {0, 1}
    assert not planes[0, 6:].any()


def test_a_crop_of_another_slide_is_centred_on_the_class_region(pool) -> None:
    map = np.zeros((SIZE, SIZE), np.uint8)
    map[6:18, 14:26] = 1  # centroid at 12, 20
    map[28:, 28:] = 2  # a crop centred there would leave the frame
    mixed = TilePool(
        [*pool.tile_ids, "target"],
        np.append(pool.slides, 99),
        images=[*pool.images, np.zeros((SIZE, SIZE, 3), np.uint8)],
        maps=[*pool.maps, map],
        classes=3,
    )
    made = spec({"kind": "crop", "source": "other_slide", "min_share": 0.01})
    for seed in range(5):
        planes = made.encode(targets(mixed, [24], seed=seed))["crop"][0]
        pixels, corner = crop_of(planes, 1)
        centre = np.array(corner) + np.array(pixels.shape[:2]) / 2
        assert np.abs(centre - [12, 20]).max() <= 0.5
        pixels, corner = crop_of(planes, 2)
        assert [c + s for c, s in zip(corner, pixels.shape[:2], strict=True)] == [SIZE, SIZE]


def test_a_crop_of_the_same_image_is_the_targets_own_pixels_in_place(pool) -> None:
    planes = spec({"kind": "crop", "source": "same_image"}).encode(targets(pool, [1, 8]))["crop"]
    for i, row in enumerate([1, 8]):
        for c in np.unique(pool.maps[row]):
            pixels, (y, x) = crop_of(planes[i], c)
            height, width = pixels.shape[:2]
            assert np.array_equal(pixels, pool.images[row][y : y + height, x : x + width])


def test_crops_depend_on_their_seed_alone_and_not_on_the_batch(pool) -> None:
    made = spec({"kind": "crop", "source": "other_slide"})
    together = made.encode(targets(pool, [2, 7, 11]))["crop"]
    assert np.array_equal(made.encode(targets(pool, [7]))["crop"][0], together[1])
    assert not np.array_equal(made.encode(targets(pool, [7], seed=1))["crop"][0], together[1])


def test_a_class_on_no_other_slide_gives_zeros(pool) -> None:
    one = TilePool(
        pool.tile_ids, np.zeros(24, np.int64), images=pool.images, maps=pool.maps, classes=3
    )
    assert (
        not spec({"kind": "crop", "source": "other_slide"}).encode(targets(one, [0]))["crop"].any()
    )


def test_windows_are_those_that_counting_pixel_by_pixel_finds() -> None:
    random = np.random.default_rng(3)
    mask = random.random((14, 14)) < 0.4
    mask[2:9, 5:12] |= random.random((7, 7)) < 0.9
    side, purity = 5, 0.8
    places = {
        (y, x)
        for y in range(14 - side + 1)
        for x in range(14 - side + 1)
        if mask[y : y + side, x : x + side].sum() >= purity * side * side
    }
    assert 2 <= len(places) < 30
    drawn = [draw_window(mask, [side], purity=purity, random=random) for _ in range(500)]
    assert {(window.y, window.x) for window in drawn} == places
    index = CropIndex(
        TilePool(["a", "b"], np.arange(2), maps=[mask.astype(np.uint8), mask * 0 + 2], classes=3),
        [side],
        purity,
    )
    assert [rows.tolist() for rows in index.rows] == [[], [0], [1]]
    assert index.draw(1, 0, random) == -1 and index.draw(1, 1, random) == 0


# A kind added from outside


def test_a_new_kind_of_signal_needs_its_class_and_nothing_else(pool) -> None:
    @register_signal
    class MeanColor(Signal):
        kind = "mean_color"
        joins = "vector"
        needs = frozenset({"images"})

        @property
        def width(self) -> int:
            return 3

        def encode(self, targets: Targets) -> np.ndarray:
            images = np.stack([targets.pool.images[row] for row in targets.rows])
            return images.mean((1, 2), dtype=np.float32)

    check_conditions(study(stained=["map", "mean_color"]))
    made = spec("map", "mean_color", "label")
    assert made.needs == {"maps", "images", "labels"}
    assert made.widths("vector") == {"mean_color": 3} and made.widths("planes") == {"map": 3}
    vectors = made.encode(targets(pool, [0, 23]))["mean_color"]
    assert vectors[:, 0].tolist() == [slide_color(0), slide_color(3)]
    with pytest.raises(ValueError, match="already taken"):

        @register_signal
        class Another(MeanColor):
            pass


# The condition table


def test_the_table_takes_every_test_tile_once_before_any_twice(tiles: TileSet) -> None:
    table = condition_table(tiles, SamplingSettings(n=30, seed=5))
    assert sorted(table["test_row"][:24]) == list(range(24))
    assert table["test_row"][24:].is_unique
    assert table["seed"].tolist() == list(range(5, 35))
    assert table["index"].tolist() == list(range(30))
    shorter = condition_table(tiles, SamplingSettings(n=10, seed=5))
    pd.testing.assert_frame_equal(shorter, table[:10])  # a larger set extends a smaller one
    assert condition_table(tiles, SamplingSettings(n=10, seed=6))["test_row"].tolist() != (
        shorter["test_row"].tolist()
    )


def test_the_tables_crops_are_of_another_slide_and_hold_their_class(tiles: TileSet) -> None:
    table = condition_table(tiles, SamplingSettings(n=24))
    row_of = {tile_id: row for row, tile_id in enumerate(tiles.table["tile_id"])}
    for _, row in table.iterrows():
        crops = json.loads(row["crop_tile_ids"])
        present = [CLASSES[c] for c in np.unique(tiles.map(row["test_row"]))]
        assert list(crops) == present
        for name, tile_id in crops.items():
            assert tile_id.split("_")[0] != row["source_tile_id"].split("_")[0]
            assert (tiles.map(row_of[tile_id]) == CLASSES.index(name)).any()


def test_the_table_fixes_the_crops_of_a_sampled_image(tiles: TileSet, pool) -> None:
    table = condition_table(tiles, SamplingSettings(n=8))
    fixed = table_targets(table, pool, CLASSES)
    planes = spec({"kind": "crop", "source": "other_slide"}).encode(fixed)["crop"]
    # sizes that the table's donor may not have must not bring another donor in
    wide = spec({"kind": "crop", "source": "other_slide", "size": [0.8, 0.9]}).encode(fixed)["crop"]
    for i in range(8):
        for name, tile_id in json.loads(table["crop_tile_ids"][i]).items():
            for shown in (planes, wide):
                pixels, _ = crop_of(shown[i], CLASSES.index(name))
                assert np.unique(pixels[..., 0]).tolist() == [slide_color(int(tile_id[1]))]


def test_noise_is_shared_by_conditions_and_differs_between_generator_seeds(tiles) -> None:
    table = condition_table(tiles, SamplingSettings(n=8, seed=3))
    assert noise_seeds(table, 0).tolist() == list(range(3, 11))  # image i has seed i
    assert not set(noise_seeds(table, 0)) & set(noise_seeds(table, 1))


def test_a_table_of_another_test_set_is_refused(tiles: TileSet, tmp_path: Path) -> None:
    condition_table(tiles, SamplingSettings(n=8)).to_parquet(tmp_path / "table.parquet")
    assert len(read_condition_table(tmp_path / "table.parquet", tiles)) == 8
    other = write_tiles(tmp_path / "other", slides=1)
    with pytest.raises(InputError, match="drawn from another test set"):
        read_condition_table(tmp_path / "table.parquet", other)
    with pytest.raises(InputError, match="make it by scripts/condition_table.py"):
        read_condition_table(tmp_path / "nothing.parquet", tiles)
