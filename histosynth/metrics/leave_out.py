"""Scores of two sets without one group at a time, from sums that are made once.

A jackknife asks for a score some forty times, each without one group. What the Fréchet and the
kernel distance need of a set are sums over rows and over pairs of rows, so they are summed group
by group in one pass, and a group is taken off by subtraction.

- Kernel: with S[g, h] the kernel's sum over pairs of groups g and h, all but pairs of a row with
  itself, the sum without group j is sum S - 2 sum_h S[j, h] + S[j, j].
- Fréchet: with n, s, Q the number, sum and sum of outer products of a group's rows about the
  set's mean, those of the rest are differences, and its covariance is (Q - s s^T / n) / (n - 1).

Neighbour scores are no such sums: :mod:`histosynth.metrics.neighbour_parts`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from histosynth.errors import InputError
from histosynth.metrics.contributions import Bend, deletion_parts
from histosynth.metrics.frechet import FeatureStatistics, frechet_distance
from histosynth.metrics.kernel import kernel_named, points_of

if TYPE_CHECKING:
    import torch

    from histosynth.metrics.pairwise import Kernel, Points

Score = float | dict[str, float]
Shares = Mapping[str, float]
"""Each group's share of the rows."""
Without = Callable[[str | None, str | None], Score]
"""The score without one group of the real and of the synthetic rows, None leaving out none."""

_CHUNK = 2048  # rows a block of pairs


@dataclass(frozen=True)
class GroupedSets:
    """Two sets of features, (n, d) and (m, d), and the group of every row, a string."""

    real: np.ndarray
    synthetic: np.ndarray
    real_groups: np.ndarray
    synthetic_groups: np.ndarray


@dataclass(frozen=True)
class Parts:
    """Scores, and what their errors are made of.

    Attributes
    ----------
    score
        One, or several by name.
    strata
        An array of parts (groups, scores) a stratum, whose squares add up: its groups in their
        order and the scores in theirs. NaN where a score is undefined without some group.
    bends
        By name, of the scores whose parts are those of an inner number.
    """

    score: Score
    strata: list[np.ndarray]
    bends: Mapping[str, Bend] = field(default_factory=dict)


class GroupStatistic(ABC):
    """A score of two sets that tells each group's part in its error without starting anew."""

    @abstractmethod
    def parts(self, sets: GroupedSets, strata: Sequence[Shares]) -> Parts:
        """The score, and of every stratum each group's parts in its error.

        Parameters
        ----------
        strata : one of both sets' groups, which are then left out of both sets at once; or the
            real set's and the synthetic set's; or none, where the score alone is asked for
        """


class LeavingOut(GroupStatistic):
    """A score that can leave groups out: a delete-a-group jackknife."""

    def parts(self, sets: GroupedSets, strata: Sequence[Shares]) -> Parts:
        without = self.leaving_out(sets)
        estimate = without(None, None)
        value = _values(estimate)

        def left(of_real: str | None, of_synthetic: str | None) -> np.ndarray:
            try:
                return _values(without(of_real, of_synthetic))
            except InputError:  # too little is left without this group
                return np.full_like(value, np.nan)

        found = []
        for i, shares in enumerate(strata):
            both = len(strata) == 1
            rest = [
                left(name if both or i == 0 else None, name if both or i == 1 else None)
                for name in shares
            ]
            found.append(deletion_parts(value, np.array(rest), np.array(list(shares.values()))))
        return Parts(estimate, found)

    @abstractmethod
    def leaving_out(self, sets: GroupedSets) -> Without:
        """Make the sums of both sets."""


class Repeated(LeavingOut):
    """Any other score, computed anew of the rows that are left."""

    def __init__(self, score: Callable[[np.ndarray, np.ndarray], Score]) -> None:
        self.score = score

    def leaving_out(self, sets: GroupedSets) -> Without:
        def without(of_real: str | None, of_synthetic: str | None) -> Score:
            ours, theirs = sets.real, sets.synthetic
            return self.score(
                ours if of_real is None else ours[sets.real_groups != of_real],
                theirs if of_synthetic is None else theirs[sets.synthetic_groups != of_synthetic],
            )

        return without


class KernelStatistic(LeavingOut):
    """The kernel distance of :mod:`histosynth.metrics.kernel`.

    Parameters
    ----------
    kernel, sigma : as for `kernel_distance`
    narrow : multiply in float32, which takes a quarter of the time; for features that come from
        float32, what this loses is far below the error of any sample
    """

    def __init__(
        self, kernel: str = "polynomial", *, sigma: float | None = None, narrow: bool = False
    ) -> None:
        self.kernel, self.sigma, self.narrow = kernel, sigma, narrow

    def leaving_out(self, sets: GroupedSets) -> Without:
        import torch

        ours, theirs = _Groups(sets.real_groups), _Groups(sets.synthetic_groups)
        dtype = torch.float32 if self.narrow else torch.float64
        a, b = points_of(
            torch.from_numpy(sets.real[ours.order]).to(dtype),
            torch.from_numpy(sets.synthetic[theirs.order]).to(dtype),
        )
        kernel = kernel_named(self.kernel, self.sigma)
        within = [_sums_within(a, ours, kernel), _sums_within(b, theirs, kernel)]
        between = _sums_between(a, ours, b, theirs, kernel)

        def without(of_real: str | None, of_synthetic: str | None) -> float:
            left = between
            value, kept = 0.0, []
            sides = (ours, of_real), (theirs, of_synthetic)
            for axis, ((groups, name), sums) in enumerate(zip(sides, within, strict=True)):
                total, n = float(sums.sum()), groups.sizes.sum()
                if name is not None and (j := groups.find(name)) is not None:
                    total -= float(2 * sums[j].sum() - sums[j, j])
                    n -= groups.sizes[j]
                    left = np.delete(left, j, axis)
                _check_rest(int(n))
                value += total / (n * (n - 1))
                kept.append(int(n))
            return value - 2 * float(left.sum()) / (kept[0] * kept[1])

        return without


