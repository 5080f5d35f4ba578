"""Morphology types: k-means on standardised features, fitted on train tiles only.

Features are standardised by the train tiles' mean and standard deviation, since their dimensions
differ in scale. Clusters are numbered by falling size on the train tiles.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from histosynth.errors import InputError

RESTARTS = 4  # k-means++ starts, of which the one with the least inertia is kept
SILHOUETTE_TILES = 2000  # its cost is quadratic
CHUNK = 4096


@dataclass(frozen=True)
class KMeansClusters:
    """Fitted clusters.

    Attributes
    ----------
    centroids : float32 (k, d), in standardised units
    mean, scale : float32 (d,) of the train features
    """

    centroids: np.ndarray
    mean: np.ndarray
    scale: np.ndarray

    def standardize(self, features: np.ndarray) -> np.ndarray:
        """Features (n, d) in units of the train standard deviation, float32."""
        return ((features - self.mean) / self.scale).astype(np.float32)

    def assign(self, features: np.ndarray) -> np.ndarray:
        """The nearest centroid of each tile, int64 (n,), of raw features (n, d)."""
        return self._nearest(features)[0]

    def inertia(self, features: np.ndarray) -> float:
        """Sum of squared distances to the nearest centroid, in standardised units."""
        return float(self._nearest(features)[1].sum())

    def _nearest(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if features.ndim != 2 or features.shape[1] != len(self.mean):
            raise InputError(
                f"features of shape {features.shape} cannot be assigned to clusters of "
                f"{len(self.mean)} dimensions; use the encoder that the clusters were fitted with"
            )
        nearest, distances = [], []
        centroids = self.centroids.astype(np.float64)
        squared_norms = np.square(centroids).sum(1)
        for start in range(0, len(features), CHUNK):
            points = self.standardize(features[start : start + CHUNK]).astype(np.float64)
            # |x - c|^2 without |x|^2, which does not decide
            partial = squared_norms - 2 * points @ centroids.T
            nearest.append(partial.argmin(1))
            distances.append(np.maximum(partial.min(1) + np.square(points).sum(1), 0))
        if not nearest:
            return np.zeros(0, np.int64), np.zeros(0)
        return np.concatenate(nearest).astype(np.int64), np.concatenate(distances)

    def save(self, folder: Path) -> None:
        """Write centroids.npy (k, d) and standardization.npy (2, d: mean, scale)."""
        np.save(folder / "centroids.npy", self.centroids)
        np.save(folder / "standardization.npy", np.stack([self.mean, self.scale]))

    @classmethod
    def load(cls, folder: Path) -> "KMeansClusters":
        """Read what `save` wrote."""
        mean, scale = np.load(folder / "standardization.npy")
        return cls(np.load(folder / "centroids.npy"), mean, scale)


def fit_clusters(train_features: np.ndarray, k: int, *, seed: int = 0) -> KMeansClusters:
    """Fit k clusters on train features (n, d); a pure function of features, k and seed.

    Raises
    ------
    InputError
        Fewer distinct train tiles than clusters, or features that are not finite.
    """
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    if not np.isfinite(train_features).all():
        raise InputError("train features hold NaN or infinity; embed the train tiles again")
    distinct = len(np.unique(train_features, axis=0)) if len(train_features) <= 10 * k else k
    if distinct < k:
        raise InputError(
            f"clusters.k: {k} clusters need at least as many distinct train tiles, found "
            f"{distinct}; lower k or tile more slides"
        )
    mean = train_features.mean(0, dtype=np.float64)
    scale = train_features.std(0, dtype=np.float64)
    scale[scale < 1e-8 * np.maximum(1, np.abs(mean))] = 1  # constant dimensions stay constant
    clusters = KMeansClusters(
        np.zeros((0, len(mean))), mean.astype(np.float32), scale.astype(np.float32)
    )
    points = clusters.standardize(train_features)
    # One thread: partial sums of several are added in the order they finish, which is not fixed.
    with threadpool_limits(limits=1):
        fitted = KMeans(k, n_init=RESTARTS, random_state=seed).fit(points)
    order = np.argsort(-np.bincount(fitted.labels_, minlength=k), kind="stable")
    return KMeansClusters(
        fitted.cluster_centers_[order].astype(np.float32), clusters.mean, clusters.scale
    )


def describe_clusters(
    clusters: KMeansClusters,
    features: np.ndarray,
    *,
    groups: dict[str, np.ndarray],
    seed: int = 0,
) -> dict[str, Any]:
    """How compact the clusters are, and how much of them is the hospital or the patient.

    Parameters
    ----------
    features : (n, d) raw features of the train tiles
    groups : name (site, patient_id) -> (n,) values

    Returns
    -------
    dict with k, inertia, sizes, silhouette (on at most 2000 tiles; None where it is undefined) and
    normalized_mutual_information by group: 0 where clusters say nothing of the group, 1 where they
    say all; None where there is a single group or cluster.
    """
    from sklearn.metrics import normalized_mutual_info_score, silhouette_score

    assigned = clusters.assign(features)
    rows = np.random.default_rng(seed).permutation(len(features))[:SILHOUETTE_TILES]
    found = len(np.unique(assigned[rows]))
    silhouette = None
    if 2 <= found < len(rows):
        silhouette = float(silhouette_score(clusters.standardize(features[rows]), assigned[rows]))
    shared: dict[str, float | None] = {}
    for name, values in groups.items():
        names = np.asarray(values).astype(str)
        several = len(np.unique(names)) > 1 and len(np.unique(assigned)) > 1
        shared[name] = float(normalized_mutual_info_score(names, assigned)) if several else None
    return {
        "k": len(clusters.centroids),
        "tiles": len(features),
        "inertia": clusters.inertia(features),
        "sizes": np.bincount(assigned, minlength=len(clusters.centroids)).tolist(),
        "silhouette": silhouette,
        "silhouette_tiles": len(rows),
        "normalized_mutual_information": shared,
    }
