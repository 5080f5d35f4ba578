"""Near-duplicates between splits: copies are found in any turn, other tissue is not."""

import io
import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import scipy.fft
from conftest import ROOT
from PIL import Image

from histosynth.slides import duplicates
from histosynth.slides.duplicates import (
    MIN_CORRELATION,
    Prints,
    correlations,
    find_duplicates,
    hashes,
    match,
    small,
    take_prints,
    turned,
)
from histosynth.tilesets import TileSet, TileSetWriter

SIZE = 64


def tissue(n: int, *, seed: int) -> np.ndarray:
    """Pictures (n, 64, 64, 3) with blobs of all sizes in the colours of tissue."""
    rng = np.random.default_rng(seed)
    waves = np.fft.fftfreq(SIZE)
    falloff = 1 / np.maximum(np.hypot(*np.meshgrid(waves, waves)), 1 / SIZE)
    field = np.fft.ifft2(np.fft.fft2(rng.normal(size=(n, SIZE, SIZE))) * falloff).real
    field /= field.std((1, 2), keepdims=True)
    pink, violet = np.array([225, 175, 205.0]), np.array([110, 60, 140.0])
    share = (field[..., None] + 2) / 4
    return np.clip(pink + (violet - pink) * share, 0, 255).astype(np.uint8)


def jpeg(image: np.ndarray, quality: int = 60) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def brighter(image: np.ndarray) -> np.ndarray:
    return np.clip(image * 1.05, 0, 255).astype(np.uint8)


COPIES = {
    "as it is": lambda image: image,
    "mirrored": lambda image: image[:, ::-1],
    "turned": lambda image: np.rot90(image),
    "JPEG": jpeg,
    "brighter": brighter,
    "all of it": lambda image: jpeg(brighter(np.rot90(image[:, ::-1], 3))),
}


def write(folder, pictures, *, split: str | None = None) -> TileSet:
    split = split or folder.name
    with TileSetWriter(folder) as writer:
        for i, picture in enumerate(pictures):
            row = {"tile_id": f"{split}{i}", "patient_id": f"{split}-p{i}", "split": split}
            writer.add(np.ascontiguousarray(picture), row)
    return TileSet.open(folder)


def prints_of(pictures) -> Prints:
    made = np.stack([small(np.ascontiguousarray(picture)) for picture in pictures])
    return Prints(np.arange(len(made)), made, hashes(made), 0)


def test_the_hash_of_a_turned_picture_is_the_hash_of_that_turn():
    pictures = np.stack([small(p) for p in tissue(20, seed=0)])
    all_turns = hashes(pictures)
    for turn in range(8):
        own = hashes(np.ascontiguousarray(turned(pictures, turn)))[:, 0]
        # Rounding may put a frequency at the median on its other side.
        assert np.bitwise_count(own ^ all_turns[:, turn]).max() <= 2
    assert len({turned(np.arange(12).reshape(2, 2, 3), t).tobytes() for t in range(8)}) == 8


def test_the_hash_is_the_signs_of_scipys_cosine_transform_about_their_median():
    pictures = np.stack([small(p) for p in tissue(10, seed=1)])
    for picture, code in zip(pictures, hashes(pictures)[:, 0], strict=True):
        grey = picture @ np.array([0.299, 0.587, 0.114])
        # Type 2 without norm is twice the plain sum in each direction, for every frequency alike.
        waves = scipy.fft.dctn(grey)[:8, :8].ravel()
        bits = waves > np.median(waves[1:])
        bits[0] = False
        told = np.unpackbits(np.array([code]).view(np.uint8)).astype(bool)
        assert (told != bits).sum() <= 1


@pytest.mark.parametrize("how", COPIES)
def test_planted_copies_are_found(how):
    originals, others = tissue(60, seed=2), tissue(200, seed=3)
    copies = [COPIES[how](image) for image in originals]
    found = match(prints_of([*others, *originals]), prints_of(copies))
    assert {m.j for m in found if m.i == m.j + 200} == set(range(60))
    assert all(m.i == m.j + 200 for m in found)


@pytest.mark.parametrize("more", [0, 5])
def test_a_match_names_the_turn_that_makes_the_second_picture_the_first(more):
    originals = tissue(8, seed=4)
    copies = [turned(picture, turn) for turn, picture in enumerate(originals)]
    for first, second in ((originals, copies), (copies, originals)):
        a, b = prints_of(first), prints_of([*second, *tissue(more, seed=12)])
        found = match(a, b)
        assert sorted((m.i, m.j) for m in found) == [(i, i) for i in range(8)]
        for m in found:
            again = turned(b.pictures[m.j], m.turn).astype(int)
            # Reducing rounds after each direction, so a transposed picture may be a level off.
            assert np.abs(a.pictures[m.i] - again).max() <= 1


def test_unrelated_tissue_gives_no_pair(tmp_path):
    found = find_duplicates(
        {name: write(tmp_path / name, tissue(300, seed=s)) for s, name in enumerate("ab")}
    )
    assert found["counts"] == {"a-b": 0} and found["pairs"] == []
    assert found["tiles"]["a"] == {"tiles": 300, "compared": 300, "plain": 0}


