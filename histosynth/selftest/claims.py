"""What each kind of score claims: the faults it must see, and those at which it must keep still.

A score that moves as it claims, or keeps still, does its part. Where one is known not to, the
reason stands in `KNOWN`; anything else that breaks a claim on the phantom is a regression.
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


# Why a score does not, or hardly does, what it claims: measured on the phantom, whose outcome at
# the edge of an interval may fall either way on another machine.
_LIMITS: tuple[tuple[str, Mapping[str, tuple[str, ...]]], ...] = (
    (
        "with so few patients its interval is about as wide as what this fault moves",
        {
            "frechet_distance": ("mode dropped", "colour cast"),
            "frechet_distance_inf": (
                "mode dropped",
                "spread narrowed",
                "spread widened",
                "collapse",
                "one feature off",
                "colour cast",
            ),
            "kernel_distance": (
                "mode dropped",
                "spread narrowed",
                "spread widened",
                "averages",
                "colour cast",
            ),
            "kernel_distance_rbf": (
                "mode dropped",
                "spread widened",
                "collapse",
                "collapse behind an outlier",
            ),
            "sliced_wasserstein": (
                "mode dropped",
                "spread narrowed",
                "spread widened",
                "collapse",
                "collapse behind an outlier",
                "averages",
                "one feature off",
                "colour cast",
            ),
            "classifier_auc": ("mode dropped",),
            "coverage": ("mode dropped", "spread narrowed", "half as many"),
            "clipped_coverage": ("mode dropped", "half as many"),
            "cluster_occupancy": ("mode dropped",),
            "vendi": ("mode dropped",),
        },
    ),
    (
        "means and covariances have no defence against a single image far away",
        {"frechet_distance": ("one outlier",), "frechet_distance_inf": ("one outlier",)},
    ),
    (
        "it compares means of products of features, and a few images can have nearly the right "
        "ones",
        {"kernel_distance": ("collapse", "collapse behind an outlier")},
    ),
    (
        "a linear classifier sees means that differ, not spreads or gaps",
        {"classifier_auc": ("spread narrowed", "spread widened", "averages")},
    ),
    (
        "images of a new kind raise the area by half their share at most",
        {"classifier_auc": ("mode invented",)},
    ),
    (
        "an average lies amid real tiles, so it falls within their neighbourhoods, however unlike "
        "any of them it is",
        {"precision": ("averages",), "density": ("averages",), "clipped_density": ("averages",)},
    ),
    (
        "it counts the neighbourhoods of all images, of which a fifth lies elsewhere",
        {"density": ("mode invented",), "clipped_density": ("mode invented",)},
    ),
    (
        "what is drawn towards the middle still reaches the neighbourhoods of most real tiles",
        {"clipped_coverage": ("spread narrowed",)},
    ),
    (
        "the copied patients happen to cover the real ones better than those they replace; or, "
        "of leaked images, each covers itself",
        {
            "coverage": ("test images leaked",),
            "clipped_coverage": ("training copies", "test images leaked"),
        },
    ),
    (
        "it looks at all distances, among which a quarter of near ones weighs little",
        {"nearest_train_auc": ("disguised copies",)},
    ),
)
KNOWN: Mapping[tuple[str, str], str] = {
    (score, fault): reason
    for reason, of_scores in _LIMITS
    for score, faults in of_scores.items()
    for fault in faults
}
