"""Features of several tile sets that are to be compared: of those tiles, and by one encoder."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from histosynth.encoders.features import load_features
from histosynth.errors import InputError
from histosynth.files import read_json
from histosynth.tilesets import TileSet

# What of an encoder's fingerprint decides its features; versions are on record only.
ENCODER_IDENTITY = ("model", "weights", "transform", "dtype")


def features_of(
    sets: Sequence[TileSet], paths: Sequence[str | Path]
) -> tuple[list[np.ndarray], dict[str, Any]]:
    """Features of each set, and the fingerprint of the encoder that made them all.

    Parameters
    ----------
    sets, paths : tile sets and the .npy of each, in one order

    Returns
    -------
    arrays : float32 (tiles, d), one a set
    identity : what makes the features comparable with other studies'

    Raises
    ------
    InputError
        Features that are not there, of other tiles, by different encoders or of unequal width.
    """
    arrays, made_by = [], []
    for tiles, path in zip(sets, paths, strict=True):
        arrays.append(load_features(path))
        record = read_json(Path(path).with_suffix(".json"))
        if record.get("tile_set") != tiles.fingerprint:
            raise InputError(f"{path}: features of other tiles than {tiles.folder}; embed it again")
        made_by.append({key: record.get(key) for key in ENCODER_IDENTITY})
    for path, identity in zip(paths, made_by, strict=True):
        if identity != made_by[0]:
            raise InputError(
                f"{paths[0]} and {path} come from different encoders; embed both sets again"
            )
    for path, array in zip(paths, arrays, strict=True):
        if array.shape[1] != arrays[0].shape[1]:
            raise InputError(
                f"{paths[0]} has {arrays[0].shape[1]} features a tile, {path} {array.shape[1]}; "
                "one encoder gives equally many: embed both sets again"
            )
    return arrays, made_by[0]
