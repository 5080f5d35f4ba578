"""A training is made anew for what decides its weights, and for nothing else."""

import copy
from typing import Any

import pytest
import yaml
from conftest import ROOT

from histosynth.config import Study
from histosynth.grid import Grid

DEMO = yaml.safe_load((ROOT / "config.yaml").read_text())


def grid(changes: dict[str, dict[str, Any]]) -> Grid:
    study = copy.deepcopy(DEMO)
    for section, values in changes.items():
        study.setdefault(section, {}).update(values)
    return Grid(Study.parse(study))


@pytest.mark.parametrize(
    ("changes", "retrained"),
    [
        ({"generator": {"micro_batch": 4, "validate_every": 50, "save_every_seconds": 5}}, set()),
        ({"clusters": {"k": 9}}, {"label_cluster"}),
        ({"label": {"names": ["benign", "cancer"]}}, {"label", "label_cluster"}),
        ({"generator": {"steps": 7}}, set(DEMO["conditions"])),
    ],
)
def test_a_setting_retrains_the_conditions_that_it_decides(changes, retrained):
    before, after = grid({}), grid(changes)
    differing = {n for n in before.trained if before.train_settings(n) != after.train_settings(n)}
    assert differing == retrained


def test_what_an_autoencoder_costs_is_no_reason_to_train_it_again():
    cost = {"micro_batch": "auto", "save_every_seconds": 5, "cached_flips": "all"}
    assert grid({"autoencoder": cost}).settings("autoencoder") == grid({}).settings("autoencoder")
    assert grid({"autoencoder": {"steps": 7}}).settings("autoencoder") != grid({}).settings(
        "autoencoder"
    )
