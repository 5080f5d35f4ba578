"""Differences of two scores that share patients, and what many such tests do to each other.

Two conditions are asked for the same held-out maps and labels and judged against the same real
tiles. A hard patient is hard for both; left out of both at once, that patient's error cancels in
the difference, whose interval is then narrower than the two scores' intervals suggest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr

from histosynth.errors import InputError
from histosynth.metrics.contributions import Contributions, Interval, t_interval, weighted_sum

NAN = float("nan")


@dataclass(frozen=True)
class Difference:
    """First score minus second, averaged over training seeds.

    Attributes
    ----------
    value, ci_low, ci_high, se
        The interval and standard error hold for this pair alone; with several seeds they include
        the spread over seeds.
    p
        Two-sided p-value of Student's t for no difference; 1 where both scores are the same.
    seed_sd
        Standard deviation of the difference over training seeds; NaN with one seed.
    """

    value: float
    ci_low: float = NAN
    ci_high: float = NAN
    se: float = NAN
    p: float = NAN
    seed_sd: float = NAN


def paired_difference(first: Mapping[int, Interval], second: Mapping[int, Interval]) -> Difference:
    """Compare two conditions by what every patient contributes to the error of each.

        D = mean_s T1_s - mean_s T2_s,  var D = sum_j (mean_s e1_sj - mean_s e2_sj)^2 + seeds

    with e_sj patient j's part in the error of the score at seed s. Equal seeds start from equal
    noise, so where both have the same seeds the seeds' part is that of the differences seed by
    seed: var_s(T1_s - T2_s) / S.

    Parameters
    ----------
    first, second
        Training seed -> the score's interval, with its contributions.

    Returns
    -------
    Difference
        Without interval and p-value where some score's contributions are unknown.

    Raises
    ------
    InputError
        A side without any seed.
    """
    if not first or not second:
        raise InputError(
            "a condition without a score of any seed; expected at least one on either side"
        )
    value = float(_mean(first) - _mean(second))
    terms = []
    for weight, side in ((1 / len(first), first), (-1 / len(second), second)):
        for interval in side.values():
            if interval.contributions is None:
                return Difference(value)
            terms.append((weight, interval.contributions))
    if first.keys() == second.keys():
        by_seed = [[first[s].value - second[s].value for s in first]]
    else:
        by_seed = [[i.value for i in side.values()] for side in (first, second)]
    strata = tuple(_seed_parts(values) for values in by_seed if len(values) > 1)
    error = weighted_sum([*terms, (1.0, Contributions(own=strata))])
    interval = t_interval(value, error)
    if interval.se == value == 0:  # the very same numbers
        interval = Interval(0.0, 0.0, 0.0, 0.0)
    seed_sd = NAN
    if strata:
        seed_sd = float(np.sqrt(sum(np.var(v, ddof=1) for v in by_seed if len(v) > 1)))
    return Difference(
        value,
        interval.ci_low,
        interval.ci_high,
        interval.se,
        _p_value(value, interval.se, error.freedom),
        seed_sd,
    )


def holm(p_values: np.ndarray) -> np.ndarray:
    """P-values corrected for one another by Holm (1979): step-down Bonferroni.

    The i-th smallest of m becomes max_{k <= i} min(1, (m - k + 1) p_(k)), which bounds the chance
    of one false claim among all of them, however they depend on each other. NaN stays NaN and
    does not count.
    """
    p_values = np.asarray(p_values, dtype=float)
    corrected = np.full(p_values.shape, NAN)
    tested = np.flatnonzero(~np.isnan(p_values))
    order = tested[np.argsort(p_values[tested], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    corrected[order] = np.maximum.accumulate(np.minimum(factors * p_values[order], 1.0))
    return corrected


def _mean(scores: Mapping[int, Interval]) -> float:
    return float(np.mean([interval.value for interval in scores.values()]))


def _seed_parts(values: list[float]) -> tuple[float, ...]:
    """Parts whose squares add up to the variance of the mean of independent values."""
    deviations = np.array(values) - np.mean(values)
    return tuple((deviations / np.sqrt(len(values) * (len(values) - 1))).tolist())


def _p_value(value: float, se: float, freedom: float) -> float:
    if not np.isfinite(se):
        return NAN
    if se == 0:
        return 1.0 if value == 0 else NAN
    return float(2 * stdtr(freedom, -abs(value) / se))
