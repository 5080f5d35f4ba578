"""A Stable Diffusion pipeline's UNet: tuned whole or by LoRA, sampled as diffusers samples."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline
from diffusers_folders import write_pipeline
from safetensors import safe_open

from histosynth.diffusion.latents import LatentCache, Whitening
from histosynth.diffusion.network import ConditionBatch, SignalsSpec, build_network
from histosynth.diffusion.sample import sample_latents, seeded_noise
from histosynth.diffusion.train import load_network, save_network, train_generator
from histosynth.encoders.text import TextEncoder
from histosynth.errors import InputError
from histosynth.generator_settings import GeneratorSettings

SPEC = SignalsSpec(vectors={"prompt": 16})
SHAPE = (4, 8, 8)
PROMPTS = ["Histology image of healthy tissue", "Histology image of cancer tissue"]


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory) -> Path:
    return write_pipeline(tmp_path_factory.mktemp("pretrained") / "pipeline")


@pytest.fixture(scope="module")
def states(pipeline) -> np.ndarray:
    """Hidden states of the two prompts and of the empty one."""
    return TextEncoder(str(pipeline))([*PROMPTS, ""])


def settings(base: Path, **changes) -> GeneratorSettings:
    osorio = {"preset": "osorio", "base": str(base), "steps": 3, "batch_size": 4}
    return GeneratorSettings(**osorio | {"learning_rate": 1e-3, "precision": "fp32"} | changes)


def network(base: Path, spec: SignalsSpec = SPEC, shape=SHAPE, **changes):
    return build_network(settings(base, **changes), spec, latent_shape=shape, tile_size=32)


def batch(states: np.ndarray, prompts: list[int]) -> ConditionBatch:
    return ConditionBatch(
        {"prompt": torch.from_numpy(states[prompts])}, {"prompt": torch.from_numpy(states[-1])}
    )


def cache(folder: Path, n: int = 8) -> LatentCache:
    random = np.random.default_rng(0)
    mean = random.standard_normal((4, n, *SHAPE)).astype(np.float16)
    white = Whitening((0.0,) * 4, (1.0,) * 4)
    (folder / "latents.json").write_text('{"scaling_factor": 0.18215}')
    return LatentCache(folder, mean, np.full_like(mean, 0.1), white, "a", "t", np.arange(n))


def trained(base: Path, states: np.ndarray, folder: Path, **changes):
    latents = cache(folder)
    made, _ = train_generator(
        latents,
        lambda rows, _flips, _seeds: batch(states, [int(row) % 2 for row in rows]),
        settings(base, **changes),
        seed=0,
        spec=SPEC,
        tile_size=32,
        state_folder=folder / "state",
        log=print,
        device="cpu",
    )
    save_network(folder / "weights.safetensors", made, latents)
    return made


def saved_names(folder: Path) -> list[str]:
    with safe_open(folder / "weights.safetensors", "pt") as stream:
        return list(stream.keys())


def same(one, other, *, only: str = "") -> bool:
    given = other.state_dict()
    return all(torch.equal(v, given[k]) for k, v in one.state_dict().items() if only in k)


def test_samples_are_stable_diffusions_own(pipeline, states):
    """The same noise, prompts, guidance and DDIM in diffusers' pipeline."""
    peer = StableDiffusionPipeline.from_pretrained(pipeline, safety_checker=None)
    peer.scheduler = DDIMScheduler.from_config(peer.scheduler.config)
    peer.set_progress_bar_config(disable=True)
    noise = seeded_noise(np.array([3, 4]), SHAPE)
    expected = peer(
        PROMPTS, latents=noise.clone(), num_inference_steps=50, guidance_scale=7.5, eta=0.0,
        output_type="latent",
    ).images  # fmt: skip
    made = sample_latents(
        network(pipeline).eval(), noise, batch(states, [0, 1]),
        solver="ddim", steps=50, guidance_scale=7.5,
    )  # fmt: skip
    assert made.std() > 0.1
    # float32 over 50 steps; our shares of signal and noise are computed in float64
    assert torch.allclose(made, expected, rtol=0, atol=1e-4 * float(expected.std()))
    unguided = sample_latents(
        network(pipeline).eval(), noise, batch(states, [0, 1]),
        solver="ddim", steps=50, guidance_scale=1.0,
    )  # fmt: skip
    assert not torch.allclose(made, unguided, rtol=0, atol=0.05 * float(expected.std()))


def test_a_withheld_prompt_is_the_empty_one(pipeline, states):
    made = network(pipeline).eval()
    noisy, times = torch.randn(2, *SHAPE), torch.tensor([0.2, 0.9])
    with torch.inference_mode():
        told, other = (made(noisy, times, batch(states, p)) for p in ([0, 0], [1, 1]))
        dropped = made(noisy, times, batch(states, [0, 1]), torch.ones(2, 1, dtype=torch.bool))
        empty = made(noisy, times, batch(states, [2, 2]))
    assert torch.equal(dropped, empty)
    assert (told - other).abs().max() > 1e-3


