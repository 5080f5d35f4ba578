"""Precision, recall, density and coverage from k-nearest-neighbour balls, plain and clipped.

Precision and recall follow Kynkäänniemi et al. 2019, density and coverage Naeem et al. 2020. Let
B(x) be the ball around x whose radius r(x) is the distance to its k-th nearest neighbour in its
own set, itself not counted:

    precision = share of synthetic rows inside at least one real ball
    recall    = share of real rows inside at least one synthetic ball
    density   = mean over synthetic rows of (number of real balls it lies in) / k
    coverage  = share of real balls with at least one synthetic row inside

Two conventions are about, and they give different numbers: the prdc package takes k = 5 and
"inside" as distance < radius (the default here); torch-fidelity takes k = 3 and
distance <= radius (``k=3, inclusive=True``).

Clipped density and coverage are those of Salvy, Talbot & Thirion (ICLR 2026, arXiv 2507.01761),
in which no single tile counts more than once:

    clipped density  = D(synthetic) / D(real), at most 1, with
                       D = mean over rows of min(number of real balls around it, k) / k
                       and radii clipped to their median; a real row's own ball does not count
    clipped coverage = the m / (M + 1) whose expectation f is reached by
                       mean over real rows of min(number of synthetic rows in B(x), k) / k
    f(m)             = E[min(J, k)] / k,  J beta-binomial(m, k, n - k); 0 for m < k

f is what m good rows among M synthetic ones give, the others lying nowhere near: J counts how many
of m rows fall into the ball that holds k of the n - 1 other real ones, were all of one
distribution. So both read as a share of good tiles. They follow the authors' program where the
words leave a choice: <= for density, < for coverage, M + 1 levels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from histosynth.errors import InputError
from histosynth.metrics.inputs import as_tensor_pair, check_count
from histosynth.metrics.kernel import points_of

if TYPE_CHECKING:
    from histosynth.metrics.pairwise import Between, Groups, Points, Within


def prdc(
    real: Any, synthetic: Any, *, k: int = 5, inclusive: bool = False, chunk: int = 2048
) -> dict[str, float]:
    """Precision, recall, density and coverage of a synthetic set.

    Parameters
    ----------
    real, synthetic
        Feature arrays (n, d) and (m, d), numpy or torch, on any device.
    k
        Which nearest neighbour, the row itself not counted, gives a ball its radius.
    inclusive
        Whether a row exactly on the sphere is inside (``<=`` instead of ``<``).
    chunk
        Rows a block: memory is O(chunk^2 + (n + m) d); no influence on the values.

    Returns
    -------
    dict
        ``precision``, ``recall``, ``density``, ``coverage``. Density may exceed 1. All four
        depend on n, m and k: compare at equal n, m and k only.

    Raises
    ------
    InputError
        k no whole number within 1 .. min(n, m) - 1, a chunk below 1, NaN or infinite values,
        different widths.
    """
    found = _compare(real, synthetic, k, inclusive, chunk)
    return {name: found[name] for name in ("precision", "recall", "density", "coverage")}


def clipped_scores(real: Any, synthetic: Any, *, k: int = 5, chunk: int = 2048) -> dict[str, float]:
    """Clipped density and clipped coverage, as the head of this module defines them.

    Parameters and errors as :func:`prdc`.

    Returns
    -------
    dict
        ``clipped_density`` and ``clipped_coverage``, within 0 .. 1.
    """
    found = _compare(real, synthetic, k, False, chunk)
    return {name: found[name] for name in ("clipped_density", "clipped_coverage")}


def _compare(real: Any, synthetic: Any, k: int, inclusive: bool, chunk: int) -> dict[str, float]:
    from histosynth.metrics.pairwise import compare_between, compare_within

    real, synthetic = as_tensor_pair(real, synthetic)
    chunk = check_count(chunk, "chunk", usual=2048)
    check_neighbours(k, len(real), len(synthetic))
    a, b = points_of(real, synthetic)
    ours, theirs = (compare_within(points, k=k, chunk=chunk) for points in (a, b))
    edges = radii_with_margin(a, b, ours, theirs, inclusive=inclusive)
    between = compare_between(a, b, real_radii=edges[0], synthetic_radii=edges[1], chunk=chunk)
    return neighbour_scores(between, a, ours, k=k)


def check_neighbours(k: int, n: int, m: int) -> None:
    """Raise InputError where k neighbours are not to be had in both sets."""
    k = check_count(k, "k", usual=5)
    smallest = min(n, m)
    if k >= smallest:
        raise InputError(
            f"k = {k} nearest neighbours: k must be smaller than the number of "
            f"tiles ({n} real, {m} synthetic); take k <= {smallest - 1} or add tiles"
        )


def radii_with_margin(
    real: Points, synthetic: Points, ours: Within, theirs: Within, *, inclusive: bool = False
) -> tuple[list[Any], Any]:
    """Squared radii, moved so that "inside" is a plain comparison, of both sets.

    Of the real set: plain, strict, and clipped to their median and inclusive.
    """
    from histosynth.metrics.pairwise import ties

    tie, tie_of_theirs = ties(real, ours.radii), ties(synthetic, theirs.radii)
    sign = 1 if inclusive else -1
    clipped = _clipped(ours.radii) + tie
    # The pairs looked at are those within the first: it may nowhere be smaller than the others.
    first = ours.radii + tie
    of_real = [first, ours.radii + sign * tie, ours.radii - tie, clipped]
    return of_real, theirs.radii + sign * tie_of_theirs


def neighbour_scores(between: Between, real: Points, ours: Within, *, k: int) -> dict[str, float]:
    """All scores of this module from the counts of a comparison.

    Parameters
    ----------
    between : made with the radii of `radii_with_margin`
    ours : the real set, compared with itself
    """
    return NeighbourCounts(between, real, ours, k=k).scores()


class NeighbourCounts:
    """Who lies in whose ball, counted by groups of rows.

    Attributes
    ----------
    around, clipped : int64 (m, G), real balls around each synthetic row; with clipped radii
    inside, strictly_inside : int64 (n, H), synthetic rows inside each real ball
    recalling : int64 (n, H), synthetic balls around each real row
    own : int64 (n, G), clipped real balls around each real row, but for its own
    ours, theirs : groups of the real and the synthetic rows
    """

    def __init__(
        self,
        between: Between,
        real: Points,
        ours: Within,
        *,
        k: int,
        real_groups: Groups | None = None,
        synthetic_groups: Groups | None = None,
    ) -> None:
        from histosynth.metrics.pairwise import Groups, nearest_inside, ties

        self.k = k
        _, self.around, _, self.clipped = between.balls_around
        _, self.inside, self.strictly_inside, _ = between.inside
        self.recalling = between.recalling
        n, m, device = len(self.recalling), len(self.around), self.around.device
        self.ours = real_groups or Groups.of_one(n, device)
        self.theirs = synthetic_groups or Groups.of_one(m, device)
        kept = nearest_inside(real, ours, _clipped(ours.radii) + ties(real, ours.radii))
        self.own = self.ours.counts(n)
        centres, _ = kept.nonzero().T
        self.ours.add(self.own, ours.nearest[kept], centres)

    def scores(self) -> dict[str, float]:
        """Every score of this module."""
        k, n, m = self.k, len(self.recalling), len(self.around)

        def share(counts: Any) -> float:
            return float((counts.sum(dim=1) > 0).double().mean())

        def filled(counts: Any) -> float:
            return float(counts.sum(dim=1).clamp(max=k).double().mean() / k)

        return {
            "precision": share(self.around),
            "recall": share(self.recalling),
            "density": float(self.around.sum(dim=1).double().mean() / k),
            "coverage": share(self.inside),
            "clipped_density": min(filled(self.clipped) / filled(self.own), 1.0),
            "clipped_coverage": good_share(filled(self.strictly_inside), n, m, k),
        }


def _clipped(squared_radii: Any) -> Any:
    """Squared radii, at most the square of their median (halfway between two where n is even)."""
    ordered = squared_radii.clamp(min=0).sort().values.sqrt()  # of duplicates rounding may be < 0
    n = len(ordered)
    median = (ordered[(n - 1) // 2] + ordered[n // 2]) / 2
    return squared_radii.clamp(max=median**2)


def good_share(covered: float, n: int, m: int, k: int) -> float:
    """Share of good rows among m that covers the real balls as far as was found.

    E[min(J, k)] = k - sum_{j < k} (k - j) P(J = j), which takes k terms instead of m.
    """
    from scipy.stats import betabinom

    good = np.arange(m + 1)
    expected = k - sum((k - j) * betabinom.pmf(j, good, k, n - k) for j in range(k))
    expected = np.where(good < k, 0.0, expected / k)
    return float(np.searchsorted(expected, covered) / (m + 1))
