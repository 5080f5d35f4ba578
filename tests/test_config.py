"""A study's settings: one source for schema and defaults, and errors that name key and cure."""

import copy
import json
import re
import runpy
from pathlib import Path

import pytest
import yaml
from snakemake.utils import update_config

from histosynth.config import Study, schema_text
from histosynth.errors import InputError

ROOT = Path(__file__).parent.parent
DEMO = yaml.safe_load((ROOT / "config.yaml").read_text())


def demo(**changes):
    return {**copy.deepcopy(DEMO), **changes}


def test_committed_schema_is_the_models_schema():
    committed = (ROOT / "schemas" / "config.schema.json").read_text()
    assert committed == schema_text(), "run `python -m histosynth.config`"


@pytest.mark.parametrize("path", [ROOT / "config.yaml", *sorted((ROOT / "studies").glob("*.yaml"))])
def test_every_committed_study_is_valid(path):
    study = Study.load(path)
    assert study.study


@pytest.mark.parametrize("path", sorted((ROOT / "studies" / "full").glob("*.yaml")))
def test_every_full_size_is_valid_on_top_of_its_study(path):
    settings = yaml.safe_load((ROOT / "studies" / path.name).read_text())
    update_config(settings, yaml.safe_load(path.read_text()))  # as two --configfile do
    assert Study.parse(settings).study == f"{path.stem}_full"


def test_dumped_study_reads_back_equal():
    study = Study.parse(demo())
    assert Study.parse(yaml.safe_load(study.dump())) == study


def test_schema_names_every_key_of_the_demo():
    assert set(DEMO) <= set(json.loads(schema_text())["properties"])


BAD = {
    "unknown key": ({"studdy": 1}, ["studdy", "unknown key", "study, seeds"]),
    "unknown nested key": ({"tiling": {"siz": 64}}, ["tiling.siz", "known here: size, mpp"]),
    "unknown cohort key": (
        {"cohort": {"kind": "phantom", "patiens": 3}},
        ["cohort.phantom.patiens", "known here: kind, patients"],
    ),
    "unknown encoder key": (
        {"encoders": {"texture": {"kidn": "texture"}, "random": {}}},
        ["encoders.texture.kidn", "known here: kind, model"],
    ),
    "name unfit for a path": (
        {"conditions": {"map/../x": {"signals": []}}},
        ["conditions.map/../x", "letters, digits and underscores"],
    ),
    "study name unfit for a path": ({"study": "../up"}, ["study", "letters, digits"]),
    "reserved condition": (
        {"conditions": {"real": {"signals": []}}},
        ["conditions.real", "reference row"],
    ),
    "encoder that is not there": (
        {"evaluation": {"encoders": ["uni"]}},
        ["evaluation.encoders", "'uni'", "texture, random"],
    ),
    "label class that is not there": (
        {"label": {"source": "class_fraction", "names": ["a", "b"], "classes": ["tumor"]}},
        ["label.classes", "tumor", "tumour"],
    ),
    "condition that is both": (
        {"conditions": {"x": {"signals": [], "external": "f"}}},
        ["conditions.x", "either `signals`", "`external`"],
    ),
    "class value twice": (
        {"classes": [{"name": "a", "values": [1]}, {"name": "b", "values": [1]}]},
        ["classes", "mask value 1", "more than once"],
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_settings_name_the_key_and_the_cure(case):
    changes, expected = BAD[case]
    with pytest.raises(InputError) as error:
        Study.parse(demo(**changes))
    for words in expected:
        assert words in str(error.value)


def test_all_bad_keys_are_told_at_once():
    with pytest.raises(InputError) as error:
        Study.parse(demo(studdy=1, tiling={"siz": 3}))
    assert "2 bad setting(s)" in str(error.value)


def test_unset_environment_variable_in_a_path_is_named(monkeypatch):
    monkeypatch.delenv("NOWHERE", raising=False)
    with pytest.raises(InputError, match="NOWHERE"):
        Study.parse(demo(cohort={"kind": "table", "table": "${NOWHERE}/slides.csv"}))


def test_missing_file_and_bad_yaml_are_named(tmp_path):
    with pytest.raises(InputError, match="no such config file"):
        Study.load(tmp_path / "none.yaml")
    (tmp_path / "bad.yaml").write_text("study: [")
    with pytest.raises(InputError, match="not valid YAML"):
        Study.load(tmp_path / "bad.yaml")


def test_conda_environment_is_generated_from_pyproject():
    namespace = runpy.run_path(str(ROOT / "envs" / "generate.py"))
    committed = (ROOT / "envs" / "histosynth.yaml").read_text()
    assert committed == namespace["environment_text"](), "run `python envs/generate.py`"
    pip_packages = yaml.safe_load(committed)["dependencies"][-1]["pip"]
    assert any(p.startswith("torch>=") for p in pip_packages)


def test_lock_pins_exactly_and_names_no_index():
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9._+!]+", pin) for pin in pins)
