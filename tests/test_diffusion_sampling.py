"""Samples obey their conditions and come from their own seeds, whatever the solver."""

import numpy as np
import pytest
import torch

from histosynth.diffusion.autoencoder import build_autoencoder
from histosynth.diffusion.latents import LatentCache, Whitening
from histosynth.diffusion.network import ConditionBatch, SignalsSpec, build_network
from histosynth.diffusion.sample import sample_images, sample_latents, seeded_noise
from histosynth.diffusion.train import load_network, save_network, train_generator
from histosynth.errors import InputError
from histosynth.generator_settings import AutoencoderSettings, GeneratorSettings, SamplingSettings

SETTINGS = GeneratorSettings(
    channels=[16, 32], token_width=16, plane_width=4, steps=150, batch_size=16, learning_rate=3e-3
)
SPEC = SignalsSpec(planes={"map": 2}, tokens={"label": 3, "cluster": 4})


def random_conditions(n: int) -> ConditionBatch:
    random = np.random.default_rng(5)
    return ConditionBatch(
        {
            "map": torch.from_numpy(random.uniform(-1, 1, (n, 2, 32, 32)).astype(np.float32)),
            "label": torch.from_numpy(random.integers(3, size=n)),
            "cluster": torch.from_numpy(random.integers(4, size=n)),
        }
    )


def perturbed_network(spec: SignalsSpec = SPEC, settings: GeneratorSettings = SETTINGS):
    """Untrained, but without the zeros that diffusers starts some layers with."""
    network = build_network(settings, spec, latent_shape=(2, 8, 8), tile_size=32).eval()
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return network


@pytest.mark.parametrize(
    ("target", "sampling"),
    [
        ("flow", {"solver": "euler"}),
        ("flow", {"solver": "heun", "guidance_scale": {"label": 2.0, "map": 1.5}}),
        ("flow", {"solver": "dpmpp"}),
        ("flow", {"solver": "unipc", "guidance_scale": 1.0}),
        ("velocity", {"solver": "dpmpp"}),
        ("epsilon", {"solver": "unipc"}),
        ("epsilon", {"solver": "ddim"}),
        ("epsilon", {"solver": "ddim", "eta": 1.0}),
    ],
)
def test_an_image_is_the_same_in_batches_of_1_7_and_32(target, sampling):
    network = perturbed_network(settings=SETTINGS.model_copy(update={"target": target}))
    autoencoder = build_autoencoder(AutoencoderSettings(channels=[8, 8, 8], latent_channels=2))
    conditions = random_conditions(9)
    made = []
    for batch_size in (1, 7, 32):
        made.append(
            sample_images(
                network,
                autoencoder.eval(),
                Whitening((0.0, 0.0), (1.0, 1.0)),
                lambda rows: ConditionBatch({k: v[rows] for k, v in conditions.values.items()}),
                seeds=np.arange(100, 109),
                settings=SamplingSettings(n=9, steps=5, batch_size=batch_size, **sampling),
                device="cpu",
            ).astype(int)
        )
    assert made[0].shape == (9, 32, 32, 3) and made[0].std() > 1
    # float32 kernels sum in another order for another batch: rounding may move a grey level
    assert np.abs(made[0] - made[1]).max() <= 1 and np.abs(made[0] - made[2]).max() <= 1


def test_noise_depends_on_its_seed_alone():
    noise = seeded_noise(np.array([4, 9, 4]), (2, 3, 3))
    torch.testing.assert_close(noise[0], noise[2], rtol=0, atol=0)
    torch.testing.assert_close(noise[1:2], seeded_noise(np.array([9]), (2, 3, 3)), rtol=0, atol=0)
    assert not torch.equal(noise[0], noise[1])
    later = [seeded_noise(np.array([4]), (2, 3, 3), step=step) for step in (0, 1)]
    assert not torch.equal(later[0], noise[:1]) and not torch.equal(later[0], later[1])


