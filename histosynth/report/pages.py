"""Render the report: one HTML file that needs nothing beside itself."""

from __future__ import annotations

import platform
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from histosynth.evaluations.rows import split_remark
from histosynth.report import (
    adherence,
    answer,
    copying,
    crop_sources,
    differences,
    floor,
    gallery,
    glossary,
    leaderboard,
    legacy,
    planted,
    plots,
    privacy,
    subsets,
    sweep,
    tables,
    tissue,
)
from histosynth.report.cells import Column
from histosynth.report.collect import Results
from histosynth.report.data import shown_sheets
from histosynth.report.duplicates import shown_pairs
from histosynth.report.figures import COLORS, fixed, number

PACKAGES = (
    "histosynth torch diffusers timm numpy scikit-learn scikit-image openslide-python".split()
)


@dataclass(frozen=True)
class Provenance:
    """Where a report comes from; `commit` is found by the caller, if there is one."""

    commit: str = "unknown (not a git checkout)"
    command: str = ""
    date: datetime = field(default_factory=lambda: datetime.now(UTC))


def render(results: Results, provenance: Provenance | None = None, *, selftest: str = "") -> str:
    """The whole report as HTML; `selftest` is the name of that page, where it lies beside."""
    board = leaderboard.build(results, leaderboard.main_columns(results))
    environment = page_environment()
    provenance = provenance or Provenance()
    unit, copies = results.split_unit, privacy.planted(results)
    return environment.get_template("index.html.j2").render(
        r=results,
        study=results.study,
        board=board,
        headings=headings(board),
        sentences=answer.sentences(results, board),
        troubles=trouble_list(results, board),
        plots=plots.dot_plots(results, board),
        scatters=plots.scatters(results, board),
        differences=differences.tables(zip(board.columns, board.pairs, strict=True)),
        seed_lines=differences.seed_lines(board),
        gallery=gallery.build(results),
        fidelity=tables.fidelity_tables(results, labels=False),
        floor=floor.floor(results),
        by_subset=subsets.tables_of(results),
        sweep=sweep.section(results),
        few=few_tiles_words(results),
        legacy=legacy.sections(results),
        adherence=adherence.tables_of(results),
        confusions=adherence.confusions(results),
        utility=tables.utility_tables(results),
        privacy=privacy.tables_of(results, copies),
        crops=crop_sources.crop_tables(results),
        flags=copying.judge(results).flags,
        favourites=privacy.favourites(results),
        planted=planted.found_words(copies),
        pairs=privacy.pair_rows(results),
        sheets=gallery.contact_sheets(results),
        contact=shown_sheets(results.data),
        mpp_words=glossary.MPP_SOURCES,
        shared=shown_pairs(results),
        tissue=tissue.section(tissue.Source.of_study(results), plots.colors(results)),
        caveat=split_remark(unit) if unit != "patient" else "",
        losses=plots.loss_plots(results),
        score_times=score_times(results),
        protocols=tables.protocol_rows(results),
        versions=versions(results),
        glossary=[m for m in glossary.METRICS.values() if _is_used(results, board, m.name)],
        terms=glossary.TERMS,
        colors={n: f"s{i % COLORS}" for n, i in plots.colors(results).items()},
        starts={c.name: c.start for c in results.conditions if c.start},
        provenance=provenance,
        selftest=selftest,
        counts=counts,
    )


def few_tiles_words(results: Results) -> list[str]:
    """In which encoders the kernel distance stands first, and why."""
    found = {e: leaderboard.few_tiles(results, e) for e in results.study.evaluation.encoders}
    return [
        f"{encoder}, {told[0]} tiles for {told[1]} features"
        for encoder, told in found.items()
        if told
    ]