class FrechetStatistic(LeavingOut):
    """The Fréchet distance of :mod:`histosynth.metrics.frechet`."""

    def leaving_out(self, sets: GroupedSets) -> Without:
        sides = (
            _Moments(sets.real, sets.real_groups),
            _Moments(sets.synthetic, sets.synthetic_groups),
        )

        def without(of_real: str | None, of_synthetic: str | None) -> float:
            return frechet_distance(sides[0].without(of_real), sides[1].without(of_synthetic))

        return without


def _values(score: Score) -> np.ndarray:
    return np.array(list(score.values()) if isinstance(score, dict) else [score], float)


class _Groups:
    """Rows in the order of their groups: `order` (n,), `names`, `sizes` and `edges` of groups."""

    def __init__(self, groups: np.ndarray) -> None:
        self.names, index, self.sizes = np.unique(groups, return_inverse=True, return_counts=True)
        self.order = np.argsort(index, kind="stable")
        self.edges = np.concatenate([[0], np.cumsum(self.sizes)])

    def find(self, name: str) -> int | None:
        at = int(np.searchsorted(self.names, name))
        return at if at < len(self.names) and self.names[at] == name else None

    def parts(self, block: slice) -> list[tuple[int, slice]]:
        """(group, its rows within the block), of the groups that a block of ordered rows holds."""
        first = int(np.searchsorted(self.edges, block.start, side="right")) - 1
        found = []
        for j in range(first, len(self.sizes)):
            start, stop = max(self.edges[j], block.start), min(self.edges[j + 1], block.stop)
            if start >= block.stop:
                break
            found.append((j, slice(int(start) - block.start, int(stop) - block.start)))
        return found


def _check_rest(n: int) -> None:
    if n < 2:
        raise InputError(f"{n} rows are left without one group; expected at least 2")


def _add(
    sums: np.ndarray,
    values: torch.Tensor,
    rows: list[tuple[int, slice]],
    columns: list[tuple[int, slice]],
) -> None:
    """Add a block's values to the sums of its pairs of groups."""
    for h, some in columns:
        along = values[:, some].sum(dim=1).double()  # pairwise in float32, so accurate
        for g, of_group in rows:
            sums[g, h] += float(along[of_group].sum())


def _sums_within(points: Points, groups: _Groups, kernel: Kernel) -> np.ndarray:
    """Kernel sums (G, G) over pairs of different rows; symmetric."""
    from histosynth.metrics.pairwise import packed, products

    sums = np.zeros((len(groups.sizes),) * 2)
    for rows in points.blocks(_CHUNK):
        left = packed(points.rows[rows])
        for columns in points.blocks(_CHUNK, rows.start):
            made = products(left, points.rows[columns])
            values = kernel(made, points, rows, points, columns)
            diagonal = columns.start == rows.start
            if diagonal:
                values.fill_diagonal_(0)
            block = np.zeros_like(sums)
            _add(block, values, groups.parts(rows), groups.parts(columns))
            sums += block if diagonal else block + block.T
    return sums


def _sums_between(
    a: Points, ours: _Groups, b: Points, theirs: _Groups, kernel: Kernel
) -> np.ndarray:
    """Kernel sums over pairs of a row of each set."""
    from histosynth.metrics.pairwise import packed, products

    sums = np.zeros((len(ours.sizes), len(theirs.sizes)))
    for rows in a.blocks(_CHUNK):
        left = packed(a.rows[rows])
        for columns in b.blocks(_CHUNK):
            values = kernel(products(left, b.rows[columns]), a, rows, b, columns)
            _add(sums, values, ours.parts(rows), theirs.parts(columns))
    return sums


class _Moments:
    """A set's statistics without a group.

    With fewer rows than features the rows themselves are the smaller summary, and are taken.
    """

    def __init__(self, features: np.ndarray, groups: np.ndarray) -> None:
        import torch

        self.groups = _Groups(groups)
        self.rows = torch.from_numpy(features[self.groups.order])
        self.wide = len(features) - self.groups.sizes.max() <= features.shape[1]
        self.whole = FeatureStatistics.from_features(self.rows)
        if not self.wide:
            centred = self.rows - self.whole.mean
            self.outer = centred.T @ centred

    def without(self, name: str | None) -> FeatureStatistics:
        j = None if name is None else self.groups.find(name)
        if name is None or j is None:
            return self.whole
        n = len(self.rows) - int(self.groups.sizes[j])
        _check_rest(n)
        some = slice(int(self.groups.edges[j]), int(self.groups.edges[j + 1]))
        if self.wide:
            import torch

            return FeatureStatistics.from_features(
                torch.cat([self.rows[: some.start], self.rows[some.stop :]])
            )
        group = self.rows[some] - self.whole.mean
        shift = -group.sum(dim=0) / n  # the rows about the whole mean add up to 0
        covariance = (self.outer - group.T @ group - n * shift.outer(shift)) / (n - 1)
        return FeatureStatistics.from_covariance(n, self.whole.mean + shift, covariance)
