"""What each kind of score claims: the faults it must see, and those at which it must keep still.

Nothing is claimed where a claim could not fail. A score that takes no labels keeps still when they
are shuffled; a share of images keeps still at a single one; and copies of real images look real, so
that distances, fidelity and diversity scores can only be told to be blind to them (`leaks`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from histosynth.selftest.score import Kind, Score

Claim = Literal["worse", "still", "best", ""]

TURNED = "turned"
OUTLIER = "one outlier"
LEAK = "test images leaked"
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
COPIES = "training copies"
_DISGUISED = "disguised copies"
_SHUFFLE = "labels shuffled"

MUST_SEE: Mapping[Kind, tuple[str, ...]] = {
    "distance": _VARIETY + _REALISM,
    "fidelity": _REALISM,
    "diversity": _VARIETY,
    "memorization": (COPIES, _DISGUISED),
    "labels": (_SHUFFLE,),
}
# A turn or one odd image can take nothing from memorization scores: no clean image is a copy.
_NOTHING = (TURNED, "half as many", OUTLIER)
MUST_KEEP_STILL: Mapping[Kind, tuple[str, ...]] = {
    "distance": _NOTHING,
    "fidelity": _NOTHING,
    "diversity": _NOTHING,
    "memorization": ("half as many",),
    "labels": _NOTHING,
}
# Scores of these kinds compare with real test images, of which copies are as good as any.
BLIND: tuple[Kind, ...] = ("distance", "fidelity", "diversity")
BLIND_TO = (COPIES, LEAK)


def claim_of(score: Score, fault: str) -> Claim:
    """What a score claims of a fault: worse, still, best (its optimum), or nothing."""
    if fault == "identical sets":
        return "best" if score.best else ""
    if fault in MUST_SEE[score.kind]:
        return "worse"
    if fault == OUTLIER and score.robust:
        return ""
    return "still" if fault in MUST_KEEP_STILL[score.kind] else ""
