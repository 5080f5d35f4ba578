"""The report's section on privacy: distances to training tiles, copy-through, the closest pairs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from histosynth.errors import InputError
from histosynth.report import tables
from histosynth.report.cells import PLANTED, Cell, Column, fill
from histosynth.report.collect import Results
from histosynth.report.crop_sources import crop_tables
from histosynth.report.leaderboard import Leaderboard
from histosynth.report.pictures import Picture, tile_uri
from histosynth.report.stages import json_or_none
from histosynth.slides.duplicates import turned
from histosynth.tilesets import TileSet

PIXELS = "pixels"
DISTANCES = (
    "memorized_share_1pct",
    "memorized_share_01pct",
    "nearest_train_auc",
    "authenticity",
    "c_t",
)
UNRELIABLE = ("authenticity", "c_t")
COPIES = ("handed_over_share", "copied_inside", "copied_outside")
KIND_WORDS = {
    "exact": "as they are",
    "flipped": "flipped",
    "jpeg": "as JPEG",
    "colour_shifted": "in another stain",
}


@dataclass(frozen=True)
class Pair:
    """A tile beside the training tile nearest to it."""

    made: Picture
    train: Picture
    near: bool
    words: str


@dataclass(frozen=True)
class Favourite:
    """The training patient whose tiles are nearest most often."""

    name: str
    space: str
    patient: str
    nearest: float
    train: float


def _cells(board: Leaderboard) -> list[tuple[str, Cell]]:
    """The leaderboard's scores of privacy, with whose they are."""
    columns = [c for c in board.columns if c.group == "memorization"]
    return [
        (line.name, line.cells[board.columns.index(column)])
        for line in board.lines
        if line.kind != "reference"
        for column in columns
    ]


def flagged(board: Leaderboard) -> list[str]:
    """Conditions that lie nearer to training tiles than new tissue does, by any of its scores."""
    return list(dict.fromkeys(name for name, cell in _cells(board) if cell.flag))


def sentence(board: Leaderboard, *, unseen: str = "real tissue of other patients") -> str:
    """Which conditions are flagged; condition names stand in backticks.

    Parameters
    ----------
    unseen : what the distances to training images are held against
    """
    if not any(cell.status == "ok" for _, cell in _cells(board)):
        return ""
    if not (found := flagged(board)):
        return f"No set of images lies clearly nearer to its training tiles than {unseen}."
    names = ", ".join(f"`{name}`" for name in found)
    return (
        f"Nearer to training tiles than {unseen}, beyond doubt: {names}. Look at the pairs under "
        "Privacy: it may be copies, or images too plain to be anybody’s."
    )


def tables_of(results: Results) -> list[tables.ScoreTable]:
    """A table for each encoder and for pixels; of copy-through and of twins with other crops."""
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
            cells = tuple(fill(results, name, column) for column in columns)
            # Planted copies are shown where they were scored, others where they could have been.
            wanted = "ok" if name == PLANTED else "ok failed missing"
            if any(cell.status in wanted.split() for cell in cells):
                lines.append((name, "", cells))
        where = "Pixels" if space == PIXELS else f"Features: {space}"
        made.append(tables.lettered(f"Distance to training tiles. {where}", heads, lines))
    columns = [Column("memorization", metric) for metric in COPIES]
    lines = []
    for name in tables.everyone(results, shuffled=True):
        cells = tuple(fill(results, name, column) for column in columns)
        if cells[1].status != "not_applicable":
            lines.append((name, "", cells))
    if lines:
        heads = tuple(tables.arrow(metric) for metric in COPIES)
        made.append(tables.lettered("Copy-through of pixels shown to the generator", heads, lines))
    return made + crop_tables(results)


def _facts(results: Results, condition: str) -> dict[str, Any]:
    path = results.metrics_path(condition, results.study.seeds[0], "memorization")
    return (json_or_none(path) or {}).get("facts") or {}


def favourites(results: Results) -> list[Favourite]:
    """Of every condition, in every space."""
    return [
        Favourite(name, space, told["patient_id"], told["nearest_share"], told["train_share"])
        for name in tables.everyone(results, shuffled=False)
        for space, told in _facts(results, name).get("patients", {}).items()
    ]


def planted(results: Results) -> list[tuple[str, str]]:
    """Space, and what was found of the copies planted in real tiles."""
    return planted_words(_facts(results, "real"))


def planted_words(facts: dict[str, Any]) -> list[tuple[str, str]]:
    """`planted`, from the facts of the real tiles' memorization."""
    return [
        (
            space,
            ", ".join(
                f"{told['found']} of {told['planted']} {KIND_WORDS.get(kind, kind)}"
                for kind, told in kinds.items()
            ),
        )
        for space, kinds in facts.get("planted", {}).items()
    ]


def pair_rows(results: Results) -> list[tuple[str, str, list[Pair]]]:
    """(condition, space, its closest pairs), real tiles last."""
    root = results.folder / "tilesets"
    rows: list[tuple[str, str, list[Pair]]] = []
    for name in [*(c.name for c in results.conditions), "real"]:
        told = _facts(results, name).get("pairs", [])
        folder = f"synthetic/{name}/seed{results.study.seeds[0]}" if name != "real" else "real/test"
        try:
            made, train = TileSet.open(root / folder), TileSet.open(root / "real" / "train")
        except (InputError, OSError):  # the gallery says what is missing
            continue
        for space in dict.fromkeys(pair["encoder"] for pair in told):
            pairs = [show_pair(pair, made, train) for pair in told if pair["encoder"] == space]
            rows.append((name, space, pairs))
    return rows


def show_pair(told: dict[str, Any], made: TileSet, train: TileSet) -> Pair:
    """A pair of `memorization_of_files`, as pictures."""
    image = turned(made.image(told["row"]), told["turn"])  # as it fits the training tile
    limit, distance = told["limit"], told["distance"]
    near = limit is not None and distance < limit
    words = f"{distance:.2f}" + (f", held-out {limit:.2f}" if limit is not None else "")
    return Pair(
        Picture(tile_uri(image.copy()), f"image {told['tile_id']}"),
        Picture(
            tile_uri(train.image(told["train_row"])),
            f"nearest training tile {told['train_tile_id']}, patient {told['train_patient_id']}",
        ),
        near,
        words,
    )
