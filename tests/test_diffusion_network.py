"""Architectures: what each takes, what it is made of, and how planes join it."""

import numpy as np
import pytest
import torch
from diffusers.models.attention_processor import Attention
from torch import nn
from torch.nn import functional

from histosynth.conditions import ConditionSpec, Targets, TilePool, check_conditions
from histosynth.config import Study
from histosynth.diffusion.network import ConditionBatch, SignalsSpec, build_network
from histosynth.errors import InputError
from histosynth.generator_settings import GeneratorSettings

SIZE, LATENT = 32, 8
PLANES = SignalsSpec(planes={"map": 2, "crop": 6})
MIXED = SignalsSpec(planes={"map": 2, "crop": 6}, tokens={"label": 3}, vectors={"prompt": 5})
SMALL = {"channels": [8, 16], "token_width": 8, "plane_width": 3, "head_width": 8}


def network(spec: SignalsSpec, *, seed: int = 0, **settings):
    made = build_network(
        GeneratorSettings(**{**SMALL, **settings}),
        spec,
        latent_shape=(3, LATENT, LATENT),
        tile_size=SIZE,
        seed=seed,
    )
    return made.eval()


def perturb(module: nn.Module) -> nn.Module:
    """Trained as it were: no layer is left at zero."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return module


def inputs(n: int = 3) -> tuple[torch.Tensor, torch.Tensor, ConditionBatch]:
    random = np.random.default_rng(4)

    def normal(*shape: int) -> torch.Tensor:
        return torch.from_numpy(random.standard_normal((n, *shape), dtype=np.float32))

    conditions = ConditionBatch(
        {
            "map": normal(2, SIZE, SIZE).clamp(-1, 1),
            "crop": normal(6, SIZE, SIZE).clamp(-1, 1),
            "label": torch.arange(n) % 3,
            "prompt": normal(5),
        }
    )
    return normal(3, LATENT, LATENT), torch.linspace(0.1, 0.9, n), conditions


# Which signals an architecture takes


def study(*signals: str | dict[str, str], **generator) -> Study:
    return Study.parse(
        {
            "study": "tiny",
            "cohort": {"kind": "phantom"},
            "classes": [{"name": "stroma", "values": [0]}, {"name": "gland", "values": [1]}],
            "label": {"names": ["healthy", "cancer"]},
            "encoders": {"texture": {}},
            "evaluation": {"encoders": ["texture"]},
            "sampling": {"guidance_scale": 1},
            "conditions": {"chosen": {"signals": list(signals)}},
            "generator": generator,
        }
    )


def test_a_token_for_the_plain_network_is_refused_when_the_study_is_read():
    with pytest.raises(InputError) as error:
        check_conditions(study("map", "label", architecture="plain"))
    for words in ("conditions.chosen.signals[1]", "'label'", "token", "plain", "preset tiny"):
        assert words in str(error.value)
    check_conditions(study("map", architecture="plain"))
    check_conditions(study(architecture="plain"))


def test_the_plain_network_itself_names_the_signal_that_it_cannot_take():
    with pytest.raises(InputError, match=r"'label' is no plane.*architecture: conditioned"):
        network(MIXED, architecture="plain")


def test_a_control_branch_on_the_plain_network_is_refused_with_both_keys():
    with pytest.raises(InputError, match=r"planes_join: controlnet.*architecture: conditioned"):
        study("map", architecture="plain", planes_join="controlnet")


@pytest.mark.parametrize("spec", [SignalsSpec(), PLANES], ids=["unconditional", "planes"])
def test_the_plain_network_predicts_from_planes_or_from_nothing(spec):
    noisy, times, conditions = inputs()
    made = perturb(network(spec, architecture="plain"))
    first = made(noisy, times, conditions)
    assert first.shape == noisy.shape
    conditions.values["map"] = -conditions.values["map"]
    assert torch.equal(first, made(noisy, times, conditions)) == (not spec.planes)


def test_the_plain_network_attends_in_its_middle_block_only_and_starts_at_zero():
    made = network(PLANES, architecture="plain", channels=[8, 16], head_width=4)
    attentions = {
        name: module for name, module in made.named_modules() if isinstance(module, Attention)
    }
    assert list(attentions) == ["unet.mid_block.attentions.0"]
    assert attentions["unet.mid_block.attentions.0"].heads == 4
    assert not made(*inputs()).any()


# Planes


def test_the_bilinear_encoder_is_means_of_pixels_and_one_linear_map_a_pixel():
    made = network(PLANES, plane_encoder="bilinear", condition_dropout=0.0)
    convolutions = [m for m in made.plane_stem.modules() if isinstance(m, nn.Conv2d)]
    assert [(c.kernel_size, c.bias) for c in convolutions] == [((1, 1), None)]
    _, _, conditions = inputs()
    planes = torch.cat([conditions["map"], conditions["crop"]], 1)
    pooled = functional.avg_pool2d(planes, SIZE // LATENT)
    expected = torch.einsum("oi,bihw->bohw", convolutions[0].weight[:, :, 0, 0], pooled)
    torch.testing.assert_close(made.plane_stem(planes), expected, rtol=1e-5, atol=1e-6)


def stem_inputs(made: nn.Module) -> int:
    return next(m for m in made.plane_stem.modules() if isinstance(m, nn.Conv2d)).in_channels


def test_only_planes_that_training_withholds_have_an_indicator():
    assert stem_inputs(network(PLANES)) == 2 + 6 + 2
    assert stem_inputs(network(PLANES, condition_dropout=0.0)) == 2 + 6
    alone = network(PLANES, condition_dropout=0.0, signal_dropout={"crop": 0.1})
    assert stem_inputs(alone) == 2 + 6 + 1


@pytest.mark.parametrize("planes_join", ["concat", "controlnet"])
@pytest.mark.parametrize("signal", ["map", "crop", "label", "prompt"])
def test_a_withheld_signal_changes_the_prediction_and_its_value_no_longer_does(planes_join, signal):
    made = perturb(network(MIXED, planes_join=planes_join))
    noisy, times, conditions = inputs()
    drop = torch.zeros(3, 4, dtype=torch.bool)
    drop[1, MIXED.names.index(signal)] = True
    full, without = made(noisy, times, conditions), made(noisy, times, conditions, drop)
    changed = (full - without).abs().amax((1, 2, 3))
    assert changed[1] > 1e-4 and changed[0] == changed[2] == 0
    value = conditions.values[signal]
    value[1] = 0 if signal == "label" else -value[1]
    torch.testing.assert_close(made(noisy, times, conditions, drop), without)


# A ControlNet branch


def test_a_control_branch_changes_nothing_at_the_start():
    spec = SignalsSpec(tokens={"label": 3})
    noisy, times, conditions = inputs()
    without = network(spec)(noisy, times, conditions)
    joined = SignalsSpec(planes=PLANES.planes, tokens=spec.tokens)
    made = network(joined, planes_join="controlnet")
    assert torch.equal(made(noisy, times, conditions), without)


def test_a_control_branch_starts_from_the_encoders_weights():
    made = network(MIXED, planes_join="controlnet")
    unet, branch = made.unet.state_dict(), made.control.encoder.state_dict()
    shared = [name for name in branch if name in unet]
    assert all(torch.equal(branch[name], unet[name]) for name in shared)
    for part in ("conv_in", "time_embedding", "class_embedding", "down_blocks.1", "mid_block"):
        assert any(name.startswith(part) for name in shared), part


def test_gradients_reach_all_of_a_control_branch_within_three_steps():
    """One step for each row of zeros: the joints first, then the stem's, then what lies before."""
    made = network(MIXED, planes_join="controlnet").train()
    optimizer = torch.optim.SGD(made.parameters(), lr=0.1)
    noisy, times, conditions = inputs()
    target = torch.randn(noisy.shape, generator=torch.Generator().manual_seed(0))
    for _ in range(3):
        optimizer.zero_grad()
        (made(noisy, times, conditions) - target).square().mean().backward()
        reached = {
            name
            for name, parameter in made.control.named_parameters()
            if parameter.grad is not None and parameter.grad.any()
        }
        optimizer.step()
    assert reached == {name for name, _ in made.control.named_parameters()}
    before = network(MIXED, planes_join="controlnet").train()
    assert not torch.equal(made(noisy, times, conditions), before(noisy, times, conditions))


# Maps of two kinds


def test_binary_maps_are_one_hot_and_zero_where_unlabelled():
    maps = np.array([[[0, 1], [255, 1]]], np.uint8)
    targets = Targets(TilePool(["t"], np.zeros(1), maps=maps, classes=2), np.zeros(1, int), [(0,)])
    spec = ConditionSpec.of(study({"kind": "map", "values": "binary"}), "chosen")
    planes = spec.encode(targets)["map"]
    assert planes.dtype == np.float32
    np.testing.assert_array_equal(planes[0], [[[1, 0], [0, 0]], [[0, 1], [0, 1]]])
