"""How often the 95 % intervals hold the truth, on simulated patients whose truth is known.

Patients have a look of their own (a random effect), so tiles of one patient are not independent.
Every case draws real and synthetic tiles anew, many times, and counts the intervals that hold the
truth: for scores of two sets their expectation at this number of tiles and patients (the mean over
all draws; of clipped scores, a bent function of such an expectation, the median), for shares the
population's value, and for the extrapolated Fréchet distance the closed form of the two
populations. Columns: spread is the standard deviation of the score over draws, error the root mean
square of its estimates; a ratio above 1 is too wide. Draws may have no interval (scores at their
bound, differences of clipped scores near it); where more than one in twenty has none, only their
number is told.

Synthetic tiles are asked for by the real test patients (`shared`), by other patients (`other`), or
by nobody (`none`). Two conditions differ in their variety; their difference is compared in pairs.
A second table holds the mean distance of two sets between which there is nothing to find.

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
    classifier_auc,
    cluster_bootstrap,
    extrapolates,
    frechet_distance,
    frechet_distance_inf,
    jackknife_interval,
    kernel_distance,
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
    without: int


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
        yield tally(case, score, alone, float(middle([interval.value for interval in alone])))
        pairs = [paired_difference({0: a[score]}, {0: b[score]}) for a, b in drawn]
        found = [Interval(p.value, p.ci_low, p.ci_high, p.se) for p in pairs]
        yield tally(case, f"{score}, difference", found)


def told_apart(case: Case, *, seed: int) -> Iterator[Tally]:
    """Coverage of the classifier's AUC, and of its paired differences."""
    rng = np.random.default_rng(seed)
    drawn = []
    for _ in range(case.trials):
        real, patients, conditions, behind = draw_sets(rng, case)
        groups: dict[str, Any] = {"real_groups": patients, "synthetic_groups": behind}
        drawn.append([classifier_auc(real, made, **groups) for made in conditions])
    yield tally(case, "classifier_auc", [alone for alone, _ in drawn])
    pairs = [paired_difference({0: a}, {0: b}) for a, b in drawn]
    found = [Interval(p.value, p.ci_low, p.ci_high, p.se) for p in pairs]
    yield tally(case, "classifier_auc, difference", found)


def few_tiles(case: Case, *, seed: int) -> Iterator[Tally]:
    """Coverage of the kernel distance in small subsets."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(case.trials):
        real, patients, (made, _), behind = draw_sets(rng, case)
        groups: dict[str, Any] = {"real_groups": patients, "synthetic_groups": behind}
        found.append(jackknife_interval(real, made, **groups, statistic=KernelStatistic()))
    yield tally(case, "kernel_distance", found)


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
    few = "" if extrapolates(case.tiles, case.tiles, case.width) else ", too few tiles"
    yield tally(case, f"frechet_distance_inf, against the truth{few}", corrected, truth)


@dataclass(frozen=True)
class Null:
    """Mean of a distance over draws in which there is nothing to find."""

    case: str
    score: str
    mean: float
    error: float
    draws: int


def nothing_to_find(*, quick: bool) -> Iterator[Null]:
    """Distances of two sets of one population, but of other patients: what patients add.

    Without looks, tiles are independent and both distances are about 0. With them, both sets hold
    pairs of tiles of one patient, and no such pair lies between the sets.
    """
    scores = {"kernel_distance": kernel_distance, "frechet_distance_inf": frechet_distance_inf}
    width, draws = 16, 20 if quick else 200
    for patients, look in ((8, LOOK), (20, LOOK), (20, 0.0)):
        for tiles in (500,) if quick else (500, 2000):
            rng = np.random.default_rng(patients)
            behind = np.arange(tiles) % patients
            found: dict[str, list[float]] = {name: [] for name in scores}
            for _ in range(draws):
                sets = [
                    look * rng.normal(size=(patients, width))[behind]
                    + math.sqrt(1 + LOOK**2 - look**2) * rng.normal(size=(tiles, width))
                    for _ in range(2)
                ]
                for name, score in scores.items():
                    found[name].append(score(*sets))
            alike = f"{patients} patients" if look else "independent tiles"
            for name, values in found.items():
                error = float(np.std(values, ddof=1)) / math.sqrt(draws)
                case = f"{alike} a set, n={tiles} d={width}"
                yield Null(case, name, float(np.mean(values)), error, draws)


def tally(case: Case, score: str, found: list[Interval], truth: float | None = None) -> Tally:
    values = np.array([i.value for i in found])
    truth = values.mean() if truth is None else truth
    known = [i for i in found if not math.isnan(i.ci_low)]
    held = error = math.nan
    if len(known) >= 0.95 * len(found):
        held = float(np.mean([i.ci_low <= truth <= i.ci_high for i in known]))
        error = math.sqrt(np.mean([i.se**2 for i in known]))
    spread, without = float(values.std(ddof=1)), len(found) - len(known)
    return Tally(case.name, score, held, spread, error, len(found), without)


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
        yield told_apart, Case("other", 10, 200, 16, False, 40)
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
    for requests, patients, tiles, trials in (
        ("other", 20, 500, 300),
        ("other", 20, 2000, 200),
        ("other", 8, 500, 300),
        ("shared", 20, 500, 300),
        ("none", 20, 500, 300),
    ):
        yield told_apart, Case(requests, patients, tiles, 16, False, trials)
    for tiles, width, trials in ((500, 16, 300), (500, 64, 100), (2000, 64, 60), (256, 512, 20)):
        yield extrapolated, Case("none", tiles, tiles, width, True, trials)
    for patients in (8, 20, 40):
        for tiles in (500, 2000):
            yield shares, Case("other", patients, tiles, 1, False, 500)
    for requests in ("shared", "none"):
        for patients in (6, 12):
            for tiles in (20, 30, 50):
                for width in (16, 111):
                    yield few_tiles, Case(requests, patients, tiles, width, False, 300)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="one case of each kind, few draws")
    parser.add_argument("--case", default="", help="only cases whose name has this in it")
    parser.add_argument("--json", action="store_true", help="one line a score instead of a table")
    args = parser.parse_args()
    if not args.json:
        print("| case | score | coverage | spread | error / spread | draws | no interval |")
        print("| --- | --- | ---: | ---: | ---: | ---: | ---: |")
    started = time.monotonic()
    for seed, (simulate, case) in enumerate(cases(args.quick)):
        if args.case not in f"{simulate.__name__} {case.name}":
            continue
        for t in simulate(case, seed=seed):
            if args.json:
                print(json.dumps({"bench": "coverage"} | t.__dict__))
                continue
            ratio = f"{t.error / t.spread:.2f}" if t.spread else "-"
            told = (
                "- | - | -"
                if math.isnan(t.covered)
                else (f"{t.covered:.1%} | {t.spread:.3g} | {ratio}")
            )
            print(f"| {t.case} | {t.score} | {told} | {t.trials} | {t.without} |", flush=True)
    if args.case in nothing_to_find.__name__:
        if not args.json:
            print("\n| nothing to find | score | mean | its error | draws |")
            print("| --- | --- | ---: | ---: | ---: |")
        for none in nothing_to_find(quick=args.quick):
            if args.json:
                print(json.dumps({"bench": "coverage"} | none.__dict__))
                continue
            told = f"{none.mean:.4f} | {none.error:.4f} | {none.draws}"
            print(f"| {none.case} | {none.score} | {told} |", flush=True)
    if not args.json:
        print(f"\n{time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
