"""Signal embedding: the features of the target reach the network, standardised, or are refused."""

import json

import numpy as np
import pytest
import torch
import yaml
from generator_workspace import Workspace
from safetensors.torch import load_file
from test_conditions import spec, study, write_tiles

from histosynth.conditions import ConditionSpec, Targets, TilePool, check_conditions
from histosynth.config import Study
from histosynth.diffusion.vectors import VectorLayer
from histosynth.encoders import load_encoder
from histosynth.encoders.features import embed_tileset, features_fingerprint, save_features
from histosynth.errors import InputError
from histosynth.grid import Grid
from histosynth.tilesets import TileSet

TOLD = {"kind": "embedding", "encoder": "texture"}


@pytest.fixture(scope="module")
def embedded(tmp_path_factory):
    """Tiles, and their features by the study's encoder."""
    folder = tmp_path_factory.mktemp("embedded")
    tiles = write_tiles(folder / "test")
    encoder = load_encoder("texture", study(told=[TOLD]).encoders["texture"])
    features = embed_tileset(tiles, encoder, progress=False)
    save_features(folder / "f.npy", features, fingerprint=features_fingerprint(encoder, tiles))
    return tiles, features, folder / "f.npy"


def test_the_network_is_told_the_features_of_the_target_and_of_no_other(embedded) -> None:
    tiles, features, path = embedded
    made = spec(TOLD)
    pool = TilePool.of(tiles, made.needs, features={"texture": path})
    rows = np.array([3, 17, 3])
    asked = Targets(pool, rows, [(0, i) for i in range(3)])
    assert np.array_equal(made.encode(asked)["embedding"], features[rows])
    assert made.widths("vector") == {"embedding": features.shape[1]}
    some = pool.take(np.array([5, 17]))  # as clusters.balance chooses among the train tiles
    assert np.array_equal(
        made.encode(Targets(some, np.array([1]), [(0, 0)]))["embedding"], features[[17]]
    )
    mean, spread = made.statistics(some)["embedding"]
    assert mean == pytest.approx(features[[5, 17]].mean(0), rel=1e-5)
    constant = features[5] == features[17]
    assert constant.any() and (spread[constant] == 1).all()


def test_features_that_are_missing_or_of_others_are_refused(embedded, tmp_path) -> None:
    tiles, features, path = embedded
    made = spec(TOLD)
    with pytest.raises(InputError, match="by the encoder texture.*--features texture=FILE.npy"):
        TilePool.of(tiles, made.needs)
    with pytest.raises(InputError, match="no such file; make these features by scripts/embed.py"):
        TilePool.of(tiles, made.needs, features={"texture": tmp_path / "none.npy"})
    other = write_tiles(tmp_path / "other", seed=1)
    with pytest.raises(InputError, match="features of tile set .* but .* is .*; embed it again"):
        TilePool.of(other, made.needs, features={"texture": path})
    narrow = tmp_path / "narrow.npy"
    save_features(narrow, features[:, :-2], fingerprint={"tile_set": tiles.fingerprint})
    pool = TilePool.of(tiles, made.needs, features={"texture": narrow})
    with pytest.raises(InputError, match=f"have {features.shape[1] - 2} components, but"):
        made.encode(Targets(pool, np.array([0]), [(0, 0)]))


@pytest.mark.parametrize(
    ("signal", "found"),
    [
        (
            {"kind": "embedding", "encoder": "moon"},
            "`encoders` has no such entry (it has: texture)",
        ),
        ({"kind": "embedding"}, "encoder: is missing (a name under `encoders` of the study)"),
        (TOLD | {"width": 3}, "no such option; its options: encoder"),
    ],
)
def test_a_bad_embedding_is_refused_where_the_study_is_read(signal, found) -> None:
    with pytest.raises(InputError) as error:
        check_conditions(study(bad=[signal]))
    assert str(error.value).startswith("conditions.bad.signals[0]") and found in str(error.value)


def test_a_layer_standardises_what_it_projects_once_it_is_told_how() -> None:
    layer, vectors = VectorLayer(3, 5), torch.randn(4, 2, 3)
    plain = torch.nn.functional.linear(vectors, layer.weight, layer.bias)
    assert torch.equal(layer(vectors), plain)
    mean, spread = np.float32([100, 0, -3]), np.float32([0.01, 1, 50])
    layer.standardise(mean, spread)
    given = vectors * torch.from_numpy(spread) + torch.from_numpy(mean)
    # 100 +- 0.01 leaves four digits of float32
    assert torch.allclose(layer(given), plain, atol=2e-3)
    assert [name for name, _ in layer.named_parameters()] == ["weight", "bias"]  # never trained


def test_plain_networks_say_that_they_take_no_features(embedded) -> None:
    settings = study(told=[TOLD]).model_dump()
    settings["generator"]["architecture"] = "plain"
    with pytest.raises(InputError, match="takes planes only"):
        ConditionSpec.of(Study.parse(settings), "told")


def test_features_go_from_the_scripts_to_the_network_and_its_samples(tmp_path, one_thread) -> None:
    made = Workspace(tmp_path)
    settings = yaml.safe_load(made.config.read_text())
    settings["conditions"] = {"told": {"signals": [TOLD]}}
    settings |= {"sampling": {"n": 4, "steps": 2, "batch_size": 4}}
    made.config.write_text(yaml.safe_dump(settings))
    loaded = Study.load(made.config)
    assert Grid(loaded).conditioning_encoders("told") == ["texture"]
    resolved = ConditionSpec.of(loaded, "told").resolved()
    (tmp_path / "conditions/told.yaml").write_text(yaml.safe_dump(resolved))
    for split in ("train", "test"):
        tiles = ["--tileset", f"real/{split}", "--encoder", "texture"]
        made.script("embed", *tiles, "--output", f"texture_{split}.npy")
    state = ["--state", "models/.autoencoder.state", "--output", "models/autoencoder"]
    made.script("autoencoder", "--train", "real/train", "--val", "real/val", *state)
    encoded = ["--tileset", "real/train", "--output", "latents"]
    made.script("latents", "--autoencoder", "models/autoencoder", *encoded)
    made.script("condition_table", "--test", "real/test", "--output", "table.parquet")

    shared = ["--condition", "conditions/told.yaml", "--latents", "latents"]
    training = [*shared, "--train", "real/train", "--output", "model", "--state", "state"]
    assert "--features texture=FILE.npy" in made.script("train", *training, fails=True)
    assert "expected ENCODER=FILE.npy" in made.script(
        "train", *training, "--features", "texture_train.npy", fails=True
    )
    made.script("train", *training, "--features", "texture=texture_train.npy")
    weights = load_file(tmp_path / "model/weights.safetensors")
    train = np.load(tmp_path / "texture_train.npy")
    assert weights["vector_layers.embedding.mean"].numpy() == pytest.approx(train.mean(0), rel=1e-4)

    sampling = [*shared, "--model", "model", "--autoencoder", "models/autoencoder"]
    sampling += ["--table", "table.parquet", "--test", "real/test"]
    given = ["--features", "texture=texture_test.npy"]
    made.script("sample", *sampling, *given, "--output", "synthetic/told/seed0")
    assert len(TileSet.open(tmp_path / "synthetic/told/seed0")) == 4
    about = json.loads((tmp_path / "synthetic/told/seed0/tileset.json").read_text())["provenance"]
    assert about["files"]["features:texture"] == "texture_test.npy" and about["features"]
    of_train = ["--features", "texture=texture_train.npy", "--output", "none"]
    assert "embed it again" in made.script("sample", *sampling, *of_train, fails=True)
