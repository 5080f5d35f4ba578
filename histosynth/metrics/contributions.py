"""What each patient contributes to a score's error: the signed parts that a variance is made of.

A jackknife's variance is a sum of squares, one a patient left out (Efron & Stein 1981). Kept with
their signs and names, these parts say more than their sum: the error of a difference of two scores
is the difference of their parts, patient by patient. What both scores owe to the same patients
then cancels, which no interval of either score can show.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.special import stdtrit

NAN = float("nan")


@dataclass(frozen=True)
class Contributions:
    """Parts of one score's error; the variance is the sum of their squares.

    Attributes
    ----------
    reference
        Patient (or merged patients) of the real set -> part. A patient whose maps or labels were
        also requested of the generator has one part for both.
    requested
        The same of patients who only stand behind the synthetic set.
    own
        Parts that no other score shares, in independent strata: blocks of images behind which
        there is no patient; training seeds.
    effective
        How many patients of equal size the two named strata are worth: 1 / sum_j s_j^2 of their
        shares (Kish 1965), at most their number.
    """

    reference: Mapping[str, float] = field(default_factory=dict)
    requested: Mapping[str, float] = field(default_factory=dict)
    own: tuple[tuple[float, ...], ...] = ()
    effective: tuple[float, float] = (np.inf, np.inf)

    @property
    def variance(self) -> float:
        return float(sum(np.square(stratum).sum() for stratum, _ in self._strata()))

    @property
    def freedom(self) -> float:
        """Degrees of freedom of the variance (Welch-Satterthwaite over the strata)."""
        parts = [(np.square(s).sum(), max(groups - 1, 1)) for s, groups in self._strata()]
        total = sum(variance**2 / freedom for variance, freedom in parts)
        return float(self.variance**2 / total) if total else NAN

    def _strata(self) -> list[tuple[np.ndarray, float]]:
        """Each stratum's parts, and how many equal groups they are worth."""
        named = zip((self.reference, self.requested), self.effective, strict=True)
        strata = [(np.array(list(of.values())), min(len(of), worth)) for of, worth in named]
        strata += [(np.array(stratum), len(stratum)) for stratum in self.own]
        return [stratum for stratum in strata if stratum[0].size]

    def as_json(self) -> dict[str, Any]:
        """Six digits, which is far more than an error is known to."""
        return {
            "reference": {k: float(f"{v:.6g}") for k, v in self.reference.items()},
            "requested": {k: float(f"{v:.6g}") for k, v in self.requested.items()},
            "own": [[float(f"{v:.6g}") for v in stratum] for stratum in self.own],
            "effective": [round(e, 2) if np.isfinite(e) else None for e in self.effective],
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Contributions:
        own = tuple(tuple(stratum) for stratum in value["own"])
        reference, requested = (np.inf if e is None else float(e) for e in value["effective"])
        named = dict(value["reference"]), dict(value["requested"])
        return cls(*named, own, (reference, requested))


@dataclass(frozen=True)
class Interval:
    """An estimate with its standard error and confidence interval; NaN where not estimable.

    `contributions` say who the error comes from, for paired comparisons; None where unknown.
    """

    value: float
    ci_low: float = NAN
    ci_high: float = NAN
    se: float = NAN
    contributions: Contributions | None = field(default=None, compare=False, repr=False)


def weighted_sum(terms: Sequence[tuple[float, Contributions]]) -> Contributions:
    """Contributions to the error of a sum of scores, each times its weight.

    Equal names are equal patients, and their parts add up with their signs.
    """
    reference: dict[str, float] = {}
    requested: dict[str, float] = {}
    own: list[tuple[float, ...]] = []
    behind = {name for _, term in terms for name in term.reference}
    for weight, term in terms:
        for name, part in [*term.reference.items(), *term.requested.items()]:
            into = reference if name in behind else requested
            into[name] = into.get(name, 0.0) + weight * part
        own += [tuple(weight * part for part in stratum) for stratum in term.own]
    fewest = (min(term.effective[i] for _, term in terms) for i in (0, 1))
    return Contributions(reference, requested, tuple(own), (next(fewest), next(fewest)))


def deletion_parts(value: np.ndarray, without: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Signed parts of a delete-a-group jackknife variance, for groups of unequal size.

    With estimate T, T_j without group j, and that group's share s_j of the rows, the
    `centred_parts` of

        d_j = (1 - s_j) (T - T_j)

    For a mean, e_j = c s_j (mean of group j - mean), so a group counts by its size, as it does in
    the mean itself. (The delete-m_j jackknife of Busing, Meijer & van der Leeden 1999 gives large
    groups less: right for independent rows, too sure where the rows of a patient are alike.)

    Parameters
    ----------
    value : (scores,) T
    without : (groups, scores) T_j
    shares : (groups,) s_j, which add up to 1

    Returns
    -------
    (groups, scores), whose sum of squares over the groups is the variance.
    """
    return centred_parts((1 - shares[:, None]) * (value - without), shares)


def centred_parts(influence: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Parts of a variance from what each group, of these shares, does to a score.

        e_j = c (d_j - s_j sum_k d_k),  c^2 = sum_j s_j^2 / sum_j s_j^2 (1 - 2 s_j + sum_k s_k^2)

    c makes the variance unbiased where groups differ; it is g / (g - 1) for g equal groups, which
    is the usual jackknife. A bias of order 1/n cancels in the bracket, so it does not pass for
    spread. One group alone has a part of 0.

    Parameters
    ----------
    influence : (groups, ...) d_j
    shares : (groups,) s_j, which add up to 1

    Returns
    -------
    (groups, ...) e_j
    """
    if len(shares) < 2:
        return np.zeros_like(influence)
    squares = np.square(shares)
    c = np.sqrt(squares.sum() / (squares * (1 - 2 * shares + squares.sum())).sum())
    along = shares.reshape(-1, *[1] * (influence.ndim - 1))
    return c * (influence - along * influence.sum(axis=0))


def effective_groups(shares: np.ndarray) -> float:
    """How many groups of equal size these are worth."""
    return float(1 / np.square(shares).sum())


def t_interval(
    value: float,
    contributions: Contributions,
    *,
    confidence: float = 0.95,
    bounds: tuple[float, float] = (-np.inf, np.inf),
) -> Interval:
    """Value plus and minus Student's t times the standard error, clipped to `bounds`.

    A score that no group moves, such as a share of exactly 1, has no interval: its error is not
    0, it has not been seen.
    """
    variance, value = contributions.variance, float(value)
    if not np.isfinite(variance):
        return Interval(value)
    if variance == 0:
        return Interval(value, se=0.0, contributions=contributions)
    reach = stdtrit(contributions.freedom, (1 + confidence) / 2) * np.sqrt(variance)
    low, high = np.clip([value - reach, value + reach], *bounds)
    return Interval(value, float(low), float(high), float(np.sqrt(variance)), contributions)


@dataclass(frozen=True)
class Bend:
    """A score that is a rising function of another number, `at`, whose error is known."""

    at: float
    function: Callable[[float], float]


def bent_interval(
    value: float,
    bend: Bend,
    contributions: Contributions,
    *,
    confidence: float = 0.95,
    bounds: tuple[float, float] = (-np.inf, np.inf),
) -> Interval:
    """The function of the ends of the inner number's interval: no symmetric one near a bound.

    It holds the function of the inner number's expectation. A score at its bound has an interval
    below it. Its standard error, and the parts that differences are made of, are the inner ones by
    the longer arm of the interval over the inner arm. With one arm less than half the other, as
    near a bound, the parts are None: what two such scores share does not cancel in a difference.

    Parameters
    ----------
    value : the function there
    contributions : parts of the inner number
    confidence, bounds : as of `t_interval`
    """
    inner = t_interval(bend.at, contributions, confidence=confidence)
    if not inner.se > 0:
        return Interval(value, se=inner.se, contributions=inner.contributions)
    low, high = (bend.function(x) for x in (inner.ci_low, inner.ci_high))
    shorter, longer = sorted([value - low, high - value])
    slope = longer / (inner.ci_high - bend.at)
    outer = weighted_sum([(slope, contributions)]) if shorter >= longer / 2 > 0 else None
    low, high = np.clip([low, high], *bounds).tolist()
    return Interval(value, low, high, slope * inner.se, outer)


def recentred(interval: Interval, value: float) -> Interval:
    """The interval about another value: the same score with its bias taken off.

    A bias of order 1/n moves by far less from draw to draw than the score does, so the error of
    the corrected score is that of the score itself.
    """
    if interval.contributions is None:
        return Interval(value)
    return t_interval(value, interval.contributions)
