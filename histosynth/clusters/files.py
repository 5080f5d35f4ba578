"""Features and cluster assignments on disk."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from histosynth.errors import InputError
from histosynth.files import atomic_folder, read_json, write_json

if TYPE_CHECKING:
    import pandas as pd

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
) -> None:
    """Write a fit, its summary, and assignments.parquet for tile sets with their features (n, d).

    A set's name in the column `split` is its folder's.
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
    with atomic_folder(output) as folder:
        clusters.save(folder)
        pd.concat(parts, ignore_index=True).to_parquet(folder / "assignments.parquet", index=False)
        write_json(folder / "summary.json", summary)


def read_assignments(folder: str | Path | None) -> "pd.DataFrame | None":
    """Rows (split, tile_id, cluster) that scripts/cluster.py wrote; None for no folder.

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
