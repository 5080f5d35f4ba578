"""Whether a set holds the morphology types in the shares of real tissue.

The types are told by each image's own features, whatever was requested: a condition that requests
types in their real shares, and gets others, is seen.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from histosynth.clusters.files import read_assignments, read_features
from histosynth.clusters.kmeans import KMeansClusters
from histosynth.conditions.targets import cluster_ids
from histosynth.evaluations.counts import patients
from histosynth.evaluations.rows import MetricRow, Scored
from histosynth.files import short_hash
from histosynth.metrics import cluster_occupancy, jackknife_interval

if TYPE_CHECKING:
    from histosynth.tilesets import TileSet


def occupancy_rows(
    scored: Scored,
    real: "TileSet",
    synthetic: "TileSet",
    clusters: tuple[str | Path, str | Path],
    *,
    chosen: np.ndarray,
    encoder: str,
    protocol: Callable[..., dict[str, Any]],
    seed: int,
) -> list[MetricRow]:
    """The row of a set.

    Parameters
    ----------
    clusters : the clusters' folder, and the set's features by the encoder that clusters
    chosen : rows of the set that are scored
    encoder : that encoder
    protocol : makes a protocol from `n_real` and `n_synthetic`
    """
    folder, features = clusters
    centroids = KMeansClusters.load(Path(folder))
    k = len(centroids.centroids)
    ours = cluster_ids(real, read_assignments(folder))
    theirs = centroids.assign(read_features(features, synthetic))[chosen]
    groups = synthetic.table.get("patient_id")
    known = groups is not None and not groups.isna().any()
    interval: Any = jackknife_interval(
        ours[:, None],
        theirs[:, None],
        real_groups=patients(real),
        synthetic_groups=patients(synthetic)[chosen] if known else None,
        # The jackknife widens its arrays; cluster numbers come back whole.
        statistic=lambda a, b: cluster_occupancy(
            a[:, 0].astype(np.int64), b[:, 0].astype(np.int64), k=k
        ),
        bounds=(0, 1),
        seed=seed,
    )
    counts: dict[str, Any] = {"n_real": len(ours), "n_synthetic": len(theirs)}
    told = protocol(**counts) | {"clusters": short_hash(centroids.centroids.tolist())}
    return [scored.row("cluster_occupancy", interval, protocol=told, encoder=encoder, **counts)]
