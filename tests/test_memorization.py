"""The memorization group on phantom tissue: copies are found, new tissue is not, absences speak."""

import json
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT
from metric_rows import only

from histosynth.conditions import TilePool, get_signal
from histosynth.conditions.table import condition_table, table_targets
from histosynth.config import Study
from histosynth.diffusion.synthetic import add_tiles, synthetic_row
from histosynth.encoders import load_encoder
from histosynth.encoders.features import embed_tileset, features_fingerprint, save_features
from histosynth.evaluations.copy_through import COPY_METRICS, OF_TARGET, area_correlation
from histosynth.evaluations.memorization import DISTANCE_METRICS, memorization_of_files
from histosynth.evaluations.memorization_cast import halves
from histosynth.evaluations.nearest import PixelSpace
from histosynth.evaluations.planted import DISGUISES, KINDS, ORIGINALS, copy_of
from histosynth.evaluations.rows import Scored
from histosynth.files import read_json
from histosynth.slides.duplicates import small, turned
from histosynth.slides.phantom import render_slide
from histosynth.tilesets import TileSet, TileSetWriter

CLASSES = ("background", "stroma", "gland", "tumour", "lymphocytes", "fat")
SIDE, WIDTH = 32, 448
STUDY = {
    "study": "tiny",
    "cohort": {"kind": "phantom"},
    "classes": [{"name": name, "values": [i]} for i, name in enumerate(CLASSES)],
    "tiling": {"size": SIDE},
    "encoders": {"texture": {"kind": "texture"}},
    "conditions": {
        "map": {"signals": ["map"]},
        "map_crop": {"signals": ["map", {"kind": "crop", "source": "other_slide"}]},
        "map_crop_same": {"signals": ["map", {"kind": "crop", "source": "same_image"}]},
        "theirs": {"external": "theirs"},
    },
    "sampling": {"n": 200},
    "evaluation": {"encoders": ["texture"]},
}


def tissue_places(mask, *, seed):
    """Sixty places of tiles that are hardly glass: plain tiles are no one's copies."""
    corners = range(0, WIDTH, SIDE)
    shares = {
        (y, x): (mask[y : y + SIDE, x : x + SIDE] > 0).mean() for y in corners for x in corners
    }
    places = [place for place, share in shares.items() if share > 0.8]
    assert len(places) >= 60
    kept = np.random.default_rng(seed).permutation(len(places))[:60]
    return [places[i] for i in np.sort(kept)]


def write_tissue(folder, patients):
    """Sixty tiles a patient, with maps, of a phantom slide each."""
    with TileSetWriter(folder, classes=CLASSES) as writer:
        for patient in patients:
            options = {"mpp": 2.0, "seed": 5, "site": patient % 2, "difficulty": 0.5}
            image, mask = render_slide(WIDTH, WIDTH, patient=patient, **options)
            for y, x in tissue_places(mask, seed=patient):
                row = {
                    "tile_id": f"p{patient}-{y}-{x}",
                    "slide_id": f"s{patient}",
                    "patient_id": f"p{patient}",
                }
                area = slice(y, y + SIDE), slice(x, x + SIDE)
                writer.add(np.ascontiguousarray(image[area]), row, mask[area].copy())
    return TileSet.open(folder)


def write_made(folder, images, test, table, condition):
    """A synthetic set with these images, image i in answer to row i of the table."""
    rows = table["test_row"].to_numpy()[: len(images)]
    with TileSetWriter(folder) as writer:
        made = {"condition": condition, "seed": 0, "provides": set()}
        described = [
            synthetic_row(test.table.iloc[int(row)], tile_id=f"{condition}-{i}", **made)
            for i, row in enumerate(rows)
        ]
        add_tiles(writer, images, described, test, rows)
    return TileSet.open(folder)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A study's folder: tissue of seven training and five test patients, and copies among it."""
    folder = tmp_path_factory.mktemp("study")
    study = Study.parse(STUDY)
    (folder / "config.yaml").write_text(study.dump(), encoding="utf-8")
    sets = folder / "tilesets"
    train = write_tissue(sets / "real" / "train", range(7))
    test = write_tissue(sets / "real" / "test", range(7, 12))
    table = condition_table(test, study.sampling)
    table.to_parquet(folder / "condition_table.parquet")
    # Tissue of further patients stands for a generator that copies nothing.
    new = write_tissue(folder / "new", range(12, 16)).images()[:200]
    copies = new.copy()
    for i, kind in enumerate(KINDS * 5):  # one image in ten
        copies[i] = copy_of(train.image(20 * i + 3), kind)
    own = test.images(table["test_row"].tolist())
    pasted = np.where(shown_pixels(study, test, table)[..., None], own, new)
    for name, images in {"map": new, "map_crop": copies, "map_crop_same": pasted}.items():
        write_made(sets / "synthetic" / name / "seed0", images, test, table, name)
    encoder = load_encoder("texture", study.encoders["texture"])
    for tiles in sets.glob("**/tileset.json"):
        opened = TileSet.open(tiles.parent)
        path = folder / "features" / tiles.parent.relative_to(sets) / "texture.npy"
        path.parent.mkdir(parents=True)
        features = embed_tileset(opened, encoder, progress=False)
        save_features(path, features, fingerprint=features_fingerprint(encoder, opened))
    return folder


