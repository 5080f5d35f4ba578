"""The grid of conditions and scores: one cell a condition and column, ranked with care.

Two rules keep a ranking honest. A condition ranks behind another only where their intervals lie
wholly apart; and numbers of different protocols are never ranked together.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import pandas as pd

from histosynth.grid import Grid
from histosynth.report.collect import Results
from histosynth.report.figures import digits
from histosynth.report.glossary import metric

NAN = float("nan")
REFERENCES = ("real", "autoencoder")
ARM_WORDS = {"synthetic": "synthetic only", "mixed": "real + synthetic"}


@dataclass(frozen=True)
class Column:
    """One score of the leaderboard; `minus_real` prints it as a difference to the real arm."""

    group: str
    metric: str
    encoder: str = ""
    arm: str = ""
    minus_real: bool = False

    @property
    def label(self) -> str:
        name = metric(self.metric).label
        return f"{name} ({ARM_WORDS.get(self.arm, self.arm)})" if self.arm else name

    @property
    def higher_is_better(self) -> bool:
        return metric(self.metric).higher_is_better

    @property
    def heading(self) -> str:
        """What the columns side by side with this one share."""
        if self.group == "fidelity":
            return f"Fidelity in {self.encoder} features"
        if self.group == "adherence":
            return "Adherence (share of real)"
        return "Utility (minus trained on real)" if self.minus_real else self.group.capitalize()


@dataclass(frozen=True)
class Cell:
    """One score of one condition over its generator seeds.

    `value` is the mean over seeds, `ci_low` and `ci_high` the hull of the seeds' intervals,
    `spread` the smallest and largest seed's value where there is more than one. `status` is ok,
    failed, missing or not_applicable; `reason` may also tell of a single seed left out.
    """

    status: str
    value: float = NAN
    ci_low: float = NAN
    ci_high: float = NAN
    spread: tuple[float, float] | None = None
    seed_values: tuple[float, ...] = ()
    n_real: int | None = None
    n_synthetic: int | None = None
    protocol: str = ""
    reason: str = ""
    difference: float = NAN  # to the real arm, where the column asks for it
    rank: int | None = None
    mark: str = ""  # best, shares, or nothing
    protocol_letter: str = ""  # where a column mixes protocols

    @property
    def shown(self) -> float:
        """The number to print and sort by."""
        return self.value if pd.isna(self.difference) else self.difference

    @property
    def has_interval(self) -> bool:
        return not (pd.isna(self.ci_low) or pd.isna(self.ci_high))


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
    for i, encoder in enumerate(study.evaluation.encoders):
        names = ["frechet_distance", "kernel_distance"] + ["precision", "recall"] * (i == 0)
        columns += [Column("fidelity", name, encoder) for name in names]
    if grid.has_group("adherence"):
        if study.classes:
            columns.append(Column("adherence", "map_iou_ratio"))
        if study.label:
            columns.append(Column("adherence", "label_accuracy_ratio"))
    if study.downstream and grid.has_group("utility"):
        names = ["downstream_iou"] * bool(study.downstream.segmentation and study.classes)
        names += ["downstream_auc"] * bool(study.downstream.classification and study.label)
        for name in names:
            columns += [
                Column("utility", name, arm=arm, minus_real=True) for arm in ("synthetic", "mixed")
            ]
    return columns


def build(results: Results, columns: Iterable[Column]) -> Leaderboard:
    """Fill the grid that the config promises, with every cell that is not there marked so."""
    columns = tuple(columns)
    ranked = [c.name for c in results.conditions if not c.apart]
    filled = []
    for column in columns:
        cells = {c.name: fill(results, c.name, column) for c in results.conditions}
        cells |= {name: fill(results, name, column) for name in reference_names(results)}
        cells = letter_protocols(cells)
        filled.append(cells | rank({n: cells[n] for n in ranked}, column.higher_is_better))
    lines = [
        Line(c.name, c.words, "apart" if c.apart else "ranked", tuple(f[c.name] for f in filled))
        for c in results.conditions
    ]
    lines += [
        Line(name, reference_words(name), "reference", tuple(f[name] for f in filled))
        for name in reference_names(results)
    ]
    return Leaderboard(columns, tuple(lines))


def reference_names(results: Results) -> list[str]:
    """Reference rows: real and autoencoder always, the shuffled ones that there are."""
    names = list(REFERENCES) if Grid(results.study).trained else ["real"]
    found = set(results.rows["condition"])
    return names + [
        f"{c.name}~shuffled" for c in results.conditions if f"{c.name}~shuffled" in found
    ]


def reference_words(name: str) -> str:
    if name.endswith("~shuffled"):
        return "its images against requests dealt out at random"
    return {
        "real": "real training tiles of other patients",
        "autoencoder": "real test tiles through the autoencoder and back",
    }[name]


def fill(results: Results, condition: str, column: Column, subset: str = "all") -> Cell:
    """The cell of one condition, whatever became of it."""
    wanted = [c for c in Grid(results.study).cells() if c.condition == condition]
    seeds = sorted({c.seed for c in wanted}) or results.study.seeds
    absent = _expected_absence(condition, column, wanted)
    if absent:
        return absent
    rows = results.rows
    rows = rows[(rows["condition"] == condition) & (rows["group"] == column.group)]
    # The real arm of the utility columns is one network, trained on real tiles.
    arm = "real" if condition == "real" and column.group == "utility" else column.arm
    per_seed = {
        seed: _seed_row(results, rows, condition, seed, column, arm, subset) for seed in seeds
    }
    cell = _over_seeds(per_seed)
    if column.minus_real and condition != "real" and cell.status == "ok":
        cell = _minus_real(results, cell, column)
    return cell


def _expected_absence(condition: str, column: Column, wanted: list) -> Cell | None:
    if condition.endswith("~shuffled"):
        if column.group != "adherence":
            return Cell("not_applicable", reason="shuffling concerns adherence only")
        return None
    if not any(c.group == column.group for c in wanted):
        return Cell("not_applicable", reason=f"{condition} has no {column.group} scores")
    return None


def _seed_row(
    results: Results,
    rows: pd.DataFrame,
    condition: str,
    seed: int,
    column: Column,
    arm: str,
    subset: str,
) -> Cell:
    rows = rows[rows["seed"] == seed]
    match = rows[(rows["metric"] == column.metric) & (rows["subset"] == subset)]
    if column.group == "fidelity":
        match = match[match["encoder"] == column.encoder]
    if column.group == "utility":
        match = match[match["arm"] == arm]
    if match.empty:
        broken = rows[rows["status"] == "failed"]
        if not broken.empty and not (rows["status"] == "ok").any():
            return Cell("failed", reason=str(broken["reason"].iloc[0]))
        source = condition.removesuffix("~shuffled")
        path = results.metrics_path(source, seed, column.group)
        if rows.empty and not path.is_file():
            return Cell("missing", reason=f"no result file: {path}")
        return Cell("missing", reason=f"{path} has no row for {column.label}")
    row = match.iloc[0]
    if row["status"] != "ok":
        return Cell(str(row["status"]), reason=str(row["reason"]) or "no reason given")
    return Cell(
        "ok",
        value=float(row["value"]),
        ci_low=float(row["ci_low"]),
        ci_high=float(row["ci_high"]),
        seed_values=(float(row["value"]),),
        n_real=_count(row["n_real"]),
        n_synthetic=_count(row["n_synthetic"]),
        protocol=str(row["protocol"]),
    )


def _count(value: float) -> int | None:
    return None if pd.isna(value) else int(value)


def _over_seeds(per_seed: dict[int, Cell]) -> Cell:
    """Mean over the seeds of one protocol; what is left out is told in the reason."""
    good = {seed: cell for seed, cell in per_seed.items() if cell.status == "ok"}
    if not good:
        by_status = {cell.status: cell for cell in reversed(per_seed.values())}
        worst = next(s for s in ("failed", "missing", "not_applicable") if s in by_status)
        return by_status[worst]
    protocols = [cell.protocol for cell in good.values()]
    protocol = max(protocols, key=protocols.count)
    told = [f"seed {s}: {c.status}: {c.reason}" for s, c in per_seed.items() if s not in good]
    told += [
        f"seed {s}: left out, its protocol is {c.protocol}"
        for s, c in good.items()
        if c.protocol != protocol
    ]
    cells = [cell for cell in good.values() if cell.protocol == protocol]
    values = [cell.value for cell in cells]
    return replace(
        cells[0],
        value=sum(values) / len(values),
        ci_low=min(c.ci_low for c in cells) if all(c.has_interval for c in cells) else NAN,
        ci_high=max(c.ci_high for c in cells) if all(c.has_interval for c in cells) else NAN,
        spread=(min(values), max(values)) if len(values) > 1 else None,
        seed_values=tuple(values),
        reason="; ".join(told),
    )


def _minus_real(results: Results, cell: Cell, column: Column) -> Cell:
    real = fill(results, "real", column)
    if real.status != "ok":
        return replace(cell, reason=f"no difference: the real arm is {real.status}: {real.reason}")
    if real.protocol != cell.protocol:
        told = f"no difference: the real arm has another protocol ({real.protocol})"
        return replace(cell, reason=told)
    return replace(cell, difference=cell.value - real.value)


def letter_protocols(cells: dict[str, Cell]) -> dict[str, Cell]:
    """Mark the cells of a column with a, b, ... where they do not all share one protocol.

    Shuffled rows follow from the rows they shuffle, and do not count.
    """
    seen = [c.protocol for n, c in cells.items() if c.status == "ok" and "~" not in n]
    protocols = list(dict.fromkeys(seen))
    if len(protocols) < 2:
        return cells
    letters = {p: chr(ord("a") + i % 26) for i, p in enumerate(protocols)}
    return {
        name: replace(cell, protocol_letter=letters.get(cell.protocol, ""))
        for name, cell in cells.items()
    }


def separated_better(first: Cell, second: Cell, higher_is_better: bool) -> bool:
    """Whether `first` is better than `second` with intervals wholly apart."""
    if not (first.has_interval and second.has_interval):
        return False
    if higher_is_better:
        return first.ci_low > second.ci_high
    return first.ci_high < second.ci_low


def rank(cells: dict[str, Cell], higher_is_better: bool) -> dict[str, Cell]:
    """Rank the cells of a column within each protocol.

    A rank is one more than the number of conditions that are better by a gap between intervals.
    The mark is `best` for a single leader and `shares` for several that lead a third; where no
    two conditions can be told apart, or a condition stands alone, nothing is marked.
    """
    ranked = dict(cells)
    good = {name: cell for name, cell in cells.items() if cell.status == "ok"}
    for protocol in dict.fromkeys(cell.protocol for cell in good.values()):
        peers = {name: cell for name, cell in good.items() if cell.protocol == protocol}
        ranks = {
            name: 1 + sum(separated_better(p, cell, higher_is_better) for p in peers.values())
            for name, cell in peers.items()
        }
        leaders = [name for name, place in ranks.items() if place == 1]
        told_apart = len(leaders) < len(peers)
        for name, cell in peers.items():
            mark = ""
            if told_apart and name in leaders:
                mark = "best" if len(leaders) == 1 else "shares"
            place = ranks[name] if cell.has_interval and len(peers) > 1 else None
            ranked[name] = replace(cell, rank=place, mark=mark if place else "")
    return ranked
