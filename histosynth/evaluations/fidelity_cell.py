"""All that a metrics file of group fidelity holds, by what the condition is."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from histosynth.config import OTHER_SITE
from histosynth.evaluations.fidelity import FIDELITY_METRICS, fidelity_of_files
from histosynth.evaluations.round_trip import (
    AUTOENCODER,
    ROUND_TRIP_METRICS,
    round_trip_of_files,
)
from histosynth.evaluations.rows import MetricRow, Scored
from histosynth.evaluations.sites import other_site_of_files

if TYPE_CHECKING:
    from histosynth.config import Study


def fidelity_of_cell(
    scored: Scored,
    real: Path,
    synthetic: Path,
    *,
    study: "Study",
    features: Mapping[str, Sequence[str]],
    clusters: tuple[str, str] | None,
) -> list[MetricRow]:
    """Fidelity in every encoder, and of the autoencoder what its round trip leaves.

    Parameters
    ----------
    real, synthetic : folders of the real test tiles and of the set to score
    features : encoder -> files of both sets
    clusters : folder of the clusters and the set's features in their encoder, to score by cluster
    """
    score: Any = partial(fidelity_of_files, clusters=clusters)
    if scored.condition == OTHER_SITE:
        score = other_site_of_files
    rows = []
    for encoder, files in features.items():
        compute = partial(
            score, scored, real, synthetic, study=study, encoder=encoder, features=tuple(files)
        )
        rows += scored.guarded(FIDELITY_METRICS, compute, encoder=encoder)
    if scored.condition == AUTOENCODER:
        compute = partial(round_trip_of_files, scored, real, synthetic, study=study)
        rows += scored.guarded(ROUND_TRIP_METRICS, compute)
    return rows
