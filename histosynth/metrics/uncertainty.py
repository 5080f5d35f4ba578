"""Intervals that respect patients: tiles of one patient are not independent observations.

Two tools, for two kinds of score:

- :func:`jackknife_interval`, delete-a-group, for scores of two feature sets (Fréchet, kernel,
  precision, recall, ...). The naive bootstrap is no choice there: resampled duplicates look like
  lost diversity, and its percentile interval has been seen to exclude both truth and estimate.
- :func:`cluster_bootstrap`, over patients, for scores that a duplicate does not bias: means,
  accuracy, AUC, IoU.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.special import ndtr, stdtrit

from histosynth.errors import InputError
from histosynth.metrics.contributions import (
    Contributions,
    Interval,
    bent_interval,
    deletion_parts,
    effective_groups,
    t_interval,
)
from histosynth.metrics.inputs import as_feature_pair
from histosynth.metrics.leave_out import GroupedSets, GroupStatistic, Repeated

NAN = float("nan")


def jackknife_interval(
    real: Any,
    synthetic: Any,
    *,
    real_groups: Any,
    statistic: Callable[[np.ndarray, np.ndarray], float | dict[str, float]] | GroupStatistic,
    synthetic_groups: Any = None,
    max_groups: int = 20,
    confidence: float = 0.95,
    bounds: tuple[float, float] = (-np.inf, np.inf),
    seed: int = 0,
) -> Interval | dict[str, Interval]:
    """Delete-a-group jackknife interval of a score of two feature sets.

    One group is left out at a time, which gives its part in the score's error (`deletion_parts`;
    by `NeighbourStatistic`: :mod:`histosynth.metrics.neighbour_parts`);
    the variance is the sum of the squared parts. Where both sets come from the same patients, as
    where conditions are taken from the very patients of the real set, a patient is left out of
    both at once, and what it does to both alike cancels. Else the groups of the real set come
    first, those of the synthetic set after, and the two variances add. The interval is the score
    plus and minus Student's t times the standard error, with Welch-Satterthwaite degrees of
    freedom.

    **What it covers.** Which patients happened to be in the real set, and which images this one
    trained generator happened to sample; it is an interval for the score's expectation *at these
    numbers of tiles*. **What it leaves out.** The training seed (train several); the score's own
    bias at small n (large for the Fréchet distance: compare equal n only). With few patients it
    is wide, as it should be.

    Parameters
    ----------
    real, synthetic
        Feature arrays (n, d) and (m, d), numpy or torch.
    real_groups
        (n,) patient (or slide) of every real row.
    statistic
        ``statistic(real, synthetic)``: a float, or a dict of floats; or a
        :class:`~histosynth.metrics.leave_out.GroupStatistic`, which costs about one evaluation. For
        neighbour scores take `NeighbourStatistic`: of `prdc`, as of any function, the jackknife
        is a plain one, and its intervals too wide.
    synthetic_groups
        (m,) group of every synthetic row: the patient its condition came from, where there is
        one; a name that `real_groups` has too is the same patient. Default: `max_groups` random
        blocks of equal size, right for independent samples.
    max_groups
        More groups than this are merged into this many of nearly equal size, which bounds the
        cost at 2 * max_groups + 1 evaluations (max_groups + 1 of shared patients).
    confidence
        Nominal coverage.
    bounds
        Range that the score cannot leave; the interval is clipped to it.
    seed
        For the random blocks.

    Returns
    -------
    Interval, or dict of Interval where `statistic` returns a dict
        With fewer than two groups on either side, or where the score is undefined without some
        group, the interval and standard error are NaN: there is nothing to estimate them from.

    Raises
    ------
    InputError
        Bad features, or group names that do not match the rows.
    """
    real, synthetic = as_feature_pair(real, synthetic)
    # Widened once here, not in each of the evaluations.
    real, synthetic = real.astype(np.float64), synthetic.astype(np.float64)
    if max_groups < 2:
        raise InputError(f"max_groups = {max_groups}: a jackknife needs at least 2 groups")
    real_names = _merged_groups(real_groups, len(real), max_groups, "real_groups")
    if synthetic_groups is None:
        order = np.random.default_rng(seed).permutation(len(synthetic))
        synthetic_names = order % min(max_groups, len(synthetic))
    else:
        known = dict(zip(np.asarray(real_groups).astype(str), real_names, strict=True))
        synthetic_names = _merged_groups(
            synthetic_groups, len(synthetic), max_groups, "synthetic_groups", known
        )

    real_names, synthetic_names = real_names.astype(str), synthetic_names.astype(str)
    grouped = statistic if isinstance(statistic, GroupStatistic) else Repeated(statistic)
    sides = (real_names, synthetic_names)
    shared = synthetic_groups is not None and bool(np.isin(synthetic_names, real_names).any())
    strata = [_shares(list(sides))] if shared else [_shares([names]) for names in sides]
    if min(len(shares) for shares in strata) < 2:
        strata = []
    parts = grouped.parts(GroupedSets(real, synthetic, *sides), strata)
    estimate = parts.score if isinstance(parts.score, dict) else {"": parts.score}
    if not strata:
        alone = {name: Interval(float(value)) for name, value in estimate.items()}
        return alone.get("", alone)
    worth = [effective_groups(np.array(list(shares.values()))) for shares in strata]
    worth += [np.inf] * (2 - len(worth))
    intervals = {}
    for i, name in enumerate(estimate):
        named = [
            dict(zip(shares, of[:, i].tolist(), strict=True))
            for shares, of in zip(strata, parts.strata, strict=True)
        ]
        if synthetic_groups is None:
            error = Contributions(named[0], {}, (tuple(named[1].values()),), (worth[0], np.inf))
        else:
            requested = {} if shared else named[1]
            error = Contributions(named[0], requested, effective=(worth[0], worth[1]))
        value = float(estimate[name])
        if bend := parts.bends.get(name):
            found = bent_interval(value, bend, error, confidence=confidence, bounds=bounds)
        else:
            found = t_interval(value, error, confidence=confidence, bounds=bounds)
        intervals[name] = found
    return intervals.get("", intervals)  # a single score came without a name


def _shares(sides: list[np.ndarray]) -> dict[str, float]:
    """Each group's share of the rows; the mean over the sides it can stand on."""
    shares: dict[str, float] = {}
    for names in sides:
        for group, count in zip(*np.unique(names, return_counts=True), strict=True):
            shares[group] = shares.get(group, 0.0) + count / len(names) / len(sides)
    return shares


