"""Preprocessing is part of the number: codecs, sizes, resizing, and a published confound apart."""

import numpy as np
import pytest
import torch
from PIL import Image
from report_files import folder_of, row, study
from scipy.ndimage import map_coordinates
from shapes import write_shapes
from torch.utils._python_dispatch import TorchDispatchMode

from histosynth.encoders import load_encoder
from histosynth.encoders.legacy import AT_ONCE, osorio_encoders, osorio_view
from histosynth.encoders.pixels import resize
from histosynth.errors import InputError
from histosynth.evaluations.fidelity import fidelity_rows
from histosynth.evaluations.legacy import LEGACY_METRICS, legacy_of_files, legacy_rows
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
    assert (codec(tiles), codec(theirs)) == ("png", "jpeg, about q90, 4:2:0")
    with pytest.raises(InputError, match=r"codec: .* has png, .* has jpeg, .* Bring both to one"):
        check_comparable(tiles, theirs)
    as_png = save_all(tmp_path / "png", images, "png")
    check_comparable(tiles, import_images(as_png, tmp_path / "png_set", progress=False))


def test_a_mixed_folder_names_both_codecs(tiles, tmp_path):
    folder = save_all(tmp_path / "mixed", tiles.images(range(2)), "png")
    Image.fromarray(tiles.image(3)).save(folder / "third.jpg")
    theirs = import_images(folder, tmp_path / "set", progress=False)
    assert codec(theirs) == "jpeg, about q75, 4:2:0 and png"
    with pytest.raises(InputError, match="has jpeg, about q75, 4:2:0 and png"):
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


def test_images_that_were_resized_carry_their_own_sizes_in_the_protocol_and_a_remark(
    tiles, tmp_path
):
    """What the study's import does to somebody else's images of another size."""
    made = {}
    for side in (16, 32, 64):
        images = [np.asarray(Image.fromarray(i).resize((side, side))) for i in tiles.images()]
        folder = save_all(tmp_path / f"as{side}", images, "png")
        made[side] = import_images(folder, tmp_path / f"set{side}", size=32, progress=False)
        check_comparable(tiles, made[side])
    told, rows = {}, {}
    for side, theirs in made.items():
        scored = Scored("s", "theirs", 0, "theirs", "fidelity")
        features = [Sharpness()(some.images()) for some in (tiles, theirs)]
        rows[side] = fidelity_rows(
            scored,
            tiles,
            theirs,
            encoder="texture",
            real_features=features[0],
            synthetic_features=features[1],
            encoder_fingerprint=Sharpness.fingerprint,
            settings=study(**ASKED).evaluation,
            n=40,
            label_names=[],
        )[0]
        told[side] = scored.protocols[rows[side].protocol]
    assert told[16]["resized"] == "32 x 32 against 16 x 16 to 32 x 32, pillow-bicubic"
    assert told[64]["resized"] == "32 x 32 against 64 x 64 to 32 x 32, pillow-bicubic"
    assert "resized" not in told[32] and len({row.protocol for row in rows.values()}) == 3
    assert rows[16].reason.startswith("its images had 16 x 16 pixels and were enlarged, so missing")
    assert rows[64].reason.startswith("its images had 64 x 64 pixels and were reduced")
    assert "its images" not in rows[32].reason


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
    real = osorio_view(image[None], enlarge=False)[0]
    assert real.shape == (299, 299, 3)
    assert np.abs(real - bilinear(image, 299)).max() <= 0.51  # rounded to whole numbers
    synthetic = osorio_view(image[None], enlarge=True)[0]
    enlarged = bilinear(image, round(32 * 512 / 96)).round()
    off = np.abs(synthetic - bilinear(enlarged, 299))
    # A half that one side rounds up and the other down, in the first step, is one off in the next.
    assert np.quantile(off, 0.999) <= 0.51 and off.max() <= 1.51
    assert not np.array_equal(real, synthetic)


class Largest(TorchDispatchMode):
    """Notes the bytes of the largest tensor that any operation makes."""

    bytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        if isinstance(made, torch.Tensor):
            self.bytes = max(self.bytes, made.numel() * made.element_size())
        return made


def test_enlarging_makes_no_large_arrays_however_many_images_come_at_once(tiles):
    images = np.concatenate([tiles.images()] * 3)  # 120 of 32 pixels
    images = images.repeat(3, axis=1).repeat(3, axis=2)  # 96, that become 512
    with Largest() as largest:
        views = osorio_view(images, enlarge=True)
    one = 512 * 512 * 3 * 4
    assert one < largest.bytes <= AT_ONCE < 120 * one / 10
    assert views.shape == (120, 299, 299, 3)
    for i in (0, 47, 119):  # of several lots
        alone = osorio_view(images[i : i + 1], enlarge=True)[0]
        assert np.array_equal(views[i], alone)


