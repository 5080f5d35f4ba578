"""Fidelity: how near the synthetic tiles lie to real test tiles in an encoder's features.

The reference is all real test tiles. A set with more tiles than the study samples is scored on a
seeded subset of that many, so that every condition, `real` (real train tiles: other patients) and
`autoencoder` (test tiles through the autoencoder) are compared at one n. Only where that leaves a
label, class, site or cluster with few tiles are more of the set taken.
"""

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from histosynth.errors import InputError
from histosynth.evaluations.embedded import features_of
from histosynth.evaluations.occupancy import occupancy_rows
from histosynth.evaluations.protocol import check_comparable, fidelity_protocol, resized_remark
from histosynth.evaluations.rows import MetricRow, Scored
from histosynth.evaluations.sides import INSIDE, Sides
from histosynth.evaluations.subsets import Clustered, clustered, groupings, subset_rows
from histosynth.metrics import Reference
from histosynth.tilesets import TileSet

if TYPE_CHECKING:
    import pandas as pd

    from histosynth.config import Study
    from histosynth.settings import Evaluation

DISTANCES = ("frechet_distance", "kernel_distance")
NEIGHBOUR_SCORES = tuple(INSIDE)
FURTHER = (
    "frechet_distance_inf",
    "kernel_distance_rbf",
    "sliced_wasserstein",
    "vendi",
    "classifier_auc",
)
FIDELITY_METRICS = DISTANCES + NEIGHBOUR_SCORES + FURTHER


def scored_subset(n_tiles: int, n: int, *, seed: int) -> np.ndarray:
    """Sorted rows of a seeded subset of n tiles; all rows where there are no more than n."""
    if n_tiles <= n:
        return np.arange(n_tiles)
    return np.sort(np.random.default_rng(seed).choice(n_tiles, n, replace=False))


def fidelity_of_files(
    scored: Scored,
    real: str | Path,
    synthetic: str | Path,
    *,
    encoder: str,
    features: tuple[str, ...],
    study: "Study",
    clusters: tuple[str | Path, str | Path] | None = None,
) -> list[MetricRow]:
    """`fidelity_rows` of two tile sets on disk and their features, real ones first.

    Parameters
    ----------
    clusters : the clusters' folder, and the set's features by the encoder that clusters

    Raises
    ------
    InputError
        Also where the features were made by different encoders, or of other tiles.
    """
    if len(features) != 2:
        raise InputError(f"features of {encoder}: expected REAL.npy,SYNTHETIC.npy, got {features}")
    sets = [TileSet.open(folder) for folder in (real, synthetic)]
    arrays, made_by = features_of(sets, features)
    rows = fidelity_rows(
        scored,
        sets[0],
        sets[1],
        encoder=encoder,
        real_features=arrays[0],
        synthetic_features=arrays[1],
        encoder_fingerprint=made_by,
        settings=study.evaluation,
        n=study.sampling.n,
        label_names=study.label_names,
        clusters=clustered(sets[0], sets[1], *clusters) if clusters else None,
    )
    if clusters and study.clusters and study.clusters.encoder == encoder:
        seed = study.evaluation.seed
        compute = partial(
            occupancy_rows,
            scored,
            sets[0],
            sets[1],
            clusters,
            chosen=scored_subset(len(sets[1]), study.sampling.n, seed=seed),
            encoder=encoder,
            protocol=partial(
                fidelity_protocol,
                sets[0],
                encoder=made_by,
                width=arrays[0].shape[1],
                synthetic=sets[1],
            ),
            seed=seed,
        )
        rows += scored.guarded(["cluster_occupancy"], compute, encoder=encoder)
    return rows


