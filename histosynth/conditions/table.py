"""The condition table: which held-out tile each synthetic image is asked to be, for all conditions.

Image i of every condition comes from row i: the same test tile's map, label and cluster, the same
crops and the same noise. So conditions are compared image by image.
"""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from histosynth.conditions.donors import COLUMN_OF, donor_columns, donors_of
from histosynth.conditions.targets import Targets, TilePool, cluster_ids
from histosynth.conditions.unseen import left_out_words
from histosynth.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from histosynth.generator_settings import SamplingSettings
    from histosynth.tilesets import TileSet

COLUMNS = [*"index seed test_row source_tile_id label cluster".split(), *COLUMN_OF.values()]
NOISE_STRIDE = 2**32  # generator seeds lie this far apart in the seeds of the noise


def condition_table(
    test: "TileSet",
    settings: "SamplingSettings",
    *,
    clusters: "pd.DataFrame | None" = None,
    prompts: Collection[tuple[str, int]] | None = None,
    unseen: Mapping[str, np.ndarray] | None = None,
) -> "pd.DataFrame":
    """Draw `settings.n` conditions from the test tiles, without repeats while they last.

    Parameters
    ----------
    clusters : rows (tile_id, cluster) that cover the test tiles, where the study clusters
    prompts : the pairs of label and cluster that were trained on, where not all were: no tile of
        another is asked for
    unseen : of `conditions.unseen.unseen_classes`; no tile with such a class is asked for

    Returns
    -------
    DataFrame with `COLUMNS`: index 0..n-1; seed = settings.seed + index; test_row; its tile id,
    label (None where it has none) and cluster (-1 without clusters); and the donors of crops by
    source, see `donors.donor_columns`: crop_tile_ids are of another slide.

    Raises
    ------
    InputError
        The test set is empty, or a tile has no cluster, or none has a pair and a map that were
        trained on.
    """
    import pandas as pd

    if len(test) == 0:
        raise InputError(
            f"{test.folder}: no test tiles to take conditions from; loosen the tiling's rules or "
            "give the test split more patients"
        )
    tile_ids = test.table["tile_id"].astype(str).to_numpy()
    labels = test.table["label"].to_numpy() if "label" in test.table else np.full(len(test), None)
    of_tile = cluster_ids(test, clusters) if clusters is not None else np.full(len(test), -1)
    may = np.arange(len(test))
    if prompts is not None:
        pairs = zip(labels, of_tile.tolist(), strict=True)
        may = np.flatnonzero([pair in prompts for pair in pairs])
    if len(may) == 0:
        raise InputError(
            f"{test.folder}: no test tile has a label and cluster that clusters.balance kept for "
            "training; lower clusters.balance.step or clusters.k, so that more are kept"
        )
    if unseen:
        may = np.setdiff1d(may, np.concatenate(list(unseen.values())))
        if len(may) == 0:
            raise InputError(
                f"{test.folder}: no tile that satisfies a condition: {left_out_words(unseen)}"
            )
    rounds = -(-settings.n // len(may))
    random = np.random.default_rng([settings.seed, 0])
    rows = np.concatenate([random.permutation(may) for _ in range(rounds)])[: settings.n]
    table = pd.DataFrame(
        {
            "index": np.arange(settings.n),
            "seed": settings.seed + np.arange(settings.n),
            "test_row": rows,
            "source_tile_id": tile_ids[rows],
            "label": labels[rows],
            "cluster": of_tile[rows],
            **donor_columns(test, rows, seed=settings.seed),
        }
    )
    return table[COLUMNS]


def read_condition_table(path: str | Path, test: "TileSet") -> "pd.DataFrame":
    """Read a condition table and make sure that it was drawn from this test set.

    Raises
    ------
    InputError
        Missing columns, or rows that name other tiles than the test set has there.
    """
    import pandas as pd

    if not Path(path).is_file():
        raise InputError(f"{path}: no such condition table; make it by scripts/condition_table.py")
    table = pd.read_parquet(path)
    missing = [column for column in COLUMNS if column not in table]
    if missing:
        raise InputError(f"{path}: no column {', '.join(missing)}; expected {', '.join(COLUMNS)}")
    rows = table["test_row"].to_numpy()
    tile_ids = test.table["tile_id"].astype(str).to_numpy()
    if rows.max() >= len(test) or (tile_ids[rows] != table["source_tile_id"]).any():
        raise InputError(
            f"{path}: was drawn from another test set than {test.folder}; make both again"
        )
    return table


def table_targets(table: "pd.DataFrame", pool: TilePool, class_names: tuple[str, ...]) -> Targets:
    """The rows of a condition table as targets in the test pool, crops fixed by the table."""
    return Targets(
        pool,
        table["test_row"].to_numpy(np.int64),
        # the table's own seed, not the generator's: all conditions and generators get one crop
        seeds=[(int(seed), 2) for seed in table["seed"]],
        donors=donors_of(table, pool, class_names),
    )


def noise_seeds(table: "pd.DataFrame", generator_seed: int) -> np.ndarray:
    """The seed of each image's noise, int64 (n,): equal for all conditions of one generator seed.

    With generator seed 0 it is the table's seed, so image i has seed i.
    """
    return table["seed"].to_numpy(np.int64) + generator_seed * NOISE_STRIDE
