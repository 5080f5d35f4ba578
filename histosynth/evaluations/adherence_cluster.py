"""Adherence to clusters: does the tile show the morphology type that was asked for?

The encoder that the clusters were found with must not be the judge: the generator was told its
verdict. So another of the study's encoders judges: a logistic regression from its features to the
clusters of the real train tiles. What that gets right on real test tiles is the yardstick, as for
every judge.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from histosynth.clusters import read_assignments
from histosynth.conditions.targets import cluster_ids
from histosynth.evaluations.adherence_judges import TileColumns, class_score, hits_of
from histosynth.evaluations.counts import patients
from histosynth.evaluations.embedded import features_of
from histosynth.evaluations.obedience import Requests
from histosynth.evaluations.protocol import adherence_protocol, check_comparable
from histosynth.evaluations.rows import MetricRow, Scored
from histosynth.evaluations.subsets import site_of
from histosynth.files import sha256_file, short_hash
from histosynth.metrics import confusion_matrix
from histosynth.tilesets import TileSet

if TYPE_CHECKING:
    import pandas as pd

CLUSTER_METRICS = ("cluster_accuracy", "cluster_accuracy_ratio")
FITTED = 5000  # train tiles at most: more cost minutes and tell the clusters apart no better
_PENALTY = 0.01  # scikit-learn's C, for standardised features of more dimensions than tiles


def cluster_rows(
    scored: Scored,
    sets: Sequence[TileSet],
    *,
    clusters: Path,
    encoder: str,
    features: Sequence[str | Path],
    seed: int,
) -> tuple[list[MetricRow], TileColumns, dict[str, Any]]:
    """Agreement of the clusters seen in the tiles with the requested ones.

    Parameters
    ----------
    scored : the condition `real` scores the judge itself; the set is the test set then
    sets : real train tiles, real test tiles, and the set to score
    clusters : folder of the clusters
    encoder : name of the judging encoder
    features : its .npy of the three sets

    Returns
    -------
    rows : accuracy, also by site, and recall by cluster
    columns : cluster_hit, 1 where the cluster is the requested one, -1 where none was requested
    facts : `encoder`; `asked_found` and, of real test tiles, `real`: counts of tiles, one list a
        requested cluster

    Raises
    ------
    InputError
        Tiles without a cluster, features of other tiles, another size or codec.
    """
    train, real, made = sets
    assigned = read_assignments(clusters)
    asked = _asked(scored.condition, made, assigned)
    kept = np.flatnonzero(asked >= 0)
    if len(kept) == 0:
        reason = "the set has no clusters: the condition does not request any"
        return [scored.absent(m, reason, encoder=encoder) for m in CLUSTER_METRICS], {}, {}
    check_comparable(real, made)
    (of_train, of_real, of_made), identity = features_of(sets, features)
    found = _judge(of_train, cluster_ids(train, assigned), (of_made[kept], of_real), seed=seed)
    sites = site_of(made.table)[kept]
    requests = Requests(asked[kept], found[0], patients(made)[kept], sites)
    own = cluster_ids(real, assigned)
    truth = Requests(own, found[1], patients(real), site_of(real.table))
    k = len(np.load(clusters / "centroids.npy"))
    judge = {
        "encoder": identity,
        "regression": [_PENALTY, FITTED, seed],
        "train": train.fingerprint,
        "clusters": sha256_file(clusters / "centroids.npy"),
    }
    score = class_score(
        scored,
        CLUSTER_METRICS,
        [f"cluster={c}" for c in range(k)],
        truth,
        protocol=adherence_protocol(real, judge=short_hash(judge)),
        seed=seed,
        encoder=encoder,
    )
    facts = {
        "encoder": encoder,
        "asked_found": confusion_matrix(requests.asked, requests.found, n_classes=k).tolist(),
        "real": confusion_matrix(truth.asked, truth.found, n_classes=k).tolist(),
    }
    return score.rows(requests), {"cluster_hit": hits_of(requests, kept, len(made))}, facts


def _asked(condition: str, made: TileSet, assigned: "pd.DataFrame | None") -> np.ndarray:
    """The cluster requested of each tile, int64 (n,), -1 for none; a real tile's is its own, and
    the round trip's that of the tile it was."""
    import pandas as pd

    if condition == "real":
        return cluster_ids(made, assigned)
    if condition == "autoencoder":
        assert assigned is not None
        of_tile = assigned.drop_duplicates("tile_id").set_index("tile_id")["cluster"]
        return made.table["source_tile_id"].map(of_tile).fillna(-1).to_numpy(np.int64)
    told = made.table["cluster"] if "cluster" in made.table else pd.Series([-1] * len(made))
    return told.fillna(-1).to_numpy(np.int64)


def _judge(
    train: np.ndarray, clusters: np.ndarray, others: Sequence[np.ndarray], *, seed: int
) -> list[np.ndarray]:
    """Learn clusters (n,) from features (n, d); the clusters seen in other features, int64."""
    from sklearn.linear_model import LogisticRegression

    rows = np.sort(np.random.default_rng(seed).permutation(len(train))[:FITTED])
    mean, scale = train[rows].mean(axis=0, dtype=float), train[rows].std(axis=0, dtype=float)
    scale[scale < 1e-8 * np.maximum(1, np.abs(mean))] = 1
    if len(np.unique(clusters[rows])) < 2:  # nothing to tell apart
        return [np.full(len(other), clusters[rows[0]]) for other in others]
    fitted = LogisticRegression(C=_PENALTY, max_iter=300)
    fitted.fit((train[rows] - mean) / scale, clusters[rows])
    return [fitted.predict((other - mean) / scale).astype(np.int64) for other in others]
