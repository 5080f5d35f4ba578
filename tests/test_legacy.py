"""Preprocessing is part of the number: codecs, sizes, resizing, and a published confound apart."""

import numpy as np
import pytest
from PIL import Image
from report_files import folder_of, row, study
from scipy.ndimage import map_coordinates
from shapes import write_shapes

from histosynth.encoders import load_encoder
from histosynth.encoders.legacy import OsorioEncoder, osorio_view
from histosynth.encoders.pixels import resize
from histosynth.errors import InputError
from histosynth.evaluations.legacy import LEGACY_METRICS, legacy_rows
from histosynth.evaluations.protocol import check_comparable, codec, fidelity_protocol
from histosynth.evaluations.reference_sets import jpeg
from histosynth.evaluations.rows import Scored
from histosynth.files import short_hash
from histosynth.grid import Cell, Grid
from histosynth.imports import import_images
from histosynth.metrics import frechet_distance
from histosynth.report import leaderboard
from histosynth.report.collect import collect
from histosynth.report.pages import render
from histosynth.settings import EncoderSettings

ASKED = {"evaluation": {"encoders": ["texture"], "min_tiles": 8, "legacy": ["osorio"]}}


class Sharpness:
    """Mean and spread of brightness and of its steps from pixel to pixel."""

    name, width = "texture", 4
    fingerprint = {"model": "sharpness", "weights": None, "transform": "as they are", "dtype": "f"}

    def __call__(self, images):
        grey = images.mean(axis=-1)
        steps = np.abs(np.diff(grey, axis=1))
        columns = [f(a, axis=(1, 2)) for a in (grey, steps) for f in (np.mean, np.std)]
        return np.stack(columns, axis=1).astype(np.float32)


@pytest.fixture(scope="module")
def tiles(tmp_path_factory):
    return write_shapes(tmp_path_factory.mktemp("tiles") / "test", 40, seed=1)


# Codec and size


def save_all(folder, images, ending, **options):
    folder.mkdir()
    for i, image in enumerate(images):
        Image.fromarray(image).save(folder / f"tile{i}.{ending}", **options)
    return folder


def test_a_folder_of_jpegs_is_not_scored_against_png(tiles, tmp_path):
    images = tiles.images(range(4))
    as_jpeg = save_all(tmp_path / "jpeg", images, "jpg", quality=90)
    theirs = import_images(as_jpeg, tmp_path / "jpeg_set", progress=False)
    assert (codec(tiles), codec(theirs)) == ("png", "jpeg")
    with pytest.raises(InputError, match=r"codec: .* has png, .* has jpeg; .* Bring both to one"):
        check_comparable(tiles, theirs)
    as_png = save_all(tmp_path / "png", images, "png")
    check_comparable(tiles, import_images(as_png, tmp_path / "png_set", progress=False))


def test_a_mixed_folder_names_both_codecs(tiles, tmp_path):
    folder = save_all(tmp_path / "mixed", tiles.images(range(2)), "png")
    Image.fromarray(tiles.image(3)).save(folder / "third.jpg")
    theirs = import_images(folder, tmp_path / "set", progress=False)
    assert codec(theirs) == "jpeg, png"
    with pytest.raises(InputError, match="has jpeg, png"):
        check_comparable(tiles, theirs)


def test_tiles_of_another_size_are_refused(tiles, tmp_path):
    larger = [np.asarray(Image.fromarray(i).resize((48, 48))) for i in tiles.images(range(2))]
    theirs = import_images(
        save_all(tmp_path / "larger", larger, "png"), tmp_path / "set", progress=False
    )
    with pytest.raises(InputError, match=r"tile size: .*\(32, 32\), .*\(48, 48\)"):
        check_comparable(tiles, theirs)


def test_jpeg_alone_moves_the_score_that_the_check_protects(tiles):
    """Against the same pixels: 0 without JPEG, and beyond rounding with it."""
    encoder = Sharpness()
    clean, pressed = encoder(tiles.images()), encoder(jpeg(tiles.images()))
    assert frechet_distance(clean, clean) < 1e-6 < frechet_distance(clean, pressed)


# Resizing


@pytest.mark.parametrize(
    "settings",
    [
        {"kind": "texture", "input_size": 40},
        {"kind": "timm", "model": "resnet10t", "weights": "random", "input_size": 40},
    ],
    ids=["texture", "timm"],
)
def test_an_encoders_resize_is_antialiased_and_stands_in_the_protocol(settings, tiles):
    encoder = load_encoder("mine", EncoderSettings(**settings))
    assert "resize 40 bicubic antialiased" in encoder.fingerprint["transform"]
    counts = {"width": encoder.width, "n_real": 40, "n_synthetic": 40}
    told = fidelity_protocol(tiles, encoder=encoder.fingerprint, **counts)
    assert told["transform"] == encoder.fingerprint["transform"]
    other = encoder.fingerprint | {"transform": "resize 40 nearest"}
    other = fidelity_protocol(tiles, encoder=other, **counts)
    assert short_hash(told) != short_hash(other)


