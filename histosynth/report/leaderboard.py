"""The grid of conditions and scores: one cell a condition and column, ranked with care.

Two rules keep a ranking honest. A condition ranks behind another only where their difference is
more than chance: by the paired comparison of the two, corrected for all pairs, or where there is
none, by intervals that lie wholly apart. And numbers of different protocols are never ranked
together.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial

from histosynth.conditions.spec import ConditionSpec
from histosynth.config import OTHER_SITE, REFERENCE_SETS, Study
from histosynth.evaluations.comparison import CHANCE
from histosynth.grid import Grid
from histosynth.report.cells import Cell, Column, fill
from histosynth.report.collect import Results
from histosynth.report.differences import Pairs, pairs_of
from histosynth.report.figures import digits

NEAR_SHARE = "memorized_share_1pct"
REFERENCES = ("real", "autoencoder")
FOLDER_WORDS = {  # of image folders, which have no test tiles
    "real": "the other half of the real images",
    "jpeg90": "that half through JPEG (quality 90) and back",
    "noise": "noise with the mean and spread of that half’s colours",
}


@dataclass(frozen=True)
class Line:
    """One row of the leaderboard; `kind` is ranked, apart or reference."""

    name: str
    words: str
    kind: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Leaderboard:
    columns: tuple[Column, ...]
    lines: tuple[Line, ...]
    pairs: tuple[Pairs, ...]  # tested pairs of each column
    told: tuple[frozenset[str], ...]  # who was told of a column's features, and is not ranked

    def pairs_in(self, column: Column) -> Pairs:
        return self.pairs[self.columns.index(column)]

    def told_in(self, column: Column) -> frozenset[str]:
        return self.told[self.columns.index(column)]

    @property
    def digits(self) -> tuple[int, ...]:
        """Decimals of each column."""
        columns = zip(*(line.cells for line in self.lines), strict=True)
        return tuple(digits(cell.value for cell in column) for column in columns)

    def of_kind(self, kind: str) -> list[Line]:
        return [line for line in self.lines if line.kind == kind]

    def cell(self, name: str, column: Column) -> Cell | None:
        at = self.columns.index(column) if column in self.columns else None
        if at is None:
            return None
        return next((line.cells[at] for line in self.lines if line.name == name), None)


def main_columns(results: Results) -> list[Column]:
    """The scores that the leaderboard shows: those that the study promises."""
    study, grid = results.study, Grid(results.study)
    columns = []
    # An encoder that some generator was told of is no independent judge: it comes last.
    encoders = sorted(study.evaluation.encoders, key=lambda name: bool(grid.told_of(name)))
    for i, encoder in enumerate(encoders):
        names = [*distances(results, encoder)] + ["precision", "recall"] * (i == 0)
        columns += [Column("fidelity", name, encoder) for name in names]
    if grid.has_group("adherence"):
        if study.classes:
            columns.append(Column("adherence", "map_iou_ratio"))
        if study.label:
            columns.append(Column("adherence", "label_accuracy_ratio"))
        asking = [n for n in grid.trained if "clusters" in ConditionSpec.of(study, n).provides]
        if grid.cluster_judge and len(asking) > 1:  # of one alone, the section on adherence tells
            columns.append(Column("adherence", "cluster_accuracy_ratio"))
    if study.downstream and grid.has_group("utility"):
        names = ["downstream_iou"] * bool(study.downstream.segmentation and study.classes)
        names += ["downstream_auc"] * bool(study.downstream.classification and study.label)
        for name in names:
            columns += [
                Column("utility", name, arm=arm, minus_real=True) for arm in ("synthetic", "mixed")
            ]
    return columns + privacy_columns(study)


def not_independent(cell: Cell) -> Cell:
    """A score by an encoder that the generator was told of: with a remark, if it has a value."""
    if cell.status != "ok":
        return cell
    remark = "the generator was told of features by this encoder: not independent, so not ranked"
    return replace(cell, reason="; ".join(filter(None, (cell.reason, remark))))


def privacy_columns(study: Study) -> list[Column]:
    """In pixels a score that sees a few copies and one that sees a shift of all images.

    Of features only the former: images that a decoder has blurred lie far from all tiles in some
    features, copies too, and the AUC there then shows nothing.
    """
    first = study.evaluation.encoders[0]
    privacy = ((NEAR_SHARE, "pixels"), ("nearest_train_auc", "pixels"), (NEAR_SHARE, first))
    return [Column("memorization", name, space) for name, space in privacy]


def few_tiles(results: Results, encoder: str) -> tuple[int, int] | None:
    """Tiles of a set and features of the encoder, where there are fewer of the former."""
    rows = results.rows
    rows = rows[(rows["metric"] == "frechet_distance") & (rows["encoder"] == encoder)]
    rows = rows[(rows["status"] == "ok") & (rows["subset"] == "all")]
    for protocol in dict.fromkeys(rows["protocol"]):
        told = results.protocols.get(str(protocol), {})
        n, width = min(told.get("n_real") or 0, told.get("n_synthetic") or 0), told.get("features")
        if width and 0 < n < width:
            return n, width
    return None


def distances(results: Results, encoder: str) -> tuple[str, str]:
    """The two distances, the one to trust first.

    With fewer tiles than features a covariance is not of full rank and the Fréchet distance mostly
    bias; the kernel distance has none of its own that depends on n.
    """
    names = ("frechet_distance", "kernel_distance")
    return names[::-1] if few_tiles(results, encoder) else names


def build(results: Results, columns: Iterable[Column]) -> Leaderboard:
    """Fill the grid that the config promises, with every cell that is not there marked so."""
    columns, grid = tuple(columns), Grid(results.study)
    ranked = [c.name for c in results.conditions if not c.apart]
    filled, tested, told = [], [], []
    for column in columns:
        cells = {c.name: fill(results, c.name, column) for c in results.conditions}
        cells |= {name: fill(results, name, column) for name in reference_names(results)}
        cells = letter_protocols(cells)
        partial_to = frozenset(grid.told_of(column.encoder))
        cells |= {name: not_independent(cells[name]) for name in partial_to & set(cells)}
        pairs = pairs_of(results, column, cells)
        tested.append({names: pair for names, pair in pairs.items() if not names & partial_to})
        told.append(partial_to)
        if column.expected is None:
            contestants = {n: cells[n] for n in ranked if n not in partial_to}
            chance = CHANCE.get(column.metric)
            cells |= rank(contestants, column.higher_is_better, pairs=tested[-1], chance=chance)
        filled.append(cells)
    lines = [
        Line(c.name, c.words, "apart" if c.apart else "ranked", tuple(f[c.name] for f in filled))
        for c in results.conditions
    ]
    words = (
        partial(reference_words, unit=results.split_unit)
        if Grid(results.study).trained
        else FOLDER_WORDS.__getitem__
    )
    lines += [
        Line(name, words(name), "reference", tuple(f[name] for f in filled))
        for name in reference_names(results)
    ]
    return Leaderboard(columns, tuple(lines), tuple(tested), tuple(told))


def reference_names(results: Results) -> list[str]:
    """Reference rows: real and autoencoder always, the shuffled ones that there are."""
    found = set(results.rows["condition"])
    if Grid(results.study).trained:
        names = [*REFERENCES, *REFERENCE_SETS]
        names += [OTHER_SITE] if _has_other_site(results) else []
    else:  # scores of folders, which promise fewer
        names = ["real", *(name for name in REFERENCE_SETS if name in found)]
    return names + [
        f"{c.name}~shuffled" for c in results.conditions if f"{c.name}~shuffled" in found
    ]


def _has_other_site(results: Results) -> bool:
    """False where the cohort has one site only, or names none: there is nothing to say then."""
    rows = results.rows[results.rows["condition"] == OTHER_SITE]
    return rows.empty or bool((rows["status"] != "not_applicable").any())


def reference_words(name: str, *, unit: str = "patient") -> str:
    """A reference row in words; `unit` is what the split keeps apart."""
    if name.endswith("~shuffled"):
        return "its images against requests dealt out at random"
    return {
        "real": f"real training tiles of other {unit}s",
        "autoencoder": "real test tiles through the autoencoder and back",
        "jpeg90": "real test tiles through JPEG (quality 90) and back",
        OTHER_SITE: "real test tiles of the largest site against real tiles of the others",
        "noise": "noise with the mean and spread of the real tiles’ colours",
    }[name]


def letter_protocols(cells: dict[str, Cell]) -> dict[str, Cell]:
    """Mark the cells of a column with a, b, ... where they do not all share one protocol.

    Shuffled rows follow from the rows they shuffle, and do not count. Real tiles of another site
    are a reference that never shares the protocol, so where all others do, only they are marked.
    """
    good = {n: c for n, c in cells.items() if c.status == "ok" and "~" not in n}
    apart = {n for n in good if n.strip() == OTHER_SITE}  # tables add the arm to a name
    common = list(dict.fromkeys(c.protocol for n, c in good.items() if n not in apart))
    marked = set(cells) if len(common) > 1 else apart
    protocols = [*(common if len(common) > 1 else []), *(good[n].protocol for n in apart)]
    letters = {p: chr(ord("a") + i % 26) for i, p in enumerate(dict.fromkeys(protocols))}
    return {
        name: replace(cell, protocol_letter=letters.get(cell.protocol, ""))
        if name in marked
        else cell
        for name, cell in cells.items()
    }


def separated_better(first: Cell, second: Cell, higher_is_better: bool) -> bool:
    """Whether `first` is better than `second` with intervals wholly apart."""
    if not (first.has_interval and second.has_interval):
        return False
    if higher_is_better:
        return first.ci_low > second.ci_high
    return first.ci_high < second.ci_low


def is_better(
    first: str, second: str, cells: Mapping[str, Cell], higher_is_better: bool, pairs: Pairs
) -> bool:
    """Whether one condition beats another: by their tested pair, or else by their intervals."""
    pair = pairs.get(frozenset((first, second)))
    if pair is not None:
        return pair.better == first
    return separated_better(cells[first], cells[second], higher_is_better)


def rank(
    cells: dict[str, Cell],
    higher_is_better: bool,
    *,
    pairs: Pairs | None = None,
    chance: float | None = None,
) -> dict[str, Cell]:
    """Rank the cells of a column within each protocol.

    A rank is one more than the number of conditions that are better beyond chance. The mark is
    `best` for a leader who beats all others, and `shares` for several whom no leader beats; where
    no two conditions can be told apart, or a condition stands alone, nothing is marked. Where lower
    is better down to `chance` only, what lies below it or may be it is equal.
    """
    ranked = dict(cells)
    good = {name: cell for name, cell in cells.items() if cell.status == "ok"}
    for protocol in dict.fromkeys(cell.protocol for cell in good.values()):
        peers = {n: _from(chance, cell) for n, cell in good.items() if cell.protocol == protocol}
        beaten_by = {
            name: [p for p in peers if is_better(p, name, peers, higher_is_better, pairs or {})]
            for name in peers
        }
        unbeaten = {name for name in peers if not beaten_by[name]}
        # Tested pairs need not form an order: who is beaten by no leader leads with them.
        leaders = [name for name in peers if not unbeaten & set(beaten_by[name])]
        told_apart = len(leaders) < len(peers)
        for name in peers:
            cell, mark = good[name], ""
            if told_apart and name in leaders:
                mark = "best" if len(leaders) == 1 else "shares"
            place = 1 + len(beaten_by[name]) if cell.has_interval and len(peers) > 1 else None
            ranked[name] = replace(cell, rank=place, mark=mark if place else "")
    return ranked


def _from(chance: float | None, cell: Cell) -> Cell:
    """The cell with no bound below the level of chance."""
    if chance is None or not cell.has_interval:
        return cell
    return replace(cell, ci_low=max(cell.ci_low, chance), ci_high=max(cell.ci_high, chance))
