"""Osorio's recipe from tiles to a synthetic set, with a tiny Stable Diffusion on small tiles."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import ROOT
from diffusers_folders import write_pipeline
from generator_workspace import SIZE, STUDY, Workspace
from patch_files import write_pcam_hdf5
from safetensors.torch import load_file

from histosynth.conditions import ConditionSpec
from histosynth.config import Study
from histosynth.diffusion.network import SignalsSpec, build_network
from histosynth.errors import InputError
from histosynth.grid import Grid

OSORIO = "Histology image of {label} tissue, morphology type {cluster}"
LORA = {"lora_rank": 2, "learning_rate": 1e-2}


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory) -> Path:
    return write_pipeline(tmp_path_factory.mktemp("osorio") / "pipeline")


def osorio_study(pipeline: Path, **generator) -> dict:
    prompt = {"kind": "prompt", "text_encoder": str(pipeline)}
    baseline = prompt | {"template": "Histology image of {label} tissue"}
    recipe = {"preset": "osorio", "base": str(pipeline), "steps": 2, "batch_size": 4}
    return STUDY | {
        "conditions": {"baseline": {"signals": [baseline]}, "prompt": {"signals": [prompt]}},
        # twice the tile's side, as the paper's 512 px are more than its 96
        "autoencoder": {"kind": "pretrained", "path": str(pipeline), "resolution": 2 * SIZE},
        "generator": recipe | generator,
        "sampling": {"n": 6, "steps": 3, "batch_size": 4, "seed": 7},
    }


@pytest.fixture(scope="module")
def workspace(pipeline, tmp_path_factory) -> Workspace:
    made = Workspace(tmp_path_factory.mktemp("study"), osorio_study(pipeline, **LORA))
    made.prepare()
    return made


def test_a_condition_is_trained_and_sampled_by_prompts(workspace, pipeline):
    made = {name: workspace.train_and_sample(name) for name in ("baseline", "prompt")}
    table = pd.read_parquet(workspace.folder / "table.parquet")
    for name, tiles in made.items():
        assert tiles.images().shape == (6, SIZE, SIZE, 3)
        # what was asked for is known, so that it can be judged
        assert tiles.table["label"].tolist() == table["label"].tolist()
        record = workspace.json(f"models/{name}/seed0/train.json")
        assert record["settings"]["base"] == str(pipeline) and np.isfinite(record["loss"]).all()
    assert (made["baseline"].table["cluster"] == -1).all()
    assert made["prompt"].table["cluster"].tolist() == table["cluster"].tolist()
    # The noise is the same; the prompts are not.
    one, other = (tiles.images().astype(int) for tiles in made.values())
    assert np.abs(one - other).max() > 0


def test_latents_are_as_large_as_the_enlarged_tiles_and_scaled_as_the_pipelines(workspace):
    latents = np.load(workspace.folder / "latents/mean.npy", mmap_mode="r")
    assert latents.shape[1:] == (16, 4, 2 * SIZE // 4, 2 * SIZE // 4)
    assert workspace.json("latents/latents.json")["scaling_factor"] == 0.18215


def test_sampling_with_another_text_encoder_is_refused(workspace, pipeline, tmp_path):
    workspace.train_and_sample("baseline", seed=1)
    other = write_pipeline(tmp_path / "other", seed=1)
    path = workspace.folder / "conditions/baseline.yaml"
    before = path.read_text()
    settings = yaml.safe_load(before)
    settings["signals"][0]["text_encoder"] = str(other)
    path.write_text(yaml.safe_dump(settings))
    said = workspace.sample("baseline", "models/baseline/seed1", "wrong", seed=1, fails=True)
    path.write_text(before)
    assert "models/baseline/seed1: was trained with signals" in said


def test_a_condition_starts_from_another_prompts_weights(workspace):
    settings = yaml.safe_load(workspace.config.read_text())
    settings["conditions"]["prompt"] |= {"init_from": "baseline", "steps": 1}
    (workspace.folder / "initialised.yaml").write_text(yaml.safe_dump(settings))
    study = Study.load(workspace.folder / "initialised.yaml")
    resolved = yaml.safe_dump(ConditionSpec.of(study, "prompt").resolved())
    (workspace.folder / "conditions/initialised.yaml").write_text(resolved)
    workspace.train_and_sample("baseline", seed=2)
    workspace.script(
        "train", "--config", "initialised.yaml", "--condition", "conditions/initialised.yaml",
        "--train", "real/train", "--latents", "latents", "--clusters", "clusters", "--base",
        "models/baseline/seed2", "--state", "s", "--output", "models/initialised",
    )  # fmt: skip
    base, made = (
        load_file(workspace.folder / f"models/{name}/weights.safetensors")
        for name in ("baseline/seed2", "initialised")
    )
    start = build_network(
        workspace.study.generator, SignalsSpec(vectors={"prompt": 16}), latent_shape=(4, 16, 16),
        tile_size=SIZE,
    ).weights_to_save()  # fmt: skip
    far, near = (max(float((made[k] - w[k]).abs().max()) for k in made) for w in (start, base))
    assert 0 < near < 0.1 < far


def test_a_prompt_joins_our_own_network_beside_other_signals(pipeline, tmp_path):
    study = osorio_study(pipeline)
    signals = [*study["conditions"]["prompt"]["signals"], "label", "map"]
    study |= {key: STUDY[key] for key in ("autoencoder", "generator", "sampling")}
    study |= {"conditions": {"mixed": {"signals": signals, "guidance_scale": 2.0}}}
    made = Workspace(tmp_path, study)
    made.prepare()
    tiles = made.train_and_sample("mixed")
    assert tiles.images().shape == (10, SIZE, SIZE, 3) and tiles.classes
    assert set(tiles.table["cluster"]) <= {0, 1, 2}


@pytest.mark.parametrize(
    ("signals", "said"),
    [
        (["label"], r"conditions\.c\.signals\[0\]: .*'label' joins as token.*pretrained"),
        ([], r"conditions\.c\.signals: there are none.*constant sentence"),
    ],
)
def test_signals_that_a_pretrained_generator_cannot_read_are_refused_at_planning(
    pipeline, signals, said
):
    study = osorio_study(pipeline) | {"conditions": {"c": {"signals": signals}}}
    with pytest.raises(InputError, match=said):
        Grid.from_config(study)


def test_guidance_needs_no_dropout_of_ours_and_the_preset_fills_sampling(pipeline):
    study = Study.parse(osorio_study(pipeline) | {"sampling": {"n": 6}})
    assert study.generator.condition_dropout == 0
    sampling = study.sampling
    assert (sampling.solver, sampling.steps, sampling.guidance_scale) == ("dpmpp", 50, 7.5)


def test_the_papers_study_plans(tmp_path, monkeypatch):
    write_pcam_hdf5(tmp_path / "pcam")
    monkeypatch.setenv("HISTOSYNTH_DATA", str(tmp_path))
    settings = yaml.safe_load((ROOT / "studies/osorio_pcam.yaml").read_text())
    grid = Grid.from_config(settings)
    prompts = {name: ConditionSpec.of(grid.study, name) for name in ("label_prompt", "prompt")}
    assert prompts["label_prompt"].provides == {"labels"}
    assert prompts["prompt"].provides == {"labels", "clusters"}
    assert prompts["prompt"].signals[0].options.template == OSORIO
    assert (grid.study.clusters.k, grid.study.autoencoder.resolution) == (33, 512)
    assert grid.study.generator.learning_rate == 1e-5
    assert {cell.group for cell in grid.cells()} >= {"adherence", "legacy", "utility"}
