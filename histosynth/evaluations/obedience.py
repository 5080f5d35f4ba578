"""What was asked for against what was found, with the controls that such a score needs.

Each score stands beside its ratio to the same judge's score on real test tiles, and beside two
controls that are rows of their own:

- `<condition>~shuffled`: the requests dealt out anew among the same images, which is what a
  generator that ignores its request would get;
- `<condition>~wrong_class`: each class of the request read as the next one, which is what a judge
  says of the wrong tissue. Of two labels it is 1 - accuracy, and says nothing new.

Whether the judge itself can tell the classes apart is what `real~wrong_class` says: its score on
real test tiles, of which it is known what they are, against the same wrong classes. Where that does
not fall far below its own score on them, its verdict on synthetic tiles is worth nothing.

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
    sites : (n,) of each tile, or of the real tile that its request came from; None where unknown
    """

    asked: np.ndarray
    found: np.ndarray
    patients: np.ndarray
    sites: np.ndarray


@dataclass(frozen=True)
class RequestScore:
    """A score of requests and its ratio to the judge's score on real tiles.

    Attributes
    ----------
    metrics : names of the score and of its ratio
    scores : subset (`all`, `class=...`) -> score of summed counts; `all` is scored by site, too
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
        """Rows of the set and of its controls; `remark` stands with the overall score.

        Of `real`, the control is the wrong class alone: it probes the judge.
        """
        reference = self.count(self.real.asked, self.real.found)

        def pairs(asked: np.ndarray, groups: np.ndarray) -> _Pairs:
            return _Pairs(self.count(asked, made.found), groups, reference, self.real.patients)

        own = pairs(made.asked, made.patients)
        rows = self._rows(own, None, self.scores, remark) + self._by_site(own, made.sites)
        if self.scored.condition == "autoencoder":
            return rows
        wrong = pairs(next_class(made.asked, self.n_classes), made.patients)
        probe = self._rows(wrong, WRONG_CLASS, self.scores, "")
        if self.scored.condition == "real":
            return rows + probe
        order = derangement(len(made.asked), seed=self.seed)
        # A request goes with its patient, so these intervals resample requests too.
        shuffled = pairs(made.asked[order], made.patients[order])
        return rows + self._rows(shuffled, SHUFFLED, self.scores, remark) + probe

    def _by_site(self, own: "_Pairs", sites: np.ndarray) -> list[MetricRow]:
        """The overall score of each site's tiles, over the judge's on real tiles of that site."""
        rows = []
        for site in known_sites(self.real.sites, sites):
            here = own.taking(sites == site, self.real.sites == site)
            rows += self._rows(here, None, {f"site={site}": self.scores["all"]}, "")
        return rows

    def _rows(
        self, pairs: "_Pairs", control: str | None, scores: Mapping[str, Score], remark: str
    ) -> list[MetricRow]:
        place: dict[str, Any] = {
            "encoder": self.encoder,
            "condition": self.scored.condition + control if control else None,
        }
        n: dict[str, Any] = {"n_real": len(pairs.reference), "n_synthetic": len(pairs.counts)}
        rows = []
        for subset, score in scores.items():
            told = {"subset": subset, **place}
            said = remark if subset == "all" else ""
            absolute = score_interval(pairs.counts, pairs.groups, score, seed=self.seed)
            ratio = ratio_interval(
                pairs.counts,
                pairs.groups,
                pairs.reference,
                pairs.reference_groups,
                score,
                seed=self.seed,
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


@dataclass(frozen=True)
class _Pairs:
    """Counts (n, ...) of tiles and of the real ones, with the patients of both."""

    counts: np.ndarray
    groups: np.ndarray
    reference: np.ndarray
    reference_groups: np.ndarray

    def taking(self, made: np.ndarray, real: np.ndarray) -> "_Pairs":
        """Those of some tiles, bool (n,) each."""
        return _Pairs(
            self.counts[made],
            self.groups[made],
            self.reference[real],
            self.reference_groups[real],
        )


def known_sites(real: np.ndarray, made: np.ndarray) -> list[str]:
    """Sites with tiles on both sides, where the real ones come from more than one; else none."""
    sites = sorted({site for site in real if site is not None})
    return [site for site in sites if (made == site).any()] if len(sites) > 1 else []


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