def page_environment() -> Environment:
    """Where the templates are found, and the filters that they use."""
    environment = Environment(
        loader=PackageLoader("histosynth.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": number,
        "fixed": fixed,
        "signed": signed,
        "p_value": p_value,
        "names": mark_names,
        "breakable": breakable,
        "duration": tables.duration,
        "percent": lambda share: "–" if pd.isna(share) else f"{share:.0%}",
        "isna": pd.isna,
        "rule": glossary.rule_words,
    }
    return environment


def signed(value: float, decimals: int) -> str:
    """A difference with its sign always shown."""
    text = fixed(value, decimals)
    return f"+{text}" if value > 0 else text


def p_value(value: float) -> str:
    """Two digits, or that it is too small to matter how small."""
    if pd.isna(value):
        return "–"
    return "< 0.001" if value < 0.001 else f"{value:.2g}" if value < 0.1 else f"{value:.2f}"


def mark_names(text: str) -> Markup:
    """Text with the condition names in backticks set apart."""
    return Markup(re.sub(r"`([^`]+)`", r'<span class="name">\1</span>', str(escape(text))))


def breakable(name: str) -> Markup:
    """A name that may go on in the next line after an underscore, and nowhere else."""
    return Markup(str(escape(name)).replace("_", "_<wbr>"))


def headings(board: leaderboard.Leaderboard) -> list[tuple[str, int]]:
    """Headings over neighbouring columns, with how many each spans."""
    spans: list[tuple[str, int]] = []
    for column in board.columns:
        if spans and spans[-1][0] == column.heading:
            spans[-1] = (column.heading, spans[-1][1] + 1)
        else:
            spans.append((column.heading, 1))
    return spans


def counts(line: leaderboard.Line, board: leaderboard.Leaderboard) -> str:
    """How many synthetic and real images the scores of a line stand on.

    Those of utility count the tiles of a training, and are left out.
    """
    cells = zip(line.cells, board.columns, strict=True)
    scored = [cell for cell, column in cells if column.group != "utility"]
    told = []
    for name, words in (("n_synthetic", "scored"), ("n_real", "real")):
        found = sorted({n for c in scored if (n := getattr(c, name))})
        if found:
            told.append(f"{'–'.join(str(n) for n in dict.fromkeys((found[0], found[-1])))} {words}")
    return ", ".join(told)


def trouble_list(results: Results, board: leaderboard.Leaderboard) -> list[dict[str, Any]]:
    """Cells without a number or with a remark, those of one reason together, worst first.

    What holds for every score, and what two splits share, is one entry each before the notes.
    """
    cells: dict[tuple[str, str, str], list[Column]] = {}
    for line in board.lines:
        for column, cell in zip(board.columns, line.cells, strict=True):
            if cell.status != "ok" or cell.reason:
                kind = "note" if cell.status == "ok" else cell.status
                cells.setdefault((kind, line.name, cell.reason), []).append(column)
    grouped: dict[tuple[str, str, str], list[str]] = {}
    for (kind, name, reason), columns in cells.items():
        grouped.setdefault((kind, reason, _where(board, columns)), []).append(name)
    order = ("failed", "missing", "note", "not_applicable")
    items = [
        {"status": kind, "name": answer.listed(names), "reason": reason, "where": where}
        for (kind, reason, where), names in grouped.items()
    ]
    return sorted(_of_the_study(results, board) + items, key=lambda i: order.index(i["status"]))


def _of_the_study(results: Results, board: leaderboard.Leaderboard) -> list[dict[str, Any]]:
    """Entries that concern no single cell."""
    caveats = dict.fromkeys(c.caveat for line in board.lines for c in line.cells if c.caveat)
    told = [("every score marked †", "all conditions", caveat) for caveat in caveats]
    shared = "nearly the same picture on both sides; they are shown under Shared pictures"
    told += [
        (f"{a} and {b}", f"{count} pair{'' if count == 1 else 's'} of tiles", shared)
        for a, b, count in (results.duplicates.found if results.duplicates else [])
    ]
    keys = ("name", "where", "reason")
    return [{"status": "note", **dict(zip(keys, entry, strict=True))} for entry in told]


def _where(board: leaderboard.Leaderboard, columns: list[Column]) -> str:
    """Columns in words; a group's name where all of its columns are meant."""
    told = []
    for group in dict.fromkeys(column.group for column in columns):
        meant = [column for column in columns if column.group == group]
        if len(meant) == sum(column.group == group for column in board.columns) > 1:
            told.append(f"all {group} scores")
        else:
            told += [f"{c.label} ({c.encoder})" if c.encoder else c.label for c in meant]
    return ", ".join(told)


def score_times(results: Results) -> dict[str, float]:
    """Seconds of all evaluations, by group."""
    totals: dict[str, float] = {}
    for path, seconds in results.score_seconds.items():
        group = Path(path).stem
        totals[group] = totals.get(group, 0.0) + seconds
    return totals


def versions(results: Results) -> dict[str, str]:
    """Package versions: as the evaluations recorded them, else as installed here."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found | {str(k): str(v) for k, v in results.versions.items()}


def _is_used(results: Results, board: leaderboard.Leaderboard, name: str) -> bool:
    return name in {c.metric for c in board.columns} | set(results.rows["metric"])