def cluster_bootstrap(
    values: Any,
    groups: Any,
    *,
    n_resamples: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
) -> Interval:
    """Percentile bootstrap interval that resamples whole groups (patients) with replacement.

    The plain percentile interval is too narrow where groups are few: it ignores that the spread
    is itself estimated from g of them. So the quantiles are moved out to those of a normal at
    t_{g-1} sqrt(g / (g - 1)) (the expanded percentile interval of Hesterberg 2015), where g is the
    number of equal groups that the unequal ones are worth (`effective_groups`).

    Parameters
    ----------
    values
        (n,) numbers, whose mean is the score (accuracy: 0 and 1); or a function of an index array
        into the n rows that returns the score of those rows (AUC; IoU of summed confusion
        matrices). Indices repeat as often as their group was drawn.
    groups
        (n,) group of every row.
    n_resamples
        Number of resamples.
    seed
        The same seed and groups give the same resamples, so two scores are compared on equal
        draws by subtracting them inside one function.
    confidence
        Nominal coverage; bench/results holds what was measured.

    Returns
    -------
    Interval
        `se` is the standard deviation over resamples. Resamples in which the score is NaN (an AUC
        without one of its classes) are dropped; where that is more than half of them, or there
        are fewer than two groups, interval and standard error are NaN.

    Raises
    ------
    InputError
        No rows, or group names that do not match the values.
    """
    groups = np.asarray(groups)
    if callable(values):
        statistic = values
    else:
        numbers = np.asarray(values, dtype=float)
        if numbers.shape != groups.shape:
            raise InputError(f"{numbers.shape} values but {groups.shape} group names")

        def statistic(index: np.ndarray) -> float:
            return float(numbers[index].mean())

    if groups.ndim != 1 or len(groups) == 0:
        raise InputError(f"groups have shape {groups.shape}; expected one name a row, at least one")
    if n_resamples < 2:
        raise InputError(f"n_resamples = {n_resamples}; expected at least 2 (1000 is usual)")
    value = float(statistic(np.arange(len(groups))))
    names, index = np.unique(groups, return_inverse=True)
    if len(names) < 2:
        return Interval(value)
    rows = np.split(np.argsort(index, kind="stable"), np.cumsum(np.bincount(index))[:-1])
    rng = np.random.default_rng(seed)
    draws = rng.integers(len(names), size=(n_resamples, len(names)))
    scores = np.array([statistic(np.concatenate([rows[j] for j in draw])) for draw in draws], float)
    scores = scores[~np.isnan(scores)]
    if len(scores) <= n_resamples / 2:
        return Interval(value)
    freedom = max(effective_groups(np.bincount(index) / len(index)) - 1, 1)
    tail = ndtr(stdtrit(freedom, (1 - confidence) / 2) * np.sqrt(1 + 1 / freedom))
    low, high = np.quantile(scores, [tail, 1 - tail])
    contributions = _left_out(value, statistic, _merged_groups(groups, len(groups), 200, "groups"))
    return Interval(value, float(low), float(high), float(scores.std(ddof=1)), contributions)


def _left_out(
    value: float, statistic: Callable[[np.ndarray], float], names: np.ndarray
) -> Contributions | None:
    """Each group's part in the error of a score; None where it is undefined without one."""
    shares = _shares([names])
    without = np.array([[statistic(np.flatnonzero(names != name))] for name in shares], float)
    sizes = np.array(list(shares.values()))
    parts = deletion_parts(np.array([value]), without, sizes)[:, 0]
    if not np.isfinite(parts).all():
        return None
    named = dict(zip(shares, parts.tolist(), strict=True))
    return Contributions(named, effective=(effective_groups(sizes), np.inf))


def _merged_groups(
    groups: Any, n_rows: int, max_groups: int, name: str, known: dict[str, str] | None = None
) -> np.ndarray:
    """The group's name of every row, groups merged into at most `max_groups` of similar size.

    `known` : group -> the name it was merged under before, which it keeps.
    """
    groups = np.asarray(groups)
    if groups.shape != (n_rows,):
        raise InputError(f"{name} has shape {groups.shape}; expected one name for {n_rows} rows")
    known = known or {}
    found, index, sizes = np.unique(groups.astype(str), return_inverse=True, return_counts=True)
    new = [j for j in range(len(found)) if found[j] not in known]
    new.sort(key=lambda j: -sizes[j])  # largest first, into the emptiest
    together: list[list[int]] = [[] for _ in range(min(max_groups, len(new)))]
    filled = np.zeros(len(together))
    for j in new:
        emptiest = filled.argmin()
        together[emptiest].append(j)
        filled[emptiest] += sizes[j]
    names: dict[int, str] = {}
    for merged in together:
        label = min(found[j] for j in merged)
        names |= dict.fromkeys(merged, f"{label}+{len(merged) - 1}" if len(merged) > 1 else label)
    return np.array([names.get(j) or known[found[j]] for j in range(len(found))])[index]
