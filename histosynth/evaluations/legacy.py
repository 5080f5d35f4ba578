"""Scores under a published protocol that is kept apart: other numbers, another hash, no ranks."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from histosynth.encoders import Encoder, load_encoder
from histosynth.encoders.features import embed_tileset
from histosynth.encoders.legacy import LEGACY, Role
from histosynth.evaluations.counts import patients
from histosynth.evaluations.embedded import ENCODER_IDENTITY
from histosynth.evaluations.fidelity import check_enough, scored_subset
from histosynth.evaluations.protocol import check_comparable, fidelity_protocol
from histosynth.evaluations.rows import MetricRow, Scored
from histosynth.evaluations.sides import Sides
from histosynth.tilesets import TileSet

if TYPE_CHECKING:
    from histosynth.config import Study

LEGACY_METRICS = ("frechet_distance", "precision", "recall")  # what is published under them


def legacy_of_files(
    scored: Scored, real: str | Path, synthetic: str | Path, *, study: "Study"
) -> list[MetricRow]:
    """Rows of every legacy protocol and encoder of the study; their `arm` names the protocol."""
    sets = TileSet.open(real), TileSet.open(synthetic)
    rows: list[MetricRow] = []
    for name in study.evaluation.encoders:

        def compute(name: str = name) -> list[MetricRow]:
            encoder = load_encoder(name, study.encoders[name])
            return legacy_rows(scored, *sets, encoder=encoder, study=study)

        rows += scored.guarded(LEGACY_METRICS, compute, encoder=name)
    return rows


def legacy_rows(
    scored: Scored, real: TileSet, synthetic: TileSet, *, encoder: Encoder, study: "Study"
) -> list[MetricRow]:
    """Score one set in one encoder, under each of the study's legacy protocols.

    Raises
    ------
    InputError
        Sets of another size or codec, or too few tiles.
    """
    check_comparable(real, synthetic)
    settings = study.evaluation
    chosen = scored_subset(len(synthetic), study.sampling.n, seed=settings.seed)
    check_enough([(real, len(real)), (synthetic, len(chosen))], settings)
    rows: list[MetricRow] = []
    for protocol in settings.legacy:
        of_real, of_synthetic = (
            embed_tileset(tiles, LEGACY[protocol](encoder, role), progress=False)
            for tiles, role in _roles(real, synthetic)
        )
        made_by = LEGACY[protocol](encoder, "real").fingerprint
        sides = Sides(
            of_real,
            of_synthetic[chosen],
            patients(real),
            patients(synthetic)[chosen],
            settings,
        )
        counts: dict[str, Any] = {"n_real": len(of_real), "n_synthetic": len(chosen)}
        told = fidelity_protocol(
            real,
            encoder={key: made_by.get(key) for key in ENCODER_IDENTITY},
            width=encoder.width,
            k=settings.neighbours,
            **counts,
        )
        found = sides.distances() | sides.neighbour_scores()
        rows += [
            scored.row(
                metric,
                found[metric],
                protocol=told | {"legacy": protocol},
                encoder=encoder.name,
                arm=protocol,
                **counts,
            )
            for metric in LEGACY_METRICS
        ]
    return rows


def _roles(real: TileSet, synthetic: TileSet) -> Iterable[tuple[TileSet, Role]]:
    return (real, "real"), (synthetic, "synthetic")
