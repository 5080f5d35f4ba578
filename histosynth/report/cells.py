"""One score of one condition: found among the rows, averaged over seeds, or accounted for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from statistics import stdev
from typing import Any

import pandas as pd

from histosynth.evaluations.round_trip import AUTOENCODER
from histosynth.evaluations.rows import split_remark
from histosynth.grid import Grid
from histosynth.report.collect import Results
from histosynth.report.glossary import metric
from histosynth.sweeps import is_point

NAN = float("nan")
PLANTED = "planted_copies"
EXPECTED = {
    "memorized_share_1pct": 0.01,
    "memorized_share_01pct": 0.001,
    "nearest_train_auc": 0.5,
}
EFFECTS = "tissue"  # the group of effect sizes, where 0 is expected
SMALL_EFFECT = 0.2  # Cohen's word
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
    def expected(self) -> float | None:
        """What a score of privacy is without memorization, or an effect size without a difference.

        Such a score ranks nobody.
        """
        if self.group == EFFECTS:
            return 0.0 if self.metric.endswith("_d") else None
        return EXPECTED.get(self.metric)

    @property
    def heading(self) -> str:
        """What the columns side by side with this one share."""
        if self.group == "fidelity":
            return f"Fidelity in {self.encoder} features"
        if self.group == "adherence":
            return "Adherence (share of real)"
        if self.group == "memorization":
            where = self.encoder if self.encoder in ("", "pixels") else f"{self.encoder} features"
            return f"Privacy{f' in {where}' if where else ''} (not ranked)"
        return "Utility (minus trained on real)" if self.minus_real else self.group.capitalize()


@dataclass(frozen=True)
class Cell:
    """One score of one condition over its generator seeds.

    `value` is the mean over seeds, `ci_low` and `ci_high` the hull of the seeds' intervals. What
    makes the value uncertain is kept apart: `se` is the sampling error (the seeds' mean standard
    error: they share patients, so it does not shrink with their number), `seed_sd` the standard
    deviation over seeds where there is more than one. `status` is ok,
    failed, missing or not_applicable; an ok cell may carry a remark in `reason`, and is
    `incomplete` where a seed or the difference to the real arm is not there.
    """

    status: str
    value: float = NAN
    ci_low: float = NAN
    ci_high: float = NAN
    se: float = NAN
    seed_sd: float = NAN
    seed_values: tuple[float, ...] = ()
    n_real: int | None = None
    n_synthetic: int | None = None
    protocol: str = ""
    reason: str = ""
    difference: float = NAN  # to the real arm, where the column asks for it
    rank: int | None = None
    mark: str = ""  # best, shares, or nothing
    incomplete: bool = False
    caveat: str = ""  # what holds for every score of the study, kept apart from the cell's remark
    flag: str = ""  # what is wrong with the condition, not with the score
    flag_remark: str = ""  # what else than that may explain the flag
    protocol_letter: str = ""  # where a column mixes protocols

    @property
    def shown(self) -> float:
        """The number to print and sort by."""
        return self.value if pd.isna(self.difference) else self.difference

    @property
    def has_interval(self) -> bool:
        return not (pd.isna(self.ci_low) or pd.isna(self.ci_high))


def fill(results: Results, condition: str, column: Column, subset: str = "all") -> Cell:
    """The cell of one condition, whatever became of it."""
    source = _source(condition)
    wanted = [c for c in Grid(results.study).cells() if c.condition == source]
    absent = _expected_absence(condition, column, wanted)
    if absent:
        return absent
    if source != condition and condition != PLANTED:
        own = fill(results, source, column, subset)
        if own.status != "ok":  # nothing was requested, or scored, that could be controlled
            return own
    per_seed = seed_cells(results, condition, column, subset)
    cell = _flagged_by_seed(results, condition, column, per_seed)
    if column.minus_real and condition != "real" and cell.status == "ok":
        cell = _minus_real(results, cell, column)
    return cell


def seed_cells(
    results: Results, condition: str, column: Column, subset: str = "all"
) -> dict[int, Cell]:
    """The cell of each of a condition's seeds, not flagged."""
    source = _source(condition)
    wanted = {c.seed for c in Grid(results.study).cells() if c.condition == source}
    rows = results.rows
    rows = rows[(rows["condition"] == condition) & (rows["group"] == column.group)]
    # The real arm of the utility columns is one network, trained on real tiles.
    arm = "real" if condition == "real" and column.group == "utility" else column.arm
    return {
        seed: _seed_row(results, rows, condition, seed, column, arm, subset)
        for seed in sorted(wanted) or results.study.seeds
    }


def _source(condition: str) -> str:
    """Whose metrics file a condition's rows stand in: a control's in that of what it controls."""
    if condition == PLANTED:
        return "real"
    return condition if is_point(condition) else condition.partition("~")[0]


def _flagged_by_seed(
    results: Results, condition: str, column: Column, per_seed: dict[int, Cell]
) -> Cell:
    """The cell over the seeds; of a score of privacy flagged where any seed is, and naming it.

    One seed that copies is a leak, and the mean with seeds that do not would hide it.
    """
    cell = over_seeds(per_seed)
    if column.group == EFFECTS or column.expected is None:
        return flagged(cell, column)
    own = {seed: flagged(of_seed, column) for seed, of_seed in per_seed.items()}
    own = {seed: of_seed for seed, of_seed in own.items() if of_seed.flag}
    if not own:
        return cell
    words = next(iter(own.values())).flag
    if len(per_seed) > 1:
        words = f"seed {', '.join(map(str, own))}: {words}"
    return replace(cell, flag=words, flag_remark=_blur(results, condition, column, own))


