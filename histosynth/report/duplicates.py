"""Pictures that two splits share, as the check left them in duplicates.json."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from histosynth.errors import InputError
from histosynth.report.pictures import Picture, choose, tile_uri
from histosynth.report.stages import json_or_none
from histosynth.tilesets import TileSet

if TYPE_CHECKING:
    from histosynth.report.collect import Results

SHOWN_PAIRS = 8


@dataclass(frozen=True)
class Duplicates:
    """Attributes
    ----------
    pairs : the pairs listed, those most alike first
    counts : (split, other split, pairs found)
    tiles : split -> how many tiles there are, were compared, were too plain to be told apart
    """

    pairs: tuple[dict[str, Any], ...]
    counts: tuple[tuple[str, str, int], ...]
    tiles: dict[str, dict[str, int]] = field(default_factory=dict)

    @property
    def total(self) -> int:
        return sum(count for _, _, count in self.counts)

    @property
    def found(self) -> list[tuple[str, str, int]]:
        """The splits that do share pictures."""
        return [entry for entry in self.counts if entry[2]]

    @property
    def sampled(self) -> dict[str, dict[str, int]]:
        """Splits of which only a sample was compared."""
        return {
            name: tiles
            for name, tiles in self.tiles.items()
            if tiles["compared"] + tiles["plain"] < tiles["tiles"]
        }

    @property
    def plain(self) -> int:
        return sum(tiles["plain"] for tiles in self.tiles.values())


@dataclass(frozen=True)
class Pair:
    """Two pictures and what is known of them."""

    pictures: tuple[Picture, Picture]
    words: str


def read_duplicates(folder: Path, absent: list[str]) -> Duplicates | None:
    """The check's findings, or None, named in `absent`, where it has not run."""
    path = folder / "tilesets" / "real" / "duplicates.json"
    content = json_or_none(path)
    if content is None:
        absent.append(f"check for near-duplicates: no such file: {path}")
        return None
    counts = [(*names.split("-", 1), int(count)) for names, count in content["counts"].items()]
    return Duplicates(tuple(content["pairs"]), tuple(counts), content["tiles"])


def shown_pairs(results: Results) -> list[Pair]:
    """Some of the pairs, spread from the most alike to the least; none where a set is gone."""
    if results.duplicates is None:
        return []
    listed = results.duplicates.pairs
    sets: dict[str, TileSet] = {}
    pairs = []
    for at in choose(len(listed), SHOWN_PAIRS):
        pair = listed[at]
        try:
            first, second = (_picture(results.folder, sets, pair, side) for side in "ab")
        except InputError:
            continue
        words = f"correlation {pair['correlation']:.2f}"
        pairs.append(Pair((first, second), words + ", turned" * bool(pair.get("turned"))))
    return pairs


def _picture(folder: Path, sets: dict[str, TileSet], pair: dict[str, Any], side: str) -> Picture:
    split, tile, patient = (str(pair[f"{key}_{side}"]) for key in ("split", "tile", "patient"))
    if split not in sets:
        sets[split] = TileSet.open(folder / "tilesets" / "real" / split)
    rows = (sets[split].table["tile_id"].astype(str) == tile).to_numpy().nonzero()[0]
    if not len(rows):
        raise InputError(f"{split}: no tile {tile}; run the check for near-duplicates again")
    image = sets[split].image(int(rows[0]))
    return Picture(tile_uri(image), f"{split} tile {tile} of {patient}", f"{split}, {patient}")