def fidelity_rows(
    scored: Scored,
    real: TileSet,
    synthetic: TileSet,
    *,
    encoder: str,
    real_features: np.ndarray,
    synthetic_features: np.ndarray,
    encoder_fingerprint: dict[str, Any],
    settings: "Evaluation",
    n: int,
    label_names: list[str],
    clusters: Clustered | None = None,
    reference: Reference | None = None,
) -> list[MetricRow]:
    """Score one set in one encoder: as a whole and by subset.

    Parameters
    ----------
    real : the real test tiles
    synthetic : the set to score; real train tiles for the reference row
    real_features, synthetic_features : (tiles, d), row i of the set's table
    encoder_fingerprint : what makes the features comparable with other studies'
    n : score at most this many tiles of the set
    label_names : labels to score one by one
    clusters : the cluster of every tile, where the study clusters
    reference : what scores need of `real_features`, where many sets are scored against them

    Raises
    ------
    InputError
        Sets of another size or codec, features that do not belong to their set, too few tiles.
    """
    check_comparable(real, synthetic)
    _check_rows(real, real_features, encoder)
    _check_rows(synthetic, synthetic_features, encoder)
    check_enough([(real, len(real)), (synthetic, min(len(synthetic), n))], settings)
    chosen = scored_subset(len(synthetic), n, seed=settings.seed)
    sides = Sides(
        real_features,
        synthetic_features,
        real.table["patient_id"].astype(str).to_numpy(),
        _groups(synthetic.table),
        settings,
        reference,
    )
    few = f"the set has {len(chosen)} tiles, the study samples {n}" if len(chosen) < n else ""
    remark = "; ".join(filter(None, (resized_remark(real, synthetic), few)))
    protocol = partial(
        fidelity_protocol,
        real,
        encoder=encoder_fingerprint,
        width=real_features.shape[1],
        synthetic=synthetic,
    )
    rows = whole_rows(
        scored, sides.taking(chosen), encoder=encoder, protocol=protocol, remark=remark
    )
    kinds = groupings(real, synthetic, label_names=label_names, clusters=clusters)
    return rows + subset_rows(
        scored, sides, kinds, encoder=encoder, protocol=protocol, chosen=chosen
    )


def whole_rows(
    scored: Scored,
    sides: Sides,
    *,
    encoder: str,
    protocol: Callable[..., dict[str, Any]],
    remark: str = "",
) -> list[MetricRow]:
    """Every score of two sets as wholes.

    Parameters
    ----------
    protocol : makes a protocol from `n_real` and `n_synthetic`
    remark : what to say of every number
    """
    usual = sides.distances() | sides.neighbour_scores()
    scores: dict[str, Callable[[], Any]] = {name: partial(usual.get, name) for name in usual}
    rows = []
    for metric, compute in (scores | sides.further()).items():
        try:
            found = compute()
        except InputError as error:  # such as one patient only: no reason to lose the others
            rows.append(scored.absent(metric, str(error), encoder=encoder))
            continue
        counts: dict[str, Any] = sides.counts(metric)
        told = protocol(**counts) | sides.ingredients(metric)
        said = "; ".join(filter(None, (remark, sides.remark(metric))))
        rows.append(
            scored.row(metric, found, protocol=told, encoder=encoder, reason=said, **counts)
        )
    return rows


def check_enough(counts: Iterable[tuple[TileSet, int]], settings: "Evaluation") -> None:
    """Refuse to score fewer tiles of a set than `evaluation.min_tiles`."""
    for tiles, count in counts:
        if count < settings.min_tiles:
            raise InputError(
                f"{tiles.folder}: {count} tiles are too few for a score; evaluation.min_tiles is "
                f"{settings.min_tiles}. Add tiles (or lower it, for a score of little worth)"
            )


def _groups(table: "pd.DataFrame") -> np.ndarray | None:
    """The patient behind every row (of a synthetic tile: behind its request), if all are known."""
    if "patient_id" not in table or table["patient_id"].isna().any():
        return None
    return table["patient_id"].astype(str).to_numpy()


def _check_rows(tiles: TileSet, features: np.ndarray, encoder: str) -> None:
    if len(features) != len(tiles):
        raise InputError(
            f"{tiles.folder}: {len(tiles)} tiles, but {len(features)} rows of {encoder} features; "
            "embed the set again"
        )
