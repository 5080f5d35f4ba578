"""The answer in plain language, made from the leaderboard: what leads, what ties, what failed.

No sentence says more than the comparisons do: what chance may have parted is not ranked.
"""

from __future__ import annotations

from itertools import combinations

from histosynth.report import copying
from histosynth.report.cells import Cell, Column
from histosynth.report.collect import Results
from histosynth.report.figures import fixed
from histosynth.report.glossary import metric
from histosynth.report.leaderboard import Leaderboard, is_better

COUNTS = "no one two three four five six seven eight nine ten eleven twelve".split()
SHORT = {"downstream_iou": "IoU", "downstream_auc": "AUC"}


def sentences(results: Results, board: Leaderboard) -> list[tuple[str, str]]:
    """Pairs of a question and its answer, for a reader who reads nothing else."""
    answers = [
        ("", _compared(results)),
        ("Does it look like tissue?", _fidelity(board)),
        ("Does it obey the request?", _adherence(board)),
        ("Is it worth training on?", _utility(board)),
        ("Does it copy?", copying.sentence(copying.judge(results))),
        ("What to keep in mind.", " ".join(filter(None, _caveats(results, board)))),
    ]
    return [(question, text) for question, text in answers if text]


def _compared(results: Results) -> str:
    count, seeds = len(results.conditions), len(results.study.seeds)
    ways = f"{_count(count).capitalize()} way{'' if count == 1 else 's'} of conditioning one latent"
    text = f"{ways} diffusion model {'was' if count == 1 else 'were'} compared"
    test = next((s for s in results.splits if s.split == "test"), None)
    if test:
        text += f" on {test.tiles} held-out tiles of {_count(test.patients)} {results.split_unit}s"
    return f"{text}{f', with {_count(seeds)} generator seeds each' if seeds > 1 else ''}."


def _count(number: int) -> str:
    return COUNTS[number] if number < len(COUNTS) else str(number)


