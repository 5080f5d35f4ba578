"""A score under test, and the register of them; `scores` fills it.

A score claims to see faults of some kinds, and to keep still at others; `claims` says which.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, cast

import numpy as np

from histosynth.metrics import Interval, jackknife_interval
from histosynth.selftest.scene import Scene

Kind = Literal["distance", "fidelity", "diversity", "memorization", "labels"]
_GROUPS = 12  # of the jackknife: 2 x 12 + 1 evaluations of each score


@dataclass(frozen=True)
class Score:
    """A score of a scene.

    Attributes
    ----------
    name, label : in tables of numbers, and for readers
    kind : what it claims to measure; decides which faults it must see
    value : of a scene; InputError where it is not applicable
    higher_is_better : which way a fault moves it
    interval : of the clean scene, as a report would print it; default: a jackknife over patients
    share : whether it is a share of tiles, within 0..1
    best : whether a value is what two identical sets must give; None where nothing is claimed
    robust : whether a single synthetic image cannot move it by more than a few times 1 / n,
        wherever it lies
    """

    name: str
    label: str
    kind: Kind
    value: Callable[[Scene], float]
    higher_is_better: bool = False
    interval: Callable[[Scene], Interval] | None = None
    share: bool = False
    best: Callable[[float], bool] | None = None
    robust: bool = False

    def clean_interval(self, scene: Scene) -> Interval:
        """The interval that a report prints beside the clean value."""
        return self.interval(scene) if self.interval else jackknife(self.value, scene)


SCORES: dict[str, Score] = {}


def register_score(score: Score) -> Score:
    """Put a score under test, or another one in the place of one with its name."""
    SCORES[score.name] = score
    return score


def jackknife(value: Callable[[Scene], float], scene: Scene) -> Interval:
    """`jackknife_interval` over the patients of the real and of the synthetic set.

    It leaves out rows of feature arrays; here it is given row numbers in their place, so that
    labels and images go with them.
    """

    def of_rows(real: np.ndarray, made: np.ndarray) -> float:
        part = replace(
            scene,
            real=scene.real.take(real[:, 0].astype(np.int64)),
            made=scene.made.take(made[:, 0].astype(np.int64)),
        )
        return value(part)

    numbers = [np.arange(len(tiles), dtype=float)[:, None] for tiles in (scene.real, scene.made)]
    found = jackknife_interval(
        *numbers,
        real_groups=scene.real.patients,
        synthetic_groups=scene.made.patients,
        statistic=of_rows,
        max_groups=_GROUPS,
    )
    return cast(Interval, found)
