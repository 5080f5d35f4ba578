"""Other-site real: what another hospital alone does to a score, with no generator in between.

Real test tiles of one site against real training tiles of all the others, patients in common left
out. The row beside it is `real`, where both sides are mixed from all sites alike. The main row
takes the site with most test tiles, so its reference is a part of the usual one and its protocol
another: read it beside the others, never ranked with them. Rows by site follow.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from histosynth.evaluations.counts import patients
from histosynth.evaluations.embedded import features_of
from histosynth.evaluations.fidelity import FIDELITY_METRICS, scored_subset, whole_rows
from histosynth.evaluations.protocol import check_comparable, fidelity_protocol
from histosynth.evaluations.rows import MetricRow, Scored
from histosynth.evaluations.sides import Sides
from histosynth.evaluations.subsets import Grouping, site_of, subset_rows
from histosynth.tilesets import TileSet

if TYPE_CHECKING:
    from histosynth.config import Study


def other_site_of_files(
    scored: Scored,
    test: str | Path,
    train: str | Path,
    *,
    encoder: str,
    features: tuple[str, ...],
    study: "Study",
) -> list[MetricRow]:
    """`other_site_rows` of two tile sets on disk and their features, test tiles first."""
    sets = [TileSet.open(folder) for folder in (test, train)]
    arrays, made_by = features_of(sets, features)
    rows = other_site_rows(
        scored,
        sets[0],
        sets[1],
        encoder=encoder,
        test_features=arrays[0],
        train_features=arrays[1],
        encoder_fingerprint=made_by,
        study=study,
    )
    if study.clusters and study.clusters.encoder == encoder:
        reason = "sites are compared without clusters"
        rows.append(scored.absent("cluster_occupancy", reason, encoder=encoder))
    return rows


def other_site_rows(
    scored: Scored,
    test: TileSet,
    train: TileSet,
    *,
    encoder: str,
    test_features: np.ndarray,
    train_features: np.ndarray,
    encoder_fingerprint: dict[str, Any],
    study: "Study",
) -> list[MetricRow]:
    """Rows of every site that has enough test tiles, those of the largest once more as `all`.

    Parameters
    ----------
    test_features, train_features : (tiles, d), row i of the set's table

    Returns
    -------
    Rows; where there are no two sites with `evaluation.min_tiles` tiles, rows that say so.
    """
    check_comparable(test, train)
    settings, n = study.evaluation, study.sampling.n
    at_test, at_train = site_of(test.table), site_of(train.table)
    test_patients, train_patients = patients(test), patients(train)
    width = test_features.shape[1]
    pairs: dict[str, Sides] = {}
    for site in sorted({s for s in at_test if s is not None}):
        here = np.flatnonzero(at_test == site)
        elsewhere = (at_train != site) & np.array([s is not None for s in at_train])
        elsewhere &= ~np.isin(train_patients, test_patients[here])
        rows = np.flatnonzero(elsewhere)
        rows = rows[scored_subset(len(rows), n, seed=settings.seed)]
        if min(len(here), len(rows)) >= settings.min_tiles:
            pairs[site] = Sides(
                test_features[here],
                train_features[rows],
                test_patients[here],
                train_patients[rows],
                settings,
            )
    if not pairs:
        reason = (
            "no site has enough test tiles, with as many training tiles of other sites; "
            f"evaluation.min_tiles is {settings.min_tiles}"
        )
        return [scored.absent(m, reason, encoder=encoder) for m in FIDELITY_METRICS]

    def protocol(site: str, **counts: Any) -> dict[str, Any]:
        told = fidelity_protocol(test, encoder=encoder_fingerprint, width=width, **counts)
        return told | {"real": f"site {site}", "against": "training tiles of other sites"}

    largest = max(pairs, key=lambda site: len(pairs[site].real))
    remark = f"real test tiles of site {largest} against real training tiles of other sites"
    made = whole_rows(
        scored,
        pairs[largest],
        encoder=encoder,
        protocol=lambda **counts: protocol(largest, **counts),
        remark=remark,
    )
    for site, sides in pairs.items():
        here, elsewhere = (
            np.full(len(side), site, dtype=object) for side in (sides.real, sides.synthetic)
        )
        grouping = Grouping("site", (site,), here, elsewhere, "site, against other sites")
        made += subset_rows(
            scored,
            sides,
            [grouping],
            encoder=encoder,
            protocol=lambda site=site, **counts: protocol(site, **counts),
        )
    return made
