"""Presets are the recipes that they name, down to the network's layers, and yield to the study."""

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from diffusers import DDPMScheduler
from diffusers.models.attention_processor import Attention
from torch import nn

from histosynth.conditions import check_conditions
from histosynth.config import Study
from histosynth.diffusion.autoencoder import build_autoencoder
from histosynth.diffusion.latents import write_latents
from histosynth.diffusion.loop import Plan
from histosynth.diffusion.network import ConditionBatch, ConditionedNetwork, SignalsSpec
from histosynth.diffusion.network import build_network as build
from histosynth.diffusion.process import Process
from histosynth.diffusion.train import load_network, save_network, train_generator
from histosynth.errors import InputError
from histosynth.generator_settings import AutoencoderSettings, GeneratorSettings, SamplingSettings
from histosynth.presets import PRESETS

ALL = SignalsSpec(planes={"map": 6, "crop": 18}, tokens={"label": 2, "cluster": 8})
# Two one-hot planes and a crop's three channels for each class: the 8 channels of Camelyon16
CAMELYON16 = SignalsSpec(planes={"map": 2, "crop": 6})


def shape_of(settings: GeneratorSettings, spec: SignalsSpec, **sizes) -> ConditionedNetwork:
    """The network without memory for its weights."""
    with torch.device("meta"):
        return build(settings, spec, **sizes)


def study(**sections) -> Study:
    return Study.parse(
        {
            "study": "tiny",
            "cohort": {"kind": "phantom"},
            "classes": [{"name": "normal", "values": [0]}, {"name": "tumour", "values": [1]}],
            "encoders": {"texture": {}},
            "evaluation": {"encoders": ["texture"]},
            "conditions": {"map": {"signals": ["map"]}},
            **sections,
        }
    )


def millions(network: nn.Module) -> float:
    return sum(parameter.numel() for parameter in network.parameters()) / 1e6


