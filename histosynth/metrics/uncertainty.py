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
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import stdtrit

from histosynth.errors import InputError
from histosynth.metrics.inputs import as_feature_pair

NAN = float("nan")


@dataclass(frozen=True)
class Interval:
    """An estimate with its standard error and confidence interval; NaN where not estimable."""

    value: float
    ci_low: float = NAN
    ci_high: float = NAN
    se: float = NAN


def jackknife_interval(
    real: Any,
    synthetic: Any,
    *,
    real_groups: Any,
    statistic: Callable[[np.ndarray, np.ndarray], float | dict[str, float]],
    synthetic_groups: Any = None,
    max_groups: int = 20,
    confidence: float = 0.95,
    bounds: tuple[float, float] = (-np.inf, np.inf),
    seed: int = 0,
) -> Interval | dict[str, Interval]:
    """Delete-a-group jackknife interval of a score of two feature sets.

    One group is left out at a time, first of the real set, then of the synthetic set; the two
    variances add up, as the sets are taken to be independent. Groups of unequal size are weighted
    by the delete-m_j jackknife of Busing, Meijer & van der Leeden (1999): with h_j = n / m_j,
    estimate T, and T_j that without group j, the pseudo-values are P_j = h_j T - (h_j - 1) T_j,
    and the variance is mean_j (P_j - mean P)^2 / (h_j - 1), where mean P = g T - sum_j
    (1 - m_j / n) T_j. A bias of order 1/n cancels in the pseudo-values, so it does not pass for
    spread. The interval is T plus and minus Student's t times the standard error, with
    Welch-Satterthwaite degrees of freedom.

    **What it covers.** Which patients happened to be in the real set, and which images this one
    trained generator happened to sample; it is an interval for the score's expectation *at these
    numbers of tiles*. **What it leaves out.** The training seed (train several); the score's own
    bias at small n (large for the Fréchet distance: compare equal n only); any dependence of the
    two sets, such as conditions taken from the very patients of the real set, which makes the
    interval too wide rather than too narrow where it makes the sets alike. With few patients it
    is wide, as it should be. For nearest-neighbour scores, which are not smooth, it is a guide.

    Parameters
    ----------
    real, synthetic
        Feature arrays (n, d) and (m, d), numpy or torch.
    real_groups
        (n,) patient (or slide) of every real row.
    statistic
        ``statistic(real, synthetic)``: a float, or a dict of floats (such as `prdc`'s).
    synthetic_groups
        (m,) group of every synthetic row: the patient its condition came from, where there is
        one. Default: `max_groups` random blocks of equal size, right for independent samples.
    max_groups
        More groups than this are merged into this many of nearly equal size, which bounds the
        cost at 2 * max_groups + 1 evaluations.
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
    real_index = _merged_groups(real_groups, len(real), max_groups, "real_groups")
    if synthetic_groups is None:
        order = np.random.default_rng(seed).permutation(len(synthetic))
        synthetic_index = order % min(max_groups, len(synthetic))
    else:
        synthetic_index = _merged_groups(
            synthetic_groups, len(synthetic), max_groups, "synthetic_groups"
        )

    def evaluate(a: np.ndarray, b: np.ndarray) -> dict[str, float]:
        result = statistic(a, b)
        return result if isinstance(result, dict) else {"": result}

    estimate = evaluate(real, synthetic)

    def evaluate_part(a: np.ndarray, b: np.ndarray) -> list[float]:
        try:
            scores = evaluate(a, b)
        except InputError:  # too little is left without this group
            return [NAN] * len(estimate)
        return [scores[name] for name in estimate]

    value = np.array(list(estimate.values()))
    without_real = [evaluate_part(real[real_index != j], synthetic) for j in np.unique(real_index)]
    without_synthetic = [
        evaluate_part(real, synthetic[synthetic_index != j]) for j in np.unique(synthetic_index)
    ]
    variances = [
        _jackknife_variance(value, np.array(without_real), np.bincount(real_index)),
        _jackknife_variance(value, np.array(without_synthetic), np.bincount(synthetic_index)),
    ]
    freedoms = [len(without_real) - 1, len(without_synthetic) - 1]
    intervals = {
        name: _t_interval(value[i], [v[i] for v in variances], freedoms, confidence, bounds)
        for i, name in enumerate(estimate)
    }
    return intervals.get("", intervals)  # a single score came without a name


def cluster_bootstrap(
    values: Any,
    groups: Any,
    *,
    n_resamples: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
) -> Interval:
    """Percentile bootstrap interval that resamples whole groups (patients) with replacement.

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
        Nominal coverage. With fewer than about 20 groups the true coverage is lower (a known
        weakness of the cluster bootstrap): say how many patients stand behind it.

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
    low, high = np.quantile(scores, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(value, float(low), float(high), float(scores.std(ddof=1)))


def _merged_groups(groups: Any, n_rows: int, max_groups: int, name: str) -> np.ndarray:
    """Number the groups 0 .. g - 1, merging them into at most `max_groups` of similar size."""
    groups = np.asarray(groups)
    if groups.shape != (n_rows,):
        raise InputError(f"{name} has shape {groups.shape}; expected one name for {n_rows} rows")
    _, index = np.unique(groups, return_inverse=True)
    sizes = np.bincount(index)
    if len(sizes) <= max_groups:
        return index
    merged, filled = np.empty(len(sizes), dtype=np.int64), np.zeros(max_groups)
    for group in np.argsort(-sizes, kind="stable"):  # largest first, into the emptiest
        merged[group] = filled.argmin()
        filled[merged[group]] += sizes[group]
    return merged[index]


def _jackknife_variance(value: np.ndarray, without: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Delete-m_j variance; `without` is (groups, scores), `sizes` the rows in each group."""
    if len(sizes) < 2:
        return np.full(value.shape, np.nan)
    h = (sizes.sum() / sizes)[:, None]
    pseudo_values = h * value - (h - 1) * without
    centre = len(sizes) * value - ((1 - 1 / h) * without).sum(axis=0)
    return ((pseudo_values - centre) ** 2 / (h - 1)).mean(axis=0)


def _t_interval(
    value: float,
    variances: list[float],
    freedoms: list[int],
    confidence: float,
    bounds: tuple[float, float],
) -> Interval:
    variance = sum(variances)
    if not np.isfinite(variance):
        return Interval(float(value))
    if variance == 0:
        return Interval(float(value), float(value), float(value), 0.0)
    freedom = variance**2 / sum(v**2 / f for v, f in zip(variances, freedoms, strict=True))
    reach = stdtrit(freedom, (1 + confidence) / 2) * np.sqrt(variance)
    low, high = np.clip([value - reach, value + reach], *bounds)
    return Interval(float(value), float(low), float(high), float(np.sqrt(variance)))
