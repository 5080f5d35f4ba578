"""Which tiles of two sets the tissue statistics are taken of, and whose they are."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from histosynth.errors import InputError
from histosynth.evaluations.counts import patients
from histosynth.evaluations.fidelity import scored_subset
from histosynth.evaluations.protocol import check_comparable
from histosynth.tilesets import TileSet

if TYPE_CHECKING:
    from histosynth.config import Study

TILES = 2_000  # measured of a set at most


@dataclass(frozen=True)
class Side:
    """The tiles of a set that are measured, and whose they are."""

    tiles: TileSet
    rows: np.ndarray

    @property
    def patients(self) -> np.ndarray:
        return patients(self.tiles)[self.rows]

    def images(self) -> Iterator[np.ndarray]:
        return (self.tiles.image(i) for i in self.rows.tolist())


def open_sides(real: Path, made: Path, study: "Study") -> tuple[Side, Side]:
    """Open the sets and choose.

    Raises
    ------
    InputError
        Sets of another size, codec or resolution, or too few tiles.
    """
    seed, least = study.evaluation.seed, study.evaluation.min_tiles
    test, other = TileSet.open(real), TileSet.open(made)
    check_comparable(test, other)
    known = [mpp for mpp in map(resolution, (test, other)) if mpp is not None]
    if len(known) == 2 and abs(known[0] / known[1] - 1) > 0.01:
        raise InputError(
            f"{made}: {known[1]:g} um a pixel, {real}: {known[0]:g}; sizes and counts of the two "
            "would measure that difference. Bring both to one resolution"
        )
    chosen = (
        Side(test, scored_subset(len(test), TILES, seed=seed)),
        Side(other, scored_subset(len(other), min(study.sampling.n, TILES), seed=seed)),
    )
    for side in chosen:
        if len(side.rows) < least:
            raise InputError(
                f"{side.tiles.folder}: {len(side.rows)} tiles are too few for a score; "
                f"evaluation.min_tiles is {least}. Add tiles (or lower it)"
            )
    return chosen


def resolution(tiles: TileSet) -> float | None:
    """Micrometres a pixel of the whole set; None where it is unknown or not one."""
    mpp = tiles.table["mpp"].to_numpy(float) if "mpp" in tiles.table else np.array([np.nan])
    if not np.isfinite(mpp).all() or np.ptp(mpp) > 0.01 * mpp.min():
        return None
    return float(np.median(mpp))
