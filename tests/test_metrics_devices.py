"""Every score takes numpy and torch, on any device, and gives one value.

Where there is a GPU, the scores are computed on it. Where there is none, `Placed` at least checks
placement: its tensors claim to lie on an accelerator, hold their numbers on the CPU, and refuse
what a GPU's tensor would refuse. It checks who meets whom, and no GPU's arithmetic.
"""

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

import histosynth.metrics as metrics
from histosynth.metrics import (
    FeatureStatistics,
    FrechetStatistic,
    KernelStatistic,
    NeighbourStatistic,
    Reference,
)

N, M, WIDTH, K = 90, 70, 12, 3
RNG = np.random.default_rng(0)
REAL = RNG.normal(size=(N, WIDTH)) + 0.1
SYNTHETIC = RNG.normal(size=(M, WIDTH)) * 0.9 + 0.3
PATIENTS, BEHIND = np.arange(N) % 6, np.arange(M) % 6 + 3
CLUSTERS = RNG.integers(0, 5, size=(2, 40))
MAPS = RNG.integers(0, 3, size=(2, 4, 9, 7))


def jackknife(statistic):
    def score(real, synthetic):
        found = metrics.jackknife_interval(
            real,
            synthetic,
            real_groups=PATIENTS,
            synthetic_groups=BEHIND,
            statistic=statistic,
        )
        several = found if isinstance(found, dict) else {"": found}
        return {name: (i.value, i.se) for name, i in several.items()}

    return score


FEATURES = {
    "FeatureStatistics": lambda a, b: FeatureStatistics.from_features(b).trace,
    "FrechetStatistic": jackknife(FrechetStatistic()),
    "KernelStatistic": jackknife(KernelStatistic()),
    "NeighbourStatistic": jackknife(NeighbourStatistic(K)),
    "Reference": lambda a, b: Reference(a, k=K, chunk=32).scores(b),
    "classifier_auc": lambda a, b: metrics.classifier_auc(a, b).value,
    "clipped_scores": lambda a, b: metrics.clipped_scores(a, b, k=K, chunk=32),
    "frechet_distance": metrics.frechet_distance,
    "frechet_distance_inf": metrics.frechet_distance_inf,
    "jackknife_interval": jackknife(lambda a, b: float(a.mean() - b.mean())),
    "kernel_distance": lambda a, b: (
        metrics.kernel_distance(a, b, chunk=32),
        metrics.kernel_distance(a, b, kernel="rbf", sigma=4, chunk=32),
    ),
    "median_distance": lambda a, b: metrics.median_distance(b),
    "nearest_distances": lambda a, b: metrics.nearest_distances(a, b, chunk=32),
    "prdc": lambda a, b: metrics.prdc(a, b, k=K, chunk=32),
    "sliced_wasserstein": metrics.sliced_wasserstein,
    "vendi_score": lambda a, b: (metrics.vendi_score(a), metrics.vendi_score(b[:8])),
}
INTEGERS = {
    "boundary_counts": (lambda a, b: metrics.boundary_counts(a, b, n_classes=3), MAPS),
    "cluster_occupancy": (lambda a, b: metrics.cluster_occupancy(a, b, k=5), CLUSTERS),
    "confusion_matrix": (lambda a, b: metrics.confusion_matrix(a, b, n_classes=3), MAPS),
    "tile_confusions": (lambda a, b: metrics.tile_confusions(a, b, n_classes=3), MAPS),
}
CASES = {name: (score, (REAL, SYNTHETIC)) for name, score in FEATURES.items()} | INTEGERS
# Of counts, distances, intervals and single numbers, which the scores above return.
OF_NUMBERS = set(
    "Contributions Difference Interval authenticity boundary_f boundary_tolerance "
    "cluster_bootstrap cohens_d cohens_d_of_sums copying_z extrapolates heldout_quantile "
    "histogram_distance holm iou_from_confusion mean_boundary_f mean_iou memorized_share "
    "nearest_train_auc paired_difference recentred sum_by_group".split()
)


def same(found, expected, *, rtol=1e-9, atol=1e-11):
    """To 1e-9 of float64 features: a device may add in another order, and does nothing else."""
    found, expected = (
        np.concatenate([np.ravel(x) for x in flat(value)]) for value in (found, expected)
    )
    np.testing.assert_allclose(found, expected, rtol=rtol, atol=atol)


def flat(value):
    return tree_flatten(value)[0]


def test_every_public_score_of_arrays_is_tried_here():
    assert set(metrics.__all__) - OF_NUMBERS == set(CASES)


