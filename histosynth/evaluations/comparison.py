"""Which differences are real: every pair of conditions, score by score, paired by patient.

All conditions answer the same table of requests and are judged against the same real tiles, so a
difference is told apart from chance patient by patient (`histosynth.metrics.paired`). Everything
needed is in the metrics files: values, and which patients their errors come from. No tile is
looked at again.

The pairs of one score are one family of tests, corrected by Holm. The downstream scores have a
second family: every condition against the same network trained on real tiles.

A condition whose generator was told of an encoder's features is in no family of that encoder. Of a
score with a level of chance only what lies beyond that level is compared.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from histosynth.errors import InputError
from histosynth.evaluations.rows import MetricRow, Status, json_number
from histosynth.files import read_json, write_json
from histosynth.metrics import Contributions, Interval, holm, paired_difference

GROUPS = ("fidelity", "adherence", "utility")  # memorization ranks nobody
REAL = "real"
LEVEL = 0.05
NAN = float("nan")
CHANCE = {"classifier_auc": 0.5}  # where lower is better, but nothing is better than chance
TOLD = "a generator was told of features by this encoder, which is then no independent judge"


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One pair of conditions in one score: `first` minus `second`.

    Attributes
    ----------
    difference, ci_low, ci_high, se : of the means over seeds, a value below the level of chance
        counting as that level; interval for this pair alone
    p, p_holm : two-sided; corrected for all pairs of this score
    seed_sd : standard deviation of the difference over training seeds, NaN with one
    first_seeds, second_seeds : how many training seeds stand behind each
    pairs : how many pairs the correction is for
    better : the condition that is better by p_holm < 0.05; empty where chance is not ruled out
    protocol : that both scores share
    """

    group: str
    metric: str
    encoder: str = ""
    arm: str = ""
    first: str
    second: str
    difference: float = NAN
    ci_low: float = NAN
    ci_high: float = NAN
    se: float = NAN
    p: float = NAN
    p_holm: float = NAN
    seed_sd: float = NAN
    first_seeds: int = 1
    second_seeds: int = 1
    pairs: int = 0
    higher_is_better: bool
    better: str = ""
    status: Status = "ok"
    reason: str = ""
    protocol: str = ""


class Score(NamedTuple):
    """A column of scores over all tiles."""

    group: str
    metric: str
    encoder: str
    arm: str


_Entry = tuple[int, Interval, str, bool]  # seed, score, protocol, whether higher is better


@dataclass
class Seeds:
    """One condition's score at every seed; those of the protocol that most of them follow."""

    intervals: dict[int, Interval]
    protocol: str
    higher_is_better: bool


def compare(
    files: Iterable[str | Path],
    conditions: Sequence[str],
    *,
    told: Mapping[str, Collection[str]] | None = None,
) -> list[Comparison]:
    """Compare the conditions by what their metrics files say.

    Parameters
    ----------
    files : metrics files of every condition, seed and group, those of `real` among them
    conditions : what to compare, in the order of the pairs; leave out what is not ranked
    told : encoder -> the conditions whose generators are told of its features (`Grid.told_of`)

    Returns
    -------
    One row a pair and score that both conditions have, families together. A pair whose numbers
    follow different protocols, whose errors are unknown, that is judged by an encoder one of them
    was told of, or whose numbers both may be chance, is there as not applicable.

    Raises
    ------
    InputError
        A file that is no metrics file.
    """
    return _compared(_read(files), conditions, told or {})


def compare_rows(rows: Iterable[MetricRow], conditions: Sequence[str]) -> list[Comparison]:
    """Compare sets that answer no common requests, such as folders from different generators.

    They share the real images that they are scored against, and are paired by these alone: what
    comes from the images of a set is taken to be independent of the other's, whatever their names.

    Parameters
    ----------
    rows : of all sets
    conditions : as for `compare`
    """
    found: dict[Score, dict[str, list[_Entry]]] = {}
    for row in rows:
        if row.status != "ok" or row.subset != "all" or row.group not in GROUPS:
            continue
        error = row.contributions
        if error is not None:
            named = {f"{row.condition}: {key}": part for key, part in error.requested.items()}
            error = replace(error, requested=named)
        interval = Interval(row.value, row.ci_low, row.ci_high, contributions=error)
        score = Score(row.group, row.metric, row.encoder, row.arm)
        entry = (row.seed, interval, row.protocol, row.higher_is_better)
        found.setdefault(score, {}).setdefault(row.condition, []).append(entry)
    return _compared(_one_protocol_each(found), conditions, {})


def _compared(
    scores: dict[Score, dict[str, Seeds]],
    conditions: Sequence[str],
    told: Mapping[str, Collection[str]],
) -> list[Comparison]:
    made: list[Comparison] = []
    for score, found in scores.items():
        partial_to = set(told.get(score.encoder, ()))
        family = [(a, b) for a, b in combinations(conditions, 2) if a in found and b in found]
        made += _corrected(
            [
                _pair(score, a, b, found[a], found[b], why=TOLD if {a, b} & partial_to else "")
                for a, b in family
            ]
        )
        of_real = scores.get(score._replace(arm=REAL), {}).get(REAL)
        if score.arm not in ("", REAL) and of_real:
            made += _corrected(
                [_pair(score, c, REAL, found[c], of_real) for c in conditions if c in found]
            )
    return made


