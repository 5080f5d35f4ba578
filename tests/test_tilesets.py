"""TileSet: what is written is what is read, from any process, and never half."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import tarfile

import numpy as np
import pytest
from PIL import Image

from histosynth.errors import InputError
from histosynth.tileset_links import link_tilesets, read_tables
from histosynth.tilesets import UNLABELLED, TileSet, TileSetWriter


def write(folder, n=6, *, size=16, classes=("a", "b"), seed=0):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (n, size, size, 3), dtype=np.uint8)
    maps = rng.integers(0, max(len(classes), 1), (n, size, size), dtype=np.uint8)
    with TileSetWriter(folder, classes=classes) as writer:
        for i in range(n):
            row = {"tile_id": f"s1_x{i}_y0", "patient_id": "p1", "label": "cancer"}
            writer.add(images[i], row, maps[i] if classes else None)
    return images, maps


def test_pixels_and_maps_come_back_exactly(tmp_path):
    images, maps = write(tmp_path / "set")
    tiles = TileSet.open(tmp_path / "set")
    assert len(tiles) == 6 and tiles.size == (16, 16) and tiles.classes == ("a", "b")
    np.testing.assert_array_equal(tiles.images(), images)
    np.testing.assert_array_equal(tiles.maps([4, 1]), maps[[4, 1]])
    assert tiles.table["tile_id"].tolist() == [f"s1_x{i}_y0" for i in range(6)]


def test_shards_are_plain_tar_files_with_webdataset_names(tmp_path):
    images, _ = write(tmp_path / "set")
    with tarfile.open(tmp_path / "set" / "images-000000.tar") as tar:  # the oracle: tarfile
        assert tar.getnames() == [f"s1_x{i}_y0.png" for i in range(6)]
        member = tar.extractfile("s1_x3_y0.png")
        np.testing.assert_array_equal(np.asarray(Image.open(member)), images[3])
    with tarfile.open(tmp_path / "set" / "maps-000000.tar") as tar:
        keys = {name.split(".", 1)[0] for name in tar.getnames()}
    assert keys == {f"s1_x{i}_y0" for i in range(6)}


def test_many_shards_and_long_names_read_as_one(tmp_path, monkeypatch):
    monkeypatch.setattr("histosynth.shards.SHARD_BYTES", 3000)
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (9, 24, 24, 3), dtype=np.uint8)
    with TileSetWriter(tmp_path / "set") as writer:
        for i, image in enumerate(images):
            writer.add(image, {"tile_id": f"{'long' * 40}_{i}"})
    assert len(list((tmp_path / "set").glob("images-*.tar"))) > 2
    np.testing.assert_array_equal(TileSet.open(tmp_path / "set").images(), images)


def _read(arguments):
    tiles, i = arguments
    return tiles.image(i)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_many_processes_read_one_set(tmp_path, method):
    images, _ = write(tmp_path / "set", n=20)
    tiles = TileSet.open(tmp_path / "set")
    tiles.image(0)  # the parent's open file must not be shared
    with multiprocessing.get_context(method).Pool(2) as pool:
        read = pool.map(_read, [(tiles, i) for i in range(20)])
    np.testing.assert_array_equal(np.stack(read), images)


def test_a_killed_writer_leaves_nothing_that_opens(tmp_path):
    code = (
        "import sys, time, numpy as np\n"
        "from histosynth.tilesets import TileSetWriter\n"
        "with TileSetWriter(sys.argv[1]) as writer:\n"
        "    for i in range(10**6):\n"
        "        writer.add(np.zeros((32, 32, 3), np.uint8), {'tile_id': f't{i}'})\n"
        "        print(i, flush=True)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "set")], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    for _ in range(5):
        process.stdout.readline()
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "set").exists()
    with pytest.raises(InputError, match="not a tile set"):
        TileSet.open(tmp_path / "set")


def test_a_failed_rewrite_keeps_the_old_set(tmp_path):
    images, _ = write(tmp_path / "set", classes=())
    with pytest.raises(RuntimeError), TileSetWriter(tmp_path / "set") as writer:
        writer.add(images[0], {"tile_id": "only"})
        raise RuntimeError("disk full, say")
    np.testing.assert_array_equal(TileSet.open(tmp_path / "set").images(), images)
    assert [p.name for p in tmp_path.iterdir()] == ["set"]


def test_fingerprint_follows_pixels_maps_and_rows(tmp_path):
    def fingerprint(name, pixel=0, value=0, label="a"):
        with TileSetWriter(tmp_path / name, classes=["a", "b"]) as writer:
            image = np.full((8, 8, 3), pixel, np.uint8)
            writer.add(image, {"tile_id": "t", "label": label}, np.full((8, 8), value, np.uint8))
        return TileSet.open(tmp_path / name).fingerprint

    first = fingerprint("first")
    assert fingerprint("same") == first
    changed = {fingerprint("p", pixel=1), fingerprint("m", value=1), fingerprint("r", label="b")}
    assert first not in changed and len(changed) == 3


def test_the_fingerprint_knows_nothing_of_shards(tmp_path, monkeypatch):
    write(tmp_path / "set")
    monkeypatch.setattr("histosynth.shards.SHARD_BYTES", 1000)
    write(tmp_path / "shards")
    assert len(list((tmp_path / "shards").glob("images-*.tar"))) > 1
    sets = [TileSet.open(tmp_path / name) for name in ("set", "shards")]
    assert sets[0].fingerprint == sets[1].fingerprint


def test_tiles_of_another_set_are_taken_byte_for_byte(tmp_path):
    write(tmp_path / "set")
    source = TileSet.open(tmp_path / "set")
    rows = source.table.to_dict("records")
    with TileSetWriter(tmp_path / "copy", classes=["a", "b"]) as writer:
        for i in (4, 0, 5):
            writer.add_from(source, i, rows[i])
    copy = TileSet.open(tmp_path / "copy")
    assert [copy.encoded(n) for n in range(3)] == [source.encoded(i) for i in (4, 0, 5)]
    with TileSetWriter(tmp_path / "drawn", classes=["a", "b"]) as writer:
        for i in (4, 0, 5):
            writer.add(source.image(i), rows[i], source.map(i))
    assert copy.fingerprint == TileSet.open(tmp_path / "drawn").fingerprint


def test_a_set_of_others_links_is_the_set_written_at_once(tmp_path, monkeypatch):
    write(tmp_path / "whole", n=9)
    whole = TileSet.open(tmp_path / "whole")
    rows = whole.table.to_dict("records")
    monkeypatch.setattr("histosynth.shards.SHARD_BYTES", 2000)
    halves = [tmp_path / "odd", tmp_path / "even"]
    for folder, first in zip(halves, (1, 0), strict=True):
        with TileSetWriter(folder, classes=["a", "b"]) as writer:
            for i in range(first, 9, 2):
                writer.add_from(whole, i, rows[i])
    table = read_tables(halves)
    order = np.argsort(table["tile_id"].to_numpy())
    link_tilesets(
        tmp_path / "links", halves, table=table.take(order), rows=order, provenance={"by": "links"}
    )
    links = TileSet.open(tmp_path / "links")
    assert links.fingerprint == whole.fingerprint and links.provenance == {"by": "links"}
    np.testing.assert_array_equal(links.images(), whole.images())
    np.testing.assert_array_equal(links.maps(), whole.maps())


def test_a_tile_in_two_sources_is_refused(tmp_path):
    write(tmp_path / "set")
    twice = [tmp_path / "set"] * 2
    table = read_tables(twice)
    with pytest.raises(InputError, match="links: a tile_id is in two of its sources"):
        link_tilesets(tmp_path / "links", twice, table=table, rows=np.arange(12), provenance={})


def test_more_shards_than_may_be_open_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr("histosynth.shards.SHARD_BYTES", 1000)
    monkeypatch.setattr("histosynth.shards.OPEN_SHARDS", 2)
    images, _ = write(tmp_path / "set", n=12)
    tiles = TileSet.open(tmp_path / "set")
    before = len(os.listdir("/proc/self/fd"))
    for i in (0, 11, 5, 0, 7, 3, 11):
        np.testing.assert_array_equal(tiles.image(i), images[i])
    assert len(os.listdir("/proc/self/fd")) - before <= 2


def test_a_set_of_an_older_version_says_what_to_do(tmp_path):
    write(tmp_path / "set")
    path = tmp_path / "set" / "tileset.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"version": 1}))
    with pytest.raises(InputError, match="of version 1, expected 2; remove the folder and run"):
        TileSet.open(tmp_path / "set")


IMAGE = np.zeros((8, 8, 3), np.uint8)
MAP = np.zeros((8, 8), np.uint8)


@pytest.mark.parametrize(
    ("image", "tile_id", "map_", "words"),
    [
        (IMAGE, "bad.name", MAP, "bad.name"),
        (IMAGE, "first", MAP, "given twice"),
        (IMAGE[:, :, 0], "t", MAP, r"\(8, 8\)"),
        (np.zeros((9, 8, 3), np.uint8), "t", MAP, "differs from the set"),
        (IMAGE, "t", None, "map goes with"),
        (IMAGE, "t", MAP + 7, r"values \[7\] have no class"),
        (IMAGE, "t", np.zeros((4, 4), np.uint8), r"uint8 map of \(8, 8\)"),
    ],
)
def test_bad_tiles_are_refused_by_name(tmp_path, image, tile_id, map_, words):
    with (
        pytest.raises(InputError, match=words),
        TileSetWriter(tmp_path / "set", classes=["a"]) as writer,
    ):
        writer.add(IMAGE, {"tile_id": "first"}, MAP + UNLABELLED)
        writer.add(image, {"tile_id": tile_id}, map_)
    assert not (tmp_path / "set").exists()


def test_a_damaged_shard_names_the_tile(tmp_path):
    write(tmp_path / "set")
    shard = tmp_path / "set" / "images-000000.tar"
    data = bytearray(shard.read_bytes())
    data[600:700] = bytes(100)
    shard.write_bytes(data)
    with pytest.raises(InputError, match="s1_x0_y0"):
        TileSet.open(tmp_path / "set").images()