def test_alike_shades_without_alike_detail_are_no_copies():
    """A tissue border at the same place: near hashes, other pictures."""
    rng = np.random.default_rng(0)
    half = np.full((2, SIZE, SIZE, 3), 240.0)
    half[:, :30] = (210, 150, 190)
    half[:, :30] += 25 * rng.normal(size=(2, 30, SIZE, 3))
    a, b = (prints_of([p]) for p in np.clip(half, 0, 255).astype(np.uint8))
    shades = [p.pictures[0] - p.pictures[0].mean((0, 1)) for p in (a, b)]
    assert np.corrcoef(shades[0].ravel(), shades[1].ravel())[0, 1] > 0.9
    assert correlations(a.pictures, b.pictures)[0] < MIN_CORRELATION
    assert match(a, b) == []


def test_plain_tiles_are_counted_and_never_paired(tmp_path):
    blank = [np.full((SIZE, SIZE, 3), 243, np.uint8)] * 3
    pictures = [*blank, *tissue(4, seed=9)]
    sets = {name: write(tmp_path / name, pictures) for name in ("train", "test")}
    found = find_duplicates(sets)
    assert found["tiles"]["train"] == {"tiles": 7, "compared": 4, "plain": 3}
    assert found["counts"] == {"train-test": 4}
    assert {(p["tile_a"], p["tile_b"]) for p in found["pairs"]} == {
        (f"train{i}", f"test{i}") for i in range(3, 7)
    }


def test_blocks_and_threads_change_nothing(monkeypatch):
    originals = tissue(40, seed=5)
    a, b = prints_of(originals), prints_of([np.rot90(p) for p in originals[:25]])
    whole = match(a, b)
    monkeypatch.setattr(duplicates, "_DISTANCES_AT_ONCE", 80)
    monkeypatch.setattr(duplicates, "_PICTURES_AT_ONCE", 1)
    assert match(a, b, threads=3) == whole and len(whole) == 25


def test_a_tile_copied_all_over_is_confirmed_a_bounded_number_of_times():
    one = tissue(1, seed=6)[0]
    found = match(prints_of([one] * 30), prints_of([one] * 5))
    assert len(found) == 5 * duplicates.MATCHES
    assert {m.j for m in found} == set(range(5))


def test_a_larger_split_is_sampled_and_says_so(tmp_path):
    sets = {name: write(tmp_path / name, tissue(30, seed=7)) for name in ("train", "test")}
    found = find_duplicates(sets, limit=10, seed=3)
    assert found["tiles"]["train"] == {"tiles": 30, "compared": 10, "plain": 0}
    assert found["method"]["tiles_per_split"] == 10 and found["method"]["seed"] == 3
    assert found == find_duplicates(sets, limit=10, seed=3)
    rows = take_prints(sets["train"], np.array([4, 7])).rows
    assert rows.tolist() == [4, 7]


def test_the_script_names_both_tiles_and_patients_of_a_planted_pair(tmp_path):
    originals = tissue(6, seed=8)
    write(tmp_path / "train", originals)
    write(tmp_path / "val", tissue(3, seed=10))
    write(tmp_path / "test", [*tissue(2, seed=11), jpeg(np.rot90(originals[4]))])
    (tmp_path / "config.yaml").write_text("")
    command = [sys.executable, ROOT / "scripts" / "duplicates.py", "--config", "config.yaml"]
    command += ["--tilesets", "train", "val", "test", "--output", "duplicates.json"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "train-test: 1 pair(s)" in ended.stderr and "train-val: 0 pair(s)" in ended.stderr
    found = json.loads((tmp_path / "duplicates.json").read_text())
    assert found["counts"] == {"train-val": 0, "train-test": 1, "val-test": 0}
    (pair,) = found["pairs"]
    correlation = pair.pop("correlation")
    assert 0.8 <= correlation <= 1 and 0 <= pair.pop("distance") <= 8
    assert pair == {
        "split_a": "train",
        "tile_a": "train4",
        "patient_a": "train-p4",
        "split_b": "test",
        "tile_b": "test2",
        "patient_b": "test-p2",
        "turned": True,
    }


def test_real_biopsies_of_different_cases_share_no_picture_and_copies_are_found(
    shared_data, tmp_path
):
    table = pd.read_csv(shared_data / "ebhi_seg" / "index.csv")
    sets, pictures = {}, {}
    for split in ("train", "test"):
        paths = table[table["split"] == split]["image"].head(120)
        pictures[split] = [
            np.asarray(Image.open(shared_data / "ebhi_seg" / p).convert("RGB")) for p in paths
        ]
    planted = [COPIES["all of it"](image) for image in pictures["train"][:20]]
    sets = {"train": write(tmp_path / "train", pictures["train"])}
    sets["test"] = write(tmp_path / "test", [*pictures["test"], *planted])
    found = find_duplicates(sets)
    first = len(pictures["test"])
    assert {(p["tile_a"], p["tile_b"]) for p in found["pairs"]} == {
        (f"train{i}", f"test{first + i}") for i in range(20)
    }
