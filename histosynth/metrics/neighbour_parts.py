"""What each group contributes to the error of neighbour scores.

Precision, recall, density and coverage, plain and clipped, are means over the rows of one set of
what the balls of the other make of each row. With v_i the value of row i, rows in groups h of
share t_h, and a_hg what the sum of v over group h, by n, loses where the balls of group g (of
share s_g) are gone, while the others keep their radii, two kinds of groups take part in the error:

    rows    r_h = c (sum_{i in h} v_i / n - t_h mean v)
    balls   b_g = kappa c (sum_h a_hg - s_g sum_hg a_hg),
            kappa^2 = max(0, 1 - sum_hg q_hg^2 / sum_g (b_g / kappa)^2)

where q is a with the means of its rows and columns taken off (c as in `centred_parts`). Leaving
out balls is seen through the rows at hand only, and which of them happen to lose their last ball is
mostly chance: an interaction of balls and rows, which is in r already. A jackknife counts it again
(Efron & Stein 1981), so its errors are up to twice as large as they should be, those of differences
nearly three times. kappa takes that share away. Where rows and balls are of the same patient, who
is then gone as a whole, its a is taken to be as large as that of its balls with other patients.

Clipped density is a ratio of two such means, N / D, with parts (e_N - N / D e_D) / D. What clips
it, and what makes clipped coverage a share of good rows, bends the interval (`bent_interval`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from histosynth.metrics.contributions import Bend, centred_parts
from histosynth.metrics.leave_out import GroupedSets, GroupStatistic, Parts, Shares
from histosynth.metrics.neighbours import NeighbourCounts, good_share
from histosynth.metrics.reference import Reference

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from histosynth.metrics.pairwise import Groups


class NeighbourStatistic(GroupStatistic):
    """precision, recall, density, coverage, clipped_density and clipped_coverage, in one run.

    Parameters
    ----------
    k : neighbours of the balls, where there is no `reference`
    reference : of the very real set that is to come, which saves comparing it with itself again
    narrow : as of `KernelStatistic`; which rows lie in which balls is decided in float64

    Raises
    ------
    InputError
        When it is used: k not smaller than both numbers of rows, or another width than that of the
        `reference`.
    """

    def __init__(
        self, k: int = 5, *, reference: Reference | None = None, narrow: bool = False
    ) -> None:
        self.k, self.reference, self.narrow = k, reference, narrow

    def parts(self, sets: GroupedSets, strata: Sequence[Shares]) -> Parts:
        import torch

        dtype = np.float32 if self.narrow else np.float64
        reference = self.reference or Reference(sets.real.astype(dtype), k=self.k)
        ours, theirs = (
            _numbered(names, reference.features.device)
            for names in (sets.real_groups, sets.synthetic_groups)
        )
        counts = reference.compare(
            sets.synthetic.astype(dtype),
            dtype=torch.float32 if self.narrow else torch.float64,
            real_groups=ours[1],
            synthetic_groups=theirs[1],
        )[1]
        scores = counts.scores()
        if not strata:
            return Parts(scores, [])
        if min(len(ours[0]), len(theirs[0])) < 2:  # nothing is left without the one
            unknown = [np.full((len(shares), len(scores)), np.nan) for shares in strata]
            return Parts(scores, unknown)
        names = _Names(ours[0], theirs[0], paired=len(strata) == 1)
        by_score, bends = _parts(counts, names)
        found = [by_score[name] for name in scores]
        sides = [
            [dict(zip(own, of[i], strict=True)) for of in found]
            for i, own in enumerate((names.real, names.synthetic))
        ]
        if len(strata) == 1:
            both = zip(*sides, strict=True)
            sides = [[{g: a.get(g, 0.0) + b.get(g, 0.0) for g in strata[0]} for a, b in both]]
        parts = [
            np.array([[of[group] for of in side] for group in shares])
            for side, shares in zip(sides, strata, strict=True)
        ]
        return Parts(scores, parts, bends)


@dataclass(frozen=True)
class _Names:
    """Names of both sets' groups; `paired`: equal names are the same patients."""

    real: np.ndarray
    synthetic: np.ndarray
    paired: bool

    @property
    def across(self) -> np.ndarray:
        """Whether a real group and a synthetic one are the same patient: bool (G, H)."""
        return (self.real[:, None] == self.synthetic) & self.paired


