"""How often the 95 % intervals hold the truth, on simulated patients whose truth is known.

Patients have a look of their own (a random effect), so tiles of one patient are not independent.
Every case draws real and synthetic tiles anew, many times, and counts the intervals that hold the
truth: for scores of two sets their expectation at this number of tiles and patients (the mean over
all draws; of clipped scores, a bent function of such an expectation, the median), for shares the
population's value, and for the extrapolated Fréchet distance the closed form of the two
populations. Columns: spread is the standard deviation of the score over draws, error the root mean
square of its estimates; a ratio above 1 is too wide.

Synthetic tiles are asked for by the real test patients (`shared`), by other patients (`other`), or
by nobody (`none`). Two conditions differ in their variety; their difference is compared in pairs.

    python bench/coverage.py   # a quarter of an hour; --quick: seconds; --case PART: some of it
"""

import argparse
import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import norm

from histosynth.evaluations.auc import label_auc
from histosynth.metrics import (
    FrechetStatistic,
    Interval,
    KernelStatistic,
    NeighbourStatistic,
    cluster_bootstrap,
    frechet_distance,
    frechet_distance_inf,
    jackknife_interval,
    paired_difference,
    recentred,
)

LOOK = 0.5  # standard deviation between patients, where it is 1 between a patient's tiles
GENERATORS = ((0.9, 0.95), (0.8, 0.95))  # what is left of looks and of noise in two conditions


@dataclass(frozen=True)
class Case:
    """Two sets of `tiles` tiles each, of `patients` patients, in `width` features."""

    requests: str  # shared, other, none
    patients: int
    tiles: int
    width: int
    equal: bool
    trials: int

    @property
    def name(self) -> str:
        size = "equal" if self.equal else "unequal"
        return f"{self.requests} n={self.tiles} d={self.width} patients={self.patients} {size}"


@dataclass(frozen=True)
class Tally:
    """Intervals of one score over all draws."""

    case: str
    score: str
    covered: float
    spread: float
    error: float
    trials: int


def draw_patients(rng: np.random.Generator, case: Case) -> np.ndarray:
    """(tiles,) patient of every tile; unequal numbers of tiles vary like a gamma of shape 2."""
    weights = np.ones(case.patients) if case.equal else rng.gamma(2.0, size=case.patients)
    sizes = np.maximum(2, np.round(weights / weights.sum() * case.tiles)).astype(int)
    return np.repeat(np.arange(case.patients), sizes)


def draw_sets(
    rng: np.random.Generator, case: Case
) -> tuple[np.ndarray, np.ndarray, list[np.ndarray], np.ndarray | None]:
    """Real features and patients, two conditions' features, and the patients behind requests."""
    mixing = np.random.default_rng(99).normal(size=(case.width, case.width)) / case.width**0.5
    patients = draw_patients(rng, case)
    looks = LOOK * rng.normal(size=(case.patients, case.width))
    real = (looks[patients] + rng.normal(size=(len(patients), case.width))) @ mixing
    if case.requests == "shared":
        asked, behind = looks[patients], patients
    elif case.requests == "other":
        others = draw_patients(rng, case)
        asked = LOOK * rng.normal(size=(case.patients, case.width))[others]
        behind = case.patients + others
    else:
        asked, behind = LOOK * rng.normal(size=real.shape), None
    noise = rng.normal(size=asked.shape)
    return real, patients, [(a * asked + b * noise + 0.15) @ mixing for a, b in GENERATORS], behind


def jackknife_of(
    real: np.ndarray, patients: np.ndarray, synthetic: np.ndarray, behind: Any
) -> dict[str, Interval]:
    found: dict[str, Interval] = {}
    for name, statistic in (
        ("frechet_distance", FrechetStatistic()),
        ("kernel_distance", KernelStatistic()),
        ("", NeighbourStatistic()),
    ):
        intervals = jackknife_interval(
            real, synthetic, real_groups=patients, synthetic_groups=behind, statistic=statistic
        )
        found |= {name: intervals} if isinstance(intervals, Interval) else intervals
    return found


def scores_of_sets(case: Case, *, seed: int) -> Iterator[Tally]:
    """Coverage of the delete-a-group jackknife, and of paired differences made of it."""
    rng = np.random.default_rng(seed)
    drawn: list[list[dict[str, Interval]]] = []
    for _ in range(case.trials):
        real, patients, conditions, behind = draw_sets(rng, case)
        drawn.append([jackknife_of(real, patients, made, behind) for made in conditions])
    for score in drawn[0][0]:
        alone = [both[0][score] for both in drawn]
        middle = np.median if score.startswith("clipped") else np.mean
        if known(alone):
            yield tally(case, score, alone, float(middle([interval.value for interval in alone])))
        pairs = [paired_difference({0: a[score]}, {0: b[score]}) for a, b in drawn]
        found = [Interval(p.value, p.ci_low, p.ci_high, p.se) for p in pairs]
        if known(found):
            yield tally(case, f"{score}, difference", found)


def known(found: list[Interval]) -> bool:
    """Not where many draws have no interval, as scores at their bound and their differences."""
    return np.mean([math.isnan(i.ci_low) for i in found]) <= 0.05


