"""Crops by source, placement and rule: whose pixels they are, where they lie, how they are cut."""

import json

import numpy as np
import pytest
from test_conditions import (
    CLASSES,
    SIZE,
    crop_of,
    slide_color,
    spec,
    targets,
    write_tiles,
)

from histosynth.conditions import Targets, TilePool
from histosynth.conditions.table import condition_table, table_targets
from histosynth.conditions.windows import CropIndex, htd_window
from histosynth.generator_settings import SamplingSettings


@pytest.fixture(scope="module")
def tiles(tmp_path_factory):
    return write_tiles(tmp_path_factory.mktemp("tiles") / "test")


@pytest.fixture(scope="module")
def pool(tiles):
    return TilePool.of(tiles, {"images", "maps"})


def crops(**options):
    return spec({"kind": "crop", **options})


def donor_of(pool, pixels: np.ndarray) -> int:
    """The tile that holds these pixels; the third channel is noise, different in every tile."""
    height, width = pixels.shape[:2]
    for row in range(len(pool)):
        windows = np.lib.stride_tricks.sliding_window_view(
            pool.images[row][..., 2], (height, width)
        )
        if (windows == pixels[..., 2]).all(axis=(2, 3)).any():
            return row
    raise AssertionError("no tile of the pool holds these pixels")


def test_a_crop_of_the_same_slide_is_of_another_tile_of_it(pool) -> None:
    planes = crops(source="same_slide").encode(targets(pool, list(range(12))))["crop"]
    for row in range(12):
        for c in np.unique(pool.maps[row]):
            pixels, _ = crop_of(planes[row], c)
            donor = donor_of(pool, pixels)
            assert donor != row and pool.slides[donor] == pool.slides[row]
            assert (pixels[..., 1] == 100 + c).mean() >= 0.9


def test_tiles_that_overlap_the_target_give_it_no_crop(pool, tmp_path) -> None:
    maps = [np.ones((SIZE, SIZE), np.uint8)] * 4
    corners = np.array([[0, 0], [16, 0], [31, 31], [32, 0]], float)  # the last only touches
    boxes = np.hstack([corners, corners + SIZE])
    near = TilePool(list("abcd"), np.zeros(4, np.int64), maps=maps, classes=2, boxes=boxes)
    index, random = CropIndex(near, [8], 0.9), np.random.default_rng(0)
    assert {index.draw_beside(1, 0, 0, random) for _ in range(20)} == {3}
    assert index.draw_beside(1, 2, 0, random) == -1  # all three others reach into it


def test_where_tiles_overlap_is_known_of_a_set_with_a_stride_below_their_size(tmp_path) -> None:
    from histosynth.tilesets import TileSet, TileSetWriter

    told = {"tiling": {"size": 8, "stride": 4}}
    with TileSetWriter(tmp_path / "dense", provenance=told) as writer:
        for x in (0, 6, 12, 30):  # one tile in 1.5 pixels of the slide: a step of 4 is 6
            row = {"tile_id": f"x{x}", "slide_id": "s", "x": x, "y": 0, "size": 8}
            writer.add(np.zeros((8, 8, 3), np.uint8), row)
    pool = TilePool.of(TileSet.open(tmp_path / "dense"), set())
    assert pool.boxes[:, 2].tolist() == [12, 18, 24, 42]
    assert pool.take(np.array([3])).boxes.tolist() == [[30, 0, 42, 12]]


def test_a_shuffled_crop_shows_another_class_of_another_slide(pool) -> None:
    planes = crops(source="shuffled_class").encode(targets(pool, list(range(24))))["crop"]
    shown = set()
    for row in range(24):
        for c in np.unique(pool.maps[row]):
            pixels, _ = crop_of(planes[row], c)
            (color,) = np.unique(pixels[..., 0])
            assert color != slide_color(int(pool.slides[row]))
            assert (pixels[..., 1] == 100 + c).mean() <= 0.1
            shown.add((int(c), int(np.bincount(pixels[..., 1].ravel()).argmax()) - 100))
    assert shown == {(a, b) for a in range(3) for b in range(3) if a != b}


