"""Who is compared with whom in the memorization scores, and what of it the report shows."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from histosynth.errors import InputError
from histosynth.evaluations.counts import patients
from histosynth.evaluations.fidelity import scored_subset
from histosynth.evaluations.nearest import Measured
from histosynth.evaluations.protocol import check_comparable
from histosynth.metrics import heldout_quantile
from histosynth.slides.duplicates import LIMIT
from histosynth.tilesets import TileSet

if TYPE_CHECKING:
    from histosynth.config import Study

HELD_OUT = 10_000  # test tiles held against a set, or as many as are sampled, if more
PAIRS = 4  # kept of a set and space
NEAR = 0.01  # a pair closer than this quantile of held-out tiles is a near one


@dataclass(frozen=True)
class Cast:
    """Who is compared with whom: tile sets, and the rows of each that take part."""

    train: TileSet
    test: TileSet
    made: TileSet
    train_rows: np.ndarray
    heldout_rows: np.ndarray
    made_rows: np.ndarray

    @classmethod
    def of(cls, train: Path, test: Path, synthetic: Path | None, study: "Study") -> "Cast":
        """Open the sets and choose; without a synthetic set, one half of the test patients.

        Raises
        ------
        InputError
            Sets of another size or codec, too few tiles, or one test patient to be halved.
        """
        seed, n, least = study.evaluation.seed, study.sampling.n, study.evaluation.min_tiles
        real, held = TileSet.open(train), TileSet.open(test)
        train_rows = scored_subset(len(real), LIMIT, seed=seed)
        if synthetic is None:
            made, (made_rows, heldout_rows) = held, halves(patients(held), seed=seed)
        else:
            made = TileSet.open(synthetic)
            check_comparable(held, made)
            made_rows = scored_subset(len(made), n, seed=seed)
            heldout_rows = scored_subset(len(held), max(n, HELD_OUT), seed=seed)
        for who, rows in ((real, train_rows), (held, heldout_rows), (made, made_rows)):
            if len(rows) < least:
                raise InputError(
                    f"{who.folder}: {len(rows)} tiles are too few for a score; "
                    f"evaluation.min_tiles is {least}. Add tiles (or lower it)"
                )
        return cls(real, held, made, train_rows, heldout_rows, made_rows)

    @property
    def remark(self) -> str:
        """What a reader of a score must know of the choice."""
        if len(self.train_rows) == len(self.train):
            return ""
        return f"among {len(self.train_rows)} of {len(self.train)} training tiles, drawn by seed"


def halves(groups: np.ndarray, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of two halves without a common patient, of sizes as equal as dealing can make them.

    Raises
    ------
    InputError
        A single patient.
    """
    names, index, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    if len(names) < 2:
        raise InputError(
            f"{len(names)} test patient(s) cannot be halved; give the test split more patients"
        )
    order = np.random.default_rng(seed).permutation(len(names))
    filled, side = [0, 0], np.zeros(len(names), dtype=int)
    for patient in sorted(order.tolist(), key=lambda p: -sizes[p]):  # largest first
        side[patient] = int(filled[1] < filled[0])
        filled[side[patient]] += sizes[patient]
    return np.flatnonzero(side[index] == 0), np.flatnonzero(side[index] == 1)


def near_limit(heldout: np.ndarray) -> float | None:
    """The held-out 1 % quantile, where there are tiles enough."""
    try:
        return heldout_quantile(heldout, NEAR)
    except InputError:
        return None


def closest_pairs(cast: Cast, measured: Measured, encoder: str) -> list[dict[str, Any]]:
    """The closest pairs of a scored tile and its nearest training tile."""
    limit = near_limit(measured.heldout)
    pairs = []
    for at in np.argsort(measured.made.distance, kind="stable")[:PAIRS].tolist():
        row = int(cast.made_rows[at])
        near = int(cast.train_rows[measured.made.row[at]])
        pairs.append(
            {
                "encoder": encoder,
                "row": row,
                "tile_id": str(cast.made.table["tile_id"].iloc[row]),
                "train_row": near,
                "train_tile_id": str(cast.train.table["tile_id"].iloc[near]),
                "train_patient_id": str(patients(cast.train)[near]),
                "turn": int(measured.made.turn[at]),
                "distance": float(measured.made.distance[at]),
                "limit": limit,
            }
        )
    return pairs


def favourite_patient(cast: Cast, measured: Measured) -> dict[str, Any]:
    """The training patient whose tiles are nearest most often, and its share of the tiles.

    `near` counts alone the images below the held-out 1 % quantile, among which a few copies of one
    patient are not lost: how many there are, and the patient whom most of them lie next to with
    its number of them and its share of the training tiles. None without a quantile.
    """
    of_tile = patients(cast.train)[cast.train_rows]
    of_image = of_tile[measured.made.row]
    name, count = _most(of_image)
    limit = near_limit(measured.heldout)
    near: dict[str, Any] | None = None
    if limit is not None:
        below = of_image[measured.made.distance < limit]
        near = {"images": len(below), "of": len(of_image)}
        if len(below):
            whose, most = _most(below)
            share = float((of_tile == whose).mean())
            near |= {"patient_id": whose, "most": most, "train_share": share}
    return {
        "patient_id": name,
        "nearest_share": count / len(of_image),
        "train_share": float((of_tile == name).mean()),
        "patients": len(np.unique(of_image)),
        "near": near,
    }


def _most(names: np.ndarray) -> tuple[str, int]:
    """The commonest of the names, and how often it stands there."""
    found, counts = np.unique(names, return_counts=True)
    return str(found[counts.argmax()]), int(counts.max())
