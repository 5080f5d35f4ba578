"""Guidance does what its formula says, and is refused where the model cannot know the answer."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from test_diffusion_sampling import SETTINGS, SPEC, perturbed_network, random_conditions

from histosynth.config import Study
from histosynth.diffusion.autoencoder import build_autoencoder
from histosynth.diffusion.condition_sampling import Generator
from histosynth.diffusion.guidance import check_dropout, guidance_stages
from histosynth.diffusion.latents import Whitening
from histosynth.diffusion.sample import sample_latents, seeded_noise
from histosynth.errors import InputError
from histosynth.generator_settings import AutoencoderSettings, GeneratorSettings, SamplingSettings
from histosynth.grid import Grid

NAMES = SPEC.names  # map, label, cluster
ROWS = 3


def one_euler_step(network, conditions, scale) -> torch.Tensor:
    """The guided velocity at pure noise: what one step of a flow subtracts from it."""
    noise = seeded_noise(np.arange(ROWS), (2, 8, 8))
    return noise - sample_latents(network, noise, conditions, steps=1, guidance_scale=scale)


def velocity(network, conditions, *given: str) -> torch.Tensor:
    """The network's own answer, told these signals only."""
    drop = torch.tensor([[name not in given for name in NAMES]] * ROWS)
    noise = seeded_noise(np.arange(ROWS), (2, 8, 8))
    with torch.no_grad():
        return network(noise, torch.ones(ROWS), conditions, drop)


# float32: passes are summed in other batches, and kernels in another order
CLOSE = {"rtol": 1e-4, "atol": 1e-4}


def test_guidance_by_signal_is_its_formula():
    network, conditions = perturbed_network(), random_conditions(ROWS)
    of = {
        names: velocity(network, conditions, *names)
        for names in [(), ("map",), ("label",), ("map", "label"), tuple(NAMES)]
    }
    nested = one_euler_step(network, conditions, {"map": 2.0, "label": 3.0, "cluster": 0.5})
    expected = (
        of[()]
        + 2.0 * (of["map",] - of[()])
        + 3.0 * (of["map", "label"] - of["map",])
        + 0.5 * (of["map", "label", "cluster"] - of["map", "label"])
    )
    torch.testing.assert_close(nested, expected, **CLOSE)
    other = one_euler_step(network, conditions, {"label": 3.0, "map": 2.0, "cluster": 0.5})
    assert (other - nested).abs().max() > 1e-3  # the mapping's order is the order of nesting
    # a signal that is not named comes first and counts as it is
    unnamed = one_euler_step(network, conditions, {"cluster": 4.0})
    expected = of["map", "label"] + 4.0 * (of["map", "label", "cluster"] - of["map", "label"])
    torch.testing.assert_close(unnamed, expected, **CLOSE)


def test_guidance_of_one_is_the_conditional_model_and_equal_scales_are_joint():
    network, conditions = perturbed_network(), random_conditions(ROWS)
    told = velocity(network, conditions, *NAMES)
    for scale in (1.0, dict.fromkeys(NAMES, 1.0), {"label": 1.0}, {}):
        torch.testing.assert_close(one_euler_step(network, conditions, scale), told, **CLOSE)
    joint = one_euler_step(network, conditions, 2.5)
    by_signal = one_euler_step(network, conditions, dict.fromkeys(NAMES, 2.5))
    torch.testing.assert_close(joint, by_signal, rtol=0, atol=0)
    untold = velocity(network, conditions)
    torch.testing.assert_close(joint, untold + 2.5 * (told - untold), **CLOSE)
    torch.testing.assert_close(one_euler_step(network, conditions, 0.0), untold, **CLOSE)


@pytest.mark.parametrize(
    ("scale", "signals", "withheld"),
    [
        (1.0, NAMES, [()]),
        (2.0, NAMES, [("map", "label", "cluster"), ()]),
        (0.0, NAMES, [("map", "label", "cluster")]),
        (7.5, [], [()]),
        ({"map": 2.0, "label": 2.0}, ["map", "label"], [("map", "label"), ()]),
        ({"map": 1.0, "label": 2.0}, NAMES, [("label",), ()]),
        ({"map": 3.0, "label": 2.0}, NAMES, [("map", "label"), ("label",), ()]),
        ({"map": 3.0}, ["label"], [()]),
    ],
)
def test_guidance_takes_as_few_passes_as_its_scales_allow(scale, signals, withheld):
    assert [stage.withheld for stage in guidance_stages(scale, signals)] == withheld


