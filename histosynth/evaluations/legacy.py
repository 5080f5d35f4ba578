"""Scores under a published protocol that is kept apart: other numbers, another hash, no ranks."""

import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from histosynth.encoders import Encoder, load_encoder
from histosynth.encoders.features import embed_tileset
from histosynth.encoders.legacy import LEGACY
from histosynth.evaluations.counts import patients
from histosynth.evaluations.embedded import ENCODER_IDENTITY
from histosynth.evaluations.fidelity import check_enough, scored_subset
from histosynth.evaluations.protocol import check_codecs, fidelity_protocol
from histosynth.evaluations.rows import MetricRow, Scored
from histosynth.evaluations.sides import Sides
from histosynth.imports import import_images
from histosynth.tilesets import TileSet

if TYPE_CHECKING:
    from histosynth.config import Study

LEGACY_METRICS = ("frechet_distance", "precision", "recall")  # what is published under them
_Kept = dict[tuple[str, str, str], np.ndarray]
"""Features of real tiles by protocol, encoder and the fingerprint of their set."""


def legacy_of_files(
    scored: Scored,
    real: str | Path,
    synthetic: str | Path,
    *,
    study: "Study",
    images: str | Path | None = None,
) -> list[MetricRow]:
    """Rows of every legacy protocol and encoder of the study; their `arm` names the protocol.

    Parameters
    ----------
    images : folder of the images that the set `synthetic` was resized from: they are scored as
        they came, since size is what these protocols are about
    """
    rows: list[MetricRow] = []
    with tempfile.TemporaryDirectory() as work:

        def compute(name: str) -> list[MetricRow]:
            made = TileSet.open(synthetic)
            if images is not None and "native_sizes" in made.provenance:
                folder = Path(work) / "native"
                whole = (folder / "tileset.json").is_file()
                made = TileSet.open(folder) if whole else import_images(images, folder)
            encoder = load_encoder(name, study.encoders[name])
            return legacy_rows(scored, TileSet.open(real), made, encoder=encoder, study=study)

        for name in study.evaluation.encoders:
            rows += scored.guarded(LEGACY_METRICS, partial(compute, name), encoder=name)
    return rows


def legacy_of_sets(
    study: "Study",
    reference: TileSet,
    contestants: Mapping[str, TileSet],
    encoders: Mapping[str, Encoder],
) -> tuple[list[MetricRow], dict[str, dict[str, Any]]]:
    """Rows of every set against the reference, in each encoder, and their protocols.

    Parameters
    ----------
    contestants : by the name of the condition, the synthetic sets and other real tiles
    encoders : by the name that they have in `study`
    """
    rows: list[MetricRow] = []
    protocols: dict[str, dict[str, Any]] = {}
    kept: _Kept = {}
    for name, tiles in contestants.items():
        scored = Scored(study.study, name, 0, name, "legacy")
        for encoder_name, encoder in encoders.items():
            compute = partial(
                legacy_rows, scored, reference, tiles, encoder=encoder, study=study, kept=kept
            )
            rows += scored.guarded(LEGACY_METRICS, compute, encoder=encoder_name)
        protocols |= scored.protocols
    return rows, protocols


def legacy_rows(
    scored: Scored,
    real: TileSet,
    synthetic: TileSet,
    *,
    encoder: Encoder,
    study: "Study",
    kept: _Kept | None = None,
) -> list[MetricRow]:
    """Score one set in one encoder, under each of the study's legacy protocols.

    Parameters
    ----------
    kept : features of real tiles, used again and added to, where many sets are scored

    Raises
    ------
    InputError
        Sets of another codec, of sizes that the protocol cannot be followed with, or of too few
        tiles.
    """
    check_codecs(real, synthetic)
    settings = study.evaluation
    chosen = scored_subset(len(synthetic), study.sampling.n, seed=settings.seed)
    check_enough([(real, len(real)), (synthetic, len(chosen))], settings)
    rows: list[MetricRow] = []
    for name in settings.legacy:
        protocol = LEGACY[name]
        protocol.check(real.size, synthetic.size)
        of_real, of_synthetic = protocol.encoders(encoder, real.size, synthetic.size)
        kept = {} if kept is None else kept
        key = (name, encoder.name, real.fingerprint)
        if key not in kept:
            kept[key] = embed_tileset(real, of_real, progress=False)
        sides = Sides(
            kept[key],
            embed_tileset(synthetic, of_synthetic, progress=False)[chosen],
            patients(real),
            patients(synthetic)[chosen],
            settings,
        )
        counts: dict[str, Any] = {"n_real": len(real), "n_synthetic": len(chosen)}
        told = fidelity_protocol(
            real,
            encoder={key: of_real.fingerprint.get(key) for key in ENCODER_IDENTITY},
            width=encoder.width,
            synthetic=synthetic,
            **counts,
        )
        told |= {"legacy": name}
        if synthetic.size != real.size:
            told |= {"synthetic_size": list(synthetic.size)}
        found = sides.distances() | sides.neighbour_scores()
        rows += [
            scored.row(
                metric,
                found[metric],
                protocol=told | sides.ingredients(metric),
                encoder=encoder.name,
                arm=name,
                reason=protocol.remark(real.size, synthetic.size),
                **counts,
            )
            for metric in LEGACY_METRICS
        ]
    return rows
