"""Synthetic tile sets: rows that say what was requested, never what was not.

A synthetic tile stands at the place of the test tile whose condition it got, so slide, patient and
site are that tile's. It carries a map, a label or a cluster only where the condition gave them to
the generator; those are the requested ones.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from histosynth.tilesets import TileSet, TileSetWriter

if TYPE_CHECKING:
    import pandas as pd

PLACE = "slide_id patient_id site split x y size mpp".split()


def synthetic_row(
    source: "pd.Series",
    *,
    tile_id: str,
    condition: str,
    seed: int,
    provides: set[str],
    cluster: int = -1,
    crop_tile_ids: list[str] | tuple[str, ...] = (),
    shown_share: float = 0.0,
) -> dict[str, Any]:
    """One row of a synthetic set's table.

    Parameters
    ----------
    source : the row of the test tile whose condition was requested
    seed : the generator's seed
    provides : what was requested, among maps, labels, clusters
    cluster : the requested cluster; -1 for none
    crop_tile_ids : the tiles whose pixels the generator was shown
    shown_share : the share of the source's own pixels among them

    Returns
    -------
    The row. `label` is None, class fractions and entropy are NaN, `cluster` is -1 where they were
    not requested; `tissue` is NaN, since nobody measured it.
    """
    row: dict[str, Any] = {"tile_id": tile_id}
    row |= {column: source.get(column) for column in PLACE}
    label = source.get("label") if "labels" in provides else None
    row["label"] = label if isinstance(label, str) else None
    row["tissue"] = float("nan")
    for column in source.index:
        if column == "entropy" or column.startswith("class_"):
            row[column] = source[column] if "maps" in provides else float("nan")
    return row | {
        "accepted": True,
        "reason": "",
        "condition": condition,
        "seed": seed,
        "source_tile_id": source["tile_id"],
        "crop_tile_ids": ",".join(crop_tile_ids),
        "shown_share": shown_share,
        "cluster": cluster if "clusters" in provides else -1,
    }


def add_tiles(
    writer: TileSetWriter,
    images: np.ndarray,
    rows: list[dict[str, Any]],
    test: TileSet,
    test_rows: np.ndarray,
) -> None:
    """Append images (n, H, W, 3) with their rows; and maps, where the set written has classes."""
    for image, row, test_row in zip(images, rows, test_rows, strict=True):
        writer.add(image, row, test.map(int(test_row)) if writer.classes else None)
