"""Memorization: do generated tiles lie nearer to training tiles than tissue of new patients does?

Training tiles are what neighbours are looked for among; real test tiles, whose patients no
generator saw, say how near tissue lies to them anyway. Scored in each of the study's encoders and
in pixels. Three rows stand beside the conditions: `real`, one half of the test patients scored
against the other half, is the floor; `autoencoder`, test tiles through the autoencoder, shows what
blur alone does; `planted_copies`, the `real` half with copies of training tiles hidden in it,
shows what the scores can find.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from histosynth.encoders import load_encoder
from histosynth.errors import InputError
from histosynth.evaluations.copy_through import COPY_METRICS, copy_through_rows
from histosynth.evaluations.counts import patients
from histosynth.evaluations.embedded import features_of
from histosynth.evaluations.memorization_cast import (
    NEAR,
    Cast,
    closest_pairs,
    favourite_patient,
    near_limit,
)
from histosynth.evaluations.nearest import (
    FeatureSpace,
    Measured,
    PixelSpace,
    Space,
    small_pictures,
)
from histosynth.evaluations.planted import found_copies, plant
from histosynth.evaluations.protocol import memorization_protocol
from histosynth.evaluations.rows import MetricRow, Scored
from histosynth.metrics import (
    authenticity,
    copying_z,
    memorized_share,
    nearest_train_auc,
)
from histosynth.slides.duplicates import small
from histosynth.tilesets import TileSet

if TYPE_CHECKING:
    from histosynth.config import Study

PIXELS = "pixels"  # stands in the rows' `encoder`
PLANTED = "planted_copies"
QUANTILES = {"memorized_share_1pct": NEAR, "memorized_share_01pct": 0.001}
DISTANCE_METRICS = (*QUANTILES, "nearest_train_auc", "authenticity", "c_t")
_PIXELS = {"vectors": "16 x 16 RGB means, channels centred, unit length", "turns": 8}


def memorization_of_files(
    scored: Scored,
    study: "Study",
    *,
    train: Path,
    test: Path,
    synthetic: Path | None,
    features: Mapping[str, Sequence[str]],
    table: Path | None = None,
    threads: int = 1,
) -> tuple[list[MetricRow], dict[str, Any]]:
    """Score one set on disk, or real tiles where `synthetic` is None.

    Parameters
    ----------
    features : encoder -> .npy files of the training tiles, the test tiles and the set
    table : the condition table, where the condition was shown pixels of its targets

    Returns
    -------
    rows
    facts : `pairs` (closest ones, for the gallery), `patients` (by encoder: the training patient
        whose tiles are nearest most often), and for real tiles `planted` (by encoder and kind)
    """
    facts: dict[str, Any] = {"pairs": [], "patients": {}}
    rows: list[MetricRow] = []

    def encoder_rows(name: str) -> list[MetricRow]:
        cast = Cast.of(train, test, synthetic, study)
        paths = [*features[name], features[name][-1]][:3]
        arrays, identity = features_of((cast.train, cast.test, cast.made), paths)
        space = FeatureSpace(arrays[0][cast.train_rows])
        measured = Measured.of(space, arrays[2][cast.made_rows], arrays[1][cast.heldout_rows])
        settings = study.encoders[name]
        # Copies are embedded here only where that takes no weights and no GPU.
        describe = load_encoder(name, settings) if settings.kind == "texture" else None
        return _rows(scored, cast, study, name, identity, measured, space, describe, facts)

    def pixel_rows() -> list[MetricRow]:
        cast = Cast.of(train, test, synthetic, study)
        take = partial(small_pictures, threads=threads)
        space = PixelSpace(take(cast.train, cast.train_rows))
        made, heldout = take(cast.made, cast.made_rows), take(cast.test, cast.heldout_rows)
        measured = Measured.of(space, made, heldout)

        def describe(images: np.ndarray) -> np.ndarray:
            return np.stack([small(image) for image in images])

        return _rows(scored, cast, study, PIXELS, _PIXELS, measured, space, describe, facts)

    for name in features:
        compute = partial(encoder_rows, name)
        rows += scored.guarded(DISTANCE_METRICS, compute, encoder=name)
    rows += scored.guarded(DISTANCE_METRICS, pixel_rows, encoder=PIXELS)
    rows += scored.guarded(
        COPY_METRICS,
        lambda: copy_through_rows(
            scored,
            study,
            test=TileSet.open(test),
            synthetic=None if synthetic is None else TileSet.open(synthetic),
            table=table,
        ),
    )
    return rows, facts


def _rows(
    scored: Scored,
    cast: Cast,
    study: "Study",
    encoder: str,
    identity: dict[str, Any],
    measured: Measured,
    space: Space,
    describe: Callable[[np.ndarray], np.ndarray] | None,
    facts: dict[str, Any],
) -> list[MetricRow]:
    """Rows of one encoder or of pixels, the positive control among those of real tiles."""
    seed = study.evaluation.seed
    place: dict[str, Any] = {
        "encoder": encoder,
        "protocol": memorization_protocol(
            cast.test, cast.train, n_train=len(cast.train_rows), space=identity
        ),
        "n_real": len(cast.heldout_rows),
        "n_synthetic": len(cast.made_rows),
        "reason": cast.remark,
    }
    groups = (patients(cast.made)[cast.made_rows], patients(cast.test)[cast.heldout_rows])
    rows = _distance_rows(scored, measured, groups, seed=seed, **place)
    facts["patients"][encoder] = favourite_patient(cast, measured.made.row)
    if encoder in (PIXELS, study.evaluation.encoders[0]):
        facts["pairs"] += closest_pairs(cast, measured, encoder)
    if scored.condition == "real" and describe is not None:
        copies = plant(len(cast.made_rows), cast.train, cast.train_rows, seed=seed)
        control = measured.with_copies(space, copies.places, describe(copies.images))
        limit = near_limit(control.heldout)
        if limit is None:  # no tile can stand for the 1 %: then the nearest of them all does
            limit = float(control.heldout.min())
        found = found_copies(control.made.distance, copies, limit=limit)
        facts.setdefault("planted", {})[encoder] = found
        rows += _distance_rows(scored, control, groups, seed=seed, condition=PLANTED, **place)
    return rows


def _distance_rows(
    scored: Scored,
    measured: Measured,
    groups: tuple[np.ndarray, np.ndarray],
    *,
    seed: int,
    condition: str | None = None,
    **place: Any,
) -> list[MetricRow]:
    made, heldout = measured.made.distance, measured.heldout
    told: dict[str, Any] = {
        "generated_groups": groups[0],
        "heldout_groups": groups[1],
        "seed": seed,
    }
    rows = []
    for metric, quantile in QUANTILES.items():
        try:
            share = memorized_share(made, heldout, quantile=quantile, **told)
        except InputError as error:  # too few held-out tiles for this quantile
            encoder = place["encoder"]
            rows.append(scored.absent(metric, str(error), encoder=encoder, condition=condition))
        else:
            rows.append(scored.row(metric, share, condition=condition, **place))
    auc = nearest_train_auc(made, heldout, **told)
    rows.append(scored.row("nearest_train_auc", auc, condition=condition, **place))
    share = authenticity(made, measured.own, groups=groups[0], seed=seed)
    rows.append(scored.row("authenticity", share, condition=condition, **place))
    z = copying_z(made, heldout)
    # The only one whose size grows with the numbers of tiles.
    counts = {key: place[key] for key in ("n_real", "n_synthetic")}
    place["protocol"] = place["protocol"] | counts
    return [*rows, scored.row("c_t", z, condition=condition, **place)]
