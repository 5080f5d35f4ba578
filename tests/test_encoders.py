"""Encoders: deterministic, independent of batches, and honest about what they depend on."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import save_file
from scipy.ndimage import gaussian_filter

from histosynth.encoders import known_encoders, load_encoder, register_encoder
from histosynth.encoders.features import (
    embed_tileset,
    features_current,
    features_fingerprint,
    load_features,
    save_features,
)
from histosynth.errors import InputError
from histosynth.metrics import frechet_distance
from histosynth.settings import EncoderSettings

DEPENDS_ON = ("model", "weights", "transform", "dtype")


def tiles_like(n, *, side=48, seed=0):
    """Smooth pink tiles with dark blobs: enough structure for every encoder."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side]
    images = np.empty((n, side, side, 3), np.uint8)
    for image in images:
        plane = np.zeros((side, side))
        for _ in range(rng.integers(3, 20)):
            cy, cx, r = rng.uniform(0, side, 2).tolist() + [rng.uniform(2, 6)]
            plane += np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / r**2)
        stain = np.minimum(plane, 1)[..., None]
        colour = (1 - stain) * np.array([232, 180, 205]) + stain * np.array([95, 60, 140])
        image[:] = np.clip(colour + rng.normal(size=colour.shape) * 4, 0, 255)
    return images


def random_resnet(**changes):
    settings = {"kind": "timm", "model": "resnet18", "weights": "random", "input_size": 64}
    return load_encoder("random", EncoderSettings(**{**settings, **changes}))


@pytest.fixture(scope="module")
def squeezenet(shared_data):
    return EncoderSettings(
        kind="torchvision",
        model="squeezenet1_1",
        weights=str(shared_data / "weights" / "squeezenet11" / "squeezenet1_1_caffe.pth"),
        normalization="caffe_bgr",
    )


@pytest.fixture(params=["texture", "random", "squeezenet"])
def encoder(request):
    if request.param == "texture":
        return load_encoder("texture", EncoderSettings())
    if request.param == "random":
        return random_resnet()
    return load_encoder("squeezenet", request.getfixturevalue("squeezenet"))


def test_features_have_the_promised_shape_and_no_dead_weight(encoder):
    features = encoder(tiles_like(32))
    assert features.shape == (32, encoder.width) and features.dtype == np.float32
    assert np.isfinite(features).all()
    # A collapsed encoder would map all tiles to one point, or to a line.
    assert (features.std(axis=0) > 1e-5).sum() > 80
    spectrum = np.linalg.svd(features - features.mean(axis=0), compute_uv=False) ** 2
    assert spectrum[0] < 0.95 * spectrum.sum()
    assert encoder(tiles_like(1)[:0]).shape == (0, encoder.width)


def test_a_tiles_features_do_not_depend_on_its_batch(encoder):
    images = tiles_like(32)
    whole = encoder(images)
    singles = np.concatenate([encoder(images[i : i + 1]) for i in range(32)])
    sevens = np.concatenate([encoder(images[i : i + 7]) for i in range(0, 32, 7)])
    backwards = encoder(images[::-1])[::-1]
    # Convolutions may sum in another order for another batch size: fp32 rounding, no more.
    scale = np.abs(whole).max()
    for other in (singles, sevens, backwards):
        np.testing.assert_allclose(other, whole, rtol=1e-4, atol=1e-5 * scale)


def test_the_same_settings_give_the_same_features_and_fingerprint():
    images = tiles_like(4)
    for make in (random_resnet, lambda: load_encoder("texture", EncoderSettings())):
        first, second = make(), make()
        np.testing.assert_array_equal(first(images), second(images))
        assert first.fingerprint == second.fingerprint
        json.dumps(first.fingerprint)


def test_loading_a_random_network_leaves_the_global_generator_alone():
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    random_resnet()
    assert torch.rand(1) == expected


def depends(encoder):
    return {key: encoder.fingerprint[key] for key in DEPENDS_ON}


