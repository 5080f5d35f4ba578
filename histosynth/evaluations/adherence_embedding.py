"""Adherence to an embedding: is the tile like the one whose features the generator was told?

Features of a tile and of its target are compared by the cosine of the angle between them, each
standardised by the mean and standard deviation of the real train tiles: without that, features
that are large for all tissue alike would make any two tiles similar. 1 is the target itself, 0 a
tile that has nothing in common with it. Another encoder judges than the generator was told of,
where the study has one.

Its controls: another request's target in the place of one's own (`~shuffled`), and the target of a
request of another label, or where there are no labels of another main class (`~wrong_class`). Real
test tiles are compared with another tile of their slide each, which is what tissue has in common
beside a place; the autoencoder's row is each tile against itself, passed through.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from histosynth.errors import InputError
from histosynth.evaluations.adherence_judges import TileColumns
from histosynth.evaluations.counts import derangement, patients
from histosynth.evaluations.embedded import features_of
from histosynth.evaluations.obedience import REFERENCES, SHUFFLED, WRONG_CLASS, known_sites
from histosynth.evaluations.protocol import adherence_protocol, check_comparable
from histosynth.evaluations.rows import MetricRow, Scored
from histosynth.evaluations.subsets import site_of
from histosynth.files import short_hash
from histosynth.metrics import cluster_bootstrap
from histosynth.tilesets import TileSet

if TYPE_CHECKING:
    import pandas as pd

    from histosynth.config import Study

METRIC = "embedding_similarity"
EMBEDDING_METRICS = (METRIC,)
VERSION = 1  # raised when a change of this file changes any value
NOT_INDEPENDENT = "judged by the encoder whose features the generator was told"


def embedding_rows(
    scored: Scored,
    study: "Study",
    sets: Sequence[TileSet],
    *,
    encoder: str,
    features: Sequence[str | Path],
) -> tuple[list[MetricRow], TileColumns]:
    """Rows of a condition that was told features, overall, by label and by site; not applicable
    to others.

    Parameters
    ----------
    scored : the condition `real` compares real test tiles with their neighbours
    sets : real train tiles, real test tiles, and the set to score
    encoder : name of the judging encoder
    features : its .npy of the three sets

    Returns
    -------
    rows
    columns : embedding_similarity by tile

    Raises
    ------
    InputError
        Tiles made from others than the test tiles, features of other tiles, another size or codec.
    """
    train, real, made = sets
    told_by = conditioning_encoder(study, scored.condition)
    if told_by is None and scored.condition not in REFERENCES:
        reason = "the condition tells the generator no features"
        return [scored.absent(METRIC, reason, encoder=encoder)], {}
    check_comparable(real, made)
    (of_train, of_real, of_made), identity = features_of(sets, features)
    mean, spread = of_train.mean(axis=0, dtype=float), of_train.std(axis=0, dtype=float)
    spread[spread < 1e-8 * np.maximum(1, np.abs(mean))] = 1
    seed, groups = study.evaluation.seed, patients(made)
    targets = _targets(scored.condition, made, real, seed=seed)
    kept = np.flatnonzero(targets >= 0)
    if len(kept) == 0:
        raise InputError(f"{real.folder}: no slide has two tiles to compare with each other")
    standard = {"encoder": identity, "mean of": train.fingerprint, "version": VERSION}
    told: dict[str, Any] = {
        "protocol": adherence_protocol(real, judge=short_hash(standard)),
        "encoder": encoder,
        "n_real": len(real),
    }
    independent = told_by is None or study.encoders[told_by] != study.encoders[encoder]
    remark = "" if independent else NOT_INDEPENDENT
    made_units, real_units = ((f - mean) / spread for f in (of_made, of_real))

    def likeness(targets: np.ndarray) -> np.ndarray:
        """Of the kept tiles with these rows of the test set; NaN for -1."""
        found = cosine(made_units[kept], real_units[targets])
        return np.where(targets >= 0, found, np.nan)

    def row(values: np.ndarray, subset: str, control: str = "") -> MetricRow:
        place: dict[str, Any] = {"subset": subset, "condition": scored.condition + control}
        known = np.isfinite(values)
        if not known.any():
            reason = "no tile to compare with"
            return scored.absent(METRIC, reason, encoder=encoder, **place)
        interval = cluster_bootstrap(values[known], groups[kept][known], seed=seed)
        n = int(known.sum())
        return scored.row(METRIC, interval, n_synthetic=n, reason=remark, **told, **place)

    own = likeness(targets[kept])
    rows = [row(own, "all")]
    asked = kinds(real)
    for name in study.label_names:
        rows.append(row(np.where(asked[targets[kept]] == name, own, np.nan), f"label={name}"))
    sites = site_of(real.table)
    for site in known_sites(sites, sites[targets[kept]]):
        rows.append(row(np.where(sites[targets[kept]] == site, own, np.nan), f"site={site}"))
    if scored.condition not in REFERENCES:
        shuffled = targets[kept][derangement(len(kept), seed=seed)]
        wrong = of_another_kind(targets[kept], asked, seed=seed)
        rows += [row(likeness(shuffled), "all", SHUFFLED), row(likeness(wrong), "all", WRONG_CLASS)]
    by_tile = np.full(len(made), np.nan)
    by_tile[kept] = own
    return rows, {"embedding_similarity": by_tile}


def conditioning_encoder(study: "Study", condition: str) -> str | None:
    """The encoder whose features a condition's generator is told; None where it is told none."""
    described = study.conditions.get(condition)
    signals = (described.signals if described else None) or []
    return next((s.options["encoder"] for s in signals if s.kind == "embedding"), None)


