"""Does any set copy? What every score of privacy flags, and the sentence made of it.

A score is flagged where its interval lies wholly beyond what real tissue of other patients gives
(`cells.flagged`), whichever training seed it is. Where real tiles through the autoencoder lie about
as near, its blur may be all there is: that is told beside the flag, which stands.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from histosynth.report.cells import EXPECTED, Cell, Column, fill, flagged, seed_cells
from histosynth.report.collect import Results
from histosynth.report.figures import fixed
from histosynth.report.glossary import metric

PIXELS = "pixels"


@dataclass(frozen=True)
class Flag:
    """A score of privacy wholly beyond what new tissue gives."""

    condition: str
    space: str
    words: str
    remark: str  # what else may explain it
    seeds: tuple[int, ...]  # that are flagged, where there are several


@dataclass(frozen=True)
class Verdict:
    """What the scores of privacy say, in every space and of every training seed."""

    spaces: tuple[str, ...]  # in which any set was scored
    flags: tuple[Flag, ...]
    unjudged: tuple[tuple[str, str], ...]  # condition, space: no score, or no interval, to flag

    def named(self, *, explained: bool) -> dict[str, list[Flag]]:
        """Flagged conditions with their flags: those that the autoencoder may explain, or others.

        One with flags of both kinds is among the others.
        """
        clear = {flag.condition for flag in self.flags if not flag.remark}
        found: dict[str, list[Flag]] = {}
        for flag in self.flags:
            if bool(flag.remark) == explained and (flag.condition not in clear) == explained:
                found.setdefault(flag.condition, []).append(flag)
        return found


def judge(results: Results) -> Verdict:
    """The flags of the tables, of conditions alone, and what no flag can speak of."""
    flags: list[Flag] = []
    scored: dict[str, None] = {}
    unjudged: dict[tuple[str, str], None] = {}
    for name in (c.name for c in results.conditions):
        for space in (PIXELS, *results.study.evaluation.encoders):
            columns = [Column("memorization", score, space) for score in EXPECTED]
            cells = {column: fill(results, name, column) for column in columns}
            if any(cell.status == "ok" for cell in cells.values()):
                scored[space] = None
            found = [_flag(results, name, k, cell) for k, cell in cells.items() if cell.flag]
            if not found and any(_is_open(results, name, k, cell) for k, cell in cells.items()):
                unjudged[name, space] = None
            flags += found
    return Verdict(tuple(scored), tuple(flags), tuple(unjudged))


def _is_open(results: Results, name: str, column: Column, cell: Cell) -> bool:
    """Whether a score that could flag is not there, or has no interval to flag it by."""
    if cell.status != "ok":
        return cell.status in ("failed", "missing")
    if cell.has_interval and not cell.incomplete:
        return False
    own = [c for c in seed_cells(results, name, column).values() if c.status != "not_applicable"]
    beyond = (c.value > (column.expected or 0) and not c.has_interval for c in own)
    return any(c.status != "ok" for c in own) or any(beyond)


def _flag(results: Results, name: str, column: Column, cell: Cell) -> Flag:
    own = seed_cells(results, name, column)
    marked = {seed: c for seed, c in own.items() if flagged(c, column).flag}
    several = len(own) > 1
    told = ", ".join(
        (f"seed {seed} " if several else "")
        + f"{fixed(c.value, 3)} [{fixed(c.ci_low, 3)}, {fixed(c.ci_high, 3)}]"
        for seed, c in marked.items()
    )
    words = f"{metric(column.metric).label}: {told}, where {column.expected:g} is expected"
    return Flag(name, column.encoder, words, cell.flag_remark, tuple(marked) if several else ())


def sentence(verdict: Verdict, *, unseen: str = "real tissue of other patients") -> str:
    """Which conditions are flagged; condition names stand in backticks.

    Parameters
    ----------
    unseen : what the distances to training images are held against
    """
    if not verdict.spaces:
        return ""
    clear, blurred = verdict.named(explained=False), verdict.named(explained=True)
    told = []
    if clear:
        told += [
            f"Clearly nearer to training tiles than {unseen}: {_whose(clear)}.",
            "Look at the pairs under Privacy: it may be copies, or images too plain to be "
            "anybody’s.",
        ]
    if blurred:
        told.append(
            f"{'Nearer, too' if clear else f'Nearer to training tiles than {unseen}'}, but no "
            "nearer than real tiles that went through the autoencoder, as far as the intervals "
            f"tell: {_whose(blurred)}. Its blur may explain that."
        )
    if not told:
        judged = " that could be judged" if verdict.unjudged else ""
        told.append(
            f"No set of images{judged} lies clearly nearer to its training tiles than {unseen}, "
            f"{_where(verdict.spaces)}."
        )
    if verdict.unjudged:
        left = dict.fromkeys(name for name, _ in verdict.unjudged)
        of = {name: [space for who, space in verdict.unjudged if who == name] for name in left}
        names = ", ".join(f"`{name}` ({_where(spaces)})" for name, spaces in of.items())
        told.append(f"Not judged, for want of a score or of its interval: {names}.")
    return " ".join(told)


def _whose(flags: dict[str, list[Flag]]) -> str:
    """Names with where, and in which seeds, they are flagged."""
    told = []
    for name, own in flags.items():
        seeds = sorted({seed for flag in own for seed in flag.seeds})
        words = _where(list(dict.fromkeys(flag.space for flag in own)))
        told.append(f"`{name}` ({words}{'; seed ' + ', '.join(map(str, seeds)) if seeds else ''})")
    return ", ".join(told)


def _where(spaces: Sequence[str]) -> str:
    features = [space for space in spaces if space != PIXELS]
    told = ["in pixels"] * (PIXELS in spaces)
    told += [f"in features of {' and '.join(features)}"] * bool(features)
    return " and ".join(told)