def test_the_table_fixes_the_donors_of_every_source(tiles, pool) -> None:
    table = condition_table(tiles, SamplingSettings(n=12))
    fixed = table_targets(table, pool, CLASSES)
    row_of = {tile_id: row for row, tile_id in enumerate(pool.tile_ids)}
    for source in ("same_slide", "shuffled_class"):
        made = crops(source=source)
        planes, named = made.encode(fixed)["crop"], made.shown_tiles(fixed)
        for i, text in enumerate(table[f"{source}_tile_ids"]):
            told = json.loads(text)
            assert list(told) == [CLASSES[c] for c in np.unique(pool.maps[fixed.rows[i]])]
            donors = []
            for name, entry in told.items():
                tile_id, shown = (entry, name) if isinstance(entry, str) else entry
                pixels, _ = crop_of(planes[i], CLASSES.index(name))
                assert donor_of(pool, pixels) == row_of[tile_id]
                assert (pixels[..., 1] == 100 + CLASSES.index(shown)).mean() >= 0.9
                assert (shown != name) == (source == "shuffled_class")
                donors.append(tile_id)
            assert named[i] == list(dict.fromkeys(donors))


def test_a_source_for_training_is_used_where_no_table_fixes_the_donors(tiles, pool) -> None:
    made = crops(source="other_slide", training_source="same_slide")
    same = crops(source="same_slide")
    drawn = targets(pool, [3, 9])
    assert np.array_equal(made.encode(drawn)["crop"], same.encode(drawn)["crop"])
    fixed = table_targets(condition_table(tiles, SamplingSettings(n=6)), pool, CLASSES)
    plain = crops(source="other_slide")
    assert np.array_equal(made.encode(fixed)["crop"], plain.encode(fixed)["crop"])


def test_a_crop_is_pasted_where_its_donor_had_it_or_on_the_centroid(pool) -> None:
    rows = [1, 8, 15]
    for source in ("other_slide", "same_slide"):
        planes = crops(source=source, placement="in_place").encode(targets(pool, rows))["crop"]
        for i, row in enumerate(rows):
            for c in np.unique(pool.maps[row]):
                pixels, (y, x) = crop_of(planes[i], c)
                donor, (height, width) = donor_of(pool, pixels), pixels.shape[:2]
                there = pool.images[donor][y : y + height, x : x + width]
                assert np.array_equal(there, pixels)
    planes = crops(source="same_image", placement="centred", size=0.25).encode(targets(pool, rows))[
        "crop"
    ]
    for i, row in enumerate(rows):
        for c in np.unique(pool.maps[row]):
            pixels, corner = crop_of(planes[i], c)
            assert pixels.shape == (8, 8, 3) and donor_of(pool, pixels) == row
            centre = np.argwhere(pool.maps[row] == c).mean(axis=0) + 0.5
            expected = np.clip(centre - 4, 0, SIZE - 8)  # within the frame
            assert np.abs(np.array(corner) - expected).max() <= 0.5


def test_the_share_of_the_target_shown_is_that_of_the_pixels_found_in_it(pool) -> None:
    rows = list(range(6))
    for placement in ("in_place", "centred"):
        made = crops(source="same_image", placement=placement)
        planes, shares = (
            made.encode(targets(pool, rows))["crop"],
            made.shown_share(targets(pool, rows)),
        )
        for i, row in enumerate(rows):
            found = np.zeros((SIZE, SIZE), bool)
            for c in np.unique(pool.maps[row]):
                pixels, _ = crop_of(planes[i], c)
                side = len(pixels)
                views = np.lib.stride_tricks.sliding_window_view(pool.images[row], (side, side, 3))[
                    :, :, 0
                ]
                y, x = np.argwhere((views == pixels).all(axis=(2, 3, 4)))[0]
                found[y : y + side, x : x + side] = True
            assert shares[i] == pytest.approx(found.mean()) and 0 < shares[i] < 1
    for source in ("other_slide", "same_slide", "shuffled_class"):
        assert not crops(source=source).shown_share(targets(pool, rows)).any()
    assert not spec("map").shown_share(targets(pool, rows)).any()
    assert spec().shown_share(targets(pool, rows)).tolist() == [0] * 6


# The rule of HTD's authors


def brute_force(mask: np.ndarray) -> tuple[int, int, int] | None:
    """The authors' search on a mask of 256 px, place by place: the largest side, then y, then x."""
    for side in range(200, 39, -10):
        for y in range(0, 256 - side + 1, 10):
            for x in range(0, 256 - side + 1, 10):
                if mask[y : y + side, x : x + side].all():
                    return y, x, side
    return None


