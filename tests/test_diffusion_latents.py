"""Latents: one for each flip, whitened, and only those of the autoencoder named."""

import numpy as np
import pytest
import torch
from diffusers import AutoencoderTiny

from histosynth.diffusion.autoencoder import (
    autoencoder_fingerprint,
    build_autoencoder,
    decode,
    encode,
    load_autoencoder,
    round_trip,
    save_autoencoder,
)
from histosynth.diffusion.autoencoder_fitting import train_autoencoder
from histosynth.diffusion.latents import LatentCache, flip, write_latents
from histosynth.errors import InputError
from histosynth.generator_settings import AutoencoderSettings

SETTINGS = AutoencoderSettings(channels=[8, 8, 8], latent_channels=3, crop=16, batch_size=4)


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    """Squares between a dark and a bright stain."""
    share = np.random.default_rng(1).random((10, 4, 4, 1)).repeat(8, 1).repeat(8, 2)
    return (share * [80, 40, 120] + (1 - share) * [240, 200, 230]).astype(np.uint8)


@pytest.fixture(scope="module")
def autoencoder():
    return build_autoencoder(SETTINGS).eval()


def test_latents_are_whitened_on_the_images_written(tmp_path, autoencoder, images):
    cache = write_latents(tmp_path / "latents", autoencoder, images, tiles_fingerprint="t")
    rows = np.arange(len(images)).repeat(400)
    flips = np.tile(np.arange(4), len(rows) // 4)
    drawn = cache.sample(rows, flips, np.random.default_rng(0))
    assert drawn.dtype == np.float32 and drawn.shape == (4000, 3, 8, 8)
    # 256,000 values a channel, correlated only within a tile: 1 % is far above the sampling noise
    np.testing.assert_allclose(drawn.mean((0, 2, 3)), 0, atol=0.01)
    np.testing.assert_allclose(drawn.std((0, 2, 3)), 1, atol=0.01)


def test_each_flip_holds_the_latent_of_the_flipped_image(tmp_path, autoencoder, images):
    cache = write_latents(tmp_path / "latents", autoencoder, images, tiles_fingerprint="t")
    for index in range(4):
        mean, std = encode(autoencoder, flip(images, index, axes=(1, 2)))
        # float16 has 11 significant bits
        np.testing.assert_allclose(cache.mean[index], mean, rtol=1e-3, atol=1e-3)
        np.testing.assert_allclose(cache.std[index], std, rtol=1e-3, atol=1e-3)
    flipped_latent = flip(np.array(cache.mean[0]), 1, axes=(2, 3))
    assert not np.allclose(flipped_latent, cache.mean[1], atol=1e-2)


def test_flips_are_numpys_left_right_and_up_down():
    tile = np.arange(12).reshape(3, 4)
    np.testing.assert_array_equal(flip(tile, 0), tile)
    np.testing.assert_array_equal(flip(tile, 1), np.fliplr(tile))
    np.testing.assert_array_equal(flip(tile, 2), np.flipud(tile))
    np.testing.assert_array_equal(flip(tile[None], 3, axes=(1, 2))[0], np.rot90(tile, 2))


def test_whitening_inverts(tmp_path, autoencoder, images):
    cache = write_latents(tmp_path / "latents", autoencoder, images, tiles_fingerprint="t")
    latents, _ = encode(autoencoder, images)
    restored = cache.whitening.invert(cache.whitening.apply(latents))
    np.testing.assert_allclose(restored, latents, atol=1e-5)  # float32 of values near 1


def test_latents_of_another_autoencoder_are_refused_with_both_hashes(tmp_path, autoencoder, images):
    write_latents(tmp_path / "latents", autoencoder, images, tiles_fingerprint="t")
    other = build_autoencoder(SETTINGS.model_copy(update={"seed": 1}))
    ours, theirs = autoencoder_fingerprint(autoencoder), autoencoder_fingerprint(other)
    assert LatentCache.open(tmp_path / "latents", autoencoder=ours).tiles == "t"
    with pytest.raises(InputError, match=f"{ours}.*{theirs}"):
        LatentCache.open(tmp_path / "latents", autoencoder=theirs)


def test_a_writer_that_fails_leaves_no_cache(tmp_path, autoencoder, images):
    broken = build_autoencoder(SETTINGS)
    with torch.no_grad():
        next(broken.network.encoder.conv_out.parameters()).fill_(float("nan"))
    with pytest.raises(InputError, match="tile rows 0-9"):
        write_latents(tmp_path / "latents", broken, images, tiles_fingerprint="t")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InputError, match="not a complete latent cache"):
        LatentCache.open(tmp_path / "latents")


def test_an_autoencoder_survives_its_folder(tmp_path, autoencoder, images):
    save_autoencoder(autoencoder, tmp_path / "ae")
    again = load_autoencoder(tmp_path / "ae")
    assert autoencoder_fingerprint(again) == autoencoder_fingerprint(autoencoder)
    np.testing.assert_array_equal(round_trip(again, images), round_trip(autoencoder, images))


def test_a_tiny_autoencoders_folder_opens_and_has_no_posterior(tmp_path, images):
    tiny = AutoencoderTiny(
        encoder_block_out_channels=(8, 8),
        decoder_block_out_channels=(8, 8),
        num_encoder_blocks=(1, 1),
        num_decoder_blocks=(1, 1),
        latent_channels=5,
    )
    tiny.save_pretrained(tmp_path)
    mean, std = encode(load_autoencoder(tmp_path), images)
    assert mean.shape == (10, 5, 16, 16) and not std.any()
    assert decode(load_autoencoder(tmp_path), mean).shape == images.shape


def test_a_folder_without_weights_is_named(tmp_path, autoencoder):
    with pytest.raises(InputError, match=r"no config\.json"):
        load_autoencoder(tmp_path)
    autoencoder.network.save_config(tmp_path)
    with pytest.raises(InputError, match="no diffusion_pytorch_model"):
        load_autoencoder(tmp_path)


def test_training_brings_the_round_trip_nearer(tmp_path, images):
    settings = SETTINGS.model_copy(update={"steps": 250})
    trained, record = train_autoencoder(images, settings, state_folder=tmp_path, log=print)
    error = np.abs(round_trip(trained, images).astype(float) - images).mean()
    mean_color = images.mean((0, 1, 2))
    # a decoder that ignores its latent can do no better than one color
    assert error < 0.7 * np.abs(images - mean_color).mean()
    assert record["loss"][-1] < record["loss"][0]


def test_a_tile_that_the_levels_do_not_divide_is_named(tmp_path):
    with pytest.raises(InputError, match="tiling.size: 30 px"):
        train_autoencoder(
            np.zeros((2, 30, 32, 3), np.uint8), SETTINGS, state_folder=tmp_path, log=print
        )
