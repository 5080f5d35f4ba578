"""Fidelity: how near the synthetic tiles lie to real test tiles in an encoder's features.

The reference is all real test tiles. A set with more tiles than the study samples is scored on a
seeded subset of that many, so that every condition, `real` (real train tiles: other patients) and
`autoencoder` (test tiles through the autoencoder) are compared at one n.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from histosynth.errors import InputError
from histosynth.evaluations.embedded import features_of
from histosynth.evaluations.protocol import check_comparable, fidelity_protocol
from histosynth.evaluations.rows import MetricRow, Scored
from histosynth.evaluations.sides import Sides
from histosynth.metrics import kernel_distance
from histosynth.tilesets import TileSet

if TYPE_CHECKING:
    import pandas as pd

    from histosynth.config import Study
    from histosynth.settings import Evaluation

DISTANCES = ("frechet_distance", "kernel_distance")
NEIGHBOUR_SCORES = ("precision", "recall", "density", "coverage")
FIDELITY_METRICS = DISTANCES + NEIGHBOUR_SCORES


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
) -> list[MetricRow]:
    """`fidelity_rows` of two tile sets on disk and their features, real ones first.

    Raises
    ------
    InputError
        Also where the features were made by different encoders, or of other tiles.
    """
    if len(features) != 2:
        raise InputError(f"features of {encoder}: expected REAL.npy,SYNTHETIC.npy, got {features}")
    sets = [TileSet.open(folder) for folder in (real, synthetic)]
    arrays, made_by = features_of(sets, features)
    return fidelity_rows(
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
    )


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
) -> list[MetricRow]:
    """Score one set in one encoder.

    Parameters
    ----------
    real : the real test tiles
    synthetic : the set to score; real train tiles for the reference row
    real_features, synthetic_features : (tiles, d), row i of the set's table
    encoder_fingerprint : what makes the features comparable with other studies'
    n : score at most this many tiles of the set
    label_names : labels to score one by one, by the kernel distance, which needs the fewest tiles

    Raises
    ------
    InputError
        Sets of another size or codec, features that do not belong to their set, too few tiles.
    """
    check_comparable(real, synthetic)
    _check_rows(real, real_features, encoder)
    _check_rows(synthetic, synthetic_features, encoder)
    for tiles, count in ((real, len(real)), (synthetic, min(len(synthetic), n))):
        if count < settings.min_tiles:
            raise InputError(
                f"{tiles.folder}: {count} tiles are too few for a score; evaluation.min_tiles is "
                f"{settings.min_tiles}. Add tiles (or lower it, for a score of little worth)"
            )
    chosen = scored_subset(len(synthetic), n, seed=settings.seed)
    sides = Sides(
        real_features,
        synthetic_features[chosen],
        real.table["patient_id"].astype(str).to_numpy(),
        _groups(synthetic.table.iloc[chosen]),
        settings,
    )
    remark = f"the set has {len(chosen)} tiles, the study samples {n}" if len(chosen) < n else ""

    def protocol(**counts: Any) -> dict[str, Any]:
        return fidelity_protocol(real, encoder=encoder_fingerprint, **counts)

    counts: dict[str, Any] = {"n_real": len(real), "n_synthetic": len(chosen)}
    plain, neighbours = protocol(**counts), protocol(**counts, k=settings.neighbours)
    intervals = sides.distances()
    rows = [
        scored.row(m, intervals[m], protocol=plain, encoder=encoder, reason=remark, **counts)
        for m in DISTANCES
    ]
    intervals = sides.neighbour_scores()
    rows += [
        scored.row(m, intervals[m], protocol=neighbours, encoder=encoder, reason=remark, **counts)
        for m in NEIGHBOUR_SCORES
    ]
    # Unbiased at every n, so labels of different frequency are still one protocol.
    subsets = protocol(n_real=None, n_synthetic=None)
    rows += _label_rows(scored, real, synthetic, chosen, sides, label_names, encoder, subsets)
    return rows


def _label_rows(
    scored: Scored,
    real: TileSet,
    synthetic: TileSet,
    chosen: np.ndarray,
    sides: Sides,
    label_names: list[str],
    encoder: str,
    protocol: dict[str, Any],
) -> list[MetricRow]:
    """The kernel distance between tiles of one label; the synthetic label is the requested one."""
    least = sides.settings.min_tiles
    real_labels = real.table["label"].to_numpy()
    labels = synthetic.table["label"].to_numpy()[chosen]
    rows = []
    for name in label_names:
        place: dict[str, Any] = {"encoder": encoder, "subset": f"label={name}"}
        of_real, of_synthetic = real_labels == name, labels == name
        n_real, n_synthetic = int(of_real.sum()), int(of_synthetic.sum())
        if not any(isinstance(label, str) for label in labels):
            reason = "the set has no labels: the condition does not request any"
            rows.append(scored.absent("kernel_distance", reason, **place))
        elif min(n_real, n_synthetic) < least:
            reason = (
                f"{n_real} real and {n_synthetic} synthetic tiles have this label; "
                f"evaluation.min_tiles is {least}"
            )
            rows.append(scored.absent("kernel_distance", reason, **place))
        else:
            interval = sides.subset(of_real, of_synthetic).jackknife(kernel_distance)
            place |= {"n_real": n_real, "n_synthetic": n_synthetic}
            rows.append(scored.row("kernel_distance", interval, protocol=protocol, **place))
    return rows


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
