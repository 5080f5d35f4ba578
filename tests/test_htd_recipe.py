"""The recipe of HeteroTissue-Diffuse as a study says it, from latents to images, by the scripts."""

import numpy as np
import pytest
import torch
from generator_workspace import STUDY, Workspace

from histosynth.conditions import ConditionSpec
from histosynth.config import Study
from histosynth.diffusion.condition_sampling import Generator
from histosynth.diffusion.latents import LatentCache
from histosynth.diffusion.train import load_network
from histosynth.tilesets import TileSet

SIGNALS = [
    {"kind": "map", "values": "binary"},
    {"kind": "crop", "source": "other_slide", "training_source": "same_image", "rule": "htd"},
]
HTD = STUDY | {
    "conditions": {"htd": {"signals": SIGNALS}},
    "generator": {"preset": "htd", "channels": [8, 16], "steps": 2, "batch_size": 4},
    "sampling": {"n": 6, "steps": 3},
}


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    made = Workspace(tmp_path_factory.mktemp("htd"), HTD)
    made.prepare()
    made.train_and_sample("htd")
    return made


def test_the_model_is_trained_on_latents_as_they_are_and_without_flips(workspace):
    cache = LatentCache.open(workspace.folder / "latents")
    assert len(cache.mean) == 1  # no flip is encoded that nobody trains on
    _, record = load_network(workspace.folder / "models/htd/seed0/weights.safetensors")
    assert set(record["whitening"]["mean"]) == {0} and set(record["whitening"]["std"]) == {1}
    assert set(cache.whitening.std) != {1}  # so that the two differ


def test_images_are_decoded_in_the_scale_that_the_model_was_trained_in(workspace):
    folder = workspace.folder
    generator = Generator.load(
        ConditionSpec.load(folder / "conditions/htd.yaml", Study.load(workspace.config)),
        TileSet.open(folder / "real/test"),
        {
            "model": folder / "models/htd/seed0",
            "autoencoder": folder / "models/autoencoder",
            "latents": folder / "latents",
        },
        device=torch.device("cpu"),
    )
    latents = np.random.default_rng(0).random((1, 8, 8, 8))
    np.testing.assert_array_equal(generator.whitening.invert(latents), latents.astype(np.float32))


def test_images_are_sampled_as_the_recipe_says_where_the_study_does_not(workspace):
    tiles = TileSet.open(workspace.folder / "synthetic/htd/seed0")
    assert len(tiles) == 6
    assert len({image.tobytes() for image in tiles.images()}) == 6
    sampling = tiles.provenance["sampling"]
    assert (sampling["solver"], sampling["eta"], sampling["steps"]) == ("ddim", 1.0, 3)
    settings = workspace.json("models/htd/seed0/train.json")["settings"]
    assert settings["preset"] == "htd" and settings["loss"] == "l1"


def test_a_sample_carries_the_map_that_was_asked_for(workspace):
    tiles, test = (
        TileSet.open(workspace.folder / name) for name in ("synthetic/htd/seed0", "real/test")
    )
    asked = {test.maps()[row].tobytes() for row in range(len(test))}
    assert {np.ascontiguousarray(map).tobytes() for map in tiles.maps()} <= asked