def test_antialiasing_turns_a_fine_chequerboard_grey():
    board = (np.indices((80, 80)).sum(axis=0) % 2 * 255).astype(np.uint8)
    small = resize(np.repeat(board[None, :, :, None], 3, axis=3), 40)
    inner = small[0, 4:-4, 4:-4].astype(float)  # the border has fewer neighbours
    assert np.abs(inner - 127.5).max() <= 1.5  # every other pixel, as nearest gives, would be 0


# The legacy protocol


def bilinear(image, side):
    """Bilinear interpolation without antialiasing, pixel centres at halves, by scipy."""
    at = (np.arange(side) + 0.5) * image.shape[0] / side - 0.5
    at = np.clip(at, 0, image.shape[0] - 1)
    grid = np.meshgrid(at, at, indexing="ij")
    planes = [map_coordinates(image[..., c].astype(float), grid, order=1) for c in range(3)]
    return np.stack(planes, axis=-1)


def test_the_osorio_view_is_bilinear_interpolation_once_or_twice(tiles):
    image = tiles.image(0)
    real = osorio_view(image[None], "real")[0]
    assert real.shape == (299, 299, 3)
    assert np.abs(real - bilinear(image, 299)).max() <= 0.51  # rounded to whole numbers
    synthetic = osorio_view(image[None], "synthetic")[0]
    enlarged = bilinear(image, round(32 * 512 / 96)).round()
    off = np.abs(synthetic - bilinear(enlarged, 299))
    # A half that one side rounds up and the other down, in the first step, is one off in the next.
    assert np.quantile(off, 0.999) <= 0.51 and off.max() <= 1.51
    assert not np.array_equal(real, synthetic)


def test_equal_tiles_are_apart_under_the_legacy_protocol_alone(tiles):
    scored = Scored("s", "copy", 0, "copy", "legacy")
    made = study(**ASKED, sampling={"n": 40})
    rows = {r.metric: r for r in legacy_rows(scored, tiles, tiles, encoder=Sharpness(), study=made)}
    assert tuple(rows) == LEGACY_METRICS
    assert {r.arm for r in rows.values()} == {"osorio"}
    views = [osorio_view(tiles.images(), role) for role in ("real", "synthetic")]
    expected = frechet_distance(*(Sharpness()(view) for view in views))
    assert rows["frechet_distance"].value == pytest.approx(expected, rel=1e-6)
    right = Sharpness()(tiles.images())
    assert frechet_distance(right, right) < 1e-6 < 1e-3 < expected
    told = scored.protocols[rows["frechet_distance"].protocol]
    assert told["legacy"] == "osorio" and told["transform"].startswith("osorio: ")


def test_both_roles_of_the_legacy_protocol_have_one_fingerprint():
    real, ours = (OsorioEncoder(Sharpness(), role) for role in ("real", "synthetic"))
    assert real.fingerprint == ours.fingerprint != Sharpness.fingerprint
    assert ours.fingerprint["transform"].endswith("then as they are")


def test_too_few_tiles_are_refused_there_too(tiles):
    made = study(evaluation=ASKED["evaluation"] | {"min_tiles": 13})
    with pytest.raises(InputError, match="12 tiles are too few"):
        legacy_rows(
            Scored("s", "c", 0, "c", "legacy"), tiles, tiles, encoder=Sharpness(), study=made
        )


def test_legacy_scores_are_made_only_where_asked_for():
    assert "legacy" not in {cell.group for cell in Grid(study()).cells()}
    cells = set(Grid(study(**ASKED)).cells())
    assert {Cell("real", 0, "legacy"), Cell("map", 0, "legacy")} <= cells


def test_the_report_shows_legacy_scores_apart_and_ranks_nobody_by_them(tmp_path):
    made = study(**ASKED)
    rows = []
    for i, name in enumerate((*made.conditions, "real")):
        rows.append(row(name, "fidelity", "frechet_distance", 2.0 + i, width=0.1))
        rows.append(
            row(
                name,
                "legacy",
                "frechet_distance",
                77.0 - i,
                width=0.1,
                encoder="texture",
                arm="osorio",
                protocol="old",
            )
        )
    results = collect(folder_of(tmp_path / "results", made, rows))
    board = leaderboard.build(results, leaderboard.main_columns(results))
    first = board.columns[0]
    assert board.cell("unconditional", first).value == 2.0
    assert board.cell("unconditional", first).mark == "best"
    text = render(results)
    section = text[text.index("As Osorio et al. (2024) scored: not comparable") :]
    table = section[section.index("<table") : section.index("</table>")]
    assert "77.0" in table and 'class="mark"' not in table
    assert "not comparable" not in render(
        collect(folder_of(tmp_path / "plain", study(), rows[::2]))
    )
