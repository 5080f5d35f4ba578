"""Copy-through: pixels of crops that come out again are seen, whoever's they are; tissue is not."""

import numpy as np
import pytest
from metric_rows import only
from shapes import CLASSES, SIZE, draw
from test_adherence_crops import scored, stained
from test_crop_evaluations import SOURCES, study_of, write

from histosynth.conditions import TilePool, get_signal
from histosynth.conditions.table import condition_table, table_targets
from histosynth.evaluations import copy_through
from histosynth.evaluations.copy_through import Pasted, copy_through_rows, why_not_the_target
from histosynth.grid import Grid
from histosynth.tilesets import TileSet, TileSetWriter

N = 48
GLASS = (235, 225, 230)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Test tiles of eight slides, in a stain of their own each, with their requests."""
    folder, rng = tmp_path_factory.mktemp("copied"), np.random.default_rng(0)
    base = np.array([[232, 180, 205], [140, 70, 160], [70, 80, 190]], float)
    with TileSetWriter(folder / "test", classes=CLASSES) as writer:
        for i in range(N):
            _, tissue = draw(rng, 1 + i % 2)
            row = {"tile_id": f"t{i}", "slide_id": f"s{i % 8}", "patient_id": f"p{i % 8}"}
            tint = base + rng.uniform(-45, 22, (3, 3))
            writer.add(stained(tissue, tint, rng), row | {"label": None}, tissue)
    test = TileSet.open(folder / "test")
    table = condition_table(test, study_of(source="other_slide").sampling)
    table.to_parquet(folder / "table.parquet")
    targets = table_targets(table, TilePool.of(test, {"images", "maps"}), CLASSES)
    return folder, test, targets


def shown(targets, **options):
    """What a generator is shown of each target: a picture with crops on glass, and where."""
    signal = get_signal("crop", options, study_of(**options))
    for planes in signal.encode(targets):
        picture = np.full((SIZE, SIZE, 3), GLASS, np.uint8)
        area = (planes != 0).any(0)
        for crop in planes.reshape(-1, 3, SIZE, SIZE):
            there = (crop != 0).any(0)
            picture[there] = np.rint((crop[:, there].T + 1) * 127.5)
        yield picture, area


def rows_of(place, folder, images, **options):
    root, test, targets = place
    return copy_through_rows(
        scored("crops"),
        study_of(**options),
        test=test,
        synthetic=write(folder / "made", test, targets.rows, images),
        table=root / "table.parquet",
    )


@pytest.mark.parametrize("source", SOURCES)
def test_a_pasted_crop_is_found_whoever_it_is_of(place, source, tmp_path):
    pictures, areas = zip(*shown(place[2], source=source), strict=True)
    rows = rows_of(place, tmp_path, pictures, source=source)
    inside = only(rows, metric="copied_inside", condition="crops")
    assert inside.value == pytest.approx(1, abs=1e-9)
    assert "the highest of an image is 1.00" in inside.reason
    assert abs(only(rows, metric="copied_inside", condition="crops~shuffled").value) < 0.1
    assert only(rows, metric="pasted_share").value == pytest.approx(np.mean(areas))
    for metric in ("handed_over_share", "copied_outside"):
        row = only(rows, metric=metric)
        assert row.status == "not_applicable" and "no pixel of the target itself" in row.reason
        assert row.reason == why_not_the_target(source)


def repainted(targets, paint):
    """Pictures with crops, each crop (m, 3) changed by `paint`."""
    signal = get_signal("crop", {"source": "other_slide"}, study_of(source="other_slide"))
    pictures = shown(targets, source="other_slide")
    for planes, (picture, _) in zip(signal.encode(targets), pictures, strict=True):
        image, free = picture.astype(float), np.ones((SIZE, SIZE), bool)
        for crop in planes.reshape(-1, 3, SIZE, SIZE)[::-1]:  # later ones lie over earlier ones
            there = (crop != 0).any(0) & free
            free &= ~there
            if there.any():
                image[there] = paint(picture[there].astype(float))
        yield np.rint(image).clip(0, 255).astype(np.uint8)


def test_the_crops_stain_in_the_right_place_is_not_a_copy(place, tmp_path):
    """Each crop's class and mean colour where the crop was, with grain of its own."""
    rng = np.random.default_rng(3)
    painted = repainted(place[2], lambda crop: crop.mean(0) + 10 * rng.standard_normal(crop.shape))
    rows = rows_of(place, tmp_path, list(painted), source="other_slide")
    # Over a crop of 64 pixels and more chance correlates by 0.1, over 48 images by 0.02.
    assert abs(only(rows, metric="copied_inside", condition="crops").value) < 0.08


