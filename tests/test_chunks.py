"""Chunks and splits at scale: a kill or a full disk costs little, and nothing is copied twice."""

import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import missing
from slide_cohorts import make_study, one_slide, small_cohort, tiling
from slide_files import damage_tile, noise, tissue, write_slide

from histosynth.errors import InputError
from histosynth.slides.chunks import tile_chunk
from histosynth.slides.gather import gather_splits
from histosynth.slides.merging import merge_parts
from histosynth.slides.parts import Finished, PartWriter
from histosynth.slides.readers import open_slide
from histosynth.tilesets import TileSet, encode_png

TILE_CHUNK = """
import sys, pandas as pd
from slide_cohorts import make_study
from histosynth.slides.chunks import tile_chunk
tile_chunk(pd.read_parquet(sys.argv[1]), make_study(), sys.argv[2], part_seconds=0)
"""


def start(code: str, *arguments: object, **options) -> subprocess.Popen:
    """Python running `code`, which may import the tests' modules."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, **options)


def content(folder: Path) -> dict[str, bytes]:
    """Every file's bytes, by its path in `folder`."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def spoil(path: str) -> None:
    """Make a slide unreadable behind the back of whoever goes by its size and date."""
    about = os.stat(path)
    Path(path).write_bytes(b"\xff" * about.st_size)
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))


# --- kills and repeats


def test_a_killed_chunk_goes_on_and_ends_as_an_unbroken_run(tmp_path):
    cohort = pd.DataFrame([one_slide(tmp_path, f"S{i:02d}", seed=i) for i in range(12)])
    cohort.to_parquet(tmp_path / "cohort.parquet")
    tile_chunk(cohort, make_study(), tmp_path / "whole", progress=False)
    killed = start(TILE_CHUNK, tmp_path / "cohort.parquet", tmp_path / "broken")
    while not list(tmp_path.glob("broken.state/part-*")) and killed.poll() is None:
        time.sleep(0.002)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    done = [
        slide
        for part in tmp_path.glob("broken.state/part-*")
        for slide in pd.read_json(part / "slides.json")["slide_id"]
    ]
    assert 1 <= len(done) < 12 and not (tmp_path / "broken").exists()
    for image in cohort[cohort["slide_id"].isin(done)]["image"]:
        spoil(image)  # read once more, these slides would fail
    tile_chunk(cohort, make_study(), tmp_path / "broken", progress=False)
    assert content(tmp_path / "broken") == content(tmp_path / "whole")
    assert sorted(path.name for path in tmp_path.glob("*broken*")) == ["broken", "broken.state"]


def test_a_repeat_redoes_only_slides_that_failed_or_changed(tmp_path):
    cohort, study = small_cohort(tmp_path), make_study()
    good = Path(cohort["image"][1]).read_bytes()
    Path(cohort["image"][1]).write_bytes(good[:1000])
    slides = tile_chunk(cohort, study, tmp_path / "out", progress=False)
    assert [s["status"] for s in slides] == ["ok", "failed", "ok", "ok", "ok"]
    Path(cohort["image"][1]).write_bytes(good)
    write_slide(Path(cohort["image"][2]), tissue(512, 512, seed=77))
    tile_chunk(cohort, study, tmp_path / "anew", progress=False)
    for image in cohort["image"][[0, 3, 4]]:
        spoil(image)
    shutil.rmtree(tmp_path / "out")  # as Snakemake does before it repeats a job
    slides = tile_chunk(cohort, study, tmp_path / "out", progress=False)
    assert [s["status"] for s in slides] == ["ok"] * 5
    assert content(tmp_path / "out") == content(tmp_path / "anew")
    # Other settings are other tiles: nothing is taken over.
    other = tile_chunk(cohort, make_study(tiling=tiling(size=64)), tmp_path / "out", progress=False)
    assert [s["status"] for s in other] == ["failed", "ok", "ok", "failed", "failed"]


def test_what_a_repeat_needs_takes_no_space_of_its_own(tmp_path):
    tile_chunk(small_cohort(tmp_path), make_study(), tmp_path / "out", progress=False)
    (part,) = (tmp_path / "out.state").iterdir()
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert len(files) > 10
    for path in files:
        assert path.samefile(part / path.relative_to(tmp_path / "out"))


@pytest.mark.parametrize(("seconds", "parts"), [(60, 1), (0, 5)])
def test_parts_end_by_time_not_by_slide(tmp_path, seconds, parts):
    cohort = small_cohort(tmp_path).assign(image="absent.tiff")
    with pytest.raises(InputError, match=r"all 5 slide\(s\) failed"):
        tile_chunk(cohort, make_study(), tmp_path / "out", progress=False, part_seconds=seconds)
    assert len(list((tmp_path / "out.state").iterdir())) == parts