def write_comparison(path: str | Path, comparisons: Iterable[Comparison]) -> None:
    """Write the comparisons, atomically; NaN becomes null."""
    rows = [{k: json_number(v) for k, v in asdict(row).items()} for row in comparisons]
    write_json(path, {"level": LEVEL, "comparisons": rows})


def read_comparison(path: str | Path) -> list[Comparison]:
    """What `write_comparison` wrote.

    Raises
    ------
    InputError
        Not such a file.
    """
    try:
        rows: list[dict[str, Any]] = read_json(path)["comparisons"]
        return [Comparison(**(r | {k: NAN for k in r if r[k] is None})) for r in rows]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: not a file of comparisons ({type(error).__name__}: {error}); delete it and "
            "make it again with scripts/comparison.py"
        ) from error


def _read(files: Iterable[str | Path]) -> dict[Score, dict[str, Seeds]]:
    """Score -> condition -> its seeds, of every score over all tiles that has a value."""
    found: dict[Score, dict[str, list[_Entry]]] = {}
    for path in files:
        try:
            content = read_json(path)
            parts = {
                (c["condition"], c["metric"], c["encoder"], c["arm"]): c["parts"]
                for c in content.get("contributions", [])
            }
            for row in content["rows"]:
                if row["status"] != "ok" or row["subset"] != "all" or row["group"] not in GROUPS:
                    continue
                score = Score(row["group"], row["metric"], row["encoder"], row["arm"])
                error = parts.get((row["condition"], *score[1:]))
                low, high = (NAN if row[e] is None else row[e] for e in ("ci_low", "ci_high"))
                parts_of = error and Contributions.from_json(error)
                interval = Interval(row["value"], low, high, contributions=parts_of)
                entry = (row["seed"], interval, row["protocol"], row["higher_is_better"])
                found.setdefault(score, {}).setdefault(row["condition"], []).append(entry)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"{path}: not a metrics file ({type(error).__name__}: {error}); "
                "delete it and score again"
            ) from error
    return _one_protocol_each(found)


def _one_protocol_each(
    found: dict[Score, dict[str, list[_Entry]]],
) -> dict[Score, dict[str, Seeds]]:
    return {
        score: {condition: _one_protocol(entries) for condition, entries in of.items()}
        for score, of in found.items()
    }


def _one_protocol(entries: list[_Entry]) -> Seeds:
    protocol = Counter(entry[2] for entry in entries).most_common(1)[0][0]
    kept = {seed: interval for seed, interval, of, _ in entries if of == protocol}
    return Seeds(kept, protocol, entries[0][3])


def _pair(
    score: Score, first: str, second: str, a: Seeds, b: Seeds, *, why: str = ""
) -> Comparison:
    """The pair's difference and p-value; `why` it is not to be compared, if so."""
    made = Comparison(
        **score._asdict(),
        first=first,
        second=second,
        first_seeds=len(a.intervals),
        second_seeds=len(b.intervals),
        higher_is_better=a.higher_is_better,
    )
    chance = CHANCE.get(score.metric)
    if a.protocol != b.protocol:
        why = why or "the two scores follow different protocols"
    if chance is not None and all(_may_be_chance(of, chance) for of in (a, b)):
        why = why or f"neither score is beyond doubt above {chance:g}, which is chance"
    if why:
        return replace(made, status="not_applicable", reason=why)
    above = [_from_chance(of.intervals, chance) for of in (a, b)]
    found = paired_difference(*above)
    made = replace(
        made,
        protocol=a.protocol,
        difference=found.value,
        ci_low=found.ci_low,
        ci_high=found.ci_high,
        se=found.se,
        p=found.p,
        seed_sd=found.seed_sd,
    )
    if np.isnan(found.p):
        reason = (
            "no error patient by patient is known of one of the two scores (a clipped score near "
            "its bound has none)"
        )
        return replace(made, status="not_applicable", reason=reason)
    return made


def _may_be_chance(score: Seeds, chance: float) -> bool:
    """Whether the score lies below the level of chance, or an interval of it holds that."""
    return any(of.value <= chance or of.ci_low <= chance for of in score.intervals.values())


def _from_chance(intervals: dict[int, Interval], chance: float | None) -> dict[int, Interval]:
    """The scores, at least the level of chance where there is one."""
    if chance is None:
        return intervals
    return {seed: replace(of, value=max(of.value, chance)) for seed, of in intervals.items()}


def _corrected(family: list[Comparison]) -> list[Comparison]:
    """The family with corrected p-values, and who is better by them."""
    corrected = holm(np.array([row.p for row in family]))
    pairs = int(np.isfinite(corrected).sum())
    made = []
    for row, p in zip(family, corrected.tolist(), strict=True):
        better = ""
        if p < LEVEL:
            better = row.first if (row.difference > 0) == row.higher_is_better else row.second
        made.append(replace(row, p_holm=p, pairs=pairs, better=better))
    return made
