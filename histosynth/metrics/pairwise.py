"""All pairs of two feature sets, visited once in blocks, for every score that needs them.

Kernel sums and nearest neighbours both start from the products of rows, which is where the time
goes: |x - y|^2 = |x|^2 + |y|^2 - 2 x.y. So the products of a block are made once and handed to
both; within one set only the blocks on and above the diagonal are made.

float32 features are multiplied in float32 and summed in float64. That rounding is harmless in a
mean over pairs, but could push a row over the edge of a ball. So float32 only searches: whatever
lies within the rounding bound of an edge is decided by its distance in float64. Radii and counts
are therefore those of float64 features. float64 features are multiplied in float64.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import linear

# Squared distances nearer than this share of the squared norms count as equal (`ties`).
_TIE = 1e-12
# Looked at beyond the k nearest, so that float32's order of near ties does not matter.
_SPARE = 4
_ROWS_AT_ONCE = 256  # in float64: what fits the cache
_PAIRS_AT_ONCE = 256  # single rows from anywhere: what fits the cache
# A float64 product of a whole block takes as long as this share of its pairs one by one.
_WORTH_A_BLOCK = 0.01


class Points:
    """Rows about a common origin, with what distances and inner products need of each.

    Distances do not change with the origin, but near it their rounding is smallest; inner
    products are put back: (c + o).(c' + o) = c.c' + c.o + c'.o + o.o.

    Attributes
    ----------
    features : (n, d) as given, float32 or float64
    rows : (n, d) centred, in the same precision
    squares : float64 (n,), squared norms of the centred rows
    along : float64 (n,), their products with the origin, plus half of its own square
    """

    def __init__(self, features: Tensor, origin: Tensor, *, dtype: torch.dtype) -> None:
        n = len(features)
        self.features, self.origin = features, origin
        self.rows = torch.empty(features.shape, dtype=dtype, device=features.device)
        self.squares = torch.empty(n, dtype=torch.float64, device=features.device)
        self.along = torch.empty_like(self.squares)
        for start in range(0, n, _ROWS_AT_ONCE):
            block = slice(start, start + _ROWS_AT_ONCE)
            centred = self.exact(block)
            self.rows[block] = centred
            self.squares[block] = torch.einsum("ij,ij->i", centred, centred)
            self.along[block] = centred @ origin + origin @ origin / 2

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def slack(self) -> float:
        """How far a squared distance of this precision may be off, as a share of |x|^2 + |y|^2.

        The bound of Higham & Mary (2019) for a dot product whose roundings do not conspire,
        c sqrt(width) times the unit roundoff; c = 16 is overstepped with a chance of exp(-128).
        0 for float64, where `ties` count as equal.
        """
        if self.rows.dtype == torch.float64:
            return 0.0
        return 8 * self.rows.shape[1] ** 0.5 * torch.finfo(torch.float32).eps

    def exact(self, index: slice | Tensor) -> Tensor:
        """Centred rows in float64."""
        return self.features[index].double() - self.origin

    def blocks(self, chunk: int, first: int = 0) -> list[slice]:
        n = len(self)
        return [slice(start, min(start + chunk, n)) for start in range(first, n, chunk)]


def ties(points: Points, squared_radii: Tensor) -> Tensor:
    """How near to its edge a squared distance counts as on it: float64 (n,), for each ball.

    So ties (duplicates, equal sets) fall the same way whatever the chunk and the order of rows.
    What lies at the edge has at most twice the squares of the centre and of the radius, whatever
    other rows there are.
    """
    return 3 * _TIE * (points.squares + squared_radii.clamp(min=0))


Kernel = Callable[[Tensor, Points, slice, Points, slice], Tensor]
"""Values (rows, columns) of a block from its centred products, which it may overwrite."""


def packed(rows: Tensor) -> Tensor:
    """Rows (n, d) ready for many `products`, as their left side."""
    if rows.dtype == torch.float32 and rows.device.type == "cpu" and _has_onednn():
        return rows.to_mkldnn()
    return rows


def products(left: Tensor, right: Tensor) -> Tensor:
    """Inner products (rows, columns) with `packed` rows; true float32 where given float32."""
    if left.is_mkldnn:
        # oneDNN's float32 product took half the time of MKL's on an AMD processor.
        return linear(left, right).to_dense()
    return left @ right.T


def _has_onednn() -> bool:
    return torch.backends.mkldnn.is_available()


def squared_distances(made: Tensor, a: Points, rows: slice, b: Points, columns: slice) -> Tensor:
    """Squared distances of a block from its products; not clipped at zero: only compared."""
    distances = torch.add(a.squares[rows, None].to(made.dtype), made, alpha=-2)
    return distances.add_(b.squares[columns].to(made.dtype))


@dataclass(frozen=True)
class Within:
    """One set compared with itself.

    Attributes
    ----------
    kernel_mean : mean of the kernel over pairs of different rows; 0 without a kernel
    distances : float64 (n, k), squared, to the k nearest other rows, nearest first; of the k-th in
        float64, of the others in the precision of the products
    nearest : int64 (n, k), those rows
    """

    kernel_mean: float
    distances: Tensor
    nearest: Tensor

    @property
    def radii(self) -> Tensor:
        """Squared distance (n,) to the k-th nearest other row."""
        return self.distances[:, -1]


def compare_within(
    points: Points, *, k: int = 0, kernel: Kernel | None = None, chunk: int
) -> Within:
    """Visit all pairs of different rows of one set once."""
    n, device = len(points), points.rows.device
    total = torch.zeros((), dtype=torch.float64, device=device)
    kept = min(k + _SPARE, n - 1) if k else 0
    best = torch.full((n, kept), torch.inf, dtype=points.rows.dtype, device=device)
    index = torch.zeros((n, kept), dtype=torch.int64, device=device)

    def keep(rows: slice, distances: Tensor, first: int) -> None:
        found = distances.topk(min(kept, distances.shape[1]), dim=1, largest=False)
        values = torch.cat([best[rows], found.values], dim=1)
        places = torch.cat([index[rows], found.indices + first], dim=1)
        merged = values.topk(kept, dim=1, largest=False)  # nearest first
        best[rows] = merged.values
        index[rows] = places.gather(1, merged.indices)

    for rows in points.blocks(chunk):
        left = packed(points.rows[rows])
        for columns in points.blocks(chunk, rows.start):
            made = products(left, points.rows[columns])
            diagonal = columns.start == rows.start
            if k:
                distances = squared_distances(made, points, rows, points, columns)
                if diagonal:
                    distances.fill_diagonal_(torch.inf)
                keep(rows, distances, columns.start)
                if not diagonal:
                    keep(columns, distances.T.contiguous(), rows.start)
            if kernel is not None:
                values = kernel(made, points, rows, points, columns)
                if diagonal:
                    total += _sum(values) - values.diagonal().double().sum()
                else:
                    total += 2 * _sum(values)
    if k:
        best, index = _exactly_nearest(points, best, index, k, chunk)
    return Within(float(total) / (n * (n - 1)), best, index)


def _exactly_nearest(
    points: Points, best: Tensor, index: Tensor, k: int, chunk: int
) -> tuple[Tensor, Tensor]:
    """The k nearest rows (n, k) and the k-th distance in float64, which float32 has proposed."""
    if points.rows.dtype == torch.float64:
        return best[:, :k], index[:, :k]
    kept, bound = index.shape[1], points.slack * (points.squares + points.squares.max())
    apart = best.double()
    # Which one is the k-th, and how far away: only those that float32 cannot tell from it.
    i, place = ((apart - apart[:, k - 1 : k]).abs() <= 2 * bound[:, None]).nonzero().T
    apart[i, place] = pair_distances(points, i, points, index[i, place])
    apart, order = apart.sort(dim=1)
    index = index.gather(1, order)
    if kept < len(points) - 1:
        # A row that was not proposed may be nearer only if float32 could have misjudged it so far.
        unsure = (best[:, -1].double() - bound < apart[:, k - 1]).nonzero().flatten()
        for rows in unsure.split(chunk):
            again = _distances_in_float64(points, rows, points)
            again[torch.arange(len(rows), device=rows.device), rows] = torch.inf
            found = again.topk(k, dim=1, largest=False)
            apart[rows, :k], index[rows, :k] = found.values, found.indices
    return apart[:, :k], index[:, :k]


def nearest_inside(points: Points, within: Within, edges: Tensor) -> Tensor:
    """Whether each of the k nearest rows lies within its row's edge, a squared distance: (n, k)."""
    apart = within.distances.clone()
    bound = points.slack * (points.squares + points.squares.max())
    if points.slack:
        i, place = ((apart - edges[:, None]).abs() <= bound[:, None]).nonzero().T
        apart[i, place] = pair_distances(points, i, points, within.nearest[i, place])
    return apart <= edges[:, None]


@dataclass(frozen=True)
class Groups:
    """The group 0 .. number - 1 of every row of a set, int64 (n,)."""

    index: Tensor
    number: int

    @classmethod
    def of_one(cls, n: int, device: torch.device) -> Groups:
        return cls(torch.zeros(n, dtype=torch.int64, device=device), 1)

    def counts(self, n: int) -> Tensor:
        """Zeros (n, number), to count in."""
        return torch.zeros(n, self.number, dtype=torch.int64, device=self.index.device)

    def add(self, counts: Tensor, at: Tensor, rows: Tensor) -> None:
        """Count each of `rows` (p,) by its group at the places `at` (p,)."""
        places = at * self.number + self.index[rows]
        counts.view(-1).scatter_add_(0, places, torch.ones_like(places))


@dataclass(frozen=True)
class Between:
    """A real set compared with a synthetic one, with G and H groups of their rows.

    Attributes
    ----------
    kernel_mean : mean of the kernel over all pairs; 0 without a kernel
    balls_around : int64, one a set of real radii: (m, G) real balls around each synthetic row
    inside : int64, alike: (n, H) synthetic rows inside each real ball
    recalling : int64 (n, H), synthetic balls around each real row
    """

    kernel_mean: float
    balls_around: list[Tensor]
    inside: list[Tensor]
    recalling: Tensor


def compare_between(
    real: Points,
    synthetic: Points,
    *,
    real_radii: list[Tensor] | None = None,
    synthetic_radii: Tensor | None = None,
    real_groups: Groups | None = None,
    synthetic_groups: Groups | None = None,
    kernel: Kernel | None = None,
    chunk: int,
) -> Between:
    """Visit all pairs of a real and a synthetic row once.

    Parameters
    ----------
    real_radii, synthetic_radii
        Squared radii, any margin included: a row at just this distance is inside. The first of
        `real_radii` is nowhere smaller than the others. Without them only the kernel is summed.
    real_groups, synthetic_groups
        By which rows and balls are counted; default: one group.
    """
    n, m, device = len(real), len(synthetic), real.rows.device
    total = torch.zeros((), dtype=torch.float64, device=device)
    sets = real_radii or []
    ours = real_groups or Groups.of_one(n, device)
    theirs = synthetic_groups or Groups.of_one(m, device)
    balls_around = [ours.counts(m) for _ in sets]
    inside = [theirs.counts(n) for _ in sets]
    recalling = theirs.counts(n)
    for rows in real.blocks(chunk):
        left = packed(real.rows[rows])
        for columns in synthetic.blocks(chunk):
            made = products(left, synthetic.rows[columns])
            if sets and synthetic_radii is not None:
                distances = squared_distances(made, real, rows, synthetic, columns)
                i, j, apart = _near(
                    distances, real, rows, synthetic, columns, sets, synthetic_radii
                )
                for radii, around, within in zip(sets, balls_around, inside, strict=True):
                    hit = apart <= radii[i]
                    ours.add(around, j[hit], i[hit])
                    theirs.add(within, i[hit], j[hit])
                hit = apart <= synthetic_radii[j]
                theirs.add(recalling, i[hit], j[hit])
            if kernel is not None:
                total += _sum(kernel(made, real, rows, synthetic, columns))
    return Between(float(total) / (n * m), balls_around, inside, recalling)


def _near(
    distances: Tensor,
    real: Points,
    rows: slice,
    synthetic: Points,
    columns: slice,
    real_radii: list[Tensor],
    synthetic_radii: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Pairs of a block that lie inside either ball, or might: rows, columns, float64 distances."""
    slack, dtype = max(real.slack, synthetic.slack), distances.dtype
    bound = slack * (real.squares[rows] + synthetic.squares[columns].max())
    ours = real_radii[0][rows] + bound
    theirs = synthetic_radii[columns] + bound.max()
    hit = (distances <= ours[:, None].to(dtype)).logical_or_(distances <= theirs.to(dtype))
    i, j = _places(hit)
    apart = distances[i, j].double()
    i, j = i + rows.start, j + columns.start
    if not slack:
        return i, j, apart
    bound = slack * (real.squares[i] + synthetic.squares[j])
    doubt = (apart - synthetic_radii[j]).abs() <= bound
    for radii in real_radii:
        doubt |= (apart - radii[i]).abs() <= bound
    unsure = doubt.nonzero().flatten()
    if len(unsure) > _WORTH_A_BLOCK * distances.numel():
        index = torch.arange(rows.start, rows.stop, device=i.device)
        exact = _distances_in_float64(real, index, synthetic, columns)
        apart = exact[i - rows.start, j - columns.start]
    elif len(unsure):
        apart[unsure] = pair_distances(real, i[unsure], synthetic, j[unsure])
    return i, j, apart


def pair_distances(a: Points, i: Tensor, b: Points, j: Tensor) -> Tensor:
    """Squared distances in float64 of single pairs, from the differences of their rows."""
    apart = torch.empty(len(i), dtype=torch.float64, device=i.device)
    for start in range(0, len(i), _PAIRS_AT_ONCE):
        some = slice(start, start + _PAIRS_AT_ONCE)
        step = a.features[i[some]].double()
        step -= b.features[j[some]]
        apart[some] = step.square_().sum(dim=1)
    return apart


def _distances_in_float64(
    a: Points, rows: Tensor, b: Points, columns: slice | None = None
) -> Tensor:
    """Squared distances (rows, columns) by a float64 product, a block of columns at a time."""
    columns = columns or slice(0, len(b))
    left, parts = a.exact(rows), []
    for start in range(columns.start, columns.stop, _ROWS_AT_ONCE):
        some = slice(start, min(start + _ROWS_AT_ONCE, columns.stop))
        made = torch.add(b.squares[some], left @ b.exact(some).T, alpha=-2)
        parts.append(made.add_(a.squares[rows, None]))
    return torch.cat(parts, dim=1)


def _places(hit: Tensor) -> tuple[Tensor, Tensor]:
    """Rows and columns (p,) of what is true in a block."""
    if hit.device.type == "cpu":  # numpy's search takes a fiftieth of the time of torch's
        flat = torch.from_numpy(np.flatnonzero(hit.numpy()))
    else:
        flat = hit.flatten().nonzero().flatten()
    return flat // hit.shape[1], flat % hit.shape[1]


def _sum(values: Tensor) -> Tensor:
    """Sum of a block; by rows first, as torch's float32 row sums are pairwise and so accurate."""
    return values.sum(dim=1).double().sum()
