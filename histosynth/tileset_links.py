"""A tile set made of others' tiles without copying a pixel: hard links to their shards."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from histosynth.errors import InputError
from histosynth.files import atomic_folder
from histosynth.shards import index_name, shard_name
from histosynth.tileset_writer import read_description, write_tables, writing


def read_tables(sources: Sequence[Path]) -> pa.Table:
    """The tables of tile sets, one after another."""
    tables = [pq.read_table(folder / "tiles.parquet") for folder in sources]
    return pa.concat_tables(tables, promote_options="permissive")


def link_tilesets(
    folder: Path,
    sources: Sequence[Path],
    *,
    table: pa.Table,
    rows: np.ndarray,
    provenance: dict[str, Any],
) -> None:
    """Write `folder` as a tile set of chosen tiles of others.

    Shards are linked as they are, tiles that were not chosen with them; where links cannot be
    made (another disk), they are copied.

    Parameters
    ----------
    sources : folders of tile sets of one tile size and the same classes
    table : of the chosen tiles, in their new order
    rows : int64 (n,), where each lies among the tiles of all `sources`, one after another

    Raises
    ------
    InputError : the sets differ in size or classes, or share a tile id.
    OutputError : `folder` cannot be written.
    """
    descriptions = {source: read_description(source) for source in sources}
    kinds = {
        (tuple(about["size"]), tuple(about["classes"]))
        for about in descriptions.values()
        if about["tiles"]
    }
    if len(kinds) != 1:
        raise InputError(
            f"{folder}: expected tile sets of one size and the same classes, found "
            f"{sorted(kinds)} in {', '.join(map(str, sources[:3]))}; make them anew"
        )
    ((size, classes),) = kinds
    if pc.count_distinct(table["tile_id"]).as_py() != len(table):
        raise InputError(f"{folder}: a tile_id is in two of its sources; slide ids must be unique")
    with writing(folder), atomic_folder(folder) as partial:
        for kind in ("images", "maps") if classes else ("images",):
            index = _link_shards(partial, sources, kind)[rows]
            np.save(partial / index_name(kind), index)
        digests = np.concatenate([np.load(source / "digests.npy") for source in sources])[rows]
        write_tables(partial, table, digests, size=size, classes=classes, provenance=provenance)


def _link_shards(folder: Path, sources: Sequence[Path], kind: str) -> np.ndarray:
    """Link all shards of a kind under new numbers; the index of all their tiles."""
    indices = []
    linked = 0
    for source in sources:
        index = np.load(source / index_name(kind))
        shards = np.unique(index[:, 0])
        for number, shard in enumerate(shards, start=linked):
            link_file(source / shard_name(kind, shard), folder / shard_name(kind, number))
        index[:, 0] = linked + np.searchsorted(shards, index[:, 0])
        linked += len(shards)
        indices.append(index)
    return np.concatenate(indices)


def link_file(source: Path, target: Path) -> None:
    """A hard link, or a copy where no link can be made."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
