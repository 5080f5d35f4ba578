"""What was asked for against what was found, with the controls that such a score needs.

Each score stands beside its ratio to the same judge's score on real test tiles, and beside two
controls that are rows of their own:

- `<condition>~shuffled`: the requests dealt out anew among the same images, which is what a
  generator that ignores its request would get;
- `<condition>~wrong_class`: each class of the request read as the next one, which is what a judge
  says of the wrong tissue. A score that does not fall here cannot tell the classes apart.

Scores are of counts summed over patients, which are what the intervals resample.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from histosynth.evaluations.counts import Score, derangement, ratio_interval, score_interval
from histosynth.evaluations.rows import MetricRow, Scored

SHUFFLED, WRONG_CLASS = "~shuffled", "~wrong_class"
REFERENCES = ("real", "autoencoder")  # they request nothing of a generator: no controls
_NOWHERE = "this occurs in no tile of the set, or in none of the real test set"


@dataclass(frozen=True)
class Requests:
    """What was asked for and what a judge found, tile by tile.

    Attributes
    ----------
    asked, found : integers (n, ...) of one shape: class maps, or (n,) labels or clusters
    patients : (n,) whose tile it is; a request goes with its patient
    """

    asked: np.ndarray
    found: np.ndarray
    patients: np.ndarray


@dataclass(frozen=True)
class RequestScore:
    """A score of requests and its ratio to the judge's score on real tiles.

    Attributes
    ----------
    metrics : names of the score and of its ratio
    scores : subset (`all`, `class=...`) -> score of summed counts
    count : (asked, found) -> counts (n, ...), one block a tile
    n_classes : classes of the requests are 0 .. n_classes - 1
    real : requests of the real test tiles: their own maps, labels or clusters
    """

    scored: Scored
    metrics: tuple[str, str]
    scores: Mapping[str, Score]
    count: Callable[[np.ndarray, np.ndarray], np.ndarray]
    n_classes: int
    real: Requests
    protocol: Mapping[str, Any]
    seed: int
    encoder: str = ""

    def rows(self, made: Requests, *, remark: str = "") -> list[MetricRow]:
        """Rows of the set and of its controls; `remark` stands with the overall score."""
        rows = self._rows(made, None, self.scores, remark)
        if self.scored.condition in REFERENCES:
            return rows
        order = derangement(len(made.asked), seed=self.seed)
        # A request goes with its patient, so these intervals resample requests too.
        shuffled = Requests(made.asked[order], made.found, made.patients[order])
        wrong = Requests(next_class(made.asked, self.n_classes), made.found, made.patients)
        overall = {"all": self.scores["all"]}
        return [
            *rows,
            *self._rows(shuffled, SHUFFLED, self.scores, remark),
            *self._rows(wrong, WRONG_CLASS, overall, ""),
        ]

    def _rows(
        self, made: Requests, control: str | None, scores: Mapping[str, Score], remark: str
    ) -> list[MetricRow]:
        counts = self.count(made.asked, made.found)
        reference = self.count(self.real.asked, self.real.found)
        place: dict[str, Any] = {
            "encoder": self.encoder,
            "condition": self.scored.condition + control if control else None,
        }
        n: dict[str, Any] = {"n_real": len(reference), "n_synthetic": len(counts)}
        rows = []
        for subset, score in scores.items():
            told = {"subset": subset, **place}
            said = remark if subset == "all" else ""
            absolute = score_interval(counts, made.patients, score, seed=self.seed)
            ratio = ratio_interval(
                counts, made.patients, reference, self.real.patients, score, seed=self.seed
            )
            for metric, interval in zip(self.metrics, (absolute, ratio), strict=True):
                if np.isnan(interval.value):
                    rows.append(self.scored.absent(metric, _NOWHERE, **told))
                else:
                    rows.append(
                        self.scored.row(
                            metric, interval, protocol=self.protocol, reason=said, **told, **n
                        )
                    )
        return rows


def next_class(asked: np.ndarray, n_classes: int) -> np.ndarray:
    """The requests with every class that occurs replaced by the next that does, the last by the
    first; one alone by any other. Values that are no class (unlabelled) stay."""
    present = np.unique(asked)
    present = present[(present >= 0) & (present < n_classes)]
    following = np.roll(present, -1) if len(present) > 1 else (present + 1) % max(n_classes, 1)
    swapped = asked.copy()
    for one, other in zip(present, following, strict=True):
        swapped[asked == one] = other
    return swapped