@pytest.mark.parametrize("device", ["cpu"] + ["cuda"] * torch.cuda.is_available())
@pytest.mark.parametrize("name", CASES)
def test_torch_gives_the_value_of_numpy(name, device):
    score, (real, synthetic) = CASES[name]
    expected = score(real, synthetic)
    ours, theirs = (torch.from_numpy(x).to(device) for x in (real, synthetic))
    same(score(ours, theirs), expected)
    same(score(ours, synthetic), expected)  # the sets may come from different places


@pytest.mark.parametrize("name", CASES)
def test_no_score_mixes_places_where_tensors_claim_an_accelerator(name):
    score, (real, synthetic) = CASES[name]
    expected = score(real, synthetic)
    with Accelerator():
        ours, theirs = (torch.from_numpy(x.copy()).to("meta") for x in (real, synthetic))
        assert isinstance(ours, Placed)
        same(score(ours, theirs), expected)
        same(score(ours, synthetic), expected)


@pytest.mark.parametrize("name", FEATURES)
def test_nor_do_float32_features_whose_near_ties_are_decided_in_float64(name):
    # Copies lie on the edges of balls, where float32 only searches.
    real = np.repeat(REAL[:30], 3, axis=0).astype(np.float32)
    synthetic = np.concatenate([real[::3], SYNTHETIC[:40].astype(np.float32)])
    expected = FEATURES[name](real, synthetic)
    with Accelerator():
        ours, theirs = (torch.from_numpy(x).to("meta") for x in (real, synthetic))
        same(FEATURES[name](ours, theirs), expected, rtol=1e-4, atol=1e-6)


def test_nor_does_the_frechet_distance_of_wide_features_with_its_own_shortcuts():
    rows = np.random.default_rng(1).normal(size=(2, 1100, 1050))
    expected = metrics.frechet_distance(*rows)
    with Accelerator():
        same(metrics.frechet_distance(*(torch.from_numpy(x).to("meta") for x in rows)), expected)


def test_what_an_accelerator_refuses_is_refused_here():
    with Accelerator():
        placed, on_cpu = torch.ones(3, device="meta"), torch.ones(3)
        assert float((placed + torch.tensor(2.0)).sum()) == 9  # a single number may come along
        assert placed[torch.tensor([0, 2])].cpu().tolist() == [1, 1]  # as may an index
        with pytest.raises(MixedPlacesError, match="aten.add"):
            placed + on_cpu
        with pytest.raises(MixedPlacesError, match="aten.dot"):
            on_cpu @ placed
        for turned in (placed.numpy, lambda: np.asarray(placed)):
            with pytest.raises((TypeError, RuntimeError), match="numpy"):
                turned()


class MixedPlacesError(Exception):
    """A tensor that claims the accelerator met one on the CPU."""


class Placed(torch.Tensor):
    """A tensor on the device "meta", whose numbers, on the CPU, are in `held`."""

    @staticmethod
    def __new__(cls, held):
        made = torch.Tensor._make_wrapper_subclass(
            cls, held.shape, strides=held.stride(), dtype=held.dtype, device="meta"
        )
        made.held = held
        return made

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        return placed_call(function, args, kwargs or {})


class Accelerator(TorchDispatchMode):
    """Within it, what is made on or sent to the device "meta" is `Placed`."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        return placed_call(function, args, kwargs or {})


def placed_call(function, args, kwargs):
    tensors = [x for x in flat((args, kwargs)) if isinstance(x, torch.Tensor)]
    placed = any(isinstance(x, Placed) for x in tensors)
    name = str(function)
    moves = name.startswith(("aten._to_copy", "aten.copy_"))
    kept = tensors[:1] if name.startswith(("aten.index.", "aten.index_put")) else tensors
    mixed = any(not isinstance(x, Placed) and x.ndim for x in kept)
    if placed and mixed and not moves:
        raise MixedPlacesError(f"{name} of tensors on the accelerator and on the CPU")
    target = kwargs.get("device")
    if target is not None:
        placed = torch.device(target).type == "meta"
        kwargs = kwargs | {"device": torch.device("cpu")}
    elif moves and name.startswith("aten.copy_"):
        placed = isinstance(args[0], Placed)
    args, kwargs = tree_map(lambda x: x.held if isinstance(x, Placed) else x, (args, kwargs))
    found = function(*args, **kwargs)
    if not placed:
        return found
    return tree_map(lambda x: Placed(x) if isinstance(x, torch.Tensor) else x, found)
