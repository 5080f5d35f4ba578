"""Ready autoencoders: found where they lie, used as they are, or trained on."""

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderTiny, VQModel
from ebhi import ebhi_images

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
from histosynth.diffusion.autoencoder_pretrained import open_pretrained
from histosynth.diffusion.latents import LatentCache, write_latents
from histosynth.errors import InputError
from histosynth.generator_settings import AutoencoderSettings

pytestmark = pytest.mark.usefixtures("one_thread")
SMALL = AutoencoderSettings(channels=[8, 8, 8], latent_channels=3, crop=16, batch_size=4)


def settings(path: Path | str, kind: str = "pretrained", **more) -> AutoencoderSettings:
    return AutoencoderSettings(kind=kind, path=str(path), **more)


def psnr(images: np.ndarray, others: np.ndarray) -> float:
    """Of single images, averaged; dB."""
    squared = np.square(images.astype(float) - others).mean((1, 2, 3))
    return float(np.mean(10 * np.log10(255**2 / squared)))


def tiny() -> AutoencoderTiny:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return AutoencoderTiny(
            encoder_block_out_channels=(8, 8),
            decoder_block_out_channels=(8, 8),
            num_encoder_blocks=(1, 1),
            num_decoder_blocks=(1, 1),
            latent_channels=5,
        )


def vector_quantized() -> VQModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return VQModel(
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            block_out_channels=(8, 8),
            num_vq_embeddings=16,
            norm_num_groups=4,
        )


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    """Squares between a dark and a bright stain."""
    share = np.random.default_rng(1).random((10, 4, 4, 1)).repeat(8, 1).repeat(8, 2)
    return (share * [80, 40, 120] + (1 - share) * [240, 200, 230]).astype(np.uint8)


def test_taef2_keeps_what_its_record_says_of_real_tiles(shared_data, tmp_path):
    found = open_pretrained(settings(shared_data / "weights/taef2"), tile_size=224)
    tiles = ebhi_images(shared_data, split="test", n=6)
    # PROVENANCE.txt: 23.1 dB on average over the whole set
    assert psnr(tiles, round_trip(found, tiles, batch_size=4)) == pytest.approx(23.1, abs=1)
    mean, std = encode(found, tiles[:1])
    assert mean.shape == (1, 32, 28, 28) and not std.any()
    save_autoencoder(found, tmp_path / "saved")
    again = load_autoencoder(tmp_path / "saved")
    assert autoencoder_fingerprint(again) == autoencoder_fingerprint(found)
    np.testing.assert_array_equal(encode(again, tiles[:1])[0], mean)


def test_taef2s_decoder_tuned_on_real_tiles_reads_the_same_latents_better(shared_data, tmp_path):
    path = shared_data / "weights/taef2"
    train, test = (ebhi_images(shared_data, split=s, n=16, side=64) for s in ("train", "test"))
    before = open_pretrained(settings(path), tile_size=64)
    tuned = settings(path, "finetune", steps=12, batch_size=4, crop=None, warmup_steps=1)
    after, _ = train_autoencoder(
        train,
        tuned,
        state_folder=tmp_path,
        log=print,
        base=open_pretrained(tuned, tile_size=64),
        device="cpu",
    )
    np.testing.assert_array_equal(encode(before, test)[0], encode(after, test)[0])
    assert psnr(test, round_trip(after, test)) > psnr(test, round_trip(before, test)) + 0.3


@pytest.mark.parametrize("subfolder", ["vae", "vqvae", "inner/first_stage"])
def test_an_autoencoder_is_found_inside_a_pipeline(tmp_path, images, subfolder):
    save_autoencoder(build_autoencoder(SMALL), tmp_path / subfolder)
    (tmp_path / "model_index.json").write_text("{}")
    named = subfolder if "/" in subfolder else None
    found = open_pretrained(settings(tmp_path, subfolder=named), tile_size=32)
    expected = round_trip(build_autoencoder(SMALL).eval(), images)
    np.testing.assert_array_equal(round_trip(found, images), expected)