def extrapolated(case: Case, *, seed: int) -> Iterator[Tally]:
    """Coverage of the true distance by the extrapolated one; every tile is a patient of its own."""
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(99).normal(size=(case.width, case.width)) / case.width**0.5
    shift = 0.15 * np.ones(case.width) @ mixing
    # The covariances are equal but for the factor 0.85^2.
    truth = float(shift @ shift + (1 - 0.85) ** 2 * (mixing**2).sum())
    plain, corrected = [], []
    for _ in range(case.trials):
        real, made = rng.normal(size=(2, case.tiles, case.width)) @ mixing
        made = 0.85 * made + shift
        interval = jackknife_interval(
            real, made, real_groups=np.arange(case.tiles), statistic=frechet_distance
        )
        assert isinstance(interval, Interval)
        plain.append(interval)
        corrected.append(recentred(interval, frechet_distance_inf(real, made)))
    yield tally(case, "frechet_distance, against the truth", plain, truth)
    yield tally(case, "frechet_distance_inf, against the truth", corrected, truth)


def tally(case: Case, score: str, found: list[Interval], truth: float | None = None) -> Tally:
    values = np.array([i.value for i in found])
    truth = values.mean() if truth is None else truth
    held = np.mean([i.ci_low <= truth <= i.ci_high for i in found])
    error = math.sqrt(np.mean([i.se**2 for i in found]))
    return Tally(case.name, score, float(held), float(values.std(ddof=1)), error, len(found))


def shares(case: Case, *, seed: int) -> Iterator[Tally]:
    """Coverage of the cluster bootstrap for accuracy and AUC, and of paired accuracies."""
    rng = np.random.default_rng(seed)
    accuracies, areas, differences = [], [], []
    for _ in range(case.trials):
        patients = draw_patients(rng, case)
        hard = 0.7 * rng.normal(size=case.patients)[patients]
        first, second = (
            cluster_bootstrap(
                (rng.random(len(patients)) < norm.cdf(0.8 + hard + gain)).astype(float),
                patients,
                n_resamples=400,
            )
            for gain in (0.0, 0.1)
        )
        accuracies.append(first)
        pair = paired_difference({0: first}, {0: second})
        differences.append(Interval(pair.value, pair.ci_low, pair.ci_high, pair.se))
        label = rng.random(len(patients)) < 0.5
        score = label + rng.normal(size=case.patients)[patients] + rng.normal(size=len(patients))
        areas.append(cluster_bootstrap(area_of(label, score), patients, n_resamples=400))
    right = [norm.cdf((0.8 + gain) / math.sqrt(1 + 0.7**2)) for gain in (0.0, 0.1)]
    yield tally(case, "accuracy", accuracies, right[0])
    yield tally(case, "accuracy, difference", differences, right[0] - right[1])
    # Pairs within a patient share its look, so the pooled AUC has its expectation as its truth.
    yield tally(case, "AUC", areas)


def area_of(label: np.ndarray, score: np.ndarray) -> Callable[[np.ndarray], float]:
    return lambda index: label_auc(label[index], score[index])


def cases(quick: bool) -> Iterator[tuple[Callable[..., Iterator[Tally]], Case]]:
    if quick:
        yield scores_of_sets, Case("shared", 10, 200, 16, False, 40)
        yield extrapolated, Case("none", 200, 200, 16, True, 40)
        yield shares, Case("other", 10, 200, 1, False, 40)
        return
    yield scores_of_sets, Case("shared", 20, 500, 16, True, 300)
    for requests, patients, width, trials in (
        ("shared", 20, 16, 300),
        ("shared", 8, 16, 300),
        ("shared", 20, 64, 300),
        ("other", 20, 16, 300),
        ("none", 20, 16, 300),
    ):
        yield scores_of_sets, Case(requests, patients, 500, width, False, trials)
    for requests in ("shared", "other", "none"):
        yield scores_of_sets, Case(requests, 20, 2000, 64, False, 120)
    for tiles, width, trials in ((500, 16, 300), (500, 64, 100), (2000, 64, 60)):
        yield extrapolated, Case("none", tiles, tiles, width, True, trials)
    for patients in (8, 20, 40):
        for tiles in (500, 2000):
            yield shares, Case("other", patients, tiles, 1, False, 500)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="one case of each kind, few draws")
    parser.add_argument("--case", default="", help="only cases whose name has this in it")
    parser.add_argument("--json", action="store_true", help="one line a score instead of a table")
    args = parser.parse_args()
    if not args.json:
        print("| case | score | coverage | spread | error / spread | draws |")
        print("| --- | --- | --- | --- | --- | --- |")
    started = time.monotonic()
    for seed, (simulate, case) in enumerate(cases(args.quick)):
        if args.case not in f"{simulate.__name__} {case.name}":
            continue
        for t in simulate(case, seed=seed):
            if args.json:
                print(json.dumps({"bench": "coverage"} | t.__dict__))
                continue
            ratio = f"{t.error / t.spread:.2f}"
            print(
                f"| {t.case} | {t.score} | {t.covered:.1%} | {t.spread:.3g} | {ratio} "
                f"| {t.trials} |",
                flush=True,
            )
    if not args.json:
        print(f"\n{time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