def shown_pixels(study, test, table):
    """Bool (n, H, W): what a condition with crops of the target is shown."""
    targets = table_targets(table, TilePool.of(test, {"images", "maps"}), test.classes)
    signal = get_signal("crop", {"source": "same_image"}, study)
    return (signal.encode(targets) != 0).any(1)


def score(place, condition, **changes):
    study = Study.parse(STUDY | changes)
    of = "real/test" if condition == "real" else f"synthetic/{condition}/seed0"
    sets = ["real/train", "real/test"] + [of] * (condition != "real")
    return memorization_of_files(
        Scored("tiny", condition, 0, of, "memorization"),
        study,
        train=place / "tilesets" / "real" / "train",
        test=place / "tilesets" / "real" / "test",
        synthetic=None if condition == "real" else place / "tilesets" / of,
        features={"texture": [str(place / "features" / s / "texture.npy") for s in sets]},
        table=place / "condition_table.parquet" if "crop" in condition else None,
    )


@pytest.fixture(scope="module")
def results(place):
    return {name: score(place, name) for name in ("real", "map", "map_crop", "map_crop_same")}


@pytest.mark.parametrize("encoder", ["pixels", "texture"])
def test_planted_copies_are_found_and_new_tissue_is_not(results, encoder):
    real, facts = results["real"]
    floor = only(real, metric="memorized_share_1pct", encoder=encoder, condition="real")
    control = only(real, metric="memorized_share_1pct", encoder=encoder, condition="planted_copies")
    assert floor.status == control.status == "ok"
    assert floor.value <= 0.06  # 1 % is expected; tiles of five patients lie about it in clumps
    # one tile in twenty is a copy; to features a shifted stain or JPEG is another texture
    assert control.value >= floor.value + (0.04 if encoder == "pixels" else 0.02)
    kinds = facts["planted"][encoder]
    assert set(kinds) == set(DISGUISES)
    assert {k["planted"] for k in kinds.values()} == {ORIGINALS}
    for kind in KINDS if encoder == "pixels" else ("exact", "flipped"):
        assert kinds[kind]["found"] == kinds[kind]["planted"] > 0, kind


def test_with_too_few_tiles_for_a_quantile_copies_are_still_looked_for(place, tmp_path):
    """Sixty held-out tiles have no nearest 1 %: the nearest of them all is the limit."""
    few = write_tissue(tmp_path / "test", range(7, 9))
    rows, facts = memorization_of_files(
        Scored("tiny", "real", 0, "real/test", "memorization"),
        Study.parse(STUDY),
        train=place / "tilesets" / "real" / "train",
        test=few.folder,
        synthetic=None,
        features={},
    )
    share = only(rows, metric="memorized_share_1pct", encoder="pixels", condition="real")
    assert share.status == "not_applicable" and "it takes 99" in share.reason
    found = facts["planted"]["pixels"]
    assert set(found) == set(DISGUISES)
    assert all(found[kind]["found"] == found[kind]["planted"] > 0 for kind in KINDS)


def test_a_generator_that_copies_one_image_in_ten_is_told_from_one_that_does_not(results):
    honest = only(results["map"][0], metric="memorized_share_1pct", encoder="pixels")
    copying = only(results["map_crop"][0], metric="memorized_share_1pct", encoder="pixels")
    assert honest.value <= 0.05
    assert copying.value >= 0.1 and copying.ci_low > 0.05
    assert honest.protocol == copying.protocol
    auc = only(results["map"][0], metric="nearest_train_auc", encoder="pixels")
    assert 0.35 < auc.value < 0.65 and auc.ci_low < 0.5 < auc.ci_high


def test_the_closest_pairs_are_the_copies_with_their_originals_and_turn(place, results):
    train = TileSet.open(place / "tilesets" / "real" / "train")
    made = TileSet.open(place / "tilesets" / "synthetic" / "map_crop" / "seed0")
    pairs = [p for p in results["map_crop"][1]["pairs"] if p["encoder"] == "pixels"]
    assert len(pairs) == 4
    for pair in pairs:
        assert pair["train_row"] == 20 * pair["row"] + 3
        assert pair["tile_id"] == made.table["tile_id"].iloc[pair["row"]]
        assert pair["distance"] < pair["limit"] / 10
        brought = turned(made.image(pair["row"]), pair["turn"])
        assert (brought == train.image(pair["train_row"])).all()


