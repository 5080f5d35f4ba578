"""Features and cluster assignments on disk."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from histosynth.errors import InputError
from histosynth.files import atomic_folder, read_json, write_json

if TYPE_CHECKING:
    import pandas as pd

    from histosynth.clusters.balance import PromptSubset
    from histosynth.clusters.kmeans import KMeansClusters
    from histosynth.tilesets import TileSet


def read_features(path: str | Path, tiles: "TileSet") -> np.ndarray:
    """Features (n, d) whose row i is tile i, as scripts/embed.py wrote them.

    Raises
    ------
    InputError
        No such features, or features of another tile set.
    """
    from histosynth.encoders.features import load_features

    features = load_features(path)
    made_of = read_json(Path(path).with_suffix(".json")).get("tile_set")
    if len(features) != len(tiles) or made_of != tiles.fingerprint:
        raise InputError(
            f"{path}: {len(features)} features of tile set {made_of}, but {tiles.folder} is "
            f"{tiles.fingerprint} ({len(tiles)} tiles); embed it again"
        )
    return features


def write_clusters(
    output: Path,
    clusters: "KMeansClusters",
    sets: "Sequence[tuple[TileSet, np.ndarray]]",
    summary: dict[str, Any],
    *,
    subset: "PromptSubset | None" = None,
) -> None:
    """Write a fit, its summary, and assignments.parquet for tile sets with their features (n, d).

    A set's name in the column `split` is its folder's. With a `subset` of the first set (the train
    tiles), a column `selected` says which tiles generators are trained on.
    """
    import pandas as pd

    parts = [
        pd.DataFrame(
            {
                "split": tiles.folder.name,
                "tile_id": tiles.table["tile_id"],
                "cluster": clusters.assign(features),
            }
        )
        for tiles, features in sets
    ]
    assignments = pd.concat(parts, ignore_index=True)
    if subset is not None:
        assignments["selected"] = np.isin(np.arange(len(assignments)), subset.rows)
        summary = {**summary, "subset": subset.facts()}
    with atomic_folder(output) as folder:
        clusters.save(folder)
        assignments.to_parquet(folder / "assignments.parquet", index=False)
        write_json(folder / "summary.json", summary)


def read_assignments(folder: str | Path | None) -> "pd.DataFrame | None":
    """Rows (split, tile_id, cluster and maybe selected) of scripts/cluster.py; None for no folder.

    Raises
    ------
    InputError
        The folder holds no assignments.
    """
    import pandas as pd

    if folder is None:
        return None
    path = Path(folder) / "assignments.parquet"
    if not path.is_file():
        raise InputError(f"{path}: no such file; make the clusters by scripts/cluster.py")
    return pd.read_parquet(path)


def kept_prompts(folder: str | Path | None) -> set[tuple[str, int]] | None:
    """The pairs of label and cluster that `clusters.balance` kept; None where it is not set."""
    if folder is None:
        return None
    subset = read_json(Path(folder) / "summary.json").get("subset")
    if subset is None:
        return None
    return {(label, cluster) for label, some in subset["clusters"].items() for cluster in some}


def selected_rows(assignments: "pd.DataFrame | None", tiles: "TileSet") -> np.ndarray:
    """The rows of the train tiles that generators are trained on, int64, sorted.

    For studies with `clusters.balance`: there all conditions train on the same subset, also those
    that use no clusters, so that what is compared is the condition alone.

    Raises
    ------
    InputError
        No assignments given, or made without `clusters.balance`, or of other tiles.
    """
    if assignments is None:
        raise InputError(
            "clusters.balance is set, so every condition trains on the subset chosen with the "
            "clusters, but none were given; pass the folder of scripts/cluster.py as --clusters"
        )
    if "selected" not in assignments:
        raise InputError(
            "clusters.balance is set, but the clusters given were made without it (no column "
            "`selected` in assignments.parquet); run scripts/cluster.py again"
        )
    chosen = assignments["tile_id"][assignments["selected"]]
    rows = np.flatnonzero(tiles.table["tile_id"].isin(chosen))
    if len(rows) != len(chosen):
        raise InputError(
            f"{tiles.folder}: holds {len(rows)} of the {len(chosen)} tiles that clusters.balance "
            "selected; run scripts/cluster.py again on these train tiles"
        )
    return rows
