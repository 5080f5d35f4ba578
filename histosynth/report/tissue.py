"""The report's section on tissue statistics: stain, nuclei and classes, real against synthetic."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from markupsafe import Markup

from histosynth.errors import InputError
from histosynth.grid import Grid
from histosynth.nuclei import NucleusRule, nucleus_count, nucleus_labels
from histosynth.report import densities, tables
from histosynth.report.cells import Column, fill
from histosynth.report.collect import Results
from histosynth.report.composition import ENTROPY, Composition, composition
from histosynth.report.densities import Histogram
from histosynth.report.figures import number
from histosynth.report.glossary import EFFECT_SIZES, metric
from histosynth.report.pictures import SHOWN, Picture, tile_uri
from histosynth.report.stages import json_or_none
from histosynth.tilesets import TileSet

EFFECTS = tuple(name for name in EFFECT_SIZES if not name.startswith("class_"))
DISTANCES = {"od_hematoxylin_w1": 3, "od_eosin_w1": 3, "nuclei_area_w1": 1}  # decimals
MEASURED = {
    "od_hematoxylin": "haematoxylin, optical density",
    "od_eosin": "eosin, optical density",
    "nuclei_count": "nuclei a tile",
    "nuclei_area": "area of a nucleus, {unit}",
}
CURVES = MEASURED | {ENTROPY: "entropy of the classes, nats"}
TEST = "real test tiles"
OUTLINE = (255, 230, 0)  # seen on pink, purple and white


@dataclass(frozen=True)
class DistanceTable(tables.ScoreTable):
    """Distances, in units that ask for different numbers of decimals."""

    places: tuple[int, ...] = ()

    @property
    def digits(self) -> tuple[int, ...]:
        return self.places


@dataclass(frozen=True)
class Source:
    """Where the section's numbers and pictures come from.

    Attributes
    ----------
    results : with the rows of group tissue
    names : the sets that have, or should have, these scores
    facts : of each set, as `tissue_of_files` gives them; empty where it has none
    open : the tile set of a name, `real` being those that all are held against
    real : what these are, in words
    """

    results: Results
    names: list[str]
    facts: Mapping[str, dict[str, Any]]
    open: Callable[[str], TileSet]
    real: str

    @classmethod
    def of_study(cls, results: Results) -> Source:
        grid, seed = Grid(results.study), results.study.seeds[0]
        promised = {cell.condition for cell in grid.cells() if cell.group == "tissue"}
        names = [n for n in tables.everyone(results, shuffled=False) if n in promised]
        told = {n: json_or_none(results.metrics_path(n, seed, "tissue")) or {} for n in names}

        def open_set(name: str) -> TileSet:
            folder = "real/test" if name == "real" else grid.tileset(name, seed)
            return TileSet.open(results.folder / "tilesets" / folder)

        found = {name: of_one.get("facts") or {} for name, of_one in told.items()}
        return cls(results, names, found, open_set, TEST)


@dataclass(frozen=True)
class Section:
    """What the section shows: score tables and notes on them; heads and rows of all else.

    `real` are the images that all are held against, in words.
    """

    real: str
    tables: list[tables.ScoreTable]
    notes: list[tuple[str, str]]
    means: tuple[tuple[str, ...], list[tuple[str, list[str]]]]
    classes: Composition | None
    curves: tuple[tuple[str, ...], list[tuple[str, list[Markup]]]]
    nuclei: list[tuple[str, list[Picture]]]


def section(source: Source, colors: dict[str, int]) -> Section:
    """The whole section; `colors` are those of the conditions in every plot."""
    made = tables_of(source)
    painted = [(c.name, c.color) for c in source.results.study.classes]
    return Section(
        source.real,
        made,
        notes(made),
        means(source),
        composition(source.facts, real=source.real, classes=painted),
        curves(source, colors),
        nuclei(source),
    )


def notes(found: list[tables.ScoreTable]) -> list[tuple[str, str]]:
    """(mark or set, reason) of what is remarked of scores, and of scores that are not there."""
    cells = [(name, cell) for table in found for name, _, cells in table.rows for cell in cells]
    told = [("*", cell.reason) for _, cell in cells if cell.status == "ok" and cell.reason]
    told += [(name, cell.reason) for name, cell in cells if cell.status in ("failed", "missing")]
    return list(dict.fromkeys(told))


def tables_of(source: Source) -> list[tables.ScoreTable]:
    """Effect sizes, distances of histograms, and effect sizes class by class."""
    results, names = source.results, source.names
    made: list[tables.ScoreTable] = [
        _effects(results, names, f"Cohen’s d against {source.real}", [(m, "all") for m in EFFECTS])
    ]
    columns = [Column("tissue", m) for m in DISTANCES]
    lines = [(name, "", tuple(fill(results, name, c) for c in columns)) for name in names]
    caption = "Distance between the histograms (Wasserstein, in the unit of the value)"
    heads = tuple(metric(m).label for m in DISTANCES)
    found = tables.lettered(caption, heads, lines)
    made.append(DistanceTable(caption, heads, found.rows, places=tuple(DISTANCES.values())))
    if results.study.classes:
        wanted = [("class_entropy_d", "all")]
        wanted += [("class_area_d", f"class={name}") for name in results.study.class_names]
        caption = "Cohen’s d of the area that each class covers, as a judge reads it on both sides"
        made.append(_effects(results, names, caption, wanted))
    return made


def _effects(
    results: Results, names: list[str], caption: str, wanted: list[tuple[str, str]]
) -> tables.ScoreTable:
    heads = tuple(
        metric(m).label if subset == "all" else subset.removeprefix("class=")
        for m, subset in wanted
    )
    lines = [
        (name, "", tuple(fill(results, name, Column("tissue", m), s) for m, s in wanted))
        for name in names
    ]
    return replace(tables.lettered(caption, heads, lines), decimals=2)


def _rule(told: dict[str, Any]) -> NucleusRule | None:
    rule = told.get("rule")
    return rule and NucleusRule(rule["threshold"], rule["mpp"])


def means(source: Source) -> tuple[tuple[str, ...], list[tuple[str, list[str]]]]:
    """What was measured in words, and for each set its means over tiles with their spread."""
    found, heads = _told(source, "means", MEASURED)
    if not found:
        return (), []
    kinds, first = list(heads), next(iter(found.values()))
    rows = [(source.real, [_mean(first, kind, "real") for kind in kinds])]
    rows += [(n, [_mean(told, kind, "made") for kind in kinds]) for n, told in found.items()]
    return tuple(heads.values()), rows


def _told(
    source: Source, what: str, known: Mapping[str, str]
) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Facts of the sets that tell `what`, and the kinds of it among those known, in words."""
    found = {name: told for name, told in source.facts.items() if told.get(what)}
    if not found:
        return {}, {}
    first = next(iter(found.values()))
    rule = _rule(first)
    unit = rule.area_unit if rule else ""
    return found, {k: words.format(unit=unit) for k, words in known.items() if k in first[what]}


