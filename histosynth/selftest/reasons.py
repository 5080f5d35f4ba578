"""Why a claim is not met: what was measured of these tiles, and limits found on the phantom."""

from __future__ import annotations

from collections.abc import Mapping

FEW_PATIENTS = 20  # on either side: intervals are wide for want of patients
NEAR = 0.5  # half widths: from here on, the effect is about as large as the half width

# At these the phantom's intervals, of twelve patients a side, end about where the fault takes the
# score, or it does not move at all; on another machine the outcome may fall either way.
_PHANTOM_MISSES: Mapping[str, tuple[str, ...]] = {
    "frechet_distance": ("mode dropped",),
    "frechet_distance_inf": ("mode dropped",),
    "kernel_distance": ("mode dropped", "spread narrowed", "spread widened", "averages"),
    "kernel_distance_rbf": ("mode dropped", "spread widened"),
    "sliced_wasserstein": (
        "mode dropped",
        "spread narrowed",
        "spread widened",
        "collapse",
        "collapse behind an outlier",
        "one feature off",
        "colour cast",
    ),
    "classifier_auc": ("mode dropped", "collapse", "collapse behind an outlier"),
    "coverage": ("mode dropped", "spread narrowed", "half as many"),
    "clipped_coverage": ("mode dropped", "half as many"),
    "cluster_occupancy": ("mode dropped",),
}
# What it is about a score that it does not do what it claims: found on the phantom.
_LIMITS: tuple[tuple[str, Mapping[str, tuple[str, ...]]], ...] = (
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
        {"clipped_density": ("mode invented",)},
    ),
    (
        "what is drawn towards the middle still reaches the neighbourhoods of most real tiles",
        {"clipped_coverage": ("spread narrowed",)},
    ),
    (
        "it looks at all distances, among which a quarter of near ones weighs little",
        {"nearest_train_auc": ("disguised copies",)},
    ),
)
LIMITS: Mapping[tuple[str, str], str] = {
    (score, fault): reason
    for reason, of_scores in _LIMITS
    for score, faults in of_scores.items()
    for fault in faults
}
KNOWN = frozenset(LIMITS) | {
    (score, fault) for score, faults in _PHANTOM_MISSES.items() for fault in faults
}
"""(score, fault) whose claim is not met on the phantom, and no regression."""


def measured_reason(verdict: str, worse: float, patients: int) -> str:
    """What these tiles themselves tell of a claim that is not met.

    Parameters
    ----------
    worse : by how many half widths the fault makes the score worse
    patients : of the side that has fewer
    """
    if verdict == "off":
        return "two identical sets do not get its best value"
    if verdict == "is moved":
        return "it moves where nothing is wrong"
    if worse <= -NEAR:
        return "it gets better"
    if worse < NEAR:
        return "it moves by less than half of its interval’s half width, or not at all"
    if patients < FEW_PATIENTS:
        return f"with {patients} patients its interval is about as wide as what this fault moves"
    return "it moves, and stays within its interval"
