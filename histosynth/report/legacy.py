"""Scores under published protocols that are not comparable: shown apart, and they rank nobody."""

from __future__ import annotations

from dataclasses import dataclass

from histosynth.report.cells import Cell, of_row, over_seeds
from histosynth.report.collect import Results
from histosynth.report.tables import ScoreTable, arrow, everyone, lettered

WORDS = {
    "osorio": (
        "As Osorio et al. (2024) scored",
        "They compared real tiles of 96 pixels, which a network of 299 pixels saw enlarged, with "
        "synthetic tiles of 512 pixels, which it saw reduced. So the sharpness of the two sides "
        "differs for a reason that has nothing to do with the tissue, and the difference is in "
        "the distance. Here all go to 299 pixels, by bilinear interpolation without antialiasing: "
        "synthetic tiles that came larger than the real ones as they are, those of the same size "
        "enlarged by 512 / 96 first.",
    )
}


@dataclass(frozen=True)
class LegacySection:
    """One legacy protocol: what it is, and a table an encoder."""

    heading: str
    words: str
    tables: tuple[ScoreTable, ...]


def sections(results: Results) -> list[LegacySection]:
    """Every legacy protocol that the study asks for."""
    return [
        LegacySection(
            *WORDS[protocol],
            tuple(_table(results, protocol, e) for e in results.study.evaluation.encoders),
        )
        for protocol in results.study.evaluation.legacy
    ]


def _table(results: Results, protocol: str, encoder: str) -> ScoreTable:
    rows = results.rows[results.rows["group"] == "legacy"]
    rows = rows[(rows["encoder"] == encoder) & rows["arm"].isin([protocol, ""])]
    metrics = [str(name) for name in dict.fromkeys(rows["metric"])]
    lines = []
    for name in everyone(results, shuffled=False):
        own = rows[rows["condition"] == name]
        if not own.empty:
            cells = tuple(_cell(results, own[own["metric"] == metric]) for metric in metrics)
            lines.append((name, "", cells))
    heads = tuple(arrow(metric) for metric in metrics)
    return lettered(f"Features: {encoder}, not comparable", heads, lines)


def _cell(results: Results, rows) -> Cell:
    per_seed = {row["seed"]: of_row(row, results.split_unit) for row in rows.to_dict("records")}
    return over_seeds(per_seed) if per_seed else Cell("missing", reason="no such row")
