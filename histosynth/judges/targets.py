"""What a tile set has to teach: its tiles with their maps or labels as indices."""

from typing import TYPE_CHECKING

import numpy as np

from histosynth.errors import InputError

if TYPE_CHECKING:
    from histosynth.judges.networks import Task
    from histosynth.tilesets import TileSet


def label_indices(tiles: "TileSet", names: tuple[str, ...] | list[str]) -> np.ndarray:
    """Index of every tile's label, int64 (n,); -1 where a tile has none.

    Raises
    ------
    InputError
        A label that is not among `names`.
    """
    index = {name: i for i, name in enumerate(names)}
    labels = tiles.table["label"] if "label" in tiles.table else [None] * len(tiles)
    found = [label if isinstance(label, str) else None for label in labels]
    strange = sorted({label for label in found if label is not None and label not in index})
    if strange:
        raise InputError(
            f"{tiles.folder}: label {strange[0]!r} is not among {list(names)}; "
            "add it to `label.names`, or mend the tile set's labels"
        )
    return np.array([-1 if label is None else index[label] for label in found], dtype=np.int64)


def targets_of(
    task: "Task", tiles: "TileSet", names: tuple[str, ...] | list[str]
) -> tuple[np.ndarray, np.ndarray]:
    """The tiles that have a target, and their targets.

    Parameters
    ----------
    names : classes (segmentation) or labels (classification), by index

    Returns
    -------
    rows : int64 (m,), rows of the set
    targets : uint8 (m, H, W) of class indices, 255 unlabelled; or int64 (m,) of label indices

    Raises
    ------
    InputError
        Maps of other classes, an unknown label, or no tile with a target.
    """
    if task == "segmentation":
        if tuple(tiles.classes) != tuple(names):
            raise InputError(
                f"{tiles.folder}: its maps have the classes {list(tiles.classes)}, expected "
                f"{list(names)}; make the set again with this study's `classes`"
            )
        rows, targets = np.arange(len(tiles)), tiles.maps()
        assert targets is not None
    else:
        labels = label_indices(tiles, names)
        rows = np.flatnonzero(labels >= 0)
        targets = labels[rows]
    if len(rows) == 0:
        raise InputError(f"{tiles.folder}: no tile has a target for {task}")
    return rows, targets
