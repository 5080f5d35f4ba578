"""Two sets of features to compare, with the patient of every row: scores with their intervals."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from histosynth.metrics import frechet_distance, jackknife_interval, kernel_distance, prdc

if TYPE_CHECKING:
    from histosynth.settings import Evaluation

# The jackknife repeats a score some forty times; past this many pairs the neighbour scores, which
# compare all pairs three times over, are given without an interval.
_INTERVAL_PAIRS = 4_000_000


class Sides:
    """Real and synthetic features with the patient of every row."""

    def __init__(
        self,
        real: np.ndarray,
        synthetic: np.ndarray,
        real_groups: np.ndarray,
        synthetic_groups: np.ndarray | None,
        settings: "Evaluation",
    ) -> None:
        self.real, self.synthetic, self.settings = real, synthetic, settings
        self.real_groups, self.synthetic_groups = real_groups, synthetic_groups

    def subset(self, real: np.ndarray, synthetic: np.ndarray) -> "Sides":
        groups = None if self.synthetic_groups is None else self.synthetic_groups[synthetic]
        return Sides(
            self.real[real],
            self.synthetic[synthetic],
            self.real_groups[real],
            groups,
            self.settings,
        )

    def jackknife(self, statistic: Any, bounds: tuple[float, float] = (-np.inf, np.inf)) -> Any:
        return jackknife_interval(
            self.real,
            self.synthetic,
            real_groups=self.real_groups,
            synthetic_groups=self.synthetic_groups,
            statistic=statistic,
            bounds=bounds,
            seed=self.settings.seed,
        )

    def distances(self) -> dict[str, Any]:
        return {
            "frechet_distance": self.jackknife(frechet_distance, (0, np.inf)),
            "kernel_distance": self.jackknife(kernel_distance),
        }

    def neighbour_scores(self) -> dict[str, Any]:
        k = self.settings.neighbours
        if len(self.real) * len(self.synthetic) > _INTERVAL_PAIRS:
            return prdc(self.real, self.synthetic, k=k)
        intervals = self.jackknife(lambda a, b: prdc(a, b, k=k), (0, np.inf))
        return {
            # All but density are shares.
            name: i if name == "density" else replace(i, ci_high=float(np.minimum(i.ci_high, 1)))
            for name, i in intervals.items()
        }