def _blur(results: Results, condition: str, column: Column, own: dict[int, Cell]) -> str:
    """That the autoencoder brings real tiles as near, where it does for every flagged seed.

    It does where its own score is beyond the expected value too, and its interval reaches into the
    condition's: then what it does to any tile may be all there is.
    """
    if condition not in results.study.conditions:
        return ""
    trip = fill(results, AUTOENCODER, column)
    if trip.status != "ok" or not trip.has_interval or not trip.value > (column.expected or 0):
        return ""
    alike = (c.protocol == trip.protocol and trip.ci_high >= c.ci_low for c in own.values())
    if not all(alike):
        return ""
    return (
        "real tiles through the autoencoder lie no farther as far as the intervals tell "
        f"({trip.value:.2g} [{trip.ci_low:.2g}, {trip.ci_high:.2g}]), so its blur may explain it"
    )


def flagged(cell: Cell, column: Column) -> Cell:
    """The cell, flagged where its interval lies wholly beyond what is expected of new tissue.

    Training images may be nearer or farther, and only the one is bad; effects go both ways, and
    small ones are everywhere.
    """
    expected = column.expected
    if column.group == EFFECTS:
        if cell.status == "ok" and expected is not None and _away_from(cell, expected):
            return replace(cell, flag="beyond doubt more than a small difference (0.2)")
        return cell
    if cell.status != "ok" or expected is None or not cell.ci_low > expected:
        return cell
    return replace(cell, flag=f"nearer to training tiles than new tissue, which gives {expected:g}")


def _away_from(cell: Cell, expected: float) -> bool:
    return cell.ci_low > expected + SMALL_EFFECT or cell.ci_high < expected - SMALL_EFFECT


def _expected_absence(condition: str, column: Column, wanted: list) -> Cell | None:
    if _source(condition) != condition and condition != PLANTED:
        if column.group != "adherence" and not column.metric.startswith("copied_"):
            return Cell("not_applicable", reason=f"shuffling does not concern {column.group}")
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
    if column.group in ("fidelity", "memorization"):
        match = match[match["encoder"] == column.encoder]
    if column.group == "utility":
        match = match[match["arm"] == arm]
    if match.empty:
        broken = rows[rows["status"] == "failed"]
        if not broken.empty and not (rows["status"] == "ok").any():
            return Cell("failed", reason=str(broken["reason"].iloc[0]))
        source = _source(condition)
        path = results.metrics_path(source, seed, column.group)
        if rows.empty and not path.is_file():
            return Cell("missing", reason=f"no result file: {path}")
        return Cell("missing", reason=f"{path} has no row for {column.label}")
    return of_row(match.iloc[0].to_dict(), results.split_unit)


def of_row(row: Mapping[str, Any], split_unit: str = "patient") -> Cell:
    """The cell of one row of `Results.rows`; what holds for every score becomes its caveat."""
    reason = str(row["reason"])
    if row["status"] != "ok":
        return Cell(str(row["status"]), reason=reason or "no reason given")
    caveat = split_remark(split_unit) if split_unit != "patient" else ""
    if not (caveat and reason.endswith(caveat)):
        caveat = ""
    return Cell(
        "ok",
        value=float(row["value"]),
        ci_low=float(row["ci_low"]),
        ci_high=float(row["ci_high"]),
        se=float(row["se"]),
        seed_values=(float(row["value"]),),
        n_real=_count(row["n_real"]),
        n_synthetic=_count(row["n_synthetic"]),
        protocol=str(row["protocol"]),
        reason=reason.removesuffix(caveat).removesuffix("; "),
        caveat=caveat,
    )


def _count(value: float) -> int | None:
    return None if pd.isna(value) else int(value)


def over_seeds(per_seed: dict[int, Cell]) -> Cell:
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
    remarks = dict.fromkeys(cell.reason for cell in good.values() if cell.reason)
    cells = [cell for cell in good.values() if cell.protocol == protocol]
    values = [cell.value for cell in cells]
    return replace(
        cells[0],
        value=sum(values) / len(values),
        ci_low=min(c.ci_low for c in cells) if all(c.has_interval for c in cells) else NAN,
        ci_high=max(c.ci_high for c in cells) if all(c.has_interval for c in cells) else NAN,
        se=sum(c.se for c in cells) / len(cells),
        seed_sd=stdev(values) if len(values) > 1 else NAN,
        seed_values=tuple(values),
        reason="; ".join([*told, *remarks]),
        incomplete=bool(told),
    )


def _minus_real(results: Results, cell: Cell, column: Column) -> Cell:
    real = fill(results, "real", column)
    if real.status != "ok":
        told = f"no difference: the real arm is {real.status}: {real.reason}"
        return replace(cell, reason=told, incomplete=True)
    if real.protocol != cell.protocol:
        told = f"no difference: the real arm has another protocol ({real.protocol})"
        return replace(cell, reason=told, incomplete=True)
    return replace(cell, difference=cell.value - real.value)
