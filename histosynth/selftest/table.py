"""The self-test itself: every fault planted, every score taken, reactions held against claims.

A change is given in half widths of the clean set's 95 % interval: at 1 it leaves that interval,
so a reader of the report would see it; below 1 it would pass for chance.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Literal

import numpy as np
import pandas as pd

from histosynth.errors import InputError
from histosynth.metrics import Interval
from histosynth.selftest.cases import Case, Stage, cases
from histosynth.selftest.claims import BLIND, BLIND_TO, LEAK, TURNED, Claim, claim_of
from histosynth.selftest.leaks import Exchange, exchange
from histosynth.selftest.reasons import KNOWN, measured_reason
from histosynth.selftest.scene import Scene
from histosynth.selftest.score import Score
from histosynth.selftest.scores import registered_scores

NAN = float("nan")
SEEN = 1.0  # half widths
_BACK = 0.5  # half widths that a stronger dose may fall back by and still count as monotone
_LEAST_CHANGE = 0.1  # standard deviations, in the mean over features and images

Verdict = Literal[
    "sees",
    "misses",
    "wrong way",
    "keeps still",
    "is moved",
    "at its best",
    "off",
    "blind",
    "rewarded",
    "",
]
MET: tuple[Verdict, ...] = ("sees", "keeps still", "at its best")


@dataclass(frozen=True)
class Reaction:
    """One score's answer to one fault at one dose; the fields are the columns of the CSV.

    Attributes
    ----------
    clean, half_width : value of real tiles of other patients, and half its 95 % interval
    value : with the fault; NaN where the score is not applicable
    change : value less clean, in half widths
    claim : worse, still, best or empty
    verdict : what the score did about its claim; empty for weaker doses, or without a claim; at
        copies and leaks, which some scores do not claim to see, whether it is blind to them
    reason : what these tiles tell of why a claim is not met; empty where it is
    known : whether it is not met on the phantom either, and so no regression
    monotone : over the doses up to this one, whether each moves the score as far as the one before
    leaked, other : at a leak, means of the value over several draws, with leaked images and with
        tiles of other patients in the same places; else NaN
    """

    group: str
    fault: str
    dose: str
    strongest: bool
    score: str
    clean: float
    half_width: float
    value: float
    change: float
    claim: Claim
    verdict: Verdict
    reason: str
    known: bool
    monotone: bool
    leaked: float = NAN
    other: float = NAN

    @property
    def met(self) -> bool:
        return self.verdict in MET

    @property
    def certain(self) -> bool:
        """Whether the claim holds on any images: no data can excuse it."""
        return self.claim == "best"


@dataclass(frozen=True)
class Result:
    """All reactions, with what they stand on.

    Attributes
    ----------
    scores : those under test, in the table's order
    clean : interval of every score on the clean scene
    n, patients : tiles of the reference, of the synthetic set, of training; and their patients
    examples : for each image fault, some of its images uint8 (k, H, W, 3); first the clean ones
    """

    reactions: tuple[Reaction, ...]
    scores: tuple[Score, ...]
    clean: Mapping[str, Interval]
    n: tuple[int, int, int]
    patients: tuple[int, int, int]
    examples: Mapping[str, np.ndarray]

    def frame(self) -> pd.DataFrame:
        """The columns of `Reaction`, a row a score and case."""
        return pd.DataFrame(
            [vars(r) for r in self.reactions], columns=[f.name for f in fields(Reaction)]
        )

    @property
    def headline(self) -> tuple[Reaction, ...]:
        """Reactions to the strongest dose of each fault."""
        return tuple(r for r in self.reactions if r.strongest)

    @property
    def claimed(self) -> tuple[Reaction, ...]:
        """Those of the headline that something was claimed of, and that could be taken."""
        return tuple(r for r in self.headline if r.claim and r.verdict)

    def failures(self, *, certain_only: bool) -> list[Reaction]:
        """Claims that were broken, and are met on the phantom.

        Parameters
        ----------
        certain_only : of those that must hold on any images; else also those measured on phantoms
        """
        return [
            r for r in self.claimed if not r.met and not r.known and (not certain_only or r.certain)
        ]


def self_test(
    scene: Scene,
    *,
    scores: Iterable[Score] | None = None,
    faults: Iterable[str] | None = None,
    seed: int = 0,
    examples: int = 6,
) -> Result:
    """Plant every fault in a clean scene, and take every score.

    Parameters
    ----------
    scores : default: all that are registered
    faults : names of faults to plant; default: all
    examples : images kept of each image fault

    Raises
    ------
    InputError : a fault of another name.
    """
    every = _chosen(faults)
    tested = registered_scores() if scores is None else tuple(scores)
    stage = Stage(scene, seed=seed)
    clean = {score.name: score.clean_interval(scene) for score in tested}
    reactions: list[Reaction] = []
    pictures: dict[str, np.ndarray] = {}
    shown = np.linspace(0, len(scene.made) - 1, examples).astype(int)
    if scene.made.images is not None:
        pictures["as they are"] = scene.made.images[shown]
    for case, strongest in zip(every, _strongest(every), strict=True):
        planted = case.plant(stage)
        if case.group == "Image faults" and planted.made.images is not None:
            pictures[case.name] = planted.made.images[shown]
        for score in tested:
            before = [r for r in reactions if (r.fault, r.score) == (case.fault, score.name)]
            reactions.append(
                _react(case, strongest, score, clean[score.name], stage, planted, before)
            )
    parts = (scene.real, scene.made, scene.train)
    real, made, train = (len(tiles) for tiles in parts)
    of_real, of_made, of_train = (len(np.unique(tiles.patients)) for tiles in parts)
    return Result(
        tuple(reactions),
        tested,
        clean,
        (real, made, train),
        (of_real, of_made, of_train),
        pictures,
    )


def _chosen(faults: Iterable[str] | None) -> list[Case]:
    every = list(cases())
    if faults is None:
        return every
    wanted, names = set(faults), {case.fault for case in every}
    if unknown := sorted(wanted - names):
        raise InputError(
            f"no such fault: {unknown[0]!r}; expected one of {', '.join(sorted(names))}"
        )
    return [case for case in every if case.fault in wanted]


def _strongest(every: list[Case]) -> list[bool]:
    """Whether a case is the last dose of its fault."""
    last = {case.fault: i for i, case in enumerate(every)}
    return [last[case.fault] == i for i, case in enumerate(every)]


def _react(
    case: Case,
    strongest: bool,
    score: Score,
    clean: Interval,
    stage: Stage,
    planted: Scene,
    before: list[Reaction],
) -> Reaction:
    try:
        value = score.value(planted)
    except InputError:  # such as pixels where features were changed
        value = NAN
    half = half_width(clean, share=score.share, n=len(planted.made))
    change = (value - clean.value) / half
    claim = claim_of(score, case.fault)
    if case.fault == TURNED and not _tells_turns(stage.scene, planted):
        claim = ""
    worse = -change if score.higher_is_better else change
    verdict = _verdict(score, claim, value, change, worse) if strongest else ""
    swap = Exchange(NAN, NAN, rewarded=False)
    if strongest and score.kind in BLIND and case.fault in BLIND_TO:
        if case.fault == LEAK:
            swap = exchange(score, stage, clean.value)
        verdict = "rewarded" if swap.rewarded else "blind" if worse < SEEN else ""
    unmet = bool(claim and verdict) and verdict not in MET
    past = max((-r.change if score.higher_is_better else r.change for r in before), default=-np.inf)
    return Reaction(
        case.group,
        case.fault,
        case.dose,
        strongest,
        score.name,
        clean.value,
        half,
        value,
        change,
        claim,
        verdict,
        measured_reason(verdict, worse, _fewest_patients(stage.scene)) if unmet else "",
        unmet and (score.name, case.fault) in KNOWN,
        not worse < past - _BACK and all(r.monotone for r in before),
        swap.leaked,
        swap.other,
    )


def _tells_turns(clean: Scene, turned: Scene) -> bool:
    """Whether the encoder gives turned images other features: if not, no score could be moved."""
    before, after = clean.made.features, turned.made.features
    spread = np.maximum(before.std(axis=0, dtype=np.float64), 1e-9)
    return float((np.abs(after - before) / spread).mean()) >= _LEAST_CHANGE


def _fewest_patients(scene: Scene) -> int:
    return min(len(np.unique(tiles.patients)) for tiles in (scene.real, scene.made))


def half_width(clean: Interval, *, share: bool, n: int) -> float:
    """Half of the interval's width.

    A share of n tiles cannot be told better than by 3 / n: that is the 95 % bound of a share of
    which nothing was seen ("rule of three"). It is all that is taken at 0 and 1, where resampling
    shows no spread; the bound that a memorized share has there is for other patients.
    """
    half = (clean.ci_high - clean.ci_low) / 2
    if share and clean.value in (0, 1):
        half = NAN
    least = 3 / n if share else 1e-9 * max(1.0, abs(clean.value))
    return max(half, least) if np.isfinite(half) else least


def _verdict(score: Score, claim: Claim, value: float, change: float, worse: float) -> Verdict:
    if not claim or np.isnan(value):
        return ""
    if claim == "best":
        assert score.best is not None
        return "at its best" if score.best(value) else "off"
    if claim == "still":
        return "keeps still" if abs(change) < SEEN else "is moved"
    if worse >= SEEN:
        return "sees"
    return "wrong way" if worse <= -SEEN else "misses"