def test_two_prompts_of_one_seed_give_two_images(pipeline, states):
    noise = seeded_noise(np.array([3]), SHAPE).repeat(2, 1, 1, 1)
    one, other = sample_latents(
        network(pipeline).eval(), noise, batch(states, [0, 1]),
        solver="ddim", steps=10, guidance_scale=7.5,
    )  # fmt: skip
    assert (one - other).abs().max() > 0.05 * float(one.std())


def test_full_tuning_changes_the_whole_unet_and_needs_no_base_to_sample(states, tmp_path):
    base = write_pipeline(tmp_path / "base")
    before = network(base)
    made = trained(base, states, tmp_path)
    moved = [k for k, v in made.state_dict().items() if not torch.equal(v, before.state_dict()[k])]
    assert len(moved) > 0.9 * len(before.state_dict())
    assert len(saved_names(tmp_path)) == len(before.state_dict())
    shutil.rmtree(base)
    again, _ = load_network(tmp_path / "weights.safetensors")
    assert same(made, again)


def test_lora_trains_and_saves_its_own_weights_alone(pipeline, states, tmp_path):
    before = network(pipeline, lora_rank=2)
    noisy, times = torch.randn(1, *SHAPE), torch.tensor([0.5])
    with torch.inference_mode():  # it starts as the base
        outputs = [n(noisy, times, batch(states, [0])) for n in (before, network(pipeline))]
    assert torch.equal(*outputs)
    made = trained(pipeline, states, tmp_path, lora_rank=2)
    assert same(before, made, only="base_layer") and same(before, made, only="conv")
    assert not same(before, made, only="lora_B")
    names = saved_names(tmp_path)
    assert names and all(".lora_A." in name or ".lora_B." in name for name in names)
    layers = {name.split(".lora_")[0].rsplit(".attn", 1)[1][2:] for name in names}
    assert layers == {"to_q", "to_k", "to_v", "to_out.0"}
    again, record = load_network(tmp_path / "weights.safetensors")
    assert same(made, again) and record["origin"]["base"] == str(pipeline)


def test_a_lora_is_refused_without_its_base_or_with_another(states, tmp_path):
    base = write_pipeline(tmp_path / "base")
    trained(base, states, tmp_path, lora_rank=2)
    shutil.rmtree(base)
    with pytest.raises(InputError, match=r"generator\.base: .*base is no folder"):
        load_network(tmp_path / "weights.safetensors")
    write_pipeline(base, seed=1)
    with pytest.raises(InputError, match=r"generator\.base: .* has other weights"):
        load_network(tmp_path / "weights.safetensors")


def test_what_is_missing_from_the_base_is_named(pipeline, tmp_path):
    for missing in ("unet/diffusion_pytorch_model.safetensors", "scheduler/scheduler_config.json"):
        folder = tmp_path / missing.split("/")[0]
        shutil.copytree(pipeline, folder)
        (folder / missing).unlink()
        with pytest.raises(InputError, match=f"generator.base: {folder} lacks {missing}; expected"):
            network(folder)


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"prediction_type": "v_prediction"}, r"generator\.target: epsilon, .* with velocity"),
        ({"beta_end": 0.02}, r"generator\.betas: \(0.00085, 0.012\), .* with \(0.00085, 0.02\)"),
        ({"beta_schedule": "linear"}, r"generator\.beta_schedule: scaled_linear, .* linear"),
        ({"num_train_timesteps": 500}, "a process that is not known here .*500 steps"),
    ],
)
def test_settings_that_contradict_the_bases_own_process_are_refused(pipeline, tmp_path, told, said):
    folder = shutil.copytree(pipeline, tmp_path / "base")
    path = folder / "scheduler/scheduler_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | told))
    with pytest.raises(InputError, match=said):
        network(folder)


@pytest.mark.parametrize(
    ("spec", "shape", "said"),
    [
        (SignalsSpec(tokens={"label": 2}), SHAPE, "signal 'label' is no vector"),
        (SignalsSpec(planes={"map": 2}), SHAPE, "signal 'map' is no vector"),
        (SignalsSpec(), SHAPE, "there is no signal"),
        (SignalsSpec(vectors={"prompt": 24}), SHAPE, "'prompt' gives .* width 24, .* width of 16"),
        (SPEC, (8, 8, 8), "its latents have 8 channels, but the UNet of .* takes 4"),
        (SPEC, (4, 7, 7), "need latents divisible by 2"),
    ],
)
def test_what_the_unet_cannot_take_is_refused(pipeline, spec, shape, said):
    with pytest.raises(InputError, match=said):
        network(pipeline, spec, shape)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"architecture": "pretrained", "latents": "model"}, "`base` goes with"),
        ({"base": "owner/name"}, "`base` goes with"),
        ({"lora_rank": 4}, "`lora_rank` goes with"),
        ({"preset": "osorio", "latents": "whitened"}, "latents: whitened, but a pretrained"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(changes, said):
    with pytest.raises(ValueError, match=said):
        GeneratorSettings(**changes)
