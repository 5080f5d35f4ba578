"""Two sets of features to compare, with the patient of every row: scores with their intervals."""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from histosynth.metrics import (
    FrechetStatistic,
    KernelStatistic,
    NeighbourStatistic,
    Reference,
    classifier_auc,
    extrapolates,
    frechet_distance_inf,
    jackknife_interval,
    median_distance,
    recentred,
    sliced_wasserstein,
    vendi_score,
)

if TYPE_CHECKING:
    from histosynth.settings import Evaluation

# The jackknife repeats some scores forty times; past this many pairs, those that sort all tiles
# are given without an interval, and the others multiply in float32, as which features come from
# their encoder.
_INTERVAL_PAIRS = 4_000_000
# A classifier is as sure with this many tiles of a set, and takes seconds instead of minutes.
_CLASSIFIED = 2000
# What a neighbour score counts as inside a ball: part of its protocol.
INSIDE = dict.fromkeys(
    ("precision", "recall", "density", "coverage"), "distance < radius, as the prdc package"
) | {
    "clipped_density": "distance <= radius, at most the median radius",
    "clipped_coverage": "distance < radius, as its authors' program",
}
# Of single scores, raised by hand like the version of all.
_VERSIONS = {
    "frechet_distance_inf": 2,  # halves by what rows hold; no interval where tiles are few
    "classifier_auc": 2,  # an interval that counts what other training patients would change
}


class Sides:
    """Real and synthetic features with the patient of every row.

    Parameters
    ----------
    reference : what `real` needs for scores without an interval, where it is at hand
    """

    def __init__(
        self,
        real: np.ndarray,
        synthetic: np.ndarray,
        real_groups: np.ndarray,
        synthetic_groups: np.ndarray | None,
        settings: "Evaluation",
        reference: Reference | None = None,
    ) -> None:
        self.real, self.synthetic, self.settings = real, synthetic, settings
        self.real_groups, self.synthetic_groups = real_groups, synthetic_groups
        self.reference = reference or Reference(real, k=settings.neighbours)
        self._part_of: Sides | None = None

    def taking(self, rows: np.ndarray) -> "Sides":
        """The same real tiles and some rows of the synthetic ones."""
        groups = None if self.synthetic_groups is None else self.synthetic_groups[rows]
        made = Sides(
            self.real,
            self.synthetic[rows],
            self.real_groups,
            groups,
            self.settings,
            self.reference,
        )
        made._part_of = self
        return made

    def subset(self, real: np.ndarray, synthetic: np.ndarray) -> "Sides":
        """Some rows of both, by mask or number."""
        groups = None if self.synthetic_groups is None else self.synthetic_groups[synthetic]
        made = Sides(
            self.real[real],
            self.synthetic[synthetic],
            self.real_groups[real],
            groups,
            self.settings,
        )
        made._part_of = self
        return made

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

    @property
    def many(self) -> bool:
        """Whether the sets are too large for forty repetitions of what is not linear in them."""
        return len(self.real) * len(self.synthetic) > _INTERVAL_PAIRS

    @cached_property
    def sigma(self) -> float:
        """Width of the rbf kernel: the median distance between real tiles, of all for a subset."""
        if self._part_of is not None:
            return self._part_of.sigma
        return median_distance(self.real, seed=self.settings.seed)

    @cached_property
    def frechet(self) -> Any:
        return self.jackknife(FrechetStatistic(), (0, np.inf))

    @property
    def extrapolates(self) -> bool:
        """Whether the tiles are enough to extrapolate the Fréchet distance from."""
        return extrapolates(len(self.real), *self.synthetic.shape)

    def extrapolated(self) -> Any:
        """The extrapolated Fréchet distance, with the error of the distance itself.

        Bare where too few tiles leave bias: so it ranks nobody and is compared with none.
        """
        value = self.extrapolated_value
        return recentred(self.frechet, value) if self.extrapolates else value

    @property
    def extrapolated_value(self) -> float:
        return frechet_distance_inf(
            self.real,
            self.synthetic,
            statistics=self.reference.statistics,
            seed=self.settings.seed,
        )

    def remark(self, metric: str) -> str:
        """What to say of a score of `further`."""
        if metric == "frechet_distance_inf" and not self.extrapolates:
            n, d = min(len(self.real), len(self.synthetic)), self.real.shape[1]
            return (
                f"mostly bias: {n} tiles are too few to extrapolate from with {d} features, it "
                f"takes {2 * d}; so without an interval, and not ranked"
            )
        return ""

    def distances(self) -> dict[str, Any]:
        return {
            "frechet_distance": self.frechet,
            "kernel_distance": self.jackknife(KernelStatistic(narrow=self.many)),
        }

    def neighbour_scores(self) -> dict[str, Any]:
        """Precision, recall, density, coverage, and the latter two clipped."""
        statistic = NeighbourStatistic(
            self.settings.neighbours, reference=self.reference, narrow=self.many
        )
        intervals = self.jackknife(statistic, (0, np.inf))
        return {
            # All but density are shares.
            name: i if name == "density" else replace(i, ci_high=float(np.minimum(i.ci_high, 1)))
            for name, i in intervals.items()
        }

    def further(self) -> dict[str, Callable[[], Any]]:
        """Scores beside the usual ones; each may be out of the question for some sets."""
        return {
            "frechet_distance_inf": self.extrapolated,
            "kernel_distance_rbf": lambda: self.jackknife(
                KernelStatistic("rbf", sigma=self.sigma, narrow=self.many)
            ),
            "sliced_wasserstein": lambda: self._interval(
                partial(sliced_wasserstein, seed=self.settings.seed), (0, np.inf)
            ),
            "vendi": lambda: self._interval(lambda _, b: vendi_score(b), (1, np.inf)),
            "classifier_auc": self.classifier_auc,
        }

    def counts(self, metric: str) -> dict[str, Any]:
        """How many tiles of each set stand behind a score: `n_real` and `n_synthetic`."""
        sets = {"n_real": self.real, "n_synthetic": self.synthetic}
        most = _CLASSIFIED if metric == "classifier_auc" else math.inf
        return {name: int(min(len(of), most)) for name, of in sets.items()}

    def ingredients(self, metric: str) -> dict[str, Any]:
        """What a score's protocol names beside the sets and their numbers."""
        told: dict[str, Any] = {}
        if metric in INSIDE:
            told |= {"k": self.settings.neighbours, "inside": INSIDE[metric]}
        if metric == "kernel_distance_rbf":
            told |= {"sigma": self.sigma}
        if metric in _VERSIONS:
            told |= {"score_version": _VERSIONS[metric]}
        return told

    def classifier_auc(self) -> Any:
        """Of at most `_CLASSIFIED` tiles a set."""
        rng = np.random.default_rng(self.settings.seed)
        ours, theirs = (
            np.sort(rng.permutation(len(x))[:_CLASSIFIED]) for x in (self.real, self.synthetic)
        )
        groups = None if self.synthetic_groups is None else self.synthetic_groups[theirs]
        return classifier_auc(
            self.real[ours],
            self.synthetic[theirs],
            real_groups=self.real_groups[ours],
            synthetic_groups=groups,
            seed=self.settings.seed,
        )

    def _interval(self, statistic: Any, bounds: tuple[float, float] = (-np.inf, np.inf)) -> Any:
        if self.many:
            return statistic(self.real, self.synthetic)
        return self.jackknife(statistic, bounds)
