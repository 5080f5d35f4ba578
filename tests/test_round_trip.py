"""The floor: what the autoencoder alone costs, tile by tile, in the rows and on the page."""

from pathlib import Path

import numpy as np
import pytest
from ebhi import SQUEEZENET
from metric_rows import only
from report_files import row, study, write_results
from shapes import write_shapes
from skimage.metrics import peak_signal_noise_ratio

from histosynth.errors import InputError
from histosynth.evaluations.round_trip import (
    perceptual_weights,
    round_trip_of_files,
    round_trip_rows,
)
from histosynth.evaluations.rows import Scored
from histosynth.report.collect import collect
from histosynth.report.floor import floor
from histosynth.report.pages import render
from histosynth.tilesets import TileSet, TileSetWriter

pytestmark = pytest.mark.usefixtures("one_thread")
SCORED = Scored("s", "autoencoder", 0, "synthetic/autoencoder/seed0", "fidelity")


@pytest.fixture(scope="module")
def real(tmp_path_factory) -> TileSet:
    return write_shapes(tmp_path_factory.mktemp("real") / "test", 30, seed=1)


def written(folder: Path, real: TileSet, *, noise: float, rename: str = "") -> TileSet:
    """The real tiles with noise, in reverse order."""
    random = np.random.default_rng(0)
    with TileSetWriter(folder) as writer:
        for i in reversed(range(len(real))):
            image = real.image(i) + noise * random.standard_normal((32, 32, 3))
            source = rename + real.table["tile_id"].iloc[i]
            told = {"tile_id": f"a{i}", "source_tile_id": source}
            told["patient_id"] = real.table["patient_id"].iloc[i]
            writer.add(image.clip(0, 255).round().astype(np.uint8), told, None)
    return TileSet.open(folder)


def test_psnr_is_that_of_all_tiles_paired_by_name_with_an_interval_over_patients(tmp_path, real):
    made = written(tmp_path / "a", real, noise=8)
    rows = round_trip_rows(SCORED, real, made, weights=None)
    found = only(rows, metric="round_trip_psnr")
    images = [np.stack([s.image(i) for i in range(30)]) for s in (real, made)]
    expected = peak_signal_noise_ratio(images[0], images[1][::-1], data_range=255)
    assert found.value == pytest.approx(expected, abs=1e-9)
    assert found.ci_low < found.value < found.ci_high
    assert found.encoder == "" and found.n_synthetic == 30
    assert [r.metric for r in rows] == ["round_trip_psnr"]  # no weights, no perceptual distance


def test_the_perceptual_distance_grows_with_the_noise_and_is_zero_without(
    tmp_path, real, shared_data
):
    weights = ("k", str(shared_data / SQUEEZENET))
    values = []
    for noise in (0, 4, 16):
        made = written(tmp_path / str(noise), real, noise=noise)
        rows = round_trip_rows(SCORED, real, made, weights=weights)
        values.append(only(rows, metric="round_trip_perceptual").value)
    assert values[0] == pytest.approx(0, abs=1e-6)
    assert 0.01 < values[1] < values[2]


def test_round_trips_of_other_tiles_are_refused(tmp_path, real):
    made = written(tmp_path / "a", real, noise=1, rename="other-")
    with pytest.raises(InputError, match=r"tiles that .* does not; run scripts/roundtrip.py"):
        round_trip_rows(SCORED, real, made, weights=None)
    made = written(tmp_path / "b", real, noise=1)
    told = {"perceptual": {"weights": "none.pth", "weight": 0}}
    with pytest.raises(InputError, match=r"autoencoder.perceptual.weights: no weights file"):
        round_trip_of_files(SCORED, real.folder, made.folder, study=study(autoencoder=told))


def test_weights_are_those_of_the_autoencoder_or_of_an_encoder_that_is_squeezenet():
    squeezenet = {
        "kind": "torchvision",
        "model": "squeezenet1_1",
        "weights": "encoder.pth",
        "normalization": "caffe_bgr",
    }
    encoders = {"texture": {"kind": "texture"}, "deep": squeezenet}
    assert perceptual_weights(study()) is None
    assert perceptual_weights(study(encoders=encoders)) == ("encoders.deep.weights", "encoder.pth")
    told = {"perceptual": {"weights": "own.pth"}}
    expected = ("autoencoder.perceptual.weights", "own.pth")
    assert perceptual_weights(study(encoders=encoders, autoencoder=told)) == expected


def test_the_page_shows_the_floor_and_ranks_nobody_by_it(tmp_path):
    folder = tmp_path / "results" / "small"
    write_results(folder, study())
    results = collect(folder)
    without = floor(results)
    assert without is not None and len(without.heads) == 2  # one encoder's distances
    psnr = row("autoencoder", "fidelity", "round_trip_psnr", 30.4567, encoder="")
    results.rows.loc[len(results.rows)] = psnr
    table = floor(results)
    assert table is not None and table.heads[0].startswith("Round-trip PSNR")
    cells = {name: cells for name, _, cells in table.rows}
    assert cells["autoencoder"][0].value == 30.4567
    assert cells["real"][0].status == "not_applicable"
    page = render(results)
    assert page.count('<span class="value">30.5') == 1  # in this table and in no other
    assert "pixel by pixel, in dB" in page  # the glossary
