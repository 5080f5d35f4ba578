"""Features on disk: `NAME.npy` with row i for tile i, and `NAME.json` with what they depend on.

The fingerprint in the json holds the encoder's (model, weights, transform, dtype) and the tile
set's. :func:`features_current` says whether a stored file still answers to it, so a change of any
of these recomputes and nothing else does: neither the encoder's name, nor the batch size, nor an
upgrade of a package (versions are on record only).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from histosynth.errors import InputError
from histosynth.files import atomic_file, read_json, write_json

if TYPE_CHECKING:
    from histosynth.encoders import Encoder
    from histosynth.tilesets import TileSet

_DEPENDS_ON = ("model", "weights", "transform", "dtype", "tile_set")


def embed_tileset(
    tiles: TileSet, encoder: Encoder, *, batch_size: int = 64, progress: bool = True
) -> np.ndarray:
    """Embed every tile of a set, in order.

    Parameters
    ----------
    batch_size
        Tiles read at a time; it bounds memory and has no influence on the features.
    progress
        Whether to show a progress bar (on stderr).

    Returns
    -------
    ndarray (n, d) float32
        Row i belongs to row i of the set's table.

    Raises
    ------
    InputError
        Images unfit for the encoder, or features that are not finite.
    """
    features = np.zeros((len(tiles), encoder.width), np.float32)
    starts = range(0, len(tiles), batch_size)
    for start in tqdm(starts, desc=f"embed {encoder.name}", unit="batch", disable=not progress):
        rows = slice(start, min(start + batch_size, len(tiles)))
        features[rows] = encoder(tiles.images(rows))
    bad = np.flatnonzero(~np.isfinite(features).all(axis=1))
    if bad.size:
        raise InputError(
            f"encoder {encoder.name}: NaN or infinite features for {bad.size} of {len(tiles)} "
            f"tiles (the first is row {bad[0]}); check that its weights are sound"
        )
    return features


def features_fingerprint(encoder: Encoder, tiles: TileSet) -> dict[str, Any]:
    """What features of this set by this encoder depend on, for the json beside them."""
    return {**encoder.fingerprint, "tile_set": tiles.fingerprint}


def save_features(path: str | Path, features: np.ndarray, *, fingerprint: dict[str, Any]) -> None:
    """Write `path` (.npy) and the json beside it; a killed job leaves no pair that looks current.

    Parameters
    ----------
    features
        (n, d) float32.
    fingerprint
        Of :func:`features_fingerprint`.
    """
    path = Path(path)
    record = path.with_suffix(".json")
    record.unlink(missing_ok=True)
    with atomic_file(path) as partial:
        np.save(partial, features)
    write_json(record, {**fingerprint, "shape": list(features.shape)})


def load_features(path: str | Path) -> np.ndarray:
    """Read the (n, d) float32 features saved under `path` (.npy).

    Raises
    ------
    InputError
        Either file is missing, or the two do not belong together.
    """
    path = Path(path)
    record = path.with_suffix(".json")
    for file in (path, record):
        if not file.is_file():
            raise InputError(f"{file}: no such file; make these features by scripts/embed.py")
    features = np.load(path)
    if list(features.shape) != read_json(record).get("shape"):
        raise InputError(
            f"{path}: features of shape {features.shape}, but {record.name} beside it describes "
            f"{read_json(record).get('shape')}; delete both and embed again"
        )
    return features


def features_current(path: str | Path, fingerprint: dict[str, Any]) -> bool:
    """Whether `path` holds the very features that `fingerprint` would give again."""
    path = Path(path)
    record = path.with_suffix(".json")
    if not (path.is_file() and record.is_file()):
        return False
    stored = read_json(record)
    return all(stored.get(key) == fingerprint.get(key) for key in _DEPENDS_ON)