def cosine(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Of rows (n, d) with each other: float64 (n,), 0 for a row of zeros."""
    lengths = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    return (first * second).sum(axis=1) / np.maximum(lengths, np.finfo(float).tiny)


def kinds(tiles: TileSet) -> np.ndarray:
    """The label of each tile, or else the class that fills most of it; None for neither."""
    table = tiles.table
    if "label" in table and table["label"].notna().any():
        return table["label"].to_numpy(object)
    columns = [f"class_{name}" for name in tiles.classes]
    if not columns or not set(columns) <= set(table):
        return np.full(len(tiles), None)
    return np.array(tiles.classes, object)[table[columns].to_numpy().argmax(axis=1)]


def of_another_kind(targets: np.ndarray, asked: np.ndarray, *, seed: int) -> np.ndarray:
    """For each target (n,) another request's of another kind, drawn by chance; -1 for none.

    `asked` is the kind of every row that a target may name; a tile of no kind has no other.
    """
    random = np.random.default_rng(seed)
    kinds_of = asked[targets]
    drawn = np.full(len(targets), -1)
    for kind in {kind for kind in kinds_of if kind is not None}:
        own = kinds_of == kind
        others = targets[~own & (kinds_of != None)]  # noqa: E711 (elementwise)
        if len(others):
            drawn[own] = random.choice(others, size=int(own.sum()))
    return drawn


def _targets(condition: str, made: TileSet, real: TileSet, *, seed: int) -> np.ndarray:
    """The row of the test set that each tile is compared with, -1 for none: int64 (n,)."""
    if condition == "real":
        return _neighbours(made.table, seed=seed)
    row_of = {tile: row for row, tile in enumerate(real.table["tile_id"].astype(str))}
    named = made.table["source_tile_id"] if "source_tile_id" in made.table else [""] * len(made)
    rows = np.array([row_of.get(str(tile), -1) for tile in named], dtype=np.int64)
    if (rows < 0).any():
        first = int(np.argmax(rows < 0))
        raise InputError(
            f"{made.folder}: tile {first} was made from {list(named)[first]!r}, which is no tile "
            f"of {real.folder}; sample it again"
        )
    return rows


def _neighbours(table: "pd.DataFrame", *, seed: int) -> np.ndarray:
    """Another tile of its slide for each tile; -1 for one that is alone."""
    random = np.random.default_rng(seed)
    rows = np.full(len(table), -1, dtype=np.int64)
    for members in table.groupby("slide_id", sort=True).indices.values():
        if len(members) > 1:
            order = random.permutation(members)
            rows[order] = np.roll(order, 1)
    return rows
