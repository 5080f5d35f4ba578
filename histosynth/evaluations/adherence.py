"""Adherence: does a synthetic tile show what was requested of it?

Judges look at the tiles: a segmenter trained on real train tiles at those requested by a map, a
classifier at those requested by a label. No judge is perfect, so each value stands beside the same
judge's value on real test tiles, as a ratio, and beside its controls (see `obedience`).

Intervals resample patients; a synthetic tile belongs to the patient whose map or label it got.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from histosynth.device import pick_device
from histosynth.errors import InputError
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


def adherence_of_files(
    scored: Scored, study: "Study", *, real: Path, synthetic: Path, judges: Path
) -> tuple[list[MetricRow], "pd.DataFrame"]:
    """Score one set on disk by everything that the study can request.

    Parameters
    ----------
    real : the real test tiles
    synthetic : the set to score; the real test tiles themselves for the condition `real`
    judges : folder of the trained judges

    Returns
    -------
    rows
    tiles : see `tile_table`
    """
    columns: TileColumns = {}

    def by_judge(kind: str, score: Callable[..., tuple[list[MetricRow], TileColumns]]) -> list:
        rows, found = score(
            scored,
            TileSet.open(real),
            TileSet.open(synthetic),
            judge=load_judge(judges / kind, device=pick_device()),
            seed=study.evaluation.seed,
        )
        columns.update(found)
        return rows

    rows: list[MetricRow] = []
    if study.classes:
        rows += scored.guarded(MAP_METRICS, lambda: by_judge("segmenter", map_rows))
    if study.label:
        rows += scored.guarded(LABEL_METRICS, lambda: by_judge("classifier", label_rows))
    return rows, tile_table(synthetic, columns)


def tile_table(folder: Path, columns: Mapping[str, np.ndarray]) -> "pd.DataFrame":
    """What was found tile by tile, for comparing two conditions image by image.

    Parameters
    ----------
    folder : the tile set; row i of a synthetic set answers row i of the condition table

    Returns
    -------
    DataFrame with `row` (of the set), `patient_id` (whose request it was), and, as far as they
    were requested and scored: `map_intersection_<class>` and `map_union_<class>` in pixels,
    `label_hit` and others named `_hit`, 1 or 0, and -1 where the tile had no such request.
    """
    import pandas as pd

    try:
        groups = patients(TileSet.open(folder))
    except InputError:  # the failed rows say why
        groups = np.zeros(0, dtype=object)
    return pd.DataFrame({"row": np.arange(len(groups)), "patient_id": groups, **columns})
