"""A generator is trained on latents in the scale and in the flips that its settings name."""

import json
from pathlib import Path

import numpy as np
import pytest

from histosynth.diffusion.autoencoder import build_autoencoder
from histosynth.diffusion.draws import draw_step
from histosynth.diffusion.latent_scaling import scaled
from histosynth.diffusion.latents import LatentCache, write_latents
from histosynth.diffusion.process import Process
from histosynth.diffusion.state import EpochOrder
from histosynth.generator_settings import AutoencoderSettings, GeneratorSettings

SETTINGS = AutoencoderSettings(channels=[8, 8, 8], latent_channels=3, crop=16)
ROWS, FLIPS = np.arange(6), np.arange(6) % 4


@pytest.fixture
def cache(tmp_path: Path) -> LatentCache:
    tiles = np.random.default_rng(0).integers(0, 255, (6, 32, 32, 3), dtype=np.uint8)
    return write_latents(tmp_path, build_autoencoder(SETTINGS), tiles, tiles_fingerprint="t")


def draw(cache: LatentCache) -> np.ndarray:
    return cache.sample(ROWS, FLIPS, np.random.default_rng(1))


def raw(cache: LatentCache) -> np.ndarray:
    """The same draw in the autoencoder's own units."""
    return cache.whitening.invert(draw(cache))


def test_unscaled_latents_are_what_the_autoencoder_gives(cache):
    np.testing.assert_allclose(draw(scaled(cache, "unscaled")), raw(cache), atol=1e-5)


def test_the_models_scale_is_stable_diffusions(cache):
    path = cache.folder / "latents.json"
    record = json.loads(path.read_text()) | {"scaling_factor": 0.18215, "shift_factor": 0.0609}
    path.write_text(json.dumps(record))
    found = scaled(LatentCache.open(cache.folder), "model")
    np.testing.assert_allclose(draw(found), (raw(cache) - 0.0609) * 0.18215, atol=1e-5)
    np.testing.assert_allclose(found.whitening.invert(draw(found)), raw(cache), atol=1e-5)


def test_an_autoencoder_that_names_no_scale_leaves_latents_as_they_are(cache):
    path = cache.folder / "latents.json"
    record = json.loads(path.read_text()) | {"scaling_factor": None, "shift_factor": None}
    path.write_text(json.dumps(record))
    found = scaled(LatentCache.open(cache.folder), "model")
    np.testing.assert_allclose(draw(found), raw(cache), atol=1e-5)


def test_whitened_latents_are_the_caches(cache):
    assert scaled(cache, "whitened").whitening == cache.whitening


@pytest.mark.parametrize(
    ("flips", "expected"), [("none", {0}), ("horizontal", {0, 1}), ("all", {0, 1, 2, 3})]
)
def test_training_draws_the_flips_that_are_asked_for(cache, flips, expected):
    settings = GeneratorSettings(flips=flips, batch_size=64)
    drawn = draw_step(
        cache,
        EpochOrder(len(cache), 64, seed=0),
        Process(settings),
        [],
        seed=0,
        step=3,
        positions=range(64),
    )
    assert set(drawn.flips) == expected