def test_the_fingerprint_follows_weights_and_transform_and_nothing_else():
    base = depends(random_resnet())
    assert depends(random_resnet(seed=1))["weights"] != base["weights"]
    assert depends(random_resnet(input_size=96))["transform"] != base["transform"]
    assert depends(random_resnet(normalization="half"))["transform"] != base["transform"]
    assert depends(random_resnet(model="resnet10t"))["model"] != base["model"]
    assert depends(random_resnet(batch_size=3)) == base
    texture = load_encoder("texture", EncoderSettings())
    assert depends(load_encoder("renamed", EncoderSettings(seed=9))) == depends(texture)
    assert depends(load_encoder("texture", EncoderSettings(input_size=64))) != depends(texture)


def test_random_features_of_every_stage_tell_sets_apart():
    # Switched-off residual blocks or a collapsed last layer would make the two sets alike.
    encoder = random_resnet()
    sharp, other = encoder(tiles_like(60, seed=1)), encoder(tiles_like(60, seed=2))
    flat = np.repeat(tiles_like(60, seed=3).mean(axis=(1, 2), keepdims=True), 48, axis=1)
    flat = encoder(np.repeat(flat, 48, axis=2).astype(np.uint8))
    # The stem, the first 64, sees little but colour, which both sets share.
    for stage in np.split(np.arange(encoder.width), [64, 128, 256, 512])[1:]:
        near = frechet_distance(sharp[:, stage], other[:, stage])
        assert frechet_distance(sharp[:, stage], flat[:, stage]) > 5 * near


@pytest.mark.parametrize(
    ("model", "width"), [("swin_tiny_patch4_window7_224", 1440), ("vit_tiny_patch16_224", 576)]
)
def test_random_transformers_pool_over_the_image_and_keep_their_channels(model, width):
    # Swin puts its channels last, and both take one image size only.
    encoder = random_resnet(model=model, input_size=None)
    assert encoder.width == width
    assert encoder(tiles_like(2)).shape == (2, width)


def test_texture_names_its_columns_and_sees_what_they_say():
    encoder = load_encoder("texture", EncoderSettings())
    assert len(set(encoder.feature_names)) == encoder.width
    column = encoder.feature_names.index
    images = tiles_like(4)
    glass = np.full_like(images, 245)
    darker = (images * 0.7).astype(np.uint8)
    plain, bare, dark = encoder(images), encoder(glass), encoder(darker)
    assert (bare[:, column("glass")] > plain[:, column("glass")]).all()
    assert (dark[:, column("haematoxylin mean")] > plain[:, column("haematoxylin mean")]).all()
    smooth = gaussian_filter(images, (0, 1, 1, 0))
    fine = column("haematoxylin band 0 energy")
    assert (encoder(smooth)[:, fine] < plain[:, fine]).all()
    assert np.isfinite(bare).all()  # a constant tile has no correlation, yet no NaN


def test_squeezenet_agrees_with_torchvision_computed_by_hand(squeezenet):
    images = tiles_like(3, side=64)
    network = torchvision.models.squeezenet1_1(weights=None).eval()
    network.load_state_dict(torch.load(squeezenet.weights, weights_only=True))
    bgr = images[..., ::-1].astype(np.float32) - np.array([104, 117, 123], np.float32)
    with torch.no_grad():
        maps = network.features(torch.from_numpy(bgr.transpose(0, 3, 1, 2).copy()))
    # fp32: 255 * (x / 255 - m / 255) against x - m.
    np.testing.assert_allclose(
        load_encoder("s", squeezenet)(images), maps.mean(dim=(2, 3)), rtol=1e-3, atol=1e-3
    )


