"""What each space finds of planted copies, in words: which disguises hide a copy from it."""

from __future__ import annotations

from typing import Any

KIND_WORDS = {
    "exact": "as they are",
    "flipped": "flipped",
    "jpeg": "as JPEG",
    "colour_shifted": "in another stain",
    "shifted": "shifted by a twentieth of the side",
    "autoencoder": "through the autoencoder",
}
SEEN = 0.5  # a space that finds fewer of a kind does not see it
WELL = 0.9

Planted = dict[str, dict[str, dict[str, int]]]
"""By space and kind of copy, how many were `planted` and how many are `found`."""


def planted_of(*facts: dict[str, Any]) -> Planted:
    """What several memorization files tell of planted copies, taken together."""
    together: Planted = {}
    for told in facts:
        for space, kinds in told.get("planted", {}).items():
            together.setdefault(space, {}).update(kinds)
    return together


def found_words(planted: Planted) -> list[tuple[str, str]]:
    """Space, and what is found there of each kind."""
    return [
        (
            space,
            ", ".join(
                f"{told['found']} of {told['planted']} {KIND_WORDS.get(kind, kind)}"
                for kind, told in kinds.items()
            ),
        )
        for space, kinds in planted.items()
    ]


def blind_words(planted: Planted, space: str) -> str:
    """Which copies a space does not see, or not well; "" where it sees all or none were planted."""
    kinds = planted.get(space, {})
    shares = {kind: told["found"] / told["planted"] for kind, told in kinds.items()}
    unseen = [KIND_WORDS.get(kind, kind) for kind, share in shares.items() if share < SEEN]
    partly = [
        f"{kinds[kind]['found']} of {kinds[kind]['planted']} {KIND_WORDS.get(kind, kind)}"
        for kind, share in shares.items()
        if SEEN <= share < WELL
    ]
    told = [f"does not see copies {_listed(unseen, 'or')}"] if unseen else []
    told += [f"finds only {_listed(partly, 'and')}"] if partly else []
    return f"This space {', and '.join(told)}." if told else ""


def _listed(words: list[str], last: str) -> str:
    return f" {last} ".join(filter(None, (", ".join(words[:-1]), words[-1])))
