"""Reference rows: what JPEG, noise and another site do to scores, each against its own oracle."""

import io

import numpy as np
import pytest
from PIL import Image
from report_files import FRECHET, folder_of, row, study
from scipy.ndimage import gaussian_filter
from scipy.stats import norm
from shapes import write_shapes

from histosynth.config import OTHER_SITE, REFERENCE_SETS, RESERVED_CONDITIONS
from histosynth.encoders import load_encoder
from histosynth.errors import InputError
from histosynth.evaluations import reference_sets
from histosynth.evaluations.reference_sets import write_reference_set
from histosynth.files import write_json
from histosynth.metrics import kernel_distance
from histosynth.report import answer, leaderboard
from histosynth.report.collect import collect
from histosynth.report.pages import render
from histosynth.settings import EncoderSettings
from histosynth.slides.phantom import render_slide
from histosynth.tilesets import TileSet, TileSetWriter


@pytest.fixture(scope="module")
def test_tiles(tmp_path_factory):
    return write_shapes(tmp_path_factory.mktemp("real") / "test", 40, seed=2)


@pytest.fixture(scope="module")
def references(test_tiles, tmp_path_factory):
    folder = tmp_path_factory.mktemp("references")
    return {name: write_reference_set(name, test_tiles, folder / name) for name in REFERENCE_SETS}


def test_every_reference_set_of_the_study_can_be_made():
    assert reference_sets.REFERENCE_SETS == REFERENCE_SETS
    assert set(REFERENCE_SETS) < set(RESERVED_CONDITIONS)  # no condition may take such a name


def test_the_jpeg_set_is_pillows_jpeg_of_every_tile(test_tiles, references):
    made = references["jpeg90"]
    for i in (0, 7, 39):
        buffer = io.BytesIO()
        Image.fromarray(test_tiles.image(i)).save(buffer, format="JPEG", quality=90)
        assert np.array_equal(made.image(i), np.array(Image.open(io.BytesIO(buffer.getvalue()))))
    assert Image.open(io.BytesIO(made.encoded(0)["images"])).format == "PNG"  # never twice JPEG


def test_noise_has_the_colours_of_the_tiles_and_nothing_else(test_tiles, references):
    real, made = test_tiles.images().reshape(-1, 3), references["noise"].images()
    pixels = made.reshape(-1, 3).astype(float)
    quantiles = norm.ppf((np.arange(100_000) + 0.5) / 100_000)[:, None]
    expected = np.clip(real.mean(axis=0) + real.std(axis=0) * quantiles, 0, 255)
    # 40,960 pixels a channel: mean and spread are known to within about 0.3.
    assert np.abs(pixels.mean(axis=0) - expected.mean(axis=0)).max() < 1
    assert np.abs(pixels.std(axis=0) - expected.std(axis=0)).max() < 1
    for channel in range(3):
        plane = made[..., channel].astype(float)
        beside = np.corrcoef(plane[:, :, 1:].ravel(), plane[:, :, :-1].ravel())[0, 1]
        assert abs(beside) < 0.03  # neighbours know nothing of each other: 6 standard errors


def test_a_reference_tile_stands_where_its_real_tile_stands(test_tiles, references):
    for name, made in references.items():
        assert made.table["source_tile_id"].tolist() == test_tiles.table["tile_id"].tolist()
        for column in ("patient_id", "label"):
            assert made.table[column].tolist() == test_tiles.table[column].tolist()
        assert np.array_equal(made.maps(), test_tiles.maps())
        assert set(made.table["condition"]) == {name}


def test_noise_does_not_depend_on_how_many_tiles_are_held_in_memory(
    test_tiles, references, tmp_path, monkeypatch
):
    monkeypatch.setattr(reference_sets, "_AT_ONCE", 7)
    again = write_reference_set("noise", test_tiles, tmp_path / "noise")
    assert np.array_equal(again.digests, references["noise"].digests)


def test_an_unknown_reference_set_is_refused_with_those_there_are(test_tiles, tmp_path):
    with pytest.raises(InputError, match="'jpeg50'; known: jpeg90, noise"):
        write_reference_set("jpeg50", test_tiles, tmp_path / "x")


def phantom_tiles(folder, patient: int) -> TileSet:
    """24 tiles of 64 pixels of a drawn slide."""
    options = {"mpp": 1.5, "seed": 7, "site": 0, "difficulty": 0.5}
    slide, _ = render_slide(384, 256, patient=patient, **options)
    with TileSetWriter(folder) as writer:
        for y in range(0, 256, 64):
            for x in range(0, 384, 64):
                tile = np.ascontiguousarray(slide[y : y + 64, x : x + 64])
                writer.add(tile, {"tile_id": f"t{x}_{y}", "patient_id": "p", "label": None})
    return TileSet.open(folder)


def test_jpeg_and_blur_are_seen_and_noise_lies_beyond_them(tmp_path):
    tiles = phantom_tiles(tmp_path / "test", 1)
    encoder = load_encoder("texture", EncoderSettings())
    features = {
        name: encoder(write_reference_set(name, tiles, tmp_path / name).images())
        for name in REFERENCE_SETS
    }
    blurred = gaussian_filter(tiles.images(), (0, 1, 1, 0))  # a generator that loses detail
    features["blurred"] = encoder(blurred)
    real = encoder(tiles.images())
    far = {name: kernel_distance(real, made) for name, made in features.items()}
    assert 0 < far["jpeg90"] < far["blurred"] < far["noise"]


def test_the_report_marks_no_number_but_those_of_another_site(tmp_path):
    made = study()
    rows = [row(name, "fidelity", "frechet_distance", 2.0) for name in (*made.conditions, "real")]
    rows += [row(name, "fidelity", "frechet_distance", 3.0) for name in REFERENCE_SETS]
    rows += [row(OTHER_SITE, "fidelity", "frechet_distance", 9.0, protocol="p2")]
    results = collect(folder_of(tmp_path / "two", made, rows))
    board = leaderboard.build(results, [FRECHET])
    assert [line.name for line in board.of_kind("reference")] == [
        "real", "autoencoder", *REFERENCE_SETS, OTHER_SITE,
    ]  # fmt: skip
    assert [line.name for line in board.lines if line.cells[0].protocol_letter] == [OTHER_SITE]
    assert all(line.cells[0].rank is None for line in board.of_kind("reference"))
    absent = [row(OTHER_SITE, "fidelity", "frechet_distance", None, status="not_applicable")]
    one_site = collect(folder_of(tmp_path / "one", made, rows[:-1] + absent))
    assert OTHER_SITE not in leaderboard.reference_names(one_site)


@pytest.mark.parametrize(("n", "width", "first"), [(40, 30, "frechet"), (40, 50, "kernel")])
def test_the_kernel_distance_stands_first_where_tiles_are_fewer_than_features(
    tmp_path, n, width, first
):
    made = study()
    rows = [row("map", "fidelity", name, 2.0) for name in ("frechet_distance", "kernel_distance")]
    folder = folder_of(tmp_path, made, rows)
    told = {"n_real": 90, "n_synthetic": n, "features": width}
    place = folder / "metrics" / "map" / "seed0"
    place.mkdir(parents=True)
    write_json(place / "fidelity.json", {"rows": rows, "protocols": {"p1": told}})
    results = collect(folder)
    board = leaderboard.build(results, leaderboard.main_columns(results))
    assert board.columns[0].metric == f"{first}_distance"
    told = answer.sentences(results, board)[1][1]
    assert told.lower().startswith(f"by {'fréchet' if first == 'frechet' else first} distance")
    said = f"{n} tiles for {width} features" in render(results)
    assert said == (first == "kernel")