def test_parts_give_the_chosen_slides_alone_and_of_failed_ones_no_tile(tmp_path):
    cohort, study = small_cohort(tmp_path), make_study()
    parts = [tmp_path / "first", tmp_path / "second"]
    for part, rows in zip(parts, (cohort[:3], cohort[1:2]), strict=True):
        with PartWriter(part, study) as writer:
            for _, row in rows[::-1].iterrows():
                writer.tile(row, key="")
        picture = encode_png(np.full((200, 480, 3), len(part.name), np.uint8))
        pictures = [(row["slide_id"], "", "", picture) for _, row in rows.iterrows()]
        columns = ["slide_id", "title", "subtitle", "picture"]
        pd.DataFrame(pictures, columns=columns).to_parquet(part / "thumbnails.parquet")
    ok = {"status": "ok", "split": "train"}
    chosen = [
        Finished(parts[1], {"slide_id": "S1", **ok}),
        Finished(parts[0], {"slide_id": "S0", **ok}),
        Finished(parts[0], {"slide_id": "S2", **ok, "status": "failed"}),
    ]
    (tmp_path / "merged").mkdir()
    merge_parts(chosen, tmp_path / "merged", study)
    table = TileSet.open(tmp_path / "merged/train").table
    assert table["slide_id"].tolist() == ["S0"] * 64 + ["S1"] * 64
    thumbnails = pd.read_parquet(tmp_path / "merged/thumbnails.parquet")
    assert thumbnails["slide_id"].tolist() == ["S0", "S1", "S2"]
    first, second = (pd.read_parquet(part / "thumbnails.parquet")["picture"][0] for part in parts)
    assert thumbnails["picture"].tolist() == [first, second, first] and first != second
    assert [file.name for file in (tmp_path / "merged").glob("*.jpg")] == ["contact_sheet-000.jpg"]


# --- which tiles are read


def test_a_tile_that_cannot_be_read_is_replaced_by_the_next(tmp_path):
    row = one_slide(tmp_path, image=noise(512, 512))
    damage_tile(tmp_path / "S1.tiff", 9)
    study = make_study(tiling=tiling(mpp=1.0, size=64, min_tissue=0, max_tiles_per_slide=63))
    (slide,) = tile_chunk(pd.DataFrame([row]), study, tmp_path / "out", progress=False)
    assert slide["counts"] == {"accepted": 63, "unreadable": 1}
    table = TileSet.open(tmp_path / "out/train").table
    assert table[["y", "x"]].to_numpy().tolist() == sorted(table[["y", "x"]].to_numpy().tolist())


def test_a_tile_whose_pixels_show_a_fault_is_replaced_by_the_next(tmp_path):
    image = noise(512, 512)
    image[:, 256:] = 30
    row = one_slide(tmp_path, image=image)
    settings = {"mpp": 1.0, "size": 64, "min_tissue": 0, "max_tiles_per_slide": 30}
    study = make_study(tiling=tiling(outliers="osorio", reject=[], **settings))
    (slide,) = tile_chunk(pd.DataFrame([row]), study, tmp_path / "out", progress=False)
    table = TileSet.open(tmp_path / "out/train").table
    assert len(table) == 30 and (table["x"] < 256).all()
    rejected = pd.read_parquet(tmp_path / "out/rejected.parquet")
    assert set(rejected["reason"]) == {"outlier_dark"} and (rejected["x"] >= 256).all()
    # Of 64 tiles 30 are kept; the others were read and found dark, or left over.
    left = {"outlier_dark": len(rejected), "over_cap": 34 - len(rejected)}
    assert slide["counts"] == {"accepted": 30} | {k: n for k, n in left.items() if n}


# --- gathering


def tile_in(folder: Path, cohort: pd.DataFrame, study, chunks: int) -> list[Path]:
    folders = [folder / f"chunk{i}" for i in range(chunks)]
    for i, chunk in enumerate(folders):
        tile_chunk(cohort, study, chunk, chunk=i, chunks=chunks, progress=False)
    return folders


def test_splits_are_links_to_the_chunks_shards_with_every_row_in_place(tmp_path):
    cohort, study = small_cohort(tmp_path), make_study()
    folders = tile_in(tmp_path / "tiles", cohort, study, 3)
    gather_splits(folders, study, tmp_path / "real")
    train = TileSet.open(tmp_path / "real/train")
    shards = {path.stat().st_ino for f in folders for path in f.glob("train/*.tar")}
    linked = {path.stat().st_ino for path in (tmp_path / "real/train").glob("*.tar")}
    assert linked == shards
    places = train.table[["slide_id", "y", "x"]].to_numpy().tolist()
    assert places == sorted(places)
    whole = TileSet.open(tile_in(tmp_path / "whole", cohort, study, 1)[0] / "train")
    assert train.table["tile_id"].tolist() == whole.table["tile_id"].tolist()
    np.testing.assert_array_equal(train.images(), whole.images())
    np.testing.assert_array_equal(train.maps(), whole.maps())


