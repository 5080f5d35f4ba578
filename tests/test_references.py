"""Reference rows: what JPEG, noise and another site do to scores, each against its own oracle."""

import io

import numpy as np
import pytest
from PIL import Image
from scipy.stats import norm
from shapes import write_shapes

from histosynth.config import REFERENCE_SETS, RESERVED_CONDITIONS
from histosynth.errors import InputError
from histosynth.evaluations import reference_sets
from histosynth.evaluations.reference_sets import write_reference_set


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
