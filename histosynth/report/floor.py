"""The autoencoder's floor: what is lost before any generator begins."""

from histosynth.evaluations.round_trip import AUTOENCODER, ROUND_TRIP_METRICS
from histosynth.grid import Grid
from histosynth.report.cells import Cell, Column, fill
from histosynth.report.collect import Results
from histosynth.report.leaderboard import REFERENCES
from histosynth.report.tables import ScoreTable, arrow, has_rows


def floor(results: Results) -> ScoreTable | None:
    """The round trip's scores over those of real tiles; None where nothing was trained."""
    if not Grid(results.study).trained:
        return None
    pairs = [name for name in ROUND_TRIP_METRICS if has_rows(results, "fidelity", name)]
    columns = [Column("fidelity", name) for name in pairs]
    for encoder in results.study.evaluation.encoders:
        columns += [
            Column("fidelity", name, encoder) for name in ("frechet_distance", "kernel_distance")
        ]
    lines = [
        (name, "", tuple(_cell(results, name, column) for column in columns)) for name in REFERENCES
    ]
    heads = tuple(f"{arrow(c.metric)}{f', {c.encoder}' if c.encoder else ''}" for c in columns)
    return ScoreTable("The autoencoder’s floor", heads, tuple(lines))


def _cell(results: Results, name: str, column: Column) -> Cell:
    if column.metric in ROUND_TRIP_METRICS and name != AUTOENCODER:
        return Cell("not_applicable", reason="real tiles made no round trip")
    return fill(results, name, column)
