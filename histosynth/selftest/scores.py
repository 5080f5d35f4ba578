"""The scores under test, as functions of a scene: those that the reports show."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any

import numpy as np

from histosynth.errors import InputError
from histosynth.evaluations.nearest import PixelSpace
from histosynth.metrics import (
    Interval,
    classifier_auc,
    clipped_scores,
    cluster_occupancy,
    frechet_distance,
    frechet_distance_inf,
    kernel_distance,
    median_distance,
    memorized_share,
    nearest_distances,
    nearest_train_auc,
    prdc,
    sliced_wasserstein,
    vendi_score,
)
from histosynth.selftest.scene import Scene, Tiles
from histosynth.selftest.score import SCORES, Score, register_score
from histosynth.slides.duplicates import small

NEIGHBOURS = 5
NEAR = 0.01  # quantile of held-out distances below which a tile counts as memorized
CLUSTERS = 8
_LEAST_OF_LABEL = 10
_FEW_SCENES = 4  # whose training tiles' models are kept


def _of_features(score: Callable[[np.ndarray, np.ndarray], float]) -> Callable[[Scene], float]:
    """A score of two feature arrays, as one of a scene."""
    return lambda scene: score(scene.real.features, scene.made.features)


def _neighbour_score(name: str) -> Callable[[Scene], float]:
    return _of_features(lambda real, made: prdc(real, made, k=NEIGHBOURS)[name])


def _clipped_score(name: str) -> Callable[[Scene], float]:
    return _of_features(lambda real, made: clipped_scores(real, made, k=NEIGHBOURS)[name])


def rbf_kernel_distance(scene: Scene) -> float:
    """Kernel distance with a Gaussian kernel as wide as training tiles lie apart."""
    return kernel_distance(
        scene.real.features, scene.made.features, kernel="rbf", sigma=_width(scene.train)
    )


def told_apart(scene: Scene) -> Interval:
    """AUC of a classifier of real against synthetic tiles."""
    real, made = scene.real, scene.made
    return classifier_auc(
        real.features, made.features, real_groups=real.patients, synthetic_groups=made.patients
    )


def occupancy(scene: Scene) -> float:
    """Divergence of cluster shares, in clusters of the training tiles."""
    centroids = _centroids(scene.train)
    real, made = (
        nearest_distances(tiles.features, centroids)[1] for tiles in (scene.real, scene.made)
    )
    return cluster_occupancy(real, made, k=len(centroids))


def label_kernel_distance(scene: Scene) -> float:
    """Mean over labels of the kernel distance between real and synthetic tiles of that label."""
    values = []
    for label in np.unique(scene.real.labels):
        real, made = scene.real.labels == label, scene.made.labels == label
        if min(real.sum(), made.sum()) >= _LEAST_OF_LABEL:
            values.append(kernel_distance(scene.real.features[real], scene.made.features[made]))
    if not values:
        raise InputError(f"no label has {_LEAST_OF_LABEL} tiles on both sides")
    return float(np.mean(values))


def label_accuracy(scene: Scene) -> float:
    """Share of tiles that a classifier of training tiles' features gives the requested label.

    A linear classifier stands in for the study's judge.
    """
    judge, scale = _judge(scene.train)
    return float((judge.predict(scene.made.features / scale) == scene.made.labels).mean())


@lru_cache(_FEW_SCENES)
def _width(train: Tiles) -> float:
    return median_distance(train.features)


@lru_cache(_FEW_SCENES)
def _centroids(train: Tiles) -> np.ndarray:
    from sklearn.cluster import KMeans

    return KMeans(CLUSTERS, n_init=4, random_state=0).fit(train.features).cluster_centers_


@lru_cache(_FEW_SCENES)
def _judge(train: Tiles) -> tuple[Any, np.ndarray]:
    """Linear discriminant analysis with shrinkage, and the scale of each feature."""
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    scale = np.maximum(train.features.std(axis=0), 1e-6)
    judge = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
    return judge.fit(train.features / scale, train.labels), scale


@lru_cache(_FEW_SCENES)
def _pixel_space(train: Tiles) -> PixelSpace:
    return PixelSpace(_pictures(train))


def _pictures(tiles: Tiles) -> np.ndarray:
    if tiles.images is None:
        raise InputError("features were changed, and no image belongs to them")
    return np.stack([small(image) for image in tiles.images])


def _feature_distances(scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    """From synthetic and from real tiles to the nearest training tile."""
    train = scene.train.features
    made, real = (nearest_distances(t.features, train)[0] for t in (scene.made, scene.real))
    return made, real


def _pixel_distances(scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    """The same between small pictures, over the eight turns."""
    space = _pixel_space(scene.train)
    made, real = (space.nearest(_pictures(t)).distance for t in (scene.made, scene.real))
    return made, real


def _near(distances: Callable[[Scene], tuple[np.ndarray, np.ndarray]], scene: Scene) -> Interval:
    """Share of synthetic tiles nearer to training tiles than a quantile of held-out ones."""
    return memorized_share(
        *distances(scene),
        quantile=NEAR,
        generated_groups=scene.made.patients,
        heldout_groups=scene.real.patients,
    )


def nearer(scene: Scene) -> Interval:
    """Chance that a synthetic tile lies nearer to training tiles than a held-out one."""
    return nearest_train_auc(
        *_feature_distances(scene),
        generated_groups=scene.made.patients,
        heldout_groups=scene.real.patients,
    )


def _is_zero(value: float) -> bool:
    return abs(value) < 1e-6


def _not_above_zero(value: float) -> bool:
    return value <= 0  # unbiased: a tile's pair with itself counts between sets, not within one


def _is_one(value: float) -> bool:
    return value == 1


def _not_told(value: float) -> bool:
    return value <= 0.5  # a tile's twin with the other answer may have been trained on


def _with_interval(
    name: str, label: str, kind: Any, interval: Callable[[Scene], Interval], **more: Any
) -> Score:
    """A score whose metric brings its own interval."""
    return Score(name, label, kind, lambda scene: interval(scene).value, interval=interval, **more)


def _as_one_patient(scene: Scene) -> Scene:
    """The scene as tiles of a single patient, of whom nothing is resampled: ten times as fast."""
    real, made = (replace(t, patients=np.zeros(len(t), int)) for t in (scene.real, scene.made))
    return replace(scene, real=real, made=made)


def _against_training(
    name: str, label: str, interval: Callable[[Scene], Interval], **more: Any
) -> Score:
    """A score of distances to training tiles; its value does not depend on patients."""
    return Score(
        name,
        label,
        "memorization",
        lambda scene: interval(_as_one_patient(scene)).value,
        interval=interval,
        robust=True,
        **more,
    )


_UP: Any = {"higher_is_better": True}
_ROBUST: Any = {"robust": True, **_UP}
_SHARE: Any = {"share": True, "best": _is_one, **_UP}

for _score in (
    Score(
        "frechet_distance",
        "Fréchet distance",
        "distance",
        _of_features(frechet_distance),
        best=_is_zero,
    ),
    Score(
        "frechet_distance_inf",
        "Fréchet, extrapolated",
        "distance",
        _of_features(frechet_distance_inf),
        best=_not_above_zero,
    ),
    Score(
        "kernel_distance",
        "Kernel distance",
        "distance",
        _of_features(kernel_distance),
        best=_not_above_zero,
    ),
    Score(
        "kernel_distance_rbf",
        "Kernel, Gaussian",
        "distance",
        rbf_kernel_distance,
        best=_not_above_zero,
        robust=True,
    ),
    Score(
        "sliced_wasserstein",
        "Sliced Wasserstein",
        "distance",
        _of_features(sliced_wasserstein),
        best=_is_zero,
    ),
    _with_interval(
        "classifier_auc", "Told apart (AUC)", "distance", told_apart, share=True, best=_not_told
    ),
    Score(
        "precision", "Precision", "fidelity", _neighbour_score("precision"), robust=True, **_SHARE
    ),
    Score("density", "Density", "fidelity", _neighbour_score("density"), **_ROBUST),
    Score(
        "clipped_density",
        "Clipped density",
        "fidelity",
        _clipped_score("clipped_density"),
        **_ROBUST,
    ),
    Score("recall", "Recall", "diversity", _neighbour_score("recall"), **_SHARE),
    Score("coverage", "Coverage", "diversity", _neighbour_score("coverage"), robust=True, **_SHARE),
    Score(
        "clipped_coverage",
        "Clipped coverage",
        "diversity",
        _clipped_score("clipped_coverage"),
        **_ROBUST,
    ),
    Score(
        "vendi",
        "Vendi score",
        "diversity",
        lambda scene: vendi_score(scene.made.features),
        **_UP,
    ),
    Score(
        "cluster_occupancy", "Cluster occupancy", "diversity", occupancy, best=_is_zero, robust=True
    ),
    _against_training(
        "memorized_share_features",
        "Memorized share, features",
        partial(_near, _feature_distances),
        share=True,
    ),
    _against_training(
        "memorized_share_pixels",
        "Memorized share, pixels",
        partial(_near, _pixel_distances),
        share=True,
    ),
    _against_training("nearest_train_auc", "Nearer to training (AUC)", nearer, share=True),
    Score("label_accuracy", "Label accuracy", "labels", label_accuracy, share=True, **_ROBUST),
    Score("label_kernel_distance", "Kernel distance by label", "labels", label_kernel_distance),
):
    register_score(_score)


def registered_scores() -> tuple[Score, ...]:
    """All scores under test, those above and whatever was registered since."""
    return tuple(SCORES.values())