def test_a_copy_with_as_much_noise_as_it_has_detail_correlates_by_the_root_of_a_half(
    place, tmp_path
):
    rng = np.random.default_rng(4)
    noisy = repainted(
        place[2], lambda crop: (crop + crop.std(0) * rng.standard_normal(crop.shape)) * 0.9
    )
    rows = rows_of(place, tmp_path, list(noisy), source="other_slide")
    inside = only(rows, metric="copied_inside", condition="crops")
    # The noise of some 90 crops is not quite as large as it should be, or cut off at white.
    assert inside.value == pytest.approx(np.sqrt(0.5), abs=0.03)


def test_pixels_that_were_pasted_elsewhere_are_not_outside(place, tmp_path):
    """Centred crops of the target: what they hold is left out where it came from, too."""
    _, test, targets = place
    options = {"source": "same_image", "placement": "centred"}
    signal = get_signal("crop", options, study_of(**options))
    rng, images, moved = np.random.default_rng(5), [], []
    given = list(signal.shown_pixels(targets))
    for row, seen, (_, area) in zip(
        targets.rows.tolist(), given, shown(targets, **options), strict=True
    ):
        image = rng.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
        image[seen & ~area] = test.image(row)[seen & ~area]  # the very pixels, where they were
        images.append(image)
        moved.append((seen & ~area).mean())
    assert np.mean(moved) > 0.02
    rows = rows_of(place, tmp_path, images, **options)
    assert abs(only(rows, metric="copied_outside", condition="crops").value) < 0.03
    assert only(rows, metric="handed_over_share").value == pytest.approx(np.mean(given))
    pasted = [area.mean() for _, area in shown(targets, **options)]
    assert only(rows, metric="pasted_share").value == pytest.approx(np.mean(pasted))


def crop_at(y, x, pixels, *, c=1, donor=0, hole=()):
    seen = np.ones(pixels.shape[:2], bool)
    for at in hole:
        seen[at] = False
    return Pasted(c, donor, (slice(y, y + len(seen)), slice(x, x + seen.shape[1])), pixels, seen)


def test_two_crops_are_laid_over_each_other_by_their_centres():
    made = np.arange(20 * 20 * 3).reshape(20, 20, 3)
    ours = crop_at(4, 6, np.zeros((6, 8, 3), np.uint8), hole=[(2, 3)])
    pixels = np.random.default_rng(0).integers(0, 256, (10, 4, 3), dtype=np.uint8)
    theirs = crop_at(0, 0, pixels, donor=1, hole=[(3, 1)])
    image, crop = copy_through._compared(made, ours, theirs)
    expected = [
        (made[4 + i, 6 + j + 2], pixels[i + 2, j])  # centres: rows 3 and 5, columns 4 and 2
        for i in range(6)
        for j in range(4)
        if (i, j + 2) != (2, 3) and (i + 2, j) != (3, 1)
    ]
    assert len(image) == 22
    assert np.array_equal(image, [a for a, _ in expected])
    assert np.array_equal(crop, [b for _, b in expected])


def test_a_control_is_of_the_same_class_and_of_another_tile():
    pixels = np.zeros((4, 4, 3), np.uint8)
    classes, donors = [1, 1, 1, 2, 2, 0], [7, 7, 8, 5, 5, 3]
    crops = [[crop_at(0, 0, pixels, c=c, donor=d)] for c, d in zip(classes, donors, strict=True)]
    for seed in range(5):
        pairs = copy_through._controls(crops, np.random.default_rng(seed))
        assert [len(of_image) for of_image in pairs] == [1, 1, 1, 0, 0, 0]
        for (own, other), crop in zip((p for of in pairs for p in of), crops, strict=False):
            assert own is crop[0] and other.c == own.c and other.donor != own.donor


@pytest.mark.parametrize("source", (*SOURCES, "same_image"))
def test_whoever_is_shown_crops_is_scored_with_the_table_that_tells_them(source):
    grid = Grid(study_of(source=source))
    assert grid.shows_crops("crops") and not grid.shows_crops("real")
    assert grid.shows_target("crops") == (source == "same_image")