Pair = tuple[np.ndarray, np.ndarray]
"""Parts of the real and of the synthetic groups."""


def _parts(counts: NeighbourCounts, names: _Names) -> tuple[dict[str, Pair], dict[str, Bend]]:
    """Parts in the error of every score, or of the inner number of one that is bent."""
    k, ours, theirs = counts.k, counts.ours, counts.theirs
    n, m = len(ours.index), len(theirs.index)

    def hit(found: Tensor) -> Tensor:
        return (found > 0).double()

    def filled(found: Tensor) -> Tensor:
        return found.clamp(max=k).double() / k

    def of_synthetic(value: Callable[[Tensor], Tensor], found: Tensor) -> Pair:
        """Of a mean over synthetic rows, with real balls."""
        rows, balls = _row_mean(value, found, theirs, ours, names.across.T)
        return balls, rows

    def of_real(value: Callable[[Tensor], Tensor], found: Tensor) -> Pair:
        """Of a mean over real rows, with synthetic balls; or over real balls, with who is in."""
        return _row_mean(value, found, ours, theirs, names.across)

    above, below, covered = (
        float(filled(of.sum(dim=1)).mean())
        for of in (counts.clipped, counts.own, counts.strictly_inside)
    )

    def clipped_density() -> Pair:
        balls, rows = of_synthetic(filled, counts.clipped)
        both = _row_mean(filled, counts.own, ours, ours, np.eye(ours.number, dtype=bool))
        return (balls - above / below * sum(both)) / below, rows / below

    found = {
        "precision": of_synthetic(hit, counts.around),
        "recall": of_real(hit, counts.recalling),
        "density": of_synthetic(lambda found: found.double() / k, counts.around),
        "coverage": of_real(hit, counts.inside),
        "clipped_density": clipped_density(),
        "clipped_coverage": of_real(filled, counts.strictly_inside),
    }
    bends = {
        "clipped_density": Bend(above / below, lambda x: min(x, 1.0)),
        "clipped_coverage": Bend(covered, lambda x: good_share(x, n, m, k)),
    }
    return found, bends


def _row_mean(
    value: Callable[[Tensor], Tensor], found: Tensor, rows: Groups, balls: Groups, same: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Parts of the rows' and of the balls' groups in the error of a mean over rows.

    Parameters
    ----------
    value : of every row, from how many balls (or rows in its ball) it has
    found : int64 (n, G), these, by the group of the balls
    same : bool (R, G), whether the rows' group and the balls' are of the same patient
    """
    import torch

    n, total = len(found), found.sum(dim=1)
    whole = value(total)
    lost_of_each = whole[:, None] - value(total[:, None] - found)
    # About the mean, so that rows which are all alike have a part of exactly 0.
    each = torch.cat([whole[:, None] - whole.mean(), lost_of_each], dim=1)
    zeros = torch.zeros(rows.number, each.shape[1], dtype=each.dtype, device=each.device)
    sums = zeros.index_add_(0, rows.index, each).cpu().numpy() / n
    means, lost = sums[:, 0], sums[:, 1:]
    t, s = (
        torch.bincount(of.index, minlength=of.number).double().cpu().numpy() / len(of.index)
        for of in (rows, balls)
    )
    elsewhere = np.where(same, 0, lost).sum(axis=0) / np.maximum((~same * t[:, None]).sum(0), 1e-9)
    lost = np.where(same, t[:, None] * elsewhere, lost)
    part = centred_parts(lost.sum(axis=0), s)
    chance = centred_parts(centred_parts(lost, t).T, s)
    of_balls = np.square(part).sum()
    kept = max(0.0, 1 - np.square(chance).sum() / of_balls) if of_balls else 0.0
    return centred_parts(means, t), np.sqrt(kept) * part


def _numbered(names: np.ndarray, device: torch.device) -> tuple[np.ndarray, Groups]:
    """The different names, and every row's number among them on the device."""
    import torch

    from histosynth.metrics.pairwise import Groups

    found, index = np.unique(names, return_inverse=True)
    return found, Groups(torch.from_numpy(index).to(device), len(found))
