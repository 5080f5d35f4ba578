"""Adherence: does a synthetic tile show what was requested of it?

Judges look at the tiles: a segmenter trained on real train tiles at those requested by a map, a
classifier at those requested by a label, an encoder that took no part in the clustering at those
requested by a cluster; the style of the tissue is held against the crops it was to be like, and its
features against those that were told. No judge is perfect, so each value stands beside the same
judge's value on real test tiles, and beside its controls (see `obedience`).

Intervals resample patients; a synthetic tile belongs to the patient whose map or label it got.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from histosynth.device import pick_device
from histosynth.errors import InputError
from histosynth.evaluations.adherence_cluster import CLUSTER_METRICS, cluster_rows
from histosynth.evaluations.adherence_crop import CROP_METRICS, crop_rows, crop_signal
from histosynth.evaluations.adherence_embedding import EMBEDDING_METRICS, embedding_rows
from histosynth.evaluations.adherence_judges import (
    LABEL_METRICS,
    MAP_METRICS,
    TileColumns,
    label_rows,
    map_rows,
)
from histosynth.evaluations.counts import patients
from histosynth.evaluations.rows import MetricRow, Scored
from histosynth.judges.judge import load_judge
from histosynth.tilesets import TileSet

if TYPE_CHECKING:
    import pandas as pd

    from histosynth.config import Study

_Found = tuple[list[MetricRow], TileColumns]


def adherence_of_files(
    scored: Scored,
    study: "Study",
    *,
    train: Path,
    real: Path,
    synthetic: Path,
    judges: Path,
    clusters: Path | None,
    features: Mapping[str, Sequence[str]],
    table: Path | None,
    told_features: Mapping[str, Sequence[str]] | None = None,
) -> tuple[list[MetricRow], "pd.DataFrame", dict[str, Any]]:
    """Score one set on disk by everything that the study can request.

    Parameters
    ----------
    train, real : the real train and test tiles
    synthetic : the set to score; the real test tiles themselves for the condition `real`
    judges : folder of the trained judges
    clusters : folder of the clusters, where the study has any
    features : the encoder that judges clusters -> .npy of the three sets; empty where there is
        none but the one that the clusters were found with
    table : the condition table, where crops were shown
    told_features : the encoder that judges embeddings -> .npy of the three sets; None where no
        condition is told any

    Returns
    -------
    rows
    tiles : see `tile_table`
    facts : `clusters`, see `cluster_rows`
    """
    columns: TileColumns = {}
    facts: dict[str, Any] = {}
    seed = study.evaluation.seed

    def kept(found: _Found) -> list[MetricRow]:
        columns.update(found[1])
        return found[0]

    def by_judge(kind: str, score: Callable[..., _Found]) -> list[MetricRow]:
        judge = load_judge(judges / kind, device=pick_device())
        return kept(score(scored, *_opened(real, synthetic), judge=judge, seed=seed))

    def by_encoder(encoder: str) -> list[MetricRow]:
        assert clusters is not None
        told: dict[str, Any] = {"clusters": clusters, "encoder": encoder}
        sets = _opened(train, real, synthetic)
        rows, found, facts["clusters"] = cluster_rows(
            scored, sets, **told, features=features[encoder], seed=seed
        )
        return kept((rows, found))

    def by_features(encoder: str, files: Sequence[str]) -> list[MetricRow]:
        sets = _opened(train, real, synthetic)
        return kept(embedding_rows(scored, study, sets, encoder=encoder, features=files))

    def by_style() -> list[MetricRow]:
        sets = dict(zip(("real", "synthetic"), _opened(real, synthetic), strict=True))
        return kept(crop_rows(scored, study, **sets, table=table))

    rows: list[MetricRow] = []
    if study.classes:
        rows += scored.guarded(MAP_METRICS, lambda: by_judge("segmenter", map_rows))
    if study.label:
        rows += scored.guarded(LABEL_METRICS, lambda: by_judge("classifier", label_rows))
    for encoder in features:
        compute = partial(by_encoder, encoder)
        rows += scored.guarded(CLUSTER_METRICS, compute, encoder=encoder)
    if study.clusters and not features:
        rows += [scored.absent(metric, _no_judge(study)) for metric in CLUSTER_METRICS]
    if crop_signal(study, None):
        rows += scored.guarded(CROP_METRICS, by_style)
    for encoder, files in (told_features or {}).items():
        compute = partial(by_features, encoder, files)
        rows += scored.guarded(EMBEDDING_METRICS, compute, encoder=encoder)
    return rows, tile_table(synthetic, columns), facts


def _opened(*folders: Path) -> list[TileSet]:
    return [TileSet.open(folder) for folder in folders]


def _no_judge(study: "Study") -> str:
    assert study.clusters is not None
    return (
        f"the clusters were found with {study.clusters.encoder}, which the generator was told of; "
        "name another encoder under evaluation.encoders to judge by"
    )


def tile_table(folder: Path, columns: Mapping[str, np.ndarray]) -> "pd.DataFrame":
    """What was found tile by tile, for comparing two conditions image by image.

    Parameters
    ----------
    folder : the tile set; row i of a synthetic set answers row i of the condition table

    Returns
    -------
    DataFrame with `row` (of the set), `patient_id` (whose request it was), and, as far as they
    were requested and scored: `map_intersection_<class>` and `map_union_<class>` in pixels;
    `label_hit` and `cluster_hit`, 1 or 0, and -1 where the tile had no such request;
    `crop_nearer`, NaN where it was shown no crop; `embedding_similarity`.
    """
    import pandas as pd

    try:
        groups = patients(TileSet.open(folder))
    except InputError:  # the failed rows say why
        groups = np.zeros(0, dtype=object)
    return pd.DataFrame({"row": np.arange(len(groups)), "patient_id": groups, **columns})