def test_equal_tiles_are_apart_under_the_legacy_protocol_alone(tiles):
    scored = Scored("s", "copy", 0, "copy", "legacy")
    made = study(**ASKED, sampling={"n": 40})
    rows = {r.metric: r for r in legacy_rows(scored, tiles, tiles, encoder=Sharpness(), study=made)}
    assert tuple(rows) == LEGACY_METRICS
    assert {r.arm for r in rows.values()} == {"osorio"}
    views = [osorio_view(tiles.images(), enlarge=enlarge) for enlarge in (False, True)]
    expected = frechet_distance(*(Sharpness()(view) for view in views))
    assert rows["frechet_distance"].value == pytest.approx(expected, rel=1e-6)
    right = Sharpness()(tiles.images())
    assert frechet_distance(right, right) < 1e-6 < 1e-3 < expected
    told = scored.protocols[rows["frechet_distance"].protocol]
    assert told["legacy"] == "osorio" and told["transform"].startswith("osorio: synthetic tiles e")
    assert rows["frechet_distance"].reason == (
        "synthetic tiles have 171 pixels and are enlarged, too: theirs were reduced"
    )


def sampled_larger(tiles, folder):
    """The tiles as somebody's files of 512 pixels."""
    images = [np.asarray(Image.fromarray(i).resize((512, 512))) for i in tiles.images(range(12))]
    return save_all(folder, images, "png")


def test_real_tiles_are_scored_against_larger_synthetic_ones_as_both_are(tiles, tmp_path):
    """The case that the protocol is named for; nothing is enlarged by 512 / 96."""
    theirs = import_images(
        sampled_larger(tiles, tmp_path / "theirs"), tmp_path / "set", progress=False
    )
    scored = Scored("s", "theirs", 0, "theirs", "legacy")
    rows = legacy_rows(scored, tiles, theirs, encoder=Sharpness(), study=study(**ASKED))
    views = [osorio_view(some.images(), enlarge=False) for some in (tiles, theirs)]
    expected = frechet_distance(*(Sharpness()(view) for view in views))
    assert rows[0].value == pytest.approx(expected, rel=1e-6)
    told = scored.protocols[rows[0].protocol]
    assert told["transform"] == (
        "osorio: all tiles to 299, bilinear without antialiasing; then as they are"
    )
    assert (told["size"], told["synthetic_size"]) == ([32, 32], [512, 512])
    assert {row.reason for row in rows} == {""}


def test_a_studys_own_copy_of_larger_images_is_left_for_their_files(tiles, tmp_path):
    """The study imports them at its tile size; its legacy rule reads them once more."""
    folder = sampled_larger(tiles, tmp_path / "theirs")
    resized = import_images(folder, tmp_path / "set", size=32, progress=False)
    native = import_images(folder, tmp_path / "native", progress=False)
    scored = [Scored("s", "theirs", 0, "theirs", "legacy") for _ in range(2)]
    made = study(**ASKED)
    rows = legacy_of_files(scored[0], tiles.folder, resized.folder, study=made, images=folder)
    encoder = load_encoder("texture", made.encoders["texture"])
    own = legacy_rows(scored[1], tiles, native, encoder=encoder, study=made)
    assert [(r.value, r.protocol) for r in rows] == [(r.value, r.protocol) for r in own]
    assert scored[0].protocols[rows[0].protocol]["synthetic_size"] == [512, 512]


@pytest.mark.parametrize(
    ("real", "synthetic", "words"),
    [
        ((300, 300), (300, 300), "real tiles of 300 x 300 pixels would be reduced to 299"),
        ((96, 96), (64, 64), "synthetic tiles of 64 x 64 pixels are smaller than real ones"),
    ],
)
def test_sizes_that_are_not_the_papers_confound_are_refused(real, synthetic, words):
    with pytest.raises(InputError, match=words):
        osorio_encoders(Sharpness(), real, synthetic)


@pytest.mark.parametrize("synthetic", [(96, 96), (512, 512)])
def test_both_sides_of_the_legacy_protocol_have_one_fingerprint(synthetic):
    real, ours = osorio_encoders(Sharpness(), (96, 96), synthetic)
    assert real.fingerprint == ours.fingerprint != Sharpness.fingerprint
    assert ours.fingerprint["transform"].endswith("then as they are")
    assert ("512 / 96" in ours.fingerprint["transform"]) == (synthetic == (96, 96))


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