@pytest.mark.parametrize(("preset", "low", "high"), [("small", 28, 38), ("base", 120, 145)])
@pytest.mark.parametrize("side", [32, 64])
def test_our_recipes_have_the_size_that_they_claim(preset, low, high, side):
    settings = GeneratorSettings(preset=preset)
    network = shape_of(settings, ALL, latent_shape=(4, side, side), tile_size=256)
    assert low < millions(network) < high
    attentions = [module for module in network.modules() if isinstance(module, Attention)]
    assert {module.inner_dim // module.heads for module in attentions} == {64}
    assert (settings.target, settings.times) == ("flow", "logit_normal")


# HeteroTissue-Diffuse


@pytest.fixture(scope="module")
def htd() -> ConditionedNetwork:
    settings = GeneratorSettings(preset="htd")
    return shape_of(settings, CAMELYON16, latent_shape=(3, 64, 64), tile_size=256)


def test_htds_planes_are_halved_twice_and_mapped_to_three_channels_without_a_bias(htd):
    mapped = [module for module in htd.plane_stem if isinstance(module, nn.Conv2d)]
    assert [(m.in_channels, m.out_channels, m.kernel_size, m.bias) for m in mapped] == [
        (8, 3, (1, 1), None)
    ]
    assert len(htd.plane_stem) == 3  # two halvings before it
    assert htd.plane_stem(torch.empty(1, 8, 256, 256, device="meta")).shape == (1, 3, 64, 64)


def test_htds_network_has_the_authors_layers(htd):
    unet = htd.unet
    assert (unet.conv_in.in_channels, unet.conv_out.out_channels) == (6, 3)
    assert [block.resnets[-1].out_channels for block in unet.down_blocks] == [128, 512, 1024]
    assert [len(block.resnets) for block in unet.down_blocks] == [2, 2, 2]
    assert [len(block.resnets) for block in unet.up_blocks] == [3, 3, 3]
    attentions = {name: m for name, m in unet.named_modules() if isinstance(m, Attention)}
    assert list(attentions) == ["mid_block.attentions.0"]
    assert attentions["mid_block.attentions.0"].heads == 8
    assert {m.num_groups for m in unet.modules() if isinstance(m, nn.GroupNorm)} == {32}


def test_htds_process_is_the_authors_diffusion():
    settings = GeneratorSettings(preset="htd")
    process = Process(settings)
    theirs = DDPMScheduler(1000, beta_start=0.0015, beta_end=0.0205, beta_schedule="scaled_linear")
    signal, _ = process.mix(torch.arange(1000) / 999)
    torch.testing.assert_close(signal.flatten() ** 2, theirs.alphas_cumprod, rtol=1e-4, atol=0)
    times = process.draw_times(20_000, np.random.default_rng(0))
    assert np.histogram(times, bins=4, range=(0, 1))[0] == pytest.approx([5000] * 4, rel=0.06)
    latents, noise = torch.zeros(2, 3, 4, 4), torch.ones(2, 3, 4, 4)
    assert torch.equal(process.target(latents, noise, torch.rand(2)), noise)
    assert process.loss(3 * noise, noise, torch.rand(2)).tolist() == [2.0, 2.0]  # not 4: L1


def test_htd_warms_up_for_10_000_steps_and_then_keeps_its_rate():
    settings = GeneratorSettings(preset="htd")
    # four GPUs of twelve samples, and the base rate times both
    assert settings.batch_size == 4 * 12
    assert settings.learning_rate == pytest.approx(1e-6 * 4 * 12)
    plan = Plan(
        steps=settings.steps,
        batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        warmup_steps=settings.warmup_steps,
        decay=settings.decay,
    )
    rates = [plan.rate(step) for step in (0, 4_999, 9_999, 50_000, settings.steps - 1)]
    assert rates == pytest.approx([4.8e-9, 2.4e-5, 4.8e-5, 4.8e-5, 4.8e-5])


def test_htd_withholds_nothing_and_varies_nothing():
    settings = GeneratorSettings(preset="htd")
    with pytest.raises(InputError, match="never trained without map"):
        study(generator={"preset": "htd"}, sampling={"guidance_scale": 2})
    assert (settings.flips, settings.latents) == ("none", "unscaled")
    assert (settings.ema_decay, settings.ema_widths) == (0.9999, [])


# Presets and the study


def test_a_presets_sampling_fills_what_the_study_leaves_out():
    sampling = study(generator={"preset": "htd"}, sampling={"n": 7}).sampling
    assert (sampling.solver, sampling.steps, sampling.eta, sampling.n) == ("ddim", 200, 1.0, 7)
    assert sampling.guidance_scale == 1
    own = study(generator={"preset": "htd"}, sampling={"steps": 50}).sampling
    assert (own.steps, own.eta) == (50, 1.0)
    assert study(generator={"steps": 3}).sampling == study().sampling == SamplingSettings()


@pytest.mark.parametrize("preset", PRESETS)
def test_one_key_overrides_and_the_others_stay(preset):
    before = GeneratorSettings(preset=preset).model_dump()
    after = GeneratorSettings(preset=preset, learning_rate=0.123).model_dump()
    assert after == {**before, "learning_rate": 0.123}


@pytest.mark.parametrize("preset", PRESETS)
def test_a_resolved_preset_reads_back_as_itself(preset):
    settings = GeneratorSettings(preset=preset)
    assert GeneratorSettings(**settings.model_dump(mode="json")) == settings


@pytest.mark.parametrize("preset", ["htdd", 3, ["htd"]])
def test_an_unknown_preset_is_refused_with_those_there_are(preset):
    with pytest.raises(InputError, match=r"generator\.preset.*'htd'"):
        study(generator={"preset": preset})


DOCS = Path(__file__).parent.parent / "docs" / "presets.md"


def documented() -> list[dict]:
    """The YAML blocks of the page: what is indented by four."""
    lines = DOCS.read_text(encoding="utf-8").splitlines()
    blocks = itertools.groupby(lines, key=lambda line: line.startswith("    "))
    return [yaml.safe_load("\n".join(block)) for is_yaml, block in blocks if is_yaml]


@pytest.mark.parametrize("sections", documented(), ids=lambda sections: "-".join(sections))
def test_what_the_docs_write_is_a_valid_study(sections):
    made = study(
        label={"names": ["healthy", "cancer"]}, clusters={"encoder": "texture"}, **sections
    )
    if "conditions" in sections and made.generator.architecture != "pretrained":
        check_conditions(made)


# Trained


AUTOENCODER = AutoencoderSettings(channels=[8, 8, 8], latent_channels=3, crop=16)
SMALL_HTD = {"preset": "htd", "channels": [8, 16], "steps": 2, "batch_size": 4}


def conditions(rows: np.ndarray, flips: np.ndarray, _seeds) -> ConditionBatch:
    assert not flips.any(), "htd has no flips"
    planes = np.random.default_rng(0).uniform(-1, 1, (len(rows), 8, 32, 32)).astype(np.float32)
    crops, maps = torch.from_numpy(planes).split([6, 2], 1)
    return ConditionBatch({"map": maps, "crop": crops})


def train(folder, settings: GeneratorSettings):
    tiles = np.random.default_rng(0).integers(0, 255, (6, 32, 32, 3), dtype=np.uint8)
    autoencoder = build_autoencoder(AUTOENCODER)
    cache = write_latents(folder / "latents", autoencoder, tiles, tiles_fingerprint="t")
    network, record = train_generator(
        cache,
        conditions,
        settings,
        seed=0,
        spec=CAMELYON16,
        tile_size=32,
        state_folder=folder / "state",
        log=print,
        device="cpu",
    )
    return cache, network, record


def test_htd_trains_with_other_channels_and_its_weights_read_back(tmp_path):
    settings = study(generator=SMALL_HTD).generator
    cache, network, record = train(tmp_path, settings)
    assert record["steps"] == 2 and all(math.isfinite(loss) for loss in record["loss"])
    save_network(tmp_path / "weights.safetensors", network, cache)
    again, kept = load_network(tmp_path / "weights.safetensors")
    assert kept["whitening"] == {"mean": [0, 0, 0], "std": [1, 1, 1]}
    noisy, times = torch.randn(2, 3, 8, 8), torch.rand(2)
    given = conditions(np.arange(2), np.zeros(2, int), None)
    assert torch.equal(again(noisy, times, given), network(noisy, times, given))
