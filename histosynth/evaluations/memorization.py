"""Memorization: do generated tiles lie nearer to training tiles than tissue of new patients does?

Training tiles are what neighbours are looked for among; real test tiles, whose patients no
generator saw, say how near tissue lies to them anyway. Scored in each of the study's encoders and
in pixels. Three rows stand beside the conditions: `real`, one half of the test patients scored
against the other half, is the floor; `autoencoder`, test tiles through the autoencoder, shows what
blur alone does; `planted_copies`, the `real` half with copies of training tiles hidden in it,
shows what the scores can find. What a copy may look like and still be found is told beside the
rows, space by space. The round trips are copies too, of test tiles: each is looked for as if its
original had been trained on.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from histosynth.encoders import load_encoder
from histosynth.errors import InputError
from histosynth.evaluations.copy_through import COPY_METRICS, copy_through_rows
from histosynth.evaluations.counts import patients
from histosynth.evaluations.embedded import ENCODER_IDENTITY, features_of
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
from histosynth.evaluations.planted import copies_of, found_copies, plant
from histosynth.evaluations.protocol import memorization_protocol
from histosynth.evaluations.round_trip import AUTOENCODER
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
    from histosynth.settings import EncoderSettings

PIXELS = "pixels"  # stands in the rows' `encoder`
PLANTED = "planted_copies"
QUANTILES = {"memorized_share_1pct": NEAR, "memorized_share_01pct": 0.001}
DISTANCE_METRICS = (*QUANTILES, "nearest_train_auc", "authenticity", "c_t")
_PIXELS = {"vectors": "16 x 16 RGB means, channels centred, unit length", "turns": 8}


@dataclass(frozen=True)
class View:
    """A set and its cast as one space sees them.

    Attributes
    ----------
    name, identity : of the encoder, or of pixels
    made : the tiles scored, described
    test : from rows of the test tiles to their description
    describe : from images uint8 (m, H, W, 3) to their description
    """

    name: str
    identity: dict[str, Any]
    space: Space
    measured: Measured
    made: np.ndarray
    test: Callable[[np.ndarray], np.ndarray]
    describe: Callable[[np.ndarray], np.ndarray]


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
    table : the condition table, where the condition was shown crops

    Returns
    -------
    rows
    facts : `pairs` (closest ones, for the gallery), `patients` (by encoder: the training patient
        whose tiles are nearest most often), and for real tiles and those through the autoencoder
        `planted`: by encoder and kind of copy, how many there were and how many are found
    """
    facts: dict[str, Any] = {"pairs": [], "patients": {}}
    rows: list[MetricRow] = []

    def encoder_rows(name: str) -> list[MetricRow]:
        cast = Cast.of(train, test, synthetic, study)
        paths = [*features[name], features[name][-1]][:3]
        arrays, identity = features_of((cast.train, cast.test, cast.made), paths)
        space, made = FeatureSpace(arrays[0][cast.train_rows]), arrays[2][cast.made_rows]
        measured = Measured.of(space, made, arrays[1][cast.heldout_rows])
        describe = partial(_embed, name, study.encoders[name], identity)
        test_features = arrays[1].__getitem__
        view = View(name, identity, space, measured, made, test_features, describe)
        return _rows(scored, cast, study, view, facts)

    def pixel_rows() -> list[MetricRow]:
        cast = Cast.of(train, test, synthetic, study)
        take = partial(small_pictures, threads=threads)
        space, made = PixelSpace(take(cast.train, cast.train_rows)), take(cast.made, cast.made_rows)
        measured = Measured.of(space, made, take(cast.test, cast.heldout_rows))

        def describe(images: np.ndarray) -> np.ndarray:
            return np.stack([small(image) for image in images])

        view = View(PIXELS, _PIXELS, space, measured, made, partial(take, cast.test), describe)
        return _rows(scored, cast, study, view, facts)

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