def test_a_vq_models_latent_is_the_one_before_quantization_and_decoding_quantizes(tmp_path, images):
    made = vector_quantized().eval()
    made.save_pretrained(tmp_path / "vqvae")
    found = open_pretrained(settings(tmp_path), tile_size=32)
    latents, std = encode(found, images)
    assert not std.any()
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1
    with torch.no_grad():
        before = made.quant_conv(made.encoder(pixels))
        whole = made(pixels).sample
    np.testing.assert_allclose(latents, before.numpy(), atol=1e-5)
    expected = ((whole.clamp(-1, 1) + 1) * 127.5).permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(round_trip(found, images), expected, atol=0.51)  # rounding
    # moving a latent to its code changes nothing any more
    codes = made.quantize.embedding.weight.detach()
    flat = torch.from_numpy(latents).permute(0, 2, 3, 1).reshape(-1, codes.shape[1])
    nearest = codes[torch.cdist(flat, codes).argmin(1)].reshape(10, 16, 16, 3)
    quantized = nearest.permute(0, 3, 1, 2).numpy()
    moved = decode(found, quantized).astype(int) - decode(found, latents)
    assert np.abs(moved).max() <= 1  # of rounding


def test_a_cache_without_a_posterior_stores_no_standard_deviations(tmp_path, images):
    cache = write_latents(
        tmp_path / "latents", Autoencoder(tiny()).eval(), images, tiles_fingerprint="t"
    )
    assert sorted(p.name for p in cache.folder.iterdir()) == ["latents.json", "mean.npy"]
    assert cache.bytes_per_tile == 4 * 5 * 16 * 16 * 2  # flips, values, bytes of each
    rows, flips = np.arange(10), np.arange(10) % 4
    drawn = LatentCache.open(cache.folder).sample(rows, flips, np.random.default_rng(0))
    np.testing.assert_array_equal(drawn, cache.whitening.apply(cache.mean[flips, rows]))


@pytest.mark.parametrize("make", [tiny, vector_quantized])
@pytest.mark.parametrize("part", ["decoder", "all"])
def test_fine_tuning_reaches_the_parts_it_is_told(tmp_path, images, make, part):
    base = Autoencoder(make()).eval()
    before, error = encode(base, images)[0], psnr(images, round_trip(base, images))
    encoder = [p.clone() for p in base.network.encoder.parameters()]
    wanted = settings(
        "x", "finetune", finetune=part, crop=16, steps=40, batch_size=4, learning_rate=2e-3
    )
    tuned, _ = train_autoencoder(
        images, wanted, state_folder=tmp_path, log=print, base=base, device="cpu"
    )
    kept = all(map(torch.equal, encoder, tuned.network.encoder.parameters()))
    assert kept == (part == "decoder")
    # alike but for the order of sums, where memory is laid out otherwise
    assert np.allclose(encode(tuned, images)[0], before, atol=1e-5) == kept
    assert psnr(images, round_trip(tuned, images)) > error + 0.5


def test_a_folder_without_an_autoencoder_names_what_was_searched_for(tmp_path):
    with pytest.raises(InputError, match=r"autoencoder.path: no autoencoder in .*vqvae.*_encoder"):
        open_pretrained(settings(tmp_path), tile_size=32)


def test_missing_and_broken_weights_are_named(tmp_path):
    save_autoencoder(build_autoencoder(SMALL), tmp_path / "vae")
    weights = tmp_path / "vae/diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(InputError, match="vae: its weights cannot be read as AutoencoderKL"):
        open_pretrained(settings(tmp_path), tile_size=32)
    weights.unlink()
    with pytest.raises(InputError, match=r"vae: no diffusion_pytorch_model.safetensors"):
        open_pretrained(settings(tmp_path), tile_size=32)


def test_a_tiny_autoencoder_of_another_architecture_is_refused(tmp_path):
    torch.save({"0.weight": torch.zeros(64, 3, 3, 3)}, tmp_path / "x_encoder.pth")
    torch.save({"1.weight": torch.zeros(64, 4, 3, 3)}, tmp_path / "x_decoder.pth")
    with pytest.raises(InputError, match=r"autoencoder.path: these weights are not of this model"):
        open_pretrained(settings(tmp_path), tile_size=32)
    (tmp_path / "x_decoder.pth").rename(tmp_path / "y_decoder.pth")
    with pytest.raises(InputError, match="no autoencoder in"):
        open_pretrained(settings(tmp_path), tile_size=32)


def test_a_hub_id_out_of_reach_is_named_with_the_way_out(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match=r"autoencoder.path: nobody/nothing .*hub.*folder"):
        open_pretrained(settings("nobody/nothing"), tile_size=32)


def test_a_tile_that_the_halvings_do_not_divide_is_refused(tmp_path):
    save_autoencoder(build_autoencoder(SMALL), tmp_path / "vae")
    with pytest.raises(InputError, match=r"tiling.size: 30 px.*4 px are one latent"):
        open_pretrained(settings(tmp_path), tile_size=30)
    with pytest.raises(InputError, match=r"autoencoder.resolution: 34 px"):
        open_pretrained(settings(tmp_path, resolution=34), tile_size=32)
