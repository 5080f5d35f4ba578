"""Whether a score rewards a leak: better with test images in the set than with others there.

A leak shows in no interval of a set's score: that is wide for what it tells of new patients, and a
set cannot be better than real. So the same places of the same set are filled twice, once with test
images and once with as many real tiles of patients in neither set, and the two are compared.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import t

from histosynth.errors import InputError
from histosynth.selftest.cases import Stage, exchanged
from histosynth.selftest.score import Score

DRAWS = 8  # of places and images


@dataclass(frozen=True)
class Exchange:
    """A score with a quarter of the set exchanged: means over `DRAWS` draws.

    Attributes
    ----------
    leaked : with images of the reference in those places
    other : with tiles of patients who are neither in the reference nor in the set
    rewarded : whether the leak makes it better than both the other tiles and no exchange do, each
        by a mean difference whose 95 % interval (t, over draws) lies above zero
    """

    leaked: float
    other: float
    rewarded: bool


def exchange(score: Score, stage: Stage, clean: float) -> Exchange:
    """Take a score with leaked and with other tiles in the same places; `clean` is without."""
    sources = (stage.scene.real, stage.scene.train)
    try:
        values = [
            [score.value(exchanged(stage, tiles, draw=draw)) for tiles in sources]
            for draw in range(DRAWS)
        ]
    except InputError:
        return Exchange(np.nan, np.nan, False)
    leaked, other = np.array(values).T
    sign = 1 if score.higher_is_better else -1
    gains = (sign * (leaked - other), sign * (leaked - clean))
    return Exchange(leaked.mean(), other.mean(), all(_lower_bound(gain) > 0 for gain in gains))


def _lower_bound(values: np.ndarray) -> float:
    """Lower end of the 95 % interval of the mean."""
    error = values.std(ddof=1) / np.sqrt(len(values))
    return float(values.mean() - t.ppf(0.975, len(values) - 1) * error)