def test_each_kind_of_copy_lies_nearer_in_pixels_than_any_other_tissue_does(place):
    train = TileSet.open(place / "tilesets" / "real" / "train").images()
    space = PixelSpace(np.stack([small(image) for image in train]))
    for kind in KINDS:
        copies = np.stack([small(copy_of(image, kind)) for image in train[::20]])
        found = space.nearest(copies)
        assert (found.row == np.arange(0, len(train), 20)).all(), kind
        assert (found.distance < space.own(found.row)).all(), kind


def test_the_favourite_patient_is_counted_against_its_share_of_tiles(results):
    told = results["map_crop"][1]["patients"]["pixels"]
    assert told["train_share"] == pytest.approx(1 / 7)
    assert 1 / 7 <= told["nearest_share"] <= 1 and told["patient_id"].startswith("p")


def test_pixels_shown_to_a_generator_are_found_in_its_images_and_only_there(place, results):
    rows = results["map_crop_same"][0]
    inside = only(rows, metric="copied_inside", condition="map_crop_same")
    outside = only(rows, metric="copied_outside", condition="map_crop_same")
    assert inside.value == pytest.approx(1, abs=1e-9)  # pasted
    assert abs(outside.value) < 0.15
    for metric in ("copied_inside", "copied_outside"):
        assert abs(only(rows, metric=metric, condition="map_crop_same~shuffled").value) < 0.15
    share = only(rows, metric="handed_over_share").value
    study = Study.parse(STUDY)
    test = TileSet.open(place / "tilesets" / "real" / "test")
    expected = shown_pixels(study, test, condition_table(test, study.sampling)).mean()
    assert share == pytest.approx(expected) and 0.02 < share < 0.5


def test_copy_through_says_why_it_does_not_apply(results):
    for name, words in (("map", "no crops"), ("real", "not made")):
        rows = [r for r in results[name][0] if r.metric in COPY_METRICS]
        assert len(rows) == len(COPY_METRICS)
        assert all(r.status == "not_applicable" and words in r.reason for r in rows)
    for metric in OF_TARGET:
        row = only(results["map_crop"][0], metric=metric)
        assert row.status == "not_applicable" and "other slides" in row.reason


def test_area_correlation_is_that_of_numpy_in_each_channel_centred():
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)
    area = np.zeros((16, 16), bool)
    area[3:9, 2:12] = True
    x, y = ((i[area] - i[area].mean(0)).ravel() for i in (a, b))
    assert area_correlation(a, b, area) == pytest.approx(np.corrcoef(x, y)[0, 1])
    assert area_correlation(a, a // 2, area) > 0.99
    assert np.isnan(area_correlation(a, b, np.zeros((16, 16), bool)))
    assert np.isnan(area_correlation(a, np.full_like(a, 7), area))


def test_a_thousandth_is_not_told_from_a_few_hundred_tiles(results):
    for rows, _ in results.values():
        for encoder in ("texture", "pixels"):
            for row in rows:
                if (row.metric, row.encoder) == ("memorized_share_01pct", encoder):
                    assert row.status == "not_applicable" and "it takes 999" in row.reason


def test_too_few_tiles_fail_with_the_setting_and_leave_the_rest_standing(place):
    rows, facts = score(place, "map", evaluation={"encoders": ["texture"], "min_tiles": 250})
    distances = [r for r in rows if r.metric in DISTANCE_METRICS]
    assert len(distances) == 2 * len(DISTANCE_METRICS)
    assert all(r.status == "failed" and "evaluation.min_tiles" in r.reason for r in distances)
    assert facts["pairs"] == []


def test_halves_share_no_patient_and_are_of_one_size():
    groups = np.repeat(list("abcdefg"), [50, 10, 40, 10, 20, 30, 40])
    first, second = halves(groups, seed=0)
    assert not set(groups[first]) & set(groups[second])
    assert len(first) + len(second) == 200 and abs(len(first) - len(second)) <= 10
    assert np.array_equal(halves(groups, seed=0)[0], first)


def test_the_script_writes_rows_and_facts(place, tmp_path):
    of = "synthetic/map_crop_same/seed0"
    features = ",".join(
        str(place / "features" / s / "texture.npy") for s in ("real/train", "real/test", of)
    )
    output = tmp_path / "memorization.json"
    command = f"--config {place}/config.yaml --condition map_crop_same --seed 0 "
    command += f"--train {place}/tilesets/real/train --test {place}/tilesets/real/test "
    command += f"--synthetic {place}/tilesets/{of} --features texture={features} "
    command += f"--table {place}/condition_table.parquet --output {output}"
    script = [sys.executable, str(ROOT / "scripts" / "memorization.py"), *command.split()]
    done = subprocess.run(script, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    content = read_json(output)
    assert {r["group"] for r in content["rows"]} == {"memorization"}
    assert {r["status"] for r in content["rows"]} == {"ok", "not_applicable"}
    assert len(content["facts"]["pairs"]) == 8
    assert json.dumps(content["protocols"])