def test_a_dropped_condition_leaves_no_trace_and_a_given_one_does():
    network, conditions = perturbed_network(), random_conditions(4)
    noisy, times = torch.randn(4, 2, 8, 8), torch.full((4,), 0.5)
    given = conditions.values
    other = {"map": -given["map"], **{k: (given[k] + 1) % 3 for k in ("label", "cluster")}}
    everyone = torch.ones(4, 3, dtype=torch.bool)
    with torch.no_grad():
        dropped = [network(noisy, times, ConditionBatch(c), everyone) for c in (given, other)]
        torch.testing.assert_close(dropped[0], dropped[1], rtol=0, atol=0)
        told = network(noisy, times, conditions)
        assert (told - dropped[0]).abs().max() > 1e-3
        for column, name in enumerate(SPEC.names):
            changed = ConditionBatch(given | {name: other[name]})
            assert (network(noisy, times, changed) - told).abs().max() > 1e-3
            alone = torch.zeros(4, 3, dtype=torch.bool)
            alone[:, column] = True
            without = [network(noisy, times, c, alone) for c in (conditions, changed)]
            torch.testing.assert_close(without[0], without[1], rtol=0, atol=0)


def test_guidance_scales_0_and_1_are_the_null_and_the_conditional_model():
    network, conditions = perturbed_network(), random_conditions(3)
    noise = seeded_noise(np.arange(3), (2, 8, 8))
    at_one = sample_latents(network, noise, conditions, steps=1, guidance_scale=1.0)
    at_zero = sample_latents(network, noise, conditions, steps=1, guidance_scale=0.0)
    at_two = sample_latents(network, noise, conditions, steps=1, guidance_scale=2.0)
    with torch.no_grad():
        dropped = network(noise, torch.ones(3), conditions, torch.ones(3, 3, dtype=torch.bool))
    torch.testing.assert_close(at_zero, noise - dropped, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(at_two, 2 * at_one - at_zero, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["token", "plane"])
def test_a_trained_generator_obeys_its_condition(tmp_path, kind):
    """Latents are +1 or -1 as the condition says; samples must have that sign."""
    n = 64
    sign = np.where(np.arange(n) % 2 == 0, 1.0, -1.0).astype(np.float16)
    mean = np.broadcast_to(sign[None, :, None, None, None], (4, n, 2, 8, 8))
    std = np.full_like(mean, 0.1)
    whitening = Whitening((0.0, 0.0), (1.0, 1.0))
    cache = LatentCache(tmp_path, mean, std, whitening, "a", "t", np.arange(n))
    if kind == "token":
        spec = SignalsSpec(tokens={"label": 2})
    else:
        spec = SignalsSpec(planes={"map": 1})

    def source(rows, _flips=None, _seed=0):
        values = sign[rows].astype(np.float32)
        if kind == "token":
            return ConditionBatch({"label": torch.from_numpy((values > 0).astype(np.int64))})
        planes = np.broadcast_to(values[:, None, None, None], (len(rows), 1, 32, 32))
        return ConditionBatch({"map": torch.from_numpy(planes.copy())})

    network, record = train_generator(
        cache,
        source,
        SETTINGS,
        seed=0,
        spec=spec,
        tile_size=32,
        state_folder=tmp_path / "state",
        log=print,
        device="cpu",
    )
    assert record["loss"][-1] < record["loss"][0]
    rows = np.arange(32)
    noise = seeded_noise(rows, (2, 8, 8))
    drawn = sample_latents(network, noise, source(rows), steps=10).mean((1, 2, 3)).numpy()
    assert np.mean(np.sign(drawn) == sign[rows]) > 0.9

    save_network(tmp_path / "weights.safetensors", network, cache)
    loaded, metadata = load_network(tmp_path / "weights.safetensors")
    again = sample_latents(loaded, noise, source(rows), steps=10).mean((1, 2, 3)).numpy()
    np.testing.assert_array_equal(again, drawn)
    assert metadata["autoencoder"] == "a"


def test_latents_too_small_for_the_levels_are_refused():
    with pytest.raises(InputError, match=r"generator\.channels"):
        build_network(
            SETTINGS.model_copy(update={"channels": [8] * 5}),
            SPEC,
            latent_shape=(2, 8, 8),
            tile_size=32,
        )
