"""One image of a set is made again from its manifest, or refused with what is not as it was."""

import re

import numpy as np
import pandas as pd
import pytest
import yaml
from generator_workspace import STUDY, Workspace
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from histosynth.files import sha256_file
from histosynth.tilesets import TileSet

# Another batch size sums in another order: float32 rounding may move single pixels.
GREY_LEVELS = 2
NAMES = ("label_cluster", "map_crop")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A study's results as the rules leave them, a set of each condition."""
    made = Workspace(tmp_path_factory.mktemp("results"))
    made.folder.joinpath("tilesets").symlink_to(made.folder)
    made.prepare()
    for name in NAMES:
        made.train_and_sample(name)
    return made


def remake(results: Workspace, tile: str, **more) -> str:
    output = str(results.folder / "tile.png")
    folder = str(results.folder)
    told = ["--results", folder, "--tile", tile, "--output", output]
    return results.script("remake", *told, study=False, **more)


@pytest.mark.parametrize(("name", "index"), [("label_cluster", 7), ("map_crop", 0)])
def test_an_image_made_again_is_the_stored_one(results, name, index):
    stored = TileSet.open(results.folder / f"synthetic/{name}/seed0")
    said = remake(results, f"{name}-s0-{index:06d}")
    again = np.array(Image.open(results.folder / "tile.png")).astype(int)
    apart = np.abs(again - stored.image(index)).max()
    assert apart <= GREY_LEVELS and stored.image(index).std() > 1
    assert f"{name}-s0-{index:06d}, at most {apart} grey levels of 255 from the stored" in said
    neighbour = np.abs(again - stored.image(index + 1)).max()
    assert neighbour > 10 * GREY_LEVELS  # the tolerance tells images apart


def test_a_manifest_names_each_images_noise_and_all_files(results):
    tiles = TileSet.open(results.folder / "synthetic/map_crop/seed0")
    table = pd.read_parquet(results.folder / "table.parquet")
    assert tiles.table["noise_seed"].tolist() == table["seed"].tolist() == list(range(7, 17))
    about = tiles.provenance
    assert about["files"]["model"] == "models/map_crop/seed0"
    assert about["files"]["table"] == "table.parquet" and about["rows"] == [0, 10]
    assert about["sampling"]["steps"] == 2 and about["test"] == results.test.fingerprint
    assert about["condition"]["signals"][1]["source"] == "other_slide"
    assert set(about["versions"]) == {"python", "torch", "diffusers", "numpy"}


def test_later_settings_of_the_study_do_not_change_an_image_made_again(results):
    settings = STUDY | {"sampling": STUDY["sampling"] | {"steps": 9}}
    kept = results.config.read_text()
    results.config.write_text(yaml.safe_dump(settings))
    try:
        said = remake(results, "map_crop-s0-000003")
    finally:
        results.config.write_text(kept)
    largest = int(re.search(r"at most (\d+) grey levels", said)[1])
    assert largest <= GREY_LEVELS


def test_other_weights_or_another_table_are_refused_with_both_hashes(results):
    told = TileSet.open(results.folder / "synthetic/map_crop/seed0").provenance
    weights = results.folder / "models/map_crop/seed0/weights.safetensors"
    table = results.folder / "table.parquet"
    tensors = load_file(weights)
    with safe_open(weights, "pt") as stream:
        metadata = stream.metadata()

    def nudge_weights() -> None:
        changed = {name: tensor + 0.25 for name, tensor in tensors.items()}
        save_file(changed, weights, metadata=metadata)

    def nudge_table() -> None:
        rows = pd.read_parquet(table)
        rows.assign(seed=rows["seed"] + 1).to_parquet(table)

    for path, nudge, key, words in (
        (weights, nudge_weights, "weights", "the generator's weights"),
        (table, nudge_table, "table", "the condition table"),
    ):
        kept = path.read_bytes()
        nudge()
        said, now = remake(results, "map_crop-s0-000003", fails=True), sha256_file(path)
        path.write_bytes(kept)
        assert f"was made with {words} of hash {told[key]}, but " in said
        assert f" has {now} now; restore" in said and now != told[key]


def test_other_label_names_are_refused(results):
    label = STUDY["label"] | {"names": ["cancer", "healthy"]}
    kept = results.config.read_text()
    results.config.write_text(yaml.safe_dump(STUDY | {"label": label}))
    said = remake(results, "label_cluster-s0-000003", fails=True)
    results.config.write_text(kept)
    assert "was made with the labels healthy, cancer, but" in said
    assert "has cancer, healthy now; restore them" in said


def test_a_tile_that_is_not_there_is_refused_by_name(results):
    assert "expected the id of a sampled image" in remake(results, "s5_x0_y0", fails=True)
    assert "no such set" in remake(results, "label-s0-000000", fails=True)
    said = remake(results, "map_crop-s0-000010", fails=True)
    assert "has no tile map_crop-s0-000010; its 10 tiles end with map_crop-s0-000009" in said
