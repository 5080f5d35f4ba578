"""Donors of crops in the condition table: who gives each request its crops, by source.

Drawn for every source whether a condition of the study uses it or not, so that the table does not
depend on the conditions, and with a stream of randomness of its own each.
"""

import json
from typing import TYPE_CHECKING

import numpy as np

from histosynth.conditions.crop import CropOptions, Source, draw_donor
from histosynth.conditions.targets import Donors, TilePool
from histosynth.conditions.windows import window_sizes

if TYPE_CHECKING:
    import pandas as pd

    from histosynth.tilesets import TileSet

# Source -> its column, and the stream that its donors are drawn from.
COLUMN_OF: dict[Source, str] = {
    "other_slide": "crop_tile_ids",
    "same_slide": "same_slide_tile_ids",
    "shuffled_class": "shuffled_class_tile_ids",
}
_STREAMS: dict[Source, int] = {"other_slide": 1, "same_slide": 3, "shuffled_class": 4}


def donor_columns(test: "TileSet", rows: np.ndarray, *, seed: int) -> dict[str, list[str]]:
    """The donors of requests for test tiles `rows` (n,), by column.

    Returns
    -------
    Column -> n JSON objects from the name of a class in the request's map to a tile's id, or, for
    shuffled_class, to [tile id, name of the class that is shown]. A class of which no tile has a
    window (of the default sizes) is left out.
    """
    if not test.classes:
        return {column: ["{}"] * len(rows) for column in COLUMN_OF.values()}
    pool = TilePool.of(test, {"maps"})
    assert pool.maps is not None
    options = CropOptions(source="other_slide")
    assert options.size is not None
    sizes = window_sizes(min(test.size), options.size)
    present_in = {  # rows repeat in a large table
        row: np.flatnonzero(np.bincount(pool.maps[row].ravel())[: pool.classes]).tolist()
        for row in np.unique(rows).tolist()
    }
    columns: dict[str, list[str]] = {}
    for source, column in COLUMN_OF.items():
        columns[column] = []
        for i, row in enumerate(rows.tolist()):
            random = np.random.default_rng([seed, i, _STREAMS[source]])
            found: dict[str, str | list[str]] = {}
            for c in present_in[row]:
                donor, shown = draw_donor(pool, source, c, row, sizes, options.purity, random)
                if donor >= 0:
                    tile = pool.tile_ids[donor]
                    found[test.classes[c]] = tile if shown == c else [tile, test.classes[shown]]
            columns[column].append(json.dumps(found))
    return columns


def donors_of(
    table: "pd.DataFrame", pool: TilePool, class_names: tuple[str, ...]
) -> dict[str, Donors]:
    """The donors that a condition table names, as rows of the test pool."""
    row_of = {tile_id: row for row, tile_id in enumerate(pool.tile_ids)}
    class_of = {name: c for c, name in enumerate(class_names)}
    donors: dict[str, Donors] = {}
    for source, column in COLUMN_OF.items():
        rows = np.full((len(table), len(class_names)), -1, dtype=np.int64)
        classes = np.tile(np.arange(len(class_names)), (len(table), 1))
        for i, text in enumerate(table[column]):
            for name, told in json.loads(text).items():
                tile_id, shown = (told, name) if isinstance(told, str) else told
                rows[i, class_of[name]] = row_of[tile_id]
                classes[i, class_of[name]] = class_of[shown]
        donors[source] = Donors(rows, classes)
    return donors