def test_squeezenet_tells_real_tissue_classes_apart(squeezenet, shared_data):
    from PIL import Image

    def read(folder):
        files = sorted((shared_data / "ebhi_seg" / "images" / folder).glob("*.png"))[:24]
        return np.stack([np.asarray(Image.open(f).convert("RGB")) for f in files])

    encoder = load_encoder("s", squeezenet)
    cancer, grade = encoder(read("adenocarcinoma")), encoder(read("low_grade_in"))
    within = frechet_distance(cancer[::2], cancer[1::2])
    assert frechet_distance(cancer[::2], grade[::2]) > within


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_timm_weights_come_from_a_file_with_or_without_a_head(tmp_path, suffix):
    import timm

    network = timm.create_model("resnet10t", num_classes=7)
    path = tmp_path / f"weights{suffix}"
    if suffix == ".pth":
        wrapped = {f"module.{key}": value for key, value in network.state_dict().items()}
        torch.save({"state_dict": wrapped}, path)
    else:
        save_file(network.state_dict(), path)
    settings = EncoderSettings(kind="timm", model="resnet10t", weights=str(path), input_size=64)
    features = load_encoder("own", settings)(tiles_like(2, side=64))
    images = torch.from_numpy(tiles_like(2, side=64)).permute(0, 3, 1, 2) / 255
    mean, std = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]]).view(2, 3, 1, 1)
    network.reset_classifier(0)
    with torch.no_grad():
        expected = network.eval()((images - mean) / std)
    # The same fp32 arithmetic.
    np.testing.assert_allclose(features, expected.numpy(), rtol=1e-4, atol=1e-5)


def test_inception_runs_from_weights_in_torch_fidelitys_layout(tmp_path):
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    class Layout(FeatureExtractorInceptionV3):
        """The bare network: its constructor would otherwise want trained weights."""

        def load_state_dict(self, state_dict):
            pass

    torch.save({}, tmp_path / "none.pth")
    torch.manual_seed(0)
    bare = Layout("layout", ["2048"], feature_extractor_weights_path=str(tmp_path / "none.pth"))
    path = tmp_path / "inception.pth"
    torch.save(bare.state_dict(), path)
    encoder = load_encoder("inception", EncoderSettings(kind="inception", weights=str(path)))
    images = tiles_like(2)
    expected = bare(torch.from_numpy(images).permute(0, 3, 1, 2))[0].numpy()
    assert encoder.width == 2048
    np.testing.assert_allclose(encoder(images), expected, rtol=1e-4, atol=1e-6)  # fp32 order


def stored(tmp_path, encoder, fingerprint="abc", n=10):
    tiles = SimpleTiles(tiles_like(n), fingerprint)
    path = tmp_path / "texture.npy"
    features = embed_tileset(tiles, encoder, batch_size=4, progress=False)
    save_features(path, features, fingerprint=features_fingerprint(encoder, tiles))
    return path, tiles, features


class SimpleTiles:
    """Images in memory behind the part of TileSet that embedding uses."""

    def __init__(self, images, fingerprint):
        self._images, self.fingerprint = images, fingerprint

    def __len__(self):
        return len(self._images)

    def images(self, rows):
        return self._images[rows]


def test_stored_features_come_back_row_by_row(tmp_path):
    encoder = load_encoder("texture", EncoderSettings())
    path, tiles, features = stored(tmp_path, encoder)
    np.testing.assert_array_equal(load_features(path), features)
    np.testing.assert_array_equal(features, encoder(tiles.images(slice(None))))
    assert json.loads(path.with_suffix(".json").read_text())["tile_set"] == "abc"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["texture.json", "texture.npy"]


def test_features_are_current_until_weights_transform_or_tiles_change(tmp_path):
    encoder = load_encoder("texture", EncoderSettings())
    path, tiles, _ = stored(tmp_path, encoder)
    now = features_fingerprint(encoder, tiles)
    assert features_current(path, now)
    assert features_current(path, {**now, "versions": {"python": "9"}})
    renamed = load_encoder("renamed", EncoderSettings(batch_size=3))
    assert features_current(path, features_fingerprint(renamed, tiles))
    other_tiles = SimpleTiles(tiles_like(10), "another")
    assert not features_current(path, features_fingerprint(encoder, other_tiles))
    for key in DEPENDS_ON:
        assert not features_current(path, {**now, key: "changed"})
    path.with_suffix(".json").unlink()
    assert not features_current(path, now)


def test_a_save_that_dies_leaves_nothing_that_looks_current(tmp_path):
    encoder = load_encoder("texture", EncoderSettings())
    path, tiles, features = stored(tmp_path, encoder)

    class Dying(np.ndarray):
        """An array whose bytes cannot be had."""

        def __array_finalize__(self, other):
            self.dying = True

        @property
        def flags(self):
            raise KeyboardInterrupt

    new = {**features_fingerprint(encoder, tiles), "tile_set": "new"}
    with pytest.raises(KeyboardInterrupt):
        save_features(path, features.view(Dying), fingerprint=new)
    assert not features_current(path, new)
    assert not features_current(path, features_fingerprint(encoder, tiles))
    assert [p.name for p in tmp_path.iterdir()] == ["texture.npy"]  # no debris