def test_htds_window_is_the_first_of_the_largest_squares_of_its_grid() -> None:
    random = np.random.default_rng(0)
    large = 0
    for _ in range(12):
        mask = np.zeros((256, 256), bool)
        top, left = random.integers(0, 150, 2)
        height, width = random.integers(50, 230, 2)
        mask[top : top + height, left : left + width] = True
        expected, window = brute_force(mask), htd_window(mask, random)
        if expected is None:
            assert np.array_equal(np.argwhere(mask)[0], [window.y, window.x]) and window.shown.all()
            assert window.shown.sum() == mask.sum()
            continue
        assert (window.y, window.x) == expected[:2]
        if expected[2] <= 100:
            assert window.shape == (expected[2], expected[2])
        else:
            large += 1
            assert all(64 <= side < expected[2] for side in window.shape)
    assert large >= 3


def test_a_large_htd_window_is_cut_to_a_height_and_a_width_of_their_own() -> None:
    mask, random = np.ones((64, 64), bool), np.random.default_rng(0)  # a quarter of 256 px
    shapes = np.array([htd_window(mask, random).shape for _ in range(2000)])
    assert shapes.min(axis=0).tolist() == [16, 16] and shapes.max(axis=0).tolist() == [49, 49]
    assert abs(np.corrcoef(shapes.T)[0, 1]) < 0.1  # 4.5 standard deviations of 2,000 draws


def test_where_no_htd_window_fits_the_whole_region_is_shown_and_nothing_else(pool) -> None:
    thin = np.zeros((SIZE, SIZE), np.uint8)
    thin[::4, 5:9] = 1  # nowhere 5 px, the smallest window at 32 px, in both directions
    image = np.random.default_rng(0).integers(0, 255, (SIZE, SIZE, 3)).astype(np.uint8)
    one = TilePool(["a"], np.zeros(1, np.int64), images=[image], maps=[thin], classes=3)
    made = crops(source="same_image", rule="htd")
    asked = Targets(one, np.array([0]), [(0, 0)])
    planes = made.encode(asked)["crop"][0, 3:6]
    assert np.array_equal((planes != 0).all(axis=0), thin == 1)
    shown = np.rint((planes[:, thin == 1].T + 1) * 127.5)
    assert np.array_equal(shown, image[thin == 1])
    assert made.shown_share(asked)[0] >= (thin == 1).mean()
    assert not htd_window(thin == 2, np.random.default_rng(0))


def test_options_filled_by_a_rule_are_read_back_as_they_were_written(tmp_path) -> None:
    import yaml
    from test_conditions import study

    from histosynth.conditions import ConditionSpec

    for options in ({"rule": "htd"}, {"size": 0.3}, {"training_source": "same_slide"}):
        made = crops(source="other_slide", **options)
        (tmp_path / "c.yaml").write_text(yaml.safe_dump(made.resolved()))
        read = ConditionSpec.load(tmp_path / "c.yaml", study(other=[]))
        assert read.resolved() == made.resolved()
    assert crops(source="same_slide", size=0.3).resolved()["signals"][0]["size"] == [0.3, 0.3]


def test_a_class_on_one_tile_of_its_slide_has_no_crop_of_that_slide(tmp_path) -> None:
    lonely = write_tiles(tmp_path / "lonely", slides=2, per_slide=1)
    pool = TilePool.of(lonely, {"images", "maps"})
    assert not crops(source="same_slide").encode(targets(pool, [0, 1]))["crop"].any()


def test_crop_colors_are_those_of_the_crops_in_the_planes(pool) -> None:
    from histosynth.conditions.crop_color import CENTRE, SPREAD

    options = {"source": "other_slide", "training_source": "same_slide"}
    made = spec({"kind": "crop", **options}, {"kind": "crop_color", **options})
    assert made.widths("vector") == {"crop_color": 12}
    told = made.encode(targets(pool, [0, 7]))
    for i, row in enumerate([0, 7]):
        colors, there = told["crop_color"][i][:9].reshape(3, 3), told["crop_color"][i][9:]
        present = np.isin(range(3), np.unique(pool.maps[row]))
        assert there.tolist() == present.tolist() and not colors[~present].any()
        for c in np.flatnonzero(present):
            pixels, _ = crop_of(told["crop"][i], c)
            expected = (pixels.mean(axis=(0, 1)) / 127.5 - 1 - CENTRE) / SPREAD
            assert colors[c] == pytest.approx(expected, abs=1e-4)
