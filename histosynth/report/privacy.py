"""The report's section on privacy: distances to training tiles, copy-through, the closest pairs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from histosynth.errors import InputError
from histosynth.evaluations.memorization_cast import PAIRS
from histosynth.evaluations.round_trip import AUTOENCODER
from histosynth.report import tables
from histosynth.report.cells import PLANTED, Cell, Column, fill
from histosynth.report.collect import Results
from histosynth.report.copying import PIXELS
from histosynth.report.pictures import Picture, tile_uri
from histosynth.report.planted import Planted, blind_words, planted_of
from histosynth.report.stages import json_or_none
from histosynth.slides.duplicates import turned
from histosynth.tilesets import TileSet

DISTANCES = (
    "memorized_share_1pct",
    "memorized_share_01pct",
    "nearest_train_auc",
    "authenticity",
    "c_t",
)
UNRELIABLE = ("authenticity", "c_t")
COPIES = ("handed_over_share", "pasted_share", "copied_inside", "copied_outside")


@dataclass(frozen=True)
class Pair:
    """A tile beside the training tile nearest to it."""

    made: Picture
    train: Picture
    near: bool
    words: str


@dataclass(frozen=True)
class Favourite:
    """The training patient whose tiles are nearest most often.

    `near` and what follows it are of the images below the held-out 1 % limit alone: how many there
    are, whose tiles most of them lie next to, how many those are, and that patient's share of the
    tiles. None where there are none, or too few held-out tiles for the limit.
    """

    name: str
    seed: int | None  # where there are several
    space: str
    patient: str
    nearest: float
    train: float
    near: int | None
    near_patient: str | None
    near_most: int | None
    near_train: float | None


def tables_of(results: Results, copies: Planted) -> list[tables.ScoreTable]:
    """A table for each encoder and for pixels, and one of copy-through.

    Parameters
    ----------
    copies : what each space finds of planted copies; its table tells what it does not see
    """
    rows = results.rows[results.rows["group"] == "memorization"]
    if rows.empty:
        return []
    names = tables.everyone(results, shuffled=False)
    names += [PLANTED] * (PLANTED in set(rows["condition"]))
    made = []
    for space in (*results.study.evaluation.encoders, PIXELS):
        columns = [Column("memorization", metric, space) for metric in DISTANCES]
        heads = tuple(
            tables.arrow(m) + (", unreliable" if m in UNRELIABLE else "") for m in DISTANCES
        )
        lines = []
        for name in names:
            cells = tuple(_printed(fill(results, name, column), column) for column in columns)
            if any(cell.status in ("ok", "failed", "missing") for cell in cells):
                lines.append((name, "", cells))
        where = "Pixels" if space == PIXELS else f"Features: {space}"
        table = tables.lettered(f"Distance to training tiles. {where}", heads, lines)
        made.append(replace(table, note=blind_words(copies, space)))
    columns = [Column("memorization", metric) for metric in COPIES]
    lines = []
    for name in tables.everyone(results, shuffled=True):
        cells = tuple(fill(results, name, column) for column in columns)
        if cells[COPIES.index("copied_inside")].status != "not_applicable":
            lines.append((name, "", cells))
    if lines:
        heads = tuple(tables.arrow(metric) for metric in COPIES)
        table = tables.lettered("Copy-through of crops shown to the generator", heads, lines)
        made.append(replace(table, note=_copy_words(lines)))
    return made


def _copy_words(lines: list[tuple[str, str, tuple[Cell, ...]]]) -> str:
    """How to read the scores of copy-through, and the most that an image has copied."""
    inside = ((name, cells[COPIES.index("copied_inside")]) for name, _, cells in lines)
    told = [
        f"{name}: {cell.reason}." for name, cell in inside if cell.status == "ok" if cell.reason
    ]
    return (
        "Inside, an image is compared with the crops that the generator was shown, where it was "
        "shown them; shuffled, with another request’s crops of the same classes there. Outside, "
        "with the pixels of its target that were not shown; only crops of the very tile hand over "
        f"any. Inside, {' '.join(told)}"
        if told
        else ""
    )


def _printed(cell: Cell, column: Column) -> Cell:
    """AuthPct in per cent, as papers give it; other scores as they are."""
    if column.metric != "authenticity":
        return cell
    names = ("value", "ci_low", "ci_high", "se", "seed_sd")
    scaled = {name: 100 * getattr(cell, name) for name in names}
    return replace(cell, **scaled, seed_values=tuple(100 * v for v in cell.seed_values))


def _facts(results: Results, condition: str) -> dict[int, dict[str, Any]]:
    """What rows cannot hold, of every seed that has it."""
    found = {}
    for seed in results.study.seeds:
        path = results.metrics_path(condition, seed, "memorization")
        if facts := (json_or_none(path) or {}).get("facts"):
            found[seed] = facts
    return found


def favourites(results: Results) -> list[Favourite]:
    """Of every condition, in every space; of several seeds the one that has most near images of
    one patient, or else the most often nearest one."""
    found = []
    for name in tables.everyone(results, shuffled=False):
        per_seed = {seed: f.get("patients", {}) for seed, f in _facts(results, name).items()}
        for space in dict.fromkeys(space for of in per_seed.values() for space in of):
            own = [
                _favourite(name, seed if len(per_seed) > 1 else None, space, of[space])
                for seed, of in per_seed.items()
                if space in of
            ]
            found.append(max(own, key=lambda f: (f.near_most or 0, f.nearest)))
    return found


def _favourite(name: str, seed: int | None, space: str, told: dict[str, Any]) -> Favourite:
    near = told.get("near") or {}
    return Favourite(
        name,
        seed,
        space,
        told["patient_id"],
        told["nearest_share"],
        told["train_share"],
        *(near.get(key) for key in ("images", "patient_id", "most", "train_share")),
    )


def planted(results: Results) -> Planted:
    """What is found of copies: planted in real tiles, and of those through the autoencoder."""
    names = ("real", AUTOENCODER)
    return planted_of(*(facts for name in names for facts in _facts(results, name).values()))


def pair_rows(results: Results) -> list[tuple[str, str, list[Pair]]]:
    """(condition, space, the closest pairs of all its seeds, nearest first), real tiles last."""
    root = results.folder / "tilesets"
    rows: list[tuple[str, str, list[Pair]]] = []
    for name in [*(c.name for c in results.conditions), "real"]:
        sets, told = {}, []
        for seed, facts in _facts(results, name).items():
            folder = f"synthetic/{name}/seed{seed}" if name != "real" else "real/test"
            try:
                sets[seed] = TileSet.open(root / folder), TileSet.open(root / "real" / "train")
            except (InputError, OSError):  # the gallery says what is missing
                continue
            told += [(pair, seed) for pair in facts.get("pairs", [])]
        for space in dict.fromkeys(pair["encoder"] for pair, _ in told):
            nearest = [(pair, seed) for pair, seed in told if pair["encoder"] == space]
            nearest = sorted(nearest, key=lambda pair: pair[0]["distance"])[:PAIRS]
            pairs = [
                show_pair(pair, *sets[seed], seed=seed if len(sets) > 1 else None)
                for pair, seed in nearest
            ]
            rows.append((name, space, pairs))
    return rows


def show_pair(
    told: dict[str, Any], made: TileSet, train: TileSet, *, seed: int | None = None
) -> Pair:
    """A pair of `memorization_of_files`, as pictures; `seed` is told where there are several."""
    image = turned(made.image(told["row"]), told["turn"])  # as it fits the training tile
    limit, distance = told["limit"], told["distance"]
    near = limit is not None and distance < limit
    words = f"seed {seed}: " if seed is not None else ""
    words += f"{distance:.2f}" + (f", held-out {limit:.2f}" if limit is not None else "")
    return Pair(
        Picture(tile_uri(image.copy()), f"image {told['tile_id']}"),
        Picture(
            tile_uri(train.image(told["train_row"])),
            f"nearest training tile {told['train_tile_id']}, patient {told['train_patient_id']}",
        ),
        near,
        words,
    )
