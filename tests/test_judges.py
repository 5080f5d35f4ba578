"""Judges: small networks trained on real tissue, by a fixed number of seeded steps."""

import numpy as np
import pytest
import torch
from shapes import CLASSES, CLASSIFIER, LABELS, SEGMENTER, write_shapes

from histosynth.errors import InputError
from histosynth.judges.judge import load_judge, save_judge
from histosynth.judges.networks import build_network
from histosynth.judges.predict import predict_labels, predict_maps
from histosynth.judges.targets import targets_of
from histosynth.judges.training import _augment, _batch_rows, train_network
from histosynth.metrics import confusion_matrix, mean_iou
from histosynth.settings import NetworkTraining

pytestmark = pytest.mark.usefixtures("one_thread")


TINY = {"segmentation": SEGMENTER, "classification": CLASSIFIER}


@pytest.fixture(scope="module")
def tiles(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shapes")
    return write_shapes(folder / "train", 96, seed=1), write_shapes(folder / "test", 40, seed=2)


def train(task, tiles, *, steps=None, seed=0, **changes):
    names = CLASSES if task == "segmentation" else LABELS
    settings = TINY[task].model_copy(update=changes | ({"steps": steps} if steps else {}))
    rows, targets = targets_of(task, tiles, names)
    return train_network(
        task, tiles.images(rows), targets, n_classes=len(names), settings=settings, seed=seed
    )


def test_a_segmenter_learns_to_find_shapes(tiles):
    network = train("segmentation", tiles[0])
    predicted = predict_maps(network, tiles[1].images())
    assert predicted.dtype == np.uint8
    assert mean_iou(confusion_matrix(tiles[1].maps(), predicted, n_classes=3)) > 0.8


def test_a_classifier_learns_to_tell_shapes_apart(tiles):
    network = train("classification", tiles[0])
    probabilities = predict_labels(network, tiles[1].images())
    assert probabilities.shape == (40, 2)
    assert np.allclose(probabilities.sum(1), 1, atol=1e-12)  # fp64 softmax
    _, wanted = targets_of("classification", tiles[1], LABELS)
    assert (probabilities.argmax(1) == wanted).mean() > 0.9


@pytest.mark.parametrize("task", ["segmentation", "classification"])
def test_training_is_a_function_of_its_seed(task, tiles):
    def weights(seed):
        return train(task, tiles[0], steps=3, seed=seed).state_dict()

    first, again, other = weights(0), weights(0), weights(1)
    assert all(torch.equal(first[k], again[k]) for k in first)
    assert not all(torch.equal(first[k], other[k]) for k in first)


def test_training_leaves_the_global_random_state_alone(tiles):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    train("classification", tiles[0], steps=1)
    assert torch.equal(torch.rand(3), expected)


def test_every_epoch_shows_every_tile_once_in_an_order_of_its_own():
    steps = [_batch_rows(10, 4, seed=3, step=step) for step in range(5)]
    rows = np.concatenate(steps)
    assert sorted(rows[:10]) == sorted(rows[10:]) == list(range(10))
    assert list(rows[:10]) != list(rows[10:])
    # A resumed or repeated step sees the same rows, whatever came before.
    assert np.array_equal(_batch_rows(10, 4, seed=3, step=3), steps[3])


def test_a_batch_may_be_larger_than_the_set():
    assert sorted(_batch_rows(3, 6, seed=0, step=0)) == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize("size", [(16, 16), (12, 20)])
def test_flips_and_turns_move_image_and_map_together(size):
    rng = np.random.default_rng(0)
    maps = rng.integers(0, 2, (20, *size)).astype(np.uint8)
    images = np.repeat((maps * 200 + 20)[..., None], 3, axis=3).astype(np.uint8)
    pixels, targets = _augment(images, maps, rng)
    assert pixels.shape == (20, 3, *size)
    # Restaining keeps the order of grey levels: 20 stays below the middle, 220 above it.
    assert torch.equal((pixels.mean(1) > 0.5).long(), targets)
    assert any(not np.array_equal(t, m) for t, m in zip(targets.numpy(), maps, strict=True))


def test_restaining_varies_each_tile_a_little():
    images = np.full((50, 8, 8, 3), 128, np.uint8)
    pixels, _ = _augment(images, np.zeros(50, np.int64), np.random.default_rng(0))
    spread = pixels.mean(dim=(2, 3)).std(dim=0)
    assert (spread > 0.02).all() and (spread < 0.15).all()
    assert pixels.min() >= 0 and pixels.max() <= 1


def test_a_judge_reads_back_as_it_was_written(tiles, tmp_path):
    judges = []
    for seed in (0, 1):
        network = train("segmentation", tiles[0], steps=2, seed=seed)
        folder = tmp_path / f"judge{seed}"
        save_judge(
            folder,
            network,
            kind="segmenter",
            names=CLASSES,
            size=32,
            settings=SEGMENTER,
            record={"val": {"map_iou": 0.5}},
        )
        judges.append(load_judge(folder))
        images = tiles[1].images()
        assert np.array_equal(judges[-1].maps(images), predict_maps(network, images))
    assert judges[0].names == CLASSES
    assert judges[0].fingerprint != judges[1].fingerprint
    assert judges[0].fingerprint == load_judge(tmp_path / "judge0").fingerprint


def test_a_judge_of_other_weights_than_its_record_is_refused(tiles, tmp_path):
    network = train("classification", tiles[0], steps=1)
    options = {"kind": "classifier", "names": LABELS, "size": 32, "settings": CLASSIFIER}
    save_judge(tmp_path / "judge", network, record={}, **options)
    weights = tmp_path / "judge" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    with pytest.raises(InputError, match="train the judge again"):
        load_judge(tmp_path / "judge")
    with pytest.raises(InputError, match=r"scripts/judge\.py"):
        load_judge(tmp_path / "nowhere")


def test_weights_from_a_file_are_where_training_starts(tmp_path):
    import timm

    torch.manual_seed(3)
    source = timm.create_model("resnet10t", num_classes=7)  # another head, which is left out
    path = tmp_path / "resnet10t.pth"
    torch.save(source.state_dict(), path)
    settings = NetworkTraining(model="resnet10t", weights=str(path))
    network = build_network("classification", settings, n_classes=2, size=32)
    assert torch.equal(network.body.layer3[0].conv1.weight, source.layer3[0].conv1.weight)
    assert network.body.fc.weight.shape[0] == 2


@pytest.mark.parametrize("task", ["segmentation", "classification"])
def test_an_unknown_model_or_unfit_weights_are_named(task, tmp_path):
    with pytest.raises(InputError, match="resnet999"):
        build_network(task, NetworkTraining(model="resnet999"), n_classes=2, size=32)
    path = tmp_path / "other.pth"
    torch.save({"unrelated": torch.zeros(3)}, path)
    for weights, said in ((path, "only 0 of"), (tmp_path / "none.pth", "no such file")):
        with pytest.raises(InputError, match=said):
            settings = NetworkTraining(model="resnet18", weights=str(weights))
            build_network(task, settings, n_classes=2, size=32)


def test_targets_without_a_class_or_without_any_label_are_refused():
    images = np.zeros((4, 32, 32, 3), np.uint8)
    maps = np.zeros((4, 32, 32), np.uint8)
    options = {"n_classes": 3, "settings": SEGMENTER, "seed": 0}
    for targets, said in (
        (maps + 3, r"\[3\] stand for no class"),
        (maps + 255, "no tile has a labelled pixel"),
        (maps[:3], "need targets of shape"),
    ):
        with pytest.raises(InputError, match=said):
            train_network("segmentation", images, targets, **options)


def test_unlabelled_pixels_teach_nothing(tiles):
    """With the discs' insides unlabelled, only squares and ground are ever predicted."""
    rows, maps = targets_of("segmentation", tiles[0], CLASSES)
    hidden = np.where(maps == 1, 255, maps).astype(np.uint8)
    settings = SEGMENTER.model_copy(update={"steps": 30})
    images = tiles[0].images(rows)
    network = train_network("segmentation", images, hidden, n_classes=3, settings=settings, seed=0)
    predicted = predict_maps(network, images)
    assert (predicted == 1).mean() < 0.01
    assert (predicted[maps == 2] == 2).mean() > 0.7
