"""PatchCamelyon's HDF5 files: a split is three of them (github.com/basveeling/pcam).

`..._x.h5` holds the patches, `..._y.h5` their labels, `..._meta.csv` each one's slide and place.
"""

import functools
import os
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import pandas as pd

from histosynth.errors import InputError
from histosynth.slides.cohorts.tables import read_table

_CHUNK_CACHE = 64 * 2**20  # bytes: a slide's patches lie all over the file, some chunks serve many


class PatchFiles(NamedTuple):
    """The three files of a split, told apart by how their names end."""

    images: Path
    labels: Path
    places: Path

    @classmethod
    def of(cls, images: str | Path) -> "PatchFiles":
        """The files that belong to `<stem>_x.h5`."""
        images = Path(images)
        stem = images.name.removesuffix("_x.h5")
        return cls(images, images.with_name(f"{stem}_y.h5"), images.with_name(f"{stem}_meta.csv"))


def read_places(images: str | Path) -> pd.DataFrame:
    """What is known of every patch of `<stem>_x.h5`, in the order of the file.

    Returns
    -------
    DataFrame of slide (the `wsi` column), x and y (int64, as in the meta table), label (0 or 1)

    Raises
    ------
    InputError : a file cannot be read or is not what it should be; the three differ in length.
    """
    files = PatchFiles.of(images)
    stamps = tuple(os.stat(file).st_mtime_ns for file in files)
    return _read_places(files, stamps)


@functools.lru_cache(maxsize=3)  # the splits: slides of all three take turns
def _read_places(files: PatchFiles, stamps: tuple[int, ...]) -> pd.DataFrame:
    with open_hdf5(files.images) as images, open_hdf5(files.labels) as labels:
        shape = _dataset(images, "x", files.images).shape
        values = np.asarray(_dataset(labels, "y", files.labels)[:]).ravel()
        dtype = images["x"].dtype
    if len(shape) != 4 or shape[1] != shape[2] or shape[3] != 3 or dtype != np.uint8:
        raise InputError(
            f"{files.images}: dataset 'x' is {dtype} {shape}, expected uint8 (patches, side, side, "
            "3); download it again"
        )
    table = read_table(files.places)
    counts = {files.images: shape[0], files.labels: len(values), files.places: len(table)}
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{path} {count}" for path, count in counts.items())
        raise InputError(
            f"the files of a split differ in their number of patches: {listed}; they belong to "
            "different downloads, or one is cut short: download them again"
        )
    if not np.isin(values, (0, 1)).all():
        raise InputError(f"{files.labels}: labels other than 0 and 1; download it again")
    return pd.DataFrame(
        {
            "slide": _column(table, "wsi", files.places).astype("category"),
            "x": _coordinates(table, "coord_x", files.places),
            "y": _coordinates(table, "coord_y", files.places),
            "label": values.astype(np.uint8),
        }
    ).reset_index(drop=True)


def open_hdf5(path: Path) -> h5py.File:
    """Open for reading; without locks, which some cluster file systems lack."""
    try:
        return h5py.File(path, "r", locking=False, rdcc_nbytes=_CHUNK_CACHE)
    except OSError as error:
        raise InputError(
            f"{path} cannot be read as HDF5 ({error}); if it is still packed, `gunzip` it, else "
            "download it again"
        ) from None


def _dataset(file: h5py.File, name: str, path: Path) -> Any:
    if name not in file:
        raise InputError(f"{path}: no dataset {name!r}; it holds: {', '.join(file) or 'nothing'}")
    return file[name]


def _column(table: pd.DataFrame, name: str, path: Path) -> pd.Series:
    if name not in table:
        raise InputError(f"{path}: no column {name!r}; it has: {', '.join(table.columns)}")
    return table[name]


def _coordinates(table: pd.DataFrame, name: str, path: Path) -> np.ndarray:
    values = pd.to_numeric(_column(table, name, path), errors="coerce").to_numpy(float)
    if not (values == np.rint(values)).all():  # NaN too is unequal to itself
        raise InputError(f"{path}: column {name!r} holds values that are no whole numbers")
    return values.astype(np.int64)
