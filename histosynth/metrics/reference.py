"""All scores of many synthetic sets against one real set, whose own part is computed once.

    reference = Reference(real, k=5)
    for synthetic in sets:
        reference.scores(synthetic)     # Fréchet, kernel, neighbours: one pass over the pairs

The numbers are those of :func:`frechet_distance`, :func:`kernel_distance`, :func:`prdc` and
:func:`clipped_scores`, to rounding.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from histosynth.metrics.frechet import FeatureStatistics, column_means, frechet_distance
from histosynth.metrics.inputs import as_tensor, check_count, check_widths
from histosynth.metrics.kernel import polynomial
from histosynth.metrics.neighbours import NeighbourCounts, check_neighbours, radii_with_margin

if TYPE_CHECKING:
    import torch

    from histosynth.metrics.pairwise import Groups, Points, Within


class Reference:
    """A real set with its moments, covariance factor, neighbour radii and kernel sum.

    Each is computed when first asked for, and kept.

    Parameters
    ----------
    real
        Feature array (n, d), numpy or torch; on a GPU, all is computed there.
    k
        Neighbours of the balls.
    chunk
        Rows a block: beside the features, memory is O(chunk^2 + (n + m) d + d^2).

    Raises
    ------
    InputError
        Fewer than two rows, NaN or infinite values, k or a chunk below 1.
    """

    def __init__(self, real: Any, *, k: int = 5, chunk: int = 2048) -> None:
        self.features = as_tensor(real, name="real")
        self.k, self.chunk = check_count(k, "k", usual=5), check_count(chunk, "chunk", usual=2048)
        self._compared: dict[torch.dtype, tuple[Points, Within]] = {}

    @cached_property
    def statistics(self) -> FeatureStatistics:
        """What the Fréchet distance needs."""
        return FeatureStatistics.from_features(self.features)

    def scores(self, synthetic: Any) -> dict[str, float]:
        """All scores of one synthetic set (m, d).

        Returns
        -------
        dict
            frechet_distance, kernel_distance (polynomial), precision, recall, density, coverage,
            clipped_density, clipped_coverage.

        Raises
        ------
        InputError
            As those functions.
        """
        return {"frechet_distance": self.frechet(synthetic), **self.pair_scores(synthetic)}

    def frechet(self, synthetic: Any) -> float:
        """The Fréchet distance alone."""
        return frechet_distance(self.statistics, as_tensor(synthetic, name="synthetic"))

    def pair_scores(self, synthetic: Any) -> dict[str, float]:
        """All scores that compare pairs of rows: those of `scores` but the Fréchet distance."""
        kernel, counts = self.compare(synthetic)
        return {"kernel_distance": kernel, **counts.scores()}

    def compare(
        self,
        synthetic: Any,
        *,
        dtype: torch.dtype | None = None,
        real_groups: Groups | None = None,
        synthetic_groups: Groups | None = None,
    ) -> tuple[float, NeighbourCounts]:
        """The kernel distance, and who lies in whose ball, by groups of the rows.

        `dtype`: of products; default: float32 where both sets are.
        """
        import torch

        from histosynth.metrics.pairwise import Points, compare_between, compare_within

        made = as_tensor(synthetic, name="synthetic").to(self.features.device)
        check_widths(self.features.shape[1], made.shape[1])
        check_neighbours(self.k, len(self.features), len(made))
        dtype = dtype or torch.promote_types(self.features.dtype, made.dtype)
        real, ours = self._compared_in(dtype)
        points = Points(made, real.origin, dtype=dtype)
        options: dict[str, Any] = {"kernel": polynomial, "chunk": self.chunk}
        theirs = compare_within(points, k=self.k, **options)
        edges, synthetic_edges = radii_with_margin(real, points, ours, theirs)
        groups: dict[str, Any] = {
            "real_groups": real_groups,
            "synthetic_groups": synthetic_groups,
        }
        between = compare_between(
            real, points, real_radii=edges, synthetic_radii=synthetic_edges, **groups, **options
        )
        kernel = ours.kernel_mean + theirs.kernel_mean - 2 * between.kernel_mean
        return kernel, NeighbourCounts(between, real, ours, k=self.k, **groups)

    def _compared_in(self, dtype: torch.dtype) -> tuple[Points, Within]:
        """The real set about its mean, and compared with itself."""
        from histosynth.metrics.pairwise import Points, compare_within

        if dtype not in self._compared:
            origin = column_means(self.features)
            points = Points(self.features, origin, dtype=dtype)
            within = compare_within(points, k=self.k, kernel=polynomial, chunk=self.chunk)
            self._compared[dtype] = points, within
        return self._compared[dtype]