def test_splits_on_another_disk_are_copies(tmp_path):
    other = Path("/dev/shm")
    if not other.is_dir() or other.stat().st_dev == tmp_path.stat().st_dev:
        missing("no second file system at /dev/shm")
    study = make_study()
    folders = tile_in(tmp_path, small_cohort(tmp_path), study, 2)
    folder = other / f"histosynth-test-{os.getpid()}"
    try:
        gather_splits(folders, study, folder)
        gather_splits(folders, study, tmp_path / "real")
        for name in ("train", "val", "test"):
            there, here = TileSet.open(folder / name), TileSet.open(tmp_path / "real" / name)
            assert there.fingerprint == here.fingerprint
            np.testing.assert_array_equal(there.images(), here.images())
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def test_a_patients_cap_holds_over_slides_and_chunks(tmp_path):
    cohort = small_cohort(tmp_path)
    cohort.loc[:1, "patient_id"] = "both"  # S0 and S1
    study = make_study(tiling=tiling(max_tiles_per_patient=50))
    fingerprints = []
    for chunks in (1, 2):
        folders = tile_in(tmp_path / f"{chunks}", cohort, study, chunks)
        summary = gather_splits(folders, study, tmp_path / f"{chunks}/real")
        counts = summary["splits"]["train"]
        assert counts["tiles_by_patient"] == {"both": 50, "patient-S2": 50}
        # 8 x 8 tiles of 64 um on a slide of 512 um; four patients may keep 50 each.
        assert summary["reasons"] == {"accepted": 200, "over_patient_cap": 5 * 64 - 200}
        train = TileSet.open(tmp_path / f"{chunks}/real/train")
        assert train.table["slide_id"].value_counts().to_dict() == {"S0": 25, "S1": 25, "S2": 50}
        fingerprints.append(train.fingerprint)
    assert fingerprints[0] == fingerprints[1]


def test_the_summary_says_who_read_the_slides_and_what_the_split_keeps_apart(tmp_path):
    cohort = small_cohort(tmp_path).assign(split_unit="slide", mpp_source="table")
    write_slide(Path(cohort["image"][0]), tissue(512, 512), mpp=None)
    cohort.loc[0, "mpp"] = 1.0
    Path(cohort["image"][1]).write_bytes(b"no slide")
    folders = tile_in(tmp_path, cohort, make_study(), 2)
    summary = gather_splits(folders, make_study(), tmp_path / "real")
    assert summary["split_unit"] == "slide"
    assert summary["mpp_sources"] == {"table": 1, "slide": 3}
    with open_slide(cohort["image"][2]) as slide:
        assert summary["readers"] == {slide.reader: 4}
    assert TileSet.open(tmp_path / "real/val").provenance["split_unit"] == "slide"


def test_a_chunk_that_is_not_there_is_named(tmp_path):
    folders = tile_in(tmp_path, small_cohort(tmp_path), make_study(), 1)
    with pytest.raises(InputError, match=r"chunk1: not a tiled chunk.*scripts/tile\.py"):
        gather_splits([*folders, tmp_path / "chunk1"], make_study(), tmp_path / "real")


# --- full disks


def limited(code: str, *arguments: object, size: int) -> str:
    """What Python running `code` says on standard error when no file may exceed `size` bytes."""
    limit = (size, size)
    process = start(
        code, *arguments, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    )
    _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    return said


WRITE_SET = """
import sys, numpy as np
from histosynth.tilesets import TileSetWriter
rng = np.random.default_rng(0)
with TileSetWriter(sys.argv[1]) as writer:
    for i in range(40):
        image = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
        writer.add(image, {"tile_id": f"t{i}"})
"""


@pytest.mark.parametrize("size", [60_000, 1_000])  # of some 160 kB of shards, 3 kB of tables
def test_a_set_that_meets_a_full_disk_leaves_nothing_and_succeeds_later(tmp_path, size):
    said = limited(WRITE_SET, tmp_path / "set", size=size)
    assert "set cannot be written" in said and "free space there" in said
    assert list(tmp_path.iterdir()) == []
    done = start(WRITE_SET, tmp_path / "set")
    assert done.wait(60) == 0 and len(TileSet.open(tmp_path / "set")) == 40


@pytest.mark.parametrize("size", [100_000, 3_000])
def test_a_chunk_that_meets_a_full_disk_leaves_nothing_and_succeeds_later(tmp_path, size):
    cohort = small_cohort(tmp_path)
    cohort.to_parquet(tmp_path / "cohort.parquet")
    tile_chunk(cohort, make_study(), tmp_path / "whole", progress=False)
    said = limited(TILE_CHUNK, tmp_path / "cohort.parquet", tmp_path / "out", size=size)
    assert "cannot be written" in said and "free space there" in said
    assert not (tmp_path / "out").exists() and not list(tmp_path.rglob("*.partial"))
    tile_chunk(cohort, make_study(), tmp_path / "out", progress=False)
    assert content(tmp_path / "out") == content(tmp_path / "whole")