def _embed(
    name: str, settings: "EncoderSettings", identity: dict[str, Any], images: np.ndarray
) -> np.ndarray:
    """Features of images by the very encoder that made those on disk.

    Raises
    ------
    InputError
        It is another one, or cannot be had here.
    """
    encoder = load_encoder(name, settings)
    if any(encoder.fingerprint.get(key) != identity[key] for key in ENCODER_IDENTITY):
        raise InputError(
            f"encoders.{name} is not the encoder that made the features given; embed the sets again"
        )
    return encoder(images)


def _rows(
    scored: Scored, cast: Cast, study: "Study", view: View, facts: dict[str, Any]
) -> list[MetricRow]:
    """Rows of one encoder or of pixels, the positive control among those of real tiles."""
    seed, name, measured = study.evaluation.seed, view.name, view.measured
    place: dict[str, Any] = {
        "encoder": name,
        "protocol": memorization_protocol(
            cast.test,
            cast.train,
            n_train=len(cast.train_rows),
            space=view.identity,
            synthetic=cast.made,
        ),
        "n_real": len(cast.heldout_rows),
        "n_synthetic": len(cast.made_rows),
        "reason": cast.remark,
    }
    groups = (patients(cast.made)[cast.made_rows], patients(cast.test)[cast.heldout_rows])
    rows = _distance_rows(scored, measured, groups, seed=seed, **place)
    facts["patients"][name] = favourite_patient(cast, measured)
    if name in (PIXELS, study.evaluation.encoders[0]):
        facts["pairs"] += closest_pairs(cast, measured, name)
    if scored.condition == "real":

        def control_rows() -> list[MetricRow]:
            control, found = _planted(cast, view, seed=seed)
            facts.setdefault("planted", {})[name] = found
            return _distance_rows(scored, control, groups, seed=seed, condition=PLANTED, **place)

        # An encoder that cannot be had here takes the control away, and nothing else.
        rows += scored.guarded(DISTANCE_METRICS, control_rows, encoder=name, condition=PLANTED)
    if scored.condition == AUTOENCODER:
        found = {AUTOENCODER: _found_round_trips(cast, view)}
        facts.setdefault("planted", {})[name] = found
    return rows


def _planted(cast: Cast, view: View, *, seed: int) -> tuple[Measured, dict[str, dict[str, Any]]]:
    """The distances with copies in some places, and how many are found of each kind of copy."""
    copies = plant(len(cast.made_rows), len(cast.train_rows), seed=seed)
    images = copies_of(cast.train, cast.train_rows[copies.originals])
    described = np.split(view.describe(np.concatenate(list(images.values()))), len(images))
    by_kind = dict(zip(images, described, strict=True))
    hidden = [by_kind[kind][i] for i, kind in zip(copies.of.tolist(), copies.kinds, strict=True)]
    control = view.measured.with_copies(view.space, copies.places, np.stack(hidden))
    originals = view.space.described(copies.originals)
    found = {
        kind: found_copies(
            view.space.between(made, originals),
            view.space.nearest(made).distance,
            limit=_limit(view.measured),
        )
        for kind, made in by_kind.items()
    }
    return control, found


def _found_round_trips(cast: Cast, view: View) -> dict[str, Any]:
    """How many round trips of test tiles are found, were their originals training tiles."""
    row_of = {tile: row for row, tile in enumerate(cast.test.table["tile_id"])}
    sources = cast.made.table["source_tile_id"].iloc[cast.made_rows]
    originals = view.test(np.array([row_of[tile] for tile in sources]))
    to_nearest = view.measured.made.distance
    to_original = view.space.between(view.made, originals)
    return found_copies(to_original, to_nearest, limit=_limit(view.measured))


def _limit(measured: Measured) -> float:
    """What is too near: the nearest 1 % of held-out tiles, or where they are few the nearest."""
    limit = near_limit(measured.heldout)
    return float(measured.heldout.min()) if limit is None else limit


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
