"""The generator's scripts, end to end as they are typed: tile sets in, synthetic tile sets out."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from generator_workspace import CLASSES, ROOT, SIZE, STUDY, Workspace

from histosynth.tilesets import TileSet


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    made = Workspace(tmp_path_factory.mktemp("study"))
    made.prepare()
    return made


@pytest.fixture(scope="module")
def synthetic(workspace: Workspace) -> dict[str, TileSet]:
    return {name: workspace.train_and_sample(name) for name in STUDY["conditions"]}


def test_row_i_of_every_set_is_row_i_of_the_condition_table(workspace, synthetic) -> None:
    table = pd.read_parquet(workspace.folder / "table.parquet")
    assert len(table) == 10
    for name, tiles in synthetic.items():
        assert tiles.table["source_tile_id"].tolist() == table["source_tile_id"].tolist()
        assert tiles.table["tile_id"].tolist() == [f"{name}-s0-{i:06d}" for i in range(10)]
        assert tiles.images().shape == (10, SIZE, SIZE, 3)
        source = workspace.test.table.iloc[table["test_row"]]
        for column in ("slide_id", "patient_id", "site", "mpp"):
            assert tiles.table[column].tolist() == source[column].tolist()


def test_a_set_carries_what_was_requested_and_nothing_else(workspace, synthetic) -> None:
    table = pd.read_parquet(workspace.folder / "table.parquet")
    clusters = pd.read_parquet(workspace.folder / "clusters/assignments.parquet")
    of_tile = clusters.set_index("tile_id")["cluster"]

    bare = synthetic["unconditional"]
    assert not bare.classes and bare.table["label"].isna().all()
    assert (bare.table["cluster"] == -1).all() and bare.table["class_tumour"].isna().all()

    named = synthetic["label_cluster"]
    assert not named.classes
    assert named.table["label"].tolist() == table["label"].tolist()
    assert named.table["cluster"].tolist() == of_tile[table["source_tile_id"]].tolist()

    mapped = synthetic["map_crop"]
    assert mapped.classes == tuple(CLASSES)
    assert np.array_equal(mapped.maps(), workspace.test.maps(table["test_row"]))
    assert mapped.table["label"].tolist() == table["label"].tolist()  # it follows from the map
    assert (mapped.table["cluster"] == -1).all()


def test_a_set_names_the_tiles_whose_pixels_the_generator_saw(workspace, synthetic) -> None:
    table = pd.read_parquet(workspace.folder / "table.parquet")
    for shown, fixed, source in zip(
        synthetic["map_crop"].table["crop_tile_ids"],
        table["crop_tile_ids"],
        table["source_tile_id"],
        strict=True,
    ):
        assert shown.split(",") == list(dict.fromkeys(json.loads(fixed).values()))
        assert all(tile.split("_")[0] != source.split("_")[0] for tile in shown.split(","))
    same = synthetic["map_crop_same"].table
    assert same["crop_tile_ids"].tolist() == same["source_tile_id"].tolist()
    assert ((same["shown_share"] > 0.05) & (same["shown_share"] < 1)).all()
    assert (synthetic["map_crop"].table["shown_share"] == 0).all()
    assert (synthetic["unconditional"].table["crop_tile_ids"] == "").all()


def test_conditions_share_noise_and_generator_seeds_do_not(workspace, synthetic) -> None:
    again = "synthetic/again/seed0"
    workspace.sample("map_crop", "models/map_crop/seed0", again)
    first = synthetic["map_crop"]
    assert TileSet.open(workspace.folder / again).fingerprint == first.fingerprint
    # The same weights with the noise of another generator seed give other images.
    other = "synthetic/again/seed1"
    workspace.sample("map_crop", "models/map_crop/seed0", other, seed=1)
    assert not np.array_equal(TileSet.open(workspace.folder / other).images(), first.images())


def test_a_training_record_says_what_was_trained_on_what_and_at_what_cost(
    workspace, synthetic
) -> None:
    record = workspace.json("models/map_crop/seed0/train.json")
    assert record["condition"]["signals"][1]["source"] == "other_slide"
    assert record["seed"] == 0 and record["steps"] == 4 and record["tiles"] == 16
    assert 0 < len(record["loss"]) <= 200 and np.isfinite(record["loss"]).all()
    assert record["seconds"] > 0 and record["images_per_second"] > 0
    assert record["peak_memory_mb"] > 0 and record["device"]
    assert set(record["versions"]) == {"python", "torch", "diffusers", "numpy"}
    shared = workspace.json("models/autoencoder/train.json")
    assert record["autoencoder"] == shared["autoencoder"]
    assert shared["val"]["tiles"] == 4 and shared["val"]["psnr"] > 0
    assert not list(workspace.folder.glob("models/**/.*.state"))  # states go once outputs stand


def test_the_round_trip_keeps_each_tiles_place_map_and_label(workspace) -> None:
    workspace.script(
        "roundtrip", "--autoencoder", "models/autoencoder", "--tileset", "real/test",
        "--output", "synthetic/autoencoder/seed0",
    )  # fmt: skip
    made, real = TileSet.open(workspace.folder / "synthetic/autoencoder/seed0"), workspace.test
    assert made.table["source_tile_id"].tolist() == real.table["tile_id"].tolist()
    assert made.table["label"].tolist() == real.table["label"].tolist()
    assert np.array_equal(made.maps(), real.maps())
    assert (made.table["condition"] == "autoencoder").all()
    assert not np.array_equal(made.images(), real.images())


def test_test_features_do_not_move_the_centroids(workspace) -> None:
    features = np.load(workspace.folder / "test.npy")
    workspace.save_features("shifted.npy", features * 3 + 100, workspace.test)
    workspace.cluster("clusters_shifted", "shifted.npy")
    for name in ("centroids.npy", "standardization.npy"):
        fitted, other = (
            np.load(workspace.folder / folder / name) for folder in ("clusters", "clusters_shifted")
        )
        assert np.array_equal(fitted, other)
    one, two = (
        pd.read_parquet(workspace.folder / folder / "assignments.parquet")
        for folder in ("clusters", "clusters_shifted")
    )
    assert one["split"].value_counts().to_dict() == {"train": 16, "test": 12}
    assert one[:16].equals(two[:16]) and not one.equals(two)
    summary = workspace.json("clusters/summary.json")
    assert sum(summary["sizes"]) == 16 and summary["encoder"] == "texture"
    assert set(summary["normalized_mutual_information"]) == {"site", "patient_id"}


def test_features_of_another_tile_set_are_refused(workspace) -> None:
    message = workspace.script(
        "cluster", "--train", "real/train", "--features", "test.npy", "--output", "c", fails=True
    )
    assert "test.npy: 12 features of tile set" in message and "embed it again" in message


def test_a_generator_that_does_not_belong_is_refused(workspace, synthetic) -> None:
    message = workspace.sample("map_crop", "models/unconditional/seed0", "wrong", fails=True)
    assert "models/unconditional/seed0: was trained with signals" in message
    assert not (workspace.folder / "wrong").exists()
    settings = yaml.safe_load(workspace.config.read_text())
    settings["classes"].reverse()
    (workspace.folder / "reversed.yaml").write_text(yaml.safe_dump(settings))
    message = workspace.script(
        "train", "--config", "reversed.yaml", "--condition", "conditions/map_crop.yaml",
        "--train", "real/train", "--latents", "latents", "--state", "s", "--output", "wrong",
        fails=True,
    )  # fmt: skip
    assert "its maps have the classes stroma, tumour, but the study's" in message


def test_a_killed_training_goes_on_to_the_same_weights_and_only_for_its_condition(
    workspace: Workspace, tmp_path: Path
) -> None:
    settings = yaml.safe_load(workspace.config.read_text())
    settings["generator"] |= {"steps": 40, "save_every_seconds": 0.001}
    (workspace.folder / "longer.yaml").write_text(yaml.safe_dump(settings))
    state = tmp_path / "state"

    def arguments(condition: str, output: str, state: Path) -> list[str]:
        return [
            "--config", "longer.yaml", "--condition", f"conditions/{condition}.yaml",
            "--train", "real/train", "--latents", "latents", "--state", str(state),
            "--output", str(tmp_path / output),
        ]  # fmt: skip

    def weights(output: str) -> bytes:
        return (tmp_path / output / "weights.safetensors").read_bytes()

    command = [sys.executable, str(ROOT / "scripts/train.py")]
    killed = subprocess.Popen(
        [*command, *arguments("map_crop", "model", state)],
        cwd=workspace.folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
    )
    while not list(state.glob("*/state.pt")):
        assert killed.poll() is None, killed.communicate()[1]
        time.sleep(0.001)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL and not (tmp_path / "model").exists()

    # Crops of another source have planes of the same shape, but must not inherit these weights.
    (other,) = state.glob("*")
    kept = (other / "state.pt").read_bytes()
    workspace.script("train", *arguments("map_crop_same", "same", tmp_path / "clean"))
    said = workspace.script("train", *arguments("map_crop_same", "same_after", state))
    assert "resumed" not in said and weights("same") == weights("same_after")

    other.mkdir(parents=True)
    (other / "state.pt").write_bytes(kept)  # the finished run has tidied its state folder up
    assert "generator: resumed at step" in workspace.script(
        "train", *arguments("map_crop", "model", state)
    )
    workspace.script("train", *arguments("map_crop", "whole", tmp_path / "clean"))
    assert weights("model") == weights("whole")
    assert not state.exists()