def _mean(told: dict[str, Any], kind: str, who: str) -> str:
    pair = told["means"].get(kind, {}).get(who)
    return f"{number(pair[0])} ± {number(pair[1])}" if pair else "–"


def curves(
    source: Source, colors: dict[str, int]
) -> tuple[tuple[str, ...], list[tuple[str, list[Markup]]]]:
    """Heads, and for each set its curves over those of the real tiles."""
    found, heads = _told(source, "histograms", CURVES)
    histograms = {
        (name, kind): _pair(told["histograms"][kind])
        for name, told in found.items()
        for kind in heads
        if kind in told["histograms"]
    }
    frames = {
        kind: densities.common_frame(
            [h for (_, k), pair in histograms.items() if k == kind for h in pair]
        )
        for kind in heads
    }
    rows = []
    for name, told in found.items():
        drawn = []
        for kind, words in heads.items():
            if (name, kind) not in histograms:
                continue
            spoken = (
                f"{source.real} {_mean(told, kind, 'real')}, {name} {_mean(told, kind, 'made')}"
            )
            real, made = histograms[name, kind]
            color = colors.get(name)
            title = f"{words} of {name}"
            drawn.append(
                densities.panel(title, spoken, real, made, frame=frames[kind], color=color)
            )
        rows.append((name, drawn))
    return tuple(heads.values()), rows


def _pair(told: dict[str, Any]) -> tuple[Histogram, Histogram]:
    edges = np.array(told["edges"], float)
    return Histogram(edges, np.array(told["real"])), Histogram(edges, np.array(told["made"]))


def nuclei(source: Source) -> list[tuple[str, list[Picture]]]:
    """Images with the nuclei that were found in them, from few to many; the real ones first."""
    rows: list[tuple[str, list[Picture]]] = []
    for name in [n for n in source.names if n != "real"]:
        told = source.facts[name]
        rule = _rule(told)
        if rule is None:
            continue
        if not rows:
            rows += _outlined(source, "real", source.real, told["examples"]["real"], rule)
        rows += _outlined(source, name, name, told["examples"]["made"], rule)
    return rows


def _outlined(
    source: Source, name: str, words: str, chosen: list[int], rule: NucleusRule
) -> list[tuple[str, list[Picture]]]:
    try:
        tiles = source.open(name)
        pictures = []
        for row in chosen:
            image = tiles.image(row)
            labels = nucleus_labels(image, rule)
            alt = f"{words}, image {row}, outlines of its nuclei"
            pictures.append(
                Picture(tile_uri(outlined(image, labels)), alt, f"{nucleus_count(labels)} nuclei")
            )
    except (InputError, OSError, IndexError):  # the gallery says what is missing
        return []
    return [(words, pictures)]


def outlined(image: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The image, uint8 (H, W, 3), with a line around each nucleus.

    Small tiles are enlarged, so that the line does not hide what it encloses; of large ones the
    middle is cut out.
    """
    from skimage.segmentation import find_boundaries

    top, left = (max(0, (side - SHOWN) // 2) for side in labels.shape)
    cut = np.s_[top : top + SHOWN, left : left + SHOWN]
    image, labels = image[cut], labels[cut]
    times = max(1, SHOWN // max(labels.shape))
    large = image.repeat(times, 0).repeat(times, 1)
    large[find_boundaries(labels.repeat(times, 0).repeat(times, 1), mode="inner")] = OUTLINE
    return large
