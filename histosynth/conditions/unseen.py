"""Map classes that no train tile shows: a generator never saw them, so nobody asks it for them."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from histosynth.tilesets import TileSet


def unseen_classes(
    test: "TileSet", train: "TileSet", trained_on: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """Class that is in test maps but in no train map -> rows of the test tiles that hold it.

    Parameters
    ----------
    trained_on : rows of the train tiles that generators see; default: all
    """
    if not test.classes:
        return {}
    shown = class_presence(train)
    seen = np.any(shown if trained_on is None else shown[trained_on], axis=0)
    asked = class_presence(test)
    return {
        name: np.flatnonzero(asked[:, c])
        for c, name in enumerate(test.classes)
        if not seen[c] and asked[:, c].any()
    }


def class_presence(tiles: "TileSet") -> np.ndarray:
    """Whether tile i holds class c: bool (n, classes).

    From the table's class fractions; read from the maps where the table lacks them.
    """
    columns = [f"class_{name}" for name in tiles.classes]
    if set(columns) <= set(tiles.table) and not tiles.table[columns].isna().any(axis=None):
        return tiles.table[columns].to_numpy() > 0
    found = np.zeros((len(tiles), 256), dtype=bool)
    for i in range(len(tiles)):
        map = tiles.map(i)
        assert map is not None, "asked of a set that has classes"
        found[i, np.unique(map)] = True
    return found[:, : len(columns)]


def left_out_words(unseen: Mapping[str, np.ndarray]) -> str:
    """Which classes were never trained on, how many test tiles hold them, and what to do."""
    told = ", ".join(f"{name} (in {len(rows)} test tiles)" for name, rows in unseen.items())
    return (
        f"no train tile shows the class {told}, so no generator can be asked for it; put patients "
        "with it in train (split.seed, or the cohort's own column `split`), or merge the class "
        "with another under `classes`"
    )
