"""Adherence to crops: is the tissue made like the crop that it was to be like?

For each class of a request, the style of the tile's region of that class is compared with the crop
of that class that the generator was shown, and with the crops of the same class that were shown
for all other requests. The score is the chance that its own crop is the nearer one: an area under
the ROC curve, 0.5 for a generator that ignores its crops. Real tiles against a crop of themselves,
the region less the crop, say how well this tells crops apart at all.

Its controls: another request's crop in the place of one's own (`~shuffled`), and one's own crop of
the next class of the request (`~wrong_class`).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from histosynth.conditions import Signal, TilePool, get_signal
from histosynth.conditions.table import read_condition_table, table_targets
from histosynth.errors import InputError
from histosynth.evaluations.adherence_judges import TileColumns
from histosynth.evaluations.counts import derangement, patients
from histosynth.evaluations.obedience import SHUFFLED, WRONG_CLASS, known_sites
from histosynth.evaluations.protocol import adherence_protocol, check_comparable
from histosynth.evaluations.rows import MetricRow, Scored
from histosynth.evaluations.style import (
    STYLE_VERSION,
    share_of_farther,
    stains,
    style,
    unit_spread,
)
from histosynth.evaluations.subsets import site_of
from histosynth.metrics import cluster_bootstrap
from histosynth.tilesets import TileSet

if TYPE_CHECKING:
    from histosynth.conditions.targets import Targets
    from histosynth.config import Study

CROP_METRICS = ("crop_style_auc",)
LEAST_PIXELS = 25  # of a region, to have a style
_AT_ONCE = 32  # tiles whose crops are in memory


@dataclass(frozen=True)
class Pieces:
    """Regions of one class, each with the crop that it was to be like.

    Attributes
    ----------
    tiles : int64 (n,), rows of the scored set
    regions, crops : float64 (n, d), styles
    donors : int64 (n,), the real tile that a crop was cut from
    """

    tiles: np.ndarray
    regions: np.ndarray
    crops: np.ndarray
    donors: np.ndarray

    def shares(self, own: np.ndarray | None = None) -> np.ndarray:
        """For each region the share of the other crops that lie farther than `own` crops (n, d).

        Distances are in units of the crops' spread. By default a region's own crop is its own;
        NaN stands for none. A crop of the same real tile as its own is no other one.
        """
        return self._farther(self.crops if own is None else own, self.donors)

    def shuffled(self, *, seed: int) -> np.ndarray:
        """The shares with the crops dealt out anew; the crop dealt is not compared to itself."""
        order = derangement(len(self.tiles), seed=seed)
        return self._farther(self.crops[order], self.donors[order])

    def _farther(self, own: np.ndarray, donors: np.ndarray) -> np.ndarray:
        unit = unit_spread(self.crops)
        same = donors[:, None] == self.donors[None]
        return share_of_farther(self.regions / unit, own / unit, self.crops / unit, same)


def crop_rows(
    scored: Scored,
    study: "Study",
    *,
    real: TileSet,
    synthetic: TileSet,
    table: Path | None,
) -> tuple[list[MetricRow], TileColumns]:
    """Rows of a condition with crops, overall, by class and by site; not applicable to others.

    Parameters
    ----------
    scored : the condition `real` scores real tiles against crops of themselves
    real : the real test tiles
    synthetic : the condition's set, row i made from row i of the table
    table : the condition table

    Returns
    -------
    rows
    columns : crop_nearer, the share by tile, NaN where it was shown no crop

    Raises
    ------
    InputError
        The table is missing, or the set was not made from it, or its size or codec differs.
    """
    of_real = scored.condition == "real"
    crop = crop_signal(study, None if of_real else scored.condition)
    if crop is None:
        reason = "the condition shows the generator no crops"
        return [scored.absent(metric, reason) for metric in CROP_METRICS], {}
    if table is None:
        raise InputError(f"{scored.condition} was shown crops; give --table to find them")
    check_comparable(real, synthetic)
    requests = read_condition_table(table, real)
    sources = synthetic.table.get("source_tile_id")
    asked = requests["source_tile_id"].tolist()
    if not of_real and (sources is None or sources.tolist() != asked):
        raise InputError(f"{synthetic.folder} was not made from {table}; sample it again")
    pool = TilePool.of(real, {"images", "maps"})
    targets = table_targets(requests, pool, real.classes)
    options = crop.options.model_dump(mode="json", exclude={"training_source"})
    if of_real:
        options |= {"source": "same_image", "placement": "in_place"}
        crop = get_signal("crop", options, study)
    rows_of = targets.rows if of_real else np.arange(len(targets))
    pieces = _pieces(crop, targets, synthetic, rows_of, apart=of_real)
    by_class = {c: p for c, p in pieces.items() if len(p.tiles) > 1}
    judge = f"style {STYLE_VERSION}, crops of {options}"
    protocol = adherence_protocol(real, judge=judge)
    seed, groups = study.evaluation.seed, patients(synthetic)
    own = {c: p.shares() for c, p in by_class.items()}
    told: dict[str, Any] = {"protocol": protocol, "seed": seed, "n_real": len(real)}
    sites = site_of(synthetic.table)
    rows = _score(scored, real.classes, by_class, own, groups, **told)
    for site in known_sites(site_of(real.table), sites):
        here = {c: np.where(sites[p.tiles] == site, own[c], np.nan) for c, p in by_class.items()}
        rows += _score(scored, (), by_class, here, groups, overall=f"site={site}", **told)
    if not of_real:
        shuffled = {c: p.shuffled(seed=seed) for c, p in by_class.items()}
        rows += _score(scored, (), by_class, shuffled, groups, control=SHUFFLED, **told)
        wrong = _wrong_class(by_class)
        rows += _score(scored, (), by_class, wrong, groups, control=WRONG_CLASS, **told)
    return rows, {"crop_nearer": _by_tile(by_class, own, len(synthetic))}


def crop_signal(study: "Study", condition: str | None) -> Signal | None:
    """The crop signal of a condition, or the first one of the study; None where there is none."""
    names = study.conditions if condition is None else [condition]
    for name in names:
        described = study.conditions.get(name)
        for settings in (described and described.signals) or []:
            if settings.kind == "crop":
                return get_signal("crop", settings.options, study)
    return None


def _pieces(
    crop: Signal, targets: "Targets", made: TileSet, rows: np.ndarray, *, apart: bool
) -> dict[int, Pieces]:
    """Regions and crops by class; `rows` of `made` answer the targets, `apart` leaves the crop
    itself out of the region."""
    found: dict[int, list[tuple[int, np.ndarray, np.ndarray, int]]] = {}
    source = crop.options.source
    for start in range(0, len(targets), _AT_ONCE):
        part = targets.take(np.arange(start, min(start + _AT_ONCE, len(targets))))
        planes, maps = crop.encode(part), part.maps()
        for i, row in enumerate(rows[start : start + len(part)].tolist()):
            density = stains(made.image(row))
            for c in range(planes.shape[1] // 3):
                shown = planes[i, 3 * c : 3 * c + 3]
                window = (shown != 0).any(axis=0)  # no 8-bit pixel becomes exactly 0
                region = (maps[i] == c) & ~(window & apart)
                if not window.any() or region.sum() < LEAST_PIXELS:
                    continue
                assert part.donors is not None
                own = source == "same_image"
                donor = int(part.rows[i] if own else part.donors[source].rows[i, c])
                box = np.ix_(window.any(axis=1), window.any(axis=0))
                pixels = np.rint((shown.transpose(1, 2, 0)[box] + 1) * 127.5).astype(np.uint8)
                styles = style(density, region), style(stains(pixels), window[box])
                found.setdefault(c, []).append((row, *styles, donor))
    pieces = {}
    for c, items in sorted(found.items()):
        tiles, regions, crops, donors = (np.array(column) for column in zip(*items, strict=True))
        pieces[c] = Pieces(tiles, regions, crops, donors)
    return pieces


def _wrong_class(by_class: dict[int, Pieces]) -> dict[int, np.ndarray]:
    """By class the shares with the same tile's crop of its next class as one's own; NaN for a
    tile with crops of one class."""
    crops = {
        (tile, c): crop
        for c, pieces in by_class.items()
        for tile, crop in zip(pieces.tiles.tolist(), pieces.crops, strict=True)
    }
    shares = {}
    for c, pieces in by_class.items():
        following = [k for k in by_class if k > c] + [k for k in by_class if k < c]
        none = np.full(pieces.crops.shape[1], np.nan)
        own = [
            next((crops[tile, k] for k in following if (tile, k) in crops), none)
            for tile in pieces.tiles.tolist()
        ]
        shares[c] = pieces.shares(np.array(own))
    return shares


def _score(
    scored: Scored,
    names: tuple[str, ...],
    by_class: dict[int, Pieces],
    shares: dict[int, np.ndarray],
    groups: np.ndarray,
    *,
    protocol: dict[str, Any],
    seed: int,
    n_real: int,
    control: str = "",
    overall: str = "all",
) -> list[MetricRow]:
    """The mean share over all pieces, of subset `overall`; by class where `names` are given."""
    condition = scored.condition + control
    subsets = {overall: sorted(by_class)}
    subsets |= {f"class={name}": [c] if c in by_class else [] for c, name in enumerate(names)}
    rows = []
    for subset, classes in subsets.items():
        told: dict[str, Any] = {"subset": subset, "condition": condition}
        values = np.concatenate([np.zeros(0), *(shares[c] for c in classes)])
        tiles = np.concatenate([np.zeros(0, int), *(by_class[c].tiles for c in classes)])
        known = np.isfinite(values)
        if not known.any():
            reason = "no two tiles have a crop and a region of it to compare"
            rows.append(scored.absent(CROP_METRICS[0], reason, **told))
            continue
        interval = cluster_bootstrap(values[known], groups[tiles[known]], seed=seed)
        n: dict[str, Any] = {"n_real": n_real, "n_synthetic": len(np.unique(tiles[known]))}
        rows.append(scored.row(CROP_METRICS[0], interval, protocol=protocol, **told, **n))
    return rows


def _by_tile(by_class: dict[int, Pieces], shares: dict[int, np.ndarray], n: int) -> np.ndarray:
    """The mean share of each of n tiles, NaN where it has none."""
    total, count = np.zeros(n), np.zeros(n)
    for c, pieces in by_class.items():
        known = np.isfinite(shares[c])
        np.add.at(total, pieces.tiles[known], shares[c][known])
        np.add.at(count, pieces.tiles[known], 1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
