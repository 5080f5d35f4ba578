"""An autoencoder that sees tiles at a resolution of its own, and a cache of fewer flips."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from histosynth.config import Study
from histosynth.diffusion.autoencoder import (
    Autoencoder,
    autoencoder_fingerprint,
    build_autoencoder,
    decode,
    encode,
    load_autoencoder,
    round_trip,
    save_autoencoder,
)
from histosynth.diffusion.autoencoder_fitting import train_autoencoder
from histosynth.diffusion.latents import write_latents
from histosynth.diffusion.network import ConditionBatch, SignalsSpec, build_network
from histosynth.diffusion.sample import sample_images
from histosynth.errors import InputError
from histosynth.generator_settings import (
    AutoencoderSettings,
    GeneratorSettings,
    SamplingSettings,
)

pytestmark = pytest.mark.usefixtures("one_thread")
SETTINGS = AutoencoderSettings(
    channels=[8, 8, 8], latent_channels=3, crop=16, batch_size=4, resolution=64
)


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    """Smooth colour, at a side of 24 px."""
    coarse = np.random.default_rng(1).integers(40, 220, (6, 6, 6, 3), dtype=np.uint8)
    return np.stack([np.asarray(Image.fromarray(c).resize((24, 24))) for c in coarse])


@pytest.mark.parametrize("resolution", [64, 16])
def test_the_network_sees_tiles_as_pillows_bilinear_filter_resizes_them(images, resolution):
    made = Autoencoder(
        build_autoencoder(SETTINGS, tile_size=24).network, resolution=resolution, tile_size=24
    )
    seen = made.network_input(images).permute(0, 2, 3, 1).numpy()
    size = (resolution, resolution)
    expected = [Image.fromarray(i).resize(size, Image.Resampling.BILINEAR) for i in images]
    # Pillow rounds to whole levels, twice: once an axis
    assert np.abs((seen + 1) * 127.5 - np.stack(expected)).max() < 1.01


def test_latents_are_of_the_resolution_and_images_of_the_tile(images):
    made = build_autoencoder(SETTINGS, tile_size=24).eval()
    mean, _ = encode(made, images)
    assert mean.shape == (6, 3, 16, 16)
    assert decode(made, mean).shape == images.shape


def test_what_is_resized_back_is_the_networks_own_image(images):
    made = build_autoencoder(SETTINGS, tile_size=24).eval()
    enlarged = Autoencoder(made.network).eval()
    big = decode(enlarged, encode(made, images)[0])
    small = [Image.fromarray(i).resize((24, 24), Image.Resampling.BICUBIC) for i in big]
    np.testing.assert_array_equal(round_trip(made, images), np.stack(small))


def test_the_resolution_travels_with_the_folder_and_names_another_latent_space(tmp_path, images):
    made = build_autoencoder(SETTINGS, tile_size=24).eval()
    save_autoencoder(made, tmp_path / "a")
    again = load_autoencoder(tmp_path / "a")
    np.testing.assert_array_equal(round_trip(again, images), round_trip(made, images))
    assert autoencoder_fingerprint(again) == autoencoder_fingerprint(made)
    assert autoencoder_fingerprint(Autoencoder(made.network)) != autoencoder_fingerprint(made)


@pytest.mark.parametrize(("resolution", "latent"), [(64, 16), (128, 32), (24, 6)])
def test_maps_of_the_tiles_size_meet_latents_of_any(tmp_path, images, resolution, latent):
    wanted = SETTINGS.model_copy(update={"resolution": resolution})
    made = build_autoencoder(wanted, tile_size=24).eval()
    cache = write_latents(tmp_path / "a", made, images, tiles_fingerprint="t", flips="none")
    assert cache.latent_shape == (3, latent, latent)
    network = build_network(
        GeneratorSettings(channels=[8, 16], token_width=8, plane_width=4),
        SignalsSpec(planes={"map": 2}),
        latent_shape=cache.latent_shape,
        tile_size=24,
    )
    maps = torch.rand((6, 2, 24, 24), generator=torch.Generator().manual_seed(0))
    drawn = sample_images(
        network,
        made,
        cache.whitening,
        lambda rows: ConditionBatch({"map": maps[rows]}),
        seeds=np.arange(6),
        settings=SamplingSettings(n=6, steps=2),
        device="cpu",
    )
    assert drawn.shape == images.shape
    shrunk = network.plane_stem(torch.zeros(1, network.plane_stem[0].in_channels, 24, 24))
    assert shrunk.shape[-2:] == (latent, latent)


def test_training_at_a_resolution_brings_the_round_trip_nearer(tmp_path, images):
    settings = SETTINGS.model_copy(update={"steps": 100, "warmup_steps": 5})
    trained, _ = train_autoencoder(images, settings, state_folder=tmp_path, log=print, device="cpu")
    untrained = build_autoencoder(SETTINGS, tile_size=24).eval()
    errors = [
        np.abs(round_trip(a, images) - images.astype(float)).mean() for a in (trained, untrained)
    ]
    assert errors[0] < 0.9 * errors[1]


def test_a_tile_of_256_pixels_takes_16_kib_a_flip_at_f8(tmp_path):
    settings = AutoencoderSettings(channels=[8, 8, 8, 8], latent_channels=4)
    tiles = np.zeros((3, 256, 256, 3), np.uint8)
    made = build_autoencoder(settings).eval()
    cache = write_latents(tmp_path / "a", made, tiles, tiles_fingerprint="t", flips="none")
    assert cache.latent_shape == (4, 32, 32) and cache.bytes_per_tile == 16 * 1024
    on_disk = sum(file.stat().st_size for file in cache.folder.glob("*.npy"))
    assert on_disk == 3 * 16 * 1024 + 2 * 128  # numpy's headers
    both = write_latents(tmp_path / "b", made, tiles, tiles_fingerprint="t", flips="horizontal")
    assert both.bytes_per_tile == 32 * 1024


def test_the_cache_tells_the_scale_that_the_autoencoder_names(tmp_path, images):
    made = build_autoencoder(AutoencoderSettings(channels=[8, 8], latent_channels=2)).eval()
    made.network.register_to_config(scaling_factor=0.18215, shift_factor=0.1)
    cache = write_latents(tmp_path / "a", made, images, tiles_fingerprint="t")
    record = json.loads((cache.folder / "latents.json").read_text())
    assert (record["scaling_factor"], record["shift_factor"]) == (0.18215, 0.1)


def test_a_flip_that_is_not_cached_is_refused(tmp_path, images):
    made = build_autoencoder(AutoencoderSettings(channels=[8, 8], latent_channels=2)).eval()
    cache = write_latents(tmp_path / "a", made, images, tiles_fingerprint="t", flips="horizontal")
    random = np.random.default_rng(0)
    assert cache.sample(np.array([0, 1]), np.array([0, 1]), random).shape[0] == 2
    with pytest.raises(InputError, match=r"identity, horizontal .*not vertical.*cached_flips"):
        cache.sample(np.array([0]), np.array([2]), random)


def study(**sections) -> Study:
    return Study.parse(
        {
            "study": "s",
            "cohort": {"kind": "phantom", "patients": 3},
            "encoders": {"texture": {"kind": "texture"}},
            "conditions": {"unconditional": {"signals": []}},
            "evaluation": {"encoders": ["texture"]},
            **sections,
        }
    )


def test_the_generators_flips_are_cached_unless_told_and_more_than_cached_is_refused():
    assert study().cached_flips == "all"
    assert study(generator={"flips": "horizontal"}).cached_flips == "horizontal"
    more = study(generator={"flips": "none"}, autoencoder={"cached_flips": "all"})
    assert more.cached_flips == "all"
    with pytest.raises(InputError, match=r"generator.flips: all.*autoencoder.cached_flips is none"):
        study(autoencoder={"cached_flips": "none"})
