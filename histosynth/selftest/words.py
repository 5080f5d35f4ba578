"""The self-test's result in words: tables for a terminal, and what to trust each score with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from histosynth.selftest.claims import COPIES, LEAK
from histosynth.selftest.reasons import LIMITS
from histosynth.selftest.score import Kind, Score
from histosynth.selftest.table import Reaction, Result, Verdict

KIND_WORDS: dict[Kind, str] = {
    "distance": "Distances: must see what is missing and what is wrong",
    "fidelity": "Fidelity: must see images that are not real",
    "diversity": "Diversity: must see what is missing",
    "memorization": "Memorization: must see copies of training images",
    "labels": "Labels: must see that labels do not fit",
}
MARKS: dict[Verdict, str] = {
    "sees": "●",
    "misses": "○",
    "wrong way": "⚑",
    "keeps still": "✓",
    "is moved": "⚑",
    "at its best": "✓",
    "off": "⚑",
    "blind": "◌",
    "rewarded": "▲",
    "": "",
}
LEGEND = (
    "● sees the fault, ○ should see it and does not, ✓ keeps still or is at its best as it should, "
    "⚑ moves where it should not, or the wrong way; ◌ is blind to copies or to a leak, ▲ rewards "
    "it: such scores do not claim to see them; no mark: nothing claimed"
)


@dataclass(frozen=True)
class Trust:
    """What one score did with all faults at their strongest: names of faults, by verdict.

    `blind` names copies and leaks that it does not claim to see, and does not; `still` counts the
    faults at which it rightly kept still, or was rightly at its best.
    """

    score: Score
    sees: tuple[str, ...]
    misses: tuple[str, ...]
    moved: tuple[str, ...]
    blind: tuple[str, ...]
    still: int


def trusts(result: Result) -> list[Trust]:
    """One entry a score, in the table's order."""
    made = []
    for score in result.scores:
        own = [r for r in result.headline if r.score == score.name]

        def named(*verdicts: Verdict, own: list[Reaction] = own) -> tuple[str, ...]:
            return tuple(r.fault for r in own if r.verdict in verdicts)

        made.append(
            Trust(
                score,
                named("sees"),
                named("misses"),
                named("wrong way", "is moved", "off"),
                named("blind") + tuple(f"{fault} (rewarded)" for fault in named("rewarded")),
                len(named("keeps still", "at its best")),
            )
        )
    return made


def change_words(change: float) -> str:
    """A change in half widths: two digits, and large ones rounded."""
    if not np.isfinite(change):
        return ""
    if abs(change) >= 99.5:
        return f"{'+' if change > 0 else '−'}>99"
    text = f"{change:+.1f}" if abs(change) < 9.95 else f"{change:+.0f}"
    return {"+0.0": "0.0", "-0.0": "0.0"}.get(text, text.replace("-", "−"))


def text_tables(result: Result) -> str:
    """Every reaction for a terminal: one table a kind of score, one row a case."""
    parts = []
    for kind, words in KIND_WORDS.items():
        scores = [score for score in result.scores if score.kind == kind]
        if not scores:
            continue
        heads = [score.label for score in scores]
        widths = [max(len(head), 8) for head in heads]
        lines = [words, _line("", heads, widths)]
        values = [f"{result.clean[score.name].value:.3g}" for score in scores]
        lines.append(_line("no fault (value)", values, widths))
        cases = dict.fromkeys((r.fault, r.dose) for r in result.reactions)
        for fault, dose in cases:
            own = {r.score: r for r in result.reactions if (r.fault, r.dose) == (fault, dose)}
            cells = [
                f"{change_words(own[s.name].change)} {MARKS[own[s.name].verdict] or ' '}"
                for s in scores
            ]
            lines.append(_line(f"{fault}, {dose}" if dose else fault, cells, widths))
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def _line(head: str, cells: list[str], widths: list[int]) -> str:
    return head.ljust(32) + "  ".join(c.rjust(w) for c, w in zip(cells, widths, strict=True))