def listed(names: list[str]) -> str:
    """One name, or several with commas and an "and"."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _names(names: list[str]) -> str:
    return listed([f"`{name}`" for name in names])


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + "."


def _ranked(board: Leaderboard, column: Column) -> dict[str, Cell]:
    """The scores that may be compared: not of a condition that was told of the features."""
    at, told = board.columns.index(column), board.told_in(column)
    cells = {line.name: line.cells[at] for line in board.of_kind("ranked")}
    return {n: cell for n, cell in cells.items() if cell.status == "ok" and n not in told}


def leaders(board: Leaderboard, column: Column, *, values: bool = True) -> str:
    """Who leads one column, or why nobody does; condition names stand in backticks."""
    cells = _ranked(board, column)
    if not cells and (partial_to := board.told_in(column)):
        return f"nobody is ranked, as {_names(sorted(partial_to))} took features from this encoder"
    if not cells:
        return "no condition has this score yet"
    told = {
        name: f"`{name}`" + (f" ({_shown(board, column, cell.shown)})" if values else "")
        for name, cell in cells.items()
    }
    everyone = listed(list(told.values()))
    if len(cells) == 1:
        return f"only {everyone} has this score, so nothing is ranked"
    if len({cell.protocol for cell in cells.values()}) > 1:
        return "the numbers follow different protocols, so they are not ranked together"
    marked = [name for name, cell in cells.items() if cell.mark]
    paired = all(frozenset(pair) in board.pairs_in(column) for pair in combinations(cells, 2))
    if len(marked) == 1:
        why = "by more than chance" if paired else "its interval clear of all others"
        return f"{told[marked[0]]} leads, {why}"
    if marked:
        why = "what parts them may be chance" if paired else "as their intervals overlap"
        return f"{listed([told[n] for n in marked])} share the lead, {why}"
    if not any(cell.has_interval for cell in cells.values()):
        return f"{everyone} come without intervals, so they are not ranked"
    why = "what parts them may be chance" if paired else "as their intervals overlap"
    return f"{everyone} are not ranked, {why}"


def _shown(board: Leaderboard, column: Column, value: float) -> str:
    """A value as the leaderboard prints it; shares of real as percentages."""
    if column.metric.endswith("_ratio"):
        return f"{value:.0%}"
    return fixed(value, board.digits[board.columns.index(column)])


def _reference(board: Leaderboard, name: str, column: Column) -> Cell | None:
    cell = board.cell(name, column)
    return cell if cell is not None and cell.status == "ok" else None


def _fidelity(board: Leaderboard) -> str:
    columns = _leading_distances(board)
    if not any(_ranked(board, column) for column in columns):
        return "No score yet." if columns else ""
    told = []
    for column in columns:
        real = _reference(board, "real", column)
        beside = f"; real tissue itself scores {_shown(board, column, real.value)}" if real else ""
        name = metric(column.metric).label.replace("Kernel", "kernel")
        text = f"by {name} in {column.encoder} features, {leaders(board, column)}"
        told.append(_sentence(text + beside))
    return " ".join(told)


def _leading_distances(board: Leaderboard) -> list[Column]:
    """Of each encoder the distance that stands first: the one to trust at this number of tiles."""
    first: dict[str, Column] = {}
    for column in board.columns:
        if column.metric in ("frechet_distance", "kernel_distance"):
            first.setdefault(column.encoder, column)
    return list(first.values())


def _adherence(board: Leaderboard) -> str:
    columns = [c for c in board.columns if c.group == "adherence"]
    if not any(_ranked(board, column) for column in columns):
        return "No score yet." if columns else ""
    told = []
    for column in columns:
        what = column.metric.partition("_")[0]
        text = f"as a share of what real tissue scores for its {what}, {leaders(board, column)}"
        chance = [
            cell.value
            for line in board.of_kind("reference")
            if line.name.endswith("~shuffled")
            and (cell := line.cells[board.columns.index(column)]).status == "ok"
        ]
        told.append(
            _sentence(
                text + (f"; shuffled requests: {_span(board, column, chance)}" if chance else "")
            )
        )
    return " ".join(told)


def _span(board: Leaderboard, column: Column, values: list[float]) -> str:
    low, high = (_shown(board, column, v) for v in (min(values), max(values)))
    return low if low == high else f"{low} to {high}"


def _utility(board: Leaderboard) -> str:
    columns = [c for c in board.columns if c.minus_real]
    if not any(_ranked(board, column) for column in columns):
        return "No score yet." if columns else ""
    told = []
    for name in dict.fromkeys(c.metric for c in columns):
        arms = {c.arm: c for c in board.columns if c.metric == name and c.minus_real}
        alone, mixed = arms.get("synthetic"), arms.get("mixed")
        if alone and (cells := _ranked(board, alone)):
            real = _reference(board, "real", alone)
            against = (
                f", against {_shown(board, alone, real.value)} with real tiles" if real else ""
            )
            reached = _span(board, alone, [cell.value for cell in cells.values()])
            text = f"networks that see no real tile reach {SHORT[name]} {reached}{against}"
            told.append(_sentence(f"{text}; {leaders(board, alone, values=False)}"))
        if mixed and (cells := _ranked(board, mixed)):
            told.append(_mixed(board, mixed, cells))
    return " ".join(told)


def _mixed(board: Leaderboard, column: Column, cells: dict[str, Cell]) -> str:
    real = _reference(board, "real", column)
    if real is None:
        return ""
    higher = metric(column.metric).higher_is_better
    pairs, everyone = board.pairs_in(column), cells | {"real": real}
    helps = [n for n in cells if is_better(n, "real", everyone, higher, pairs)]
    harms = [n for n in cells if is_better("real", n, everyone, higher, pairs)]
    text = f"added to real tiles, synthetic ones move {SHORT[column.metric]} by "
    text += _span(board, column, [cell.value - real.value for cell in cells.values()])
    told = [f"clearly better with {_names(helps)}"] if helps else []
    told += [f"clearly worse with {_names(harms)}"] if harms else []
    paired = all(frozenset((n, "real")) in pairs for n in cells)
    chance = "no difference to real tiles alone is more than chance"
    told = told or [chance if paired else "every interval overlaps that of real tiles alone"]
    return _sentence(f"{text}: {', '.join(told)}")


def _caveats(results: Results, board: Leaderboard) -> list[str]:
    return [_apart(board), _shared(results), _troubles(board)]


def _shared(results: Results) -> str:
    """Pictures in two splits, where there are any."""
    found = results.duplicates.found if results.duplicates else []
    if not found:
        return ""
    told = [f"{count} between {a} and {b}" for a, b, count in found]
    return (
        f"Splits share pictures (pairs of nearly the same tile: {listed(told)}), so scores may be "
        "better than new tissue would give."
    )


def _apart(board: Leaderboard) -> str:
    names = [line.name for line in board.of_kind("apart")]
    if not names:
        return ""
    verb = "stands" if len(names) == 1 else "stand"
    return (
        f"{_names(names)} {verb} apart and {'is' if len(names) == 1 else 'are'} not ranked: the "
        "generator is shown pixels of the very tile it should make."
    )


def _troubles(board: Leaderboard) -> str:
    cells = [cell for line in board.lines for cell in line.cells]
    applies = [cell for cell in cells if cell.status != "not_applicable"]
    counts = {
        "failed": sum(cell.status == "failed" for cell in cells),
        "are missing": sum(cell.status == "missing" for cell in cells),
        "lack a seed or a difference": sum(cell.incomplete for cell in cells),
    }
    told = [f"{count} {word}" for word, count in counts.items() if count]
    if not told:
        return f"All {len(applies)} scores of the leaderboard were computed."
    return (
        f"Of the leaderboard’s {len(applies)} scores, {listed(told)}; the reasons stand below it."
    )
