"""What each kind of score claims: the faults it must see, and those at which it must keep still.

A score that moves as it claims, or keeps still, does its part. Where one is known not to, the
reason stands in `KNOWN`, measured on the phantom; anything else that breaks a claim there is a
regression.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from histosynth.selftest.score import Kind, Score

Claim = Literal["better", "worse", "still", "best", ""]


_NOTHING = ("turned", "half as many", "one outlier")
_VARIETY = ("mode dropped", "spread narrowed", "collapse", "collapse behind an outlier")
_REALISM = (
    "mean shifted",
    "spread widened",
    "mode invented",
    "averages",
    "one feature off",
    "shift behind an outlier",
    "blur",
    "JPEG",
    "colour cast",
    "noise",
)
_COPIES = ("training copies",)
_DISGUISED = ("disguised copies",)
_LEAK = ("test images leaked",)
_SHUFFLE = ("labels shuffled",)

MUST_SEE: Mapping[Kind, tuple[str, ...]] = {
    "distance": _VARIETY + _REALISM,
    "fidelity": _REALISM,
    "diversity": _VARIETY,
    "memorization": _COPIES + _DISGUISED,
    "labels": _SHUFFLE,
}
# A copy of training tissue is as real as any: only memorization scores are there to see it.
# A leak must not be rewarded.
MUST_KEEP_STILL: Mapping[Kind, tuple[str, ...]] = {
    "distance": _NOTHING + _SHUFFLE + _COPIES + _LEAK,
    "fidelity": _NOTHING + _SHUFFLE + _COPIES + _LEAK,
    "diversity": _NOTHING + _SHUFFLE + _COPIES + _LEAK,
    "memorization": _NOTHING + _SHUFFLE,
    "labels": ("turned", "half as many", "one outlier"),
}
# At these no real data can excuse a score that is not at its best, or does not keep still.
CERTAIN = ("identical sets", "labels shuffled")


def claim_of(score: Score, fault: str) -> Claim:
    """What a score claims of a fault: worse, still, best (its optimum), or nothing."""
    if fault == "identical sets":
        return "best" if score.best else ""
    if fault in MUST_SEE[score.kind]:
        return "worse"
    return "still" if fault in MUST_KEEP_STILL[score.kind] else ""


_FEW = "the interval of so few patients is wider than what this fault moves"
_INSIDE = (
    "an average lies amid real tiles, so it falls within their neighbourhoods, however unlike any "
    "of them it is"
)

KNOWN: Mapping[tuple[str, str], str] = {
    ("frechet_distance", "one outlier"): (
        "means and covariances have no defence against a single image far away"
    ),
    ("frechet_distance", "mode dropped"): _FEW,
    ("kernel_distance", "mode dropped"): _FEW,
    ("coverage", "mode dropped"): _FEW,
    ("kernel_distance", "spread narrowed"): _FEW,
    ("kernel_distance", "spread widened"): _FEW,
    ("kernel_distance", "collapse"): (
        "it compares means of products of features, and a few images can have nearly the right ones"
    ),
    ("kernel_distance", "collapse behind an outlier"): (
        "it compares means of products of features, and a few images can have nearly the right ones"
    ),
    ("kernel_distance", "averages"): _FEW,
    ("precision", "averages"): _INSIDE,
    ("density", "averages"): _INSIDE,
    ("nearest_train_auc", "disguised copies"): (
        "it looks at all distances, among which a quarter of near ones weighs little"
    ),
}