def test_features_that_do_not_belong_to_their_record_are_refused(tmp_path):
    path, *_ = stored(tmp_path, load_encoder("texture", EncoderSettings()))
    np.save(path, np.zeros((3, 2), np.float32))
    with pytest.raises(InputError, match=r"shape \(3, 2\).*delete both"):
        load_features(path)
    with pytest.raises(InputError, match="no such file; make these features"):
        load_features(tmp_path / "absent.npy")


def test_an_encoder_that_yields_nan_is_named(tmp_path):
    class Broken:
        name, width = "broken", 2

        def __call__(self, images):
            return np.full((len(images), 2), np.nan, np.float32)

    with pytest.raises(InputError, match="encoder broken: NaN or infinite features for 3 of 3"):
        embed_tileset(SimpleTiles(tiles_like(3), "x"), Broken(), progress=False)


def test_a_registered_encoder_is_found_by_its_kind():
    @register_encoder("test_brightness")
    def load(name, settings):
        return SimpleNamespace(name=name, width=1, fingerprint={"model": "brightness"})

    assert load_encoder("mine", EncoderSettings(kind="test_brightness")).name == "mine"
    assert "test_brightness" in known_encoders()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "textur"}, r"encoders.mine.kind: unknown kind 'textur'; known .*texture, timm"),
        ({"kind": "timm", "model": "resnet19", "weights": "random"}, "no model 'resnet19'; near"),
        ({"kind": "timm", "model": "resnet18"}, "encoders.mine.weights: missing"),
        ({"kind": "timm", "model": "resnet18", "weights": "no.pth"}, "no weights file no.pth"),
        (
            {
                "kind": "timm",
                "model": "vit_tiny_patch16_224",
                "weights": "random",
                "input_size": 64,
            },
            "takes 224 only",
        ),
        ({"kind": "torchvision", "model": "squeezenet9", "weights": "x"}, "no model 'squeezenet9'"),
        ({"kind": "torchvision", "model": "squeezenet1_1"}, "takes a file"),
        ({"kind": "inception", "weights": "no.pth"}, r"no weights file no.pth; download https"),
        ({"kind": "inception"}, "download https.*put its path there"),
    ],
)
def test_unusable_settings_are_named_with_a_cure(settings, message):
    with pytest.raises(InputError, match=message):
        load_encoder("mine", EncoderSettings(**settings))


def test_weights_of_another_model_or_of_no_model_are_refused(tmp_path):
    import timm

    path = tmp_path / "w.pth"
    settings = {"kind": "timm", "model": "resnet18", "weights": str(path)}
    torch.save(timm.create_model("resnet10t").state_dict(), path)
    with pytest.raises(InputError, match="not of this model: .* missing"):
        load_encoder("mine", EncoderSettings(**settings))
    torch.save([1, 2], path)
    with pytest.raises(InputError, match="holds no state dict"):
        load_encoder("mine", EncoderSettings(**settings))
    path.write_bytes(b"not weights")
    with pytest.raises(InputError, match="cannot be read as weights"):
        load_encoder("mine", EncoderSettings(**settings))
    with pytest.raises(InputError, match="does not fit torch-fidelity's Inception"):
        load_encoder("mine", EncoderSettings(kind="inception", weights=str(path)))


def test_images_that_are_not_rgb_bytes_are_refused(encoder):
    images = tiles_like(2)
    with pytest.raises(InputError, match="images are float64"):
        encoder(images / 255)
    with pytest.raises(InputError, match=r"shape \(2, 48, 48\)"):
        encoder(images[..., 0])


def test_tiles_too_small_for_texture_are_refused():
    with pytest.raises(InputError, match="16 x 16 pixels are too small"):
        load_encoder("texture", EncoderSettings())(tiles_like(1, side=16))
    resized = load_encoder("texture", EncoderSettings(input_size=32))
    assert resized(tiles_like(1, side=16)).shape == (1, resized.width)