def test_guidance_needs_what_it_withholds_to_have_been_withheld_in_training():
    together = GeneratorSettings(condition_dropout=0.1)
    alone = GeneratorSettings(condition_dropout=0, signal_dropout={"map": 0.1, "label": 0.1})
    never = GeneratorSettings(condition_dropout=0)
    pair = ["map", "label"]
    check_dropout(3.0, pair, together, model="m")
    check_dropout(3.0, pair, alone, model="m")
    check_dropout({"map": 2.0, "label": 3.0}, pair, alone, model="m")
    check_dropout(1.0, pair, never, model="m")
    check_dropout(3.0, [], never, model="m")
    pretrained = never.model_copy(update={"architecture": "pretrained"})
    check_dropout(7.5, ["prompt"], pretrained, model="m")
    with pytest.raises(
        InputError,
        match=r"models/x: sampling\.guidance_scale 3\.0 .*map, label.*"
        r"generator\.condition_dropout: 0.*set sampling\.guidance_scale: 1",
    ):
        check_dropout(3.0, pair, never, model="models/x")
    # all at once is not one alone
    with pytest.raises(InputError, match=r"signal_dropout: \{label: 0\.1\}"):
        check_dropout({"map": 2.0, "label": 3.0}, pair, together, model="m")


def test_a_loaded_model_without_dropout_is_not_guided():
    settings = SETTINGS.model_copy(update={"condition_dropout": 0.0})
    generator = Generator(
        perturbed_network(settings=settings),
        build_autoencoder(AutoencoderSettings(channels=[8, 8, 8], latent_channels=2)),
        Whitening((0.0, 0.0), (1.0, 1.0)),
        torch.device("cpu"),
        Path("models/map/seed0"),
        "fingerprint",
    )
    asked = SimpleNamespace(settings=SamplingSettings(guidance_scale=2.0))
    with pytest.raises(InputError, match=r"models/map/seed0: sampling\.guidance_scale 2\.0"):
        generator.images(asked, np.arange(3))


STUDY = {
    "study": "tiny",
    "cohort": {"kind": "phantom"},
    "classes": [{"name": "stroma", "values": [0]}, {"name": "gland", "values": [1]}],
    "label": {"names": ["healthy", "cancer"]},
    "encoders": {"texture": {}},
    "evaluation": {"encoders": ["texture"]},
    "conditions": {"map": {"signals": ["map"]}, "none": {"signals": []}},
}

CASES = {
    "unknown solver": ({"sampling": {"solver": "leap"}}, r"sampling\.solver.*'leap'"),
    "solver of another process": (
        {"sampling": {"solver": "ddim"}},
        r"sampling\.solver: ddim does not solve generator\.target: flow.*euler, heun, dpmpp, unipc",
    ),
    "a flow's solver": (
        {"generator": {"target": "epsilon"}},
        r"sampling\.solver: euler does not solve generator\.target: epsilon.*ddim",
    ),
    "noise without ddim": (
        {"sampling": {"eta": 0.5}},
        r"sampling\.eta: 0\.5.*sampling\.solver: euler.*ddim",
    ),
    "more steps than there are": (
        {"generator": {"target": "epsilon"}, "sampling": {"solver": "ddim", "steps": 1000}},
        r"sampling\.steps: 1000.*at most 999",
    ),
    "no dropout": (
        {"generator": {"condition_dropout": 0}},
        r"condition map: sampling\.guidance_scale 1\.5.*generator\.condition_dropout",
    ),
    "no dropout for a condition's own": (
        {
            "generator": {"condition_dropout": 0},
            "sampling": {"guidance_scale": 1},
            "conditions": {"map": {"signals": ["map"], "guidance_scale": 2}},
        },
        r"conditions\.map\.guidance_scale 2.*generator\.condition_dropout",
    ),
    "a signal that nobody gives": (
        {"sampling": {"guidance_scale": {"mop": 2}}},
        r"sampling\.guidance_scale: no signal 'mop'; the study's conditions give: map",
    ),
    "withheld, a signal that nobody gives": (
        {"generator": {"signal_dropout": {"mpa": 0.1}}},
        r"generator\.signal_dropout: no signal 'mpa'; the study's conditions give: map",
    ),
    "a signal of another condition": (
        {
            "conditions": {
                "map": {"signals": ["map"], "guidance_scale": {"label": 2}},
                "label": {"signals": ["label"]},
            }
        },
        r"conditions\.map\.guidance_scale: no signal 'label'; condition map gives: map",
    ),
    "below zero": ({"sampling": {"guidance_scale": {"map": -1}}}, r"greater than or equal to 0"),
}


@pytest.mark.parametrize("case", CASES)
def test_sampling_that_cannot_be_is_refused_where_the_study_is_read(case):
    changes, message = CASES[case]
    with pytest.raises(InputError, match=message):
        Study.parse(STUDY | changes)


def test_a_study_may_guide_by_signal():
    study = Study.parse(
        STUDY
        | {
            "generator": {"signal_dropout": {"map": 0.1, "label": 0.1}},
            "sampling": {"guidance_scale": {"map": 2, "label": 3}},
            "conditions": STUDY["conditions"]
            | {"both": {"signals": ["map", "label"], "guidance_scale": {"label": 4, "map": 2}}},
        }
    )
    assert list(study.sampling_of("both").guidance_scale) == ["label", "map"]
    turned = study.model_copy(
        update={
            "sampling": study.sampling.model_copy(
                update={"guidance_scale": {"label": 3.0, "map": 2.0}}
            )
        }
    )
    # the order counts, so a change of it samples anew
    assert Grid(study).sample_settings("map") != Grid(turned).sample_settings("map")
