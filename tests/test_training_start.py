"""scripts/train.py: scores on validation tiles, and a start from another condition's weights."""

import shutil

import numpy as np
import pytest
import yaml
from generator_workspace import Workspace, write_tiles

from histosynth.conditions import ConditionSpec
from histosynth.config import Study

STEPS = 4


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    made = Workspace(tmp_path_factory.mktemp("study"))
    write_tiles(made.folder / "real/more_val", first_slide=20, slides=3, split="val")
    for name, steps in (("autoencoder", 6), ("other", 5)):
        settings = yaml.safe_load(made.config.read_text())
        settings["autoencoder"]["steps"] = steps
        (made.folder / "autoencoder.yaml").write_text(yaml.safe_dump(settings))
        made.script(
            "autoencoder", "--config", "autoencoder.yaml", "--train", "real/train",
            "--val", "real/val", "--state", "models/.state", "--output", f"models/{name}",
        )  # fmt: skip
    made.script(
        "latents", "--autoencoder", "models/autoencoder", "--tileset", "real/train",
        "--output", "latents",
    )  # fmt: skip
    return made


def train(
    workspace: Workspace, condition: str, output: str, *arguments: str, fails=False, **changes
):
    """Train with settings of the generator, and `init_from` of the condition, changed."""
    settings = yaml.safe_load(workspace.config.read_text())
    settings["conditions"]["map"] = {"signals": ["map"]}
    if "init_from" in changes:
        settings["conditions"][condition]["init_from"] = changes.pop("init_from")
    settings["generator"] |= {"steps": STEPS, "validate_every": 2} | changes
    (workspace.folder / "study.yaml").write_text(yaml.safe_dump(settings))
    resolved = ConditionSpec.of(Study.load(workspace.folder / "study.yaml"), condition).resolved()
    (workspace.folder / "condition.yaml").write_text(yaml.safe_dump(resolved))
    said = workspace.script(
        "train", "--config", "study.yaml", "--condition", "condition.yaml", "--latents", "latents",
        "--train", "real/train", "--state", f"{output}.state", "--output", output, *arguments,
        fails=fails,
    )  # fmt: skip
    return said if fails else workspace.json(f"{output}/train.json")


HELD_OUT = ("--autoencoder", "models/autoencoder", "--val")


def test_the_better_average_by_kernel_distance_is_kept(workspace) -> None:
    record = train(workspace, "map_crop", "chosen", *HELD_OUT, "real/more_val")
    assert [row["step"] for row in record["validation"]] == [2, 4]
    assert all(np.isfinite(row["loss"]) for row in record["validation"])
    scores = record["averages"]
    assert len(scores) == 2 and record["average"] == min(scores, key=scores.get)
    told = record["selection"]
    assert told["encoder"] == "texture" and told["images"] == 12 and told["guidance_scale"] == 1
    again = train(workspace, "map_crop", "again", *HELD_OUT, "real/more_val")
    assert again["validation"] == record["validation"] and again["averages"] == scores
    assert again["loss"] == train(workspace, "map_crop", "unwatched")["loss"]


def test_with_few_validation_tiles_the_first_average_is_taken_and_it_is_said(workspace) -> None:
    few = train(workspace, "map", "few", *HELD_OUT, "real/val")
    assert few["selection"]["reason"].endswith("4 validation tiles, and 8 are needed")
    none = train(workspace, "map", "none", *HELD_OUT, "real/more_val", selection_images=0)
    assert "generator.selection_images is 0" in none["selection"]["reason"]
    for record in (few, none):
        assert set(record["averages"].values()) == {None}
        assert record["average"] == next(iter(record["averages"]))


def test_a_condition_started_from_another_starts_at_its_loss(workspace) -> None:
    base = train(workspace, "map", "base", *HELD_OUT, "real/val", learning_rate=5e-3)
    arguments = (*HELD_OUT, "real/val", "--base", "base")
    tuned = train(workspace, "map_crop", "tuned", *arguments, init_from="map", learning_rate=1e-12)
    assert tuned["init_from"] == "map" and base["init_from"] is None
    # The last validated weights of the base are those that it saved; the tuned ones do not move.
    expected, found = base["validation"][-1]["loss"], tuned["validation"][0]["loss"]
    assert found == pytest.approx(expected, rel=1e-5)
    scratch = train(workspace, "map_crop", "scratch", *HELD_OUT, "real/val", learning_rate=1e-12)
    assert abs(scratch["validation"][0]["loss"] - expected) > 1e-3


def test_a_start_from_the_wrong_model_is_refused(workspace) -> None:
    train(workspace, "unconditional", "bare")
    options = {"init_from": "map", "fails": True}
    message = train(workspace, "map_crop", "x", "--base", "bare", **options)
    assert "bare: a model of condition unconditional, but conditions.map_crop.init_from" in message
    message = train(workspace, "map_crop", "x", **options)
    assert "init_from is map, but no model was given; pass" in message
    shutil.rmtree(workspace.folder / "bare")
    message = train(workspace, "map_crop", "x", "--base", "bare", **options)
    assert "bare/weights.safetensors: no such file; train map" in message


def test_latents_of_another_autoencoder_or_other_tiles_are_refused_in_training(workspace) -> None:
    arguments = ("--autoencoder", "models/other", "--val", "real/val")
    message = train(workspace, "map", "x", *arguments, fails=True)
    assert "latents: latents of autoencoder" in message and "models/other is" in message
    message = train(workspace, "map", "x", "--val", "real/val", fails=True)
    assert "--val needs --autoencoder" in message
    message = train(workspace, "map", "x", "--train", "real/test", fails=True)
    assert "latents of tile set" in message and "run scripts/latents.py" in message
    assert not (workspace.folder / "x").exists()