def summary_words(result: Result) -> str:
    """How many claims were met, and for how many of the others a limit of the score is known."""
    claimed = result.claimed
    met = sum(r.met for r in claimed)
    real, made, _ = result.n
    told = f"{met} of {len(claimed)} claims hold with {made} images against {real}"
    if met == len(claimed):
        return f"{told}."
    limited = sum(len(own) for _, of_scores in limits(result) for _, own in of_scores)
    return (
        f"{told}; {len(claimed) - met} do not, for reasons below: {limited} by limits measured on "
        f"phantom tiles, {len(claimed) - met - limited} by what these tiles show."
    )


def blind_words(result: Result) -> str:
    """Which scores see copies of training images and leaked test images, and which reward a leak.

    Empty where neither was planted.
    """
    labels = {score.name: score.label for score in result.scores}
    told = []
    if at_copies := [r for r in result.headline if r.fault == COPIES]:
        seen = [labels[r.score] for r in at_copies if r.verdict == "sees"]
        blind = sum(r.verdict == "blind" for r in at_copies)
        told.append(
            f"Nothing but training images: {blind} distances, fidelity and diversity scores get "
            "no worse than by chance, and say nothing of it; seen by "
            f"{'; '.join(seen) or 'no score'}."
        )
    if any(r.fault == LEAK for r in result.headline):
        rewarding = [labels[r.score] for r in result.headline if r.verdict == "rewarded"]
        told.append(
            "Test images leaked into the set: seen by no score, and rewarded by "
            f"{'; '.join(rewarding) or 'none'}. Only a search for equal images finds them, as "
            "scripts/evaluate.py makes one in the folders it is given."
        )
    return " ".join(told)


def hard_to_see(result: Result) -> list[tuple[str, list[str]]]:
    """Faults that at most a third of the scores see which should, and those scores' labels."""
    labels = {score.name: score.label for score in result.scores}
    claimed: dict[str, list[Reaction]] = {}
    for r in result.claimed:
        if r.claim == "worse":
            claimed.setdefault(r.fault, []).append(r)
    found = {f: [labels[r.score] for r in own if r.met] for f, own in claimed.items()}
    return [(f, seen) for f, seen in found.items() if len(seen) <= len(claimed[f]) / 3]


def falling_back(result: Result) -> list[tuple[str, str]]:
    """Scores that a stronger dose of a fault they should see moves less: (label, fault)."""
    labels = {score.name: score.label for score in result.scores}
    return [
        (labels[r.score], r.fault) for r in result.headline if r.claim == "worse" and not r.monotone
    ]


UNMET_HEAD = "Claims that do not hold, by what these tiles show"
LIMITS_HEAD = "Claims that do not hold, by limits measured on phantom tiles"
Reasons = list[tuple[str, list[tuple[str, list[str]]]]]
"""(reason, [(label of a score, faults), ...]) of claims that are not met."""


def limits(result: Result) -> Reasons:
    """Claims not met here and on the phantom, where the reason was found."""
    return _by_reason(result, lambda r: LIMITS.get((r.score, r.fault), ""))


def unmet(result: Result) -> Reasons:
    """All other claims that are not met, by what these tiles tell of them."""
    return _by_reason(result, lambda r: "" if (r.score, r.fault) in LIMITS else r.reason)


def _by_reason(result: Result, reason_of: Callable[[Reaction], str]) -> Reasons:
    labels = {score.name: score.label for score in result.scores}
    found: dict[str, dict[str, list[str]]] = {}
    for r in result.claimed:
        if not r.met and (reason := reason_of(r)):
            found.setdefault(reason, {}).setdefault(labels[r.score], []).append(r.fault)
    return [(reason, list(of_scores.items())) for reason, of_scores in found.items()]


def text_reasons(result: Result) -> str:
    """Both lists for a terminal, one reason a line."""
    parts = ((UNMET_HEAD, unmet(result)), (LIMITS_HEAD, limits(result)))
    lines = []
    for head, reasons in parts:
        lines += [f"{head}:"] if reasons else []
        for reason, of_scores in reasons:
            named = "; ".join(f"{label} ({', '.join(faults)})" for label, faults in of_scores)
            lines.append(f"  {reason}: {named}")
    return "\n".join(lines)
