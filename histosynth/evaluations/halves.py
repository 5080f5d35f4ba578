"""Real images in two halves without a common patient: a reference, and a floor held against it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from histosynth.errors import InputError
from histosynth.evaluations.rows import SPLIT_UNIT
from histosynth.files import short_hash
from histosynth.metrics import Interval, jackknife_interval
from histosynth.tileset_links import link_tilesets
from histosynth.tilesets import TileSet

LEAST = 10  # images of a half: below a study's usual 50, as the intervals tell what that means


@dataclass(frozen=True)
class Half:
    """One half of the real images: its rows in the whole set, and itself."""

    rows: np.ndarray
    tiles: TileSet


def deal_halves(
    patients: np.ndarray, labels: np.ndarray | None = None, *, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Rows of two halves of nearly equal size without a common patient.

    Where there are labels, the patients of each are dealt apart (a patient's label is the one most
    of its images have), so that both halves hold as much of each; then the larger share of every
    label goes to the half that has less in all. Neither of a label nor in all do the halves differ
    by more than the images of one patient.

    Raises
    ------
    InputError : fewer than two patients, or a half of fewer than `LEAST` images.
    """
    names, index, sizes = np.unique(patients, return_inverse=True, return_counts=True)
    kinds = np.zeros(len(names), dtype=int)
    if labels is not None:
        table = pd.Series(labels.astype(str)).groupby(index)
        kinds = np.unique([of_one.mode()[0] for _, of_one in table], return_inverse=True)[1]
    order = np.random.default_rng(seed).permutation(len(names))
    side = np.zeros(len(names), dtype=int)
    shares = np.zeros((kinds.max() + 1, 2), dtype=int)  # images of each label on either side
    for patient in sorted(order, key=lambda p: -sizes[p]):
        share = shares[kinds[patient]]
        side[patient] = int(share[1] < share[0])
        share[side[patient]] += sizes[patient]
    filled = np.zeros(2, dtype=int)
    for kind in np.argsort(-np.abs(shares[:, 0] - shares[:, 1]), kind="stable"):
        if (shares[kind, 0] - shares[kind, 1]) * (filled[0] - filled[1]) > 0:
            side[kinds == kind] ^= 1
            shares[kind] = shares[kind, ::-1].copy()
        filled += shares[kind]
    if filled.min() < LEAST:
        raise InputError(
            f"the real images split by patient into {filled[0]} and {filled[1]} ({len(names)} "
            f"patients); expected {LEAST} or more in each: add patients, or leave --patients out "
            "to split at random"
        )
    return np.flatnonzero(side[index] == 0), np.flatnonzero(side[index] == 1)


def link_halves(real: TileSet, work: Path, *, split_unit: str) -> list[Half]:
    """The reference half and the floor half as tile sets in `work`.

    Parameters
    ----------
    split_unit : patient, or image where patients are unknown; recorded with the halves
    """
    table = real.table
    labels = table["label"].to_numpy() if table["label"].notna().all() else None
    sides = deal_halves(table["patient_id"].astype(str).to_numpy(), labels)
    # The folder's name tells of patients, labels and codec too, which the fingerprint does not.
    # The rows are there so that halves dealt by another version are not taken for these.
    dealt = [rows.tolist() for rows in sides]
    identity = short_hash([split_unit, real.folder.name, real.fingerprint, dealt])
    made = []
    for name, rows in zip(("reference", "floor"), sides, strict=True):
        folder = work / "sets" / f"real-{name}-{identity}"
        if not (folder / "tileset.json").is_file():
            link_tilesets(
                folder,
                [real.folder],
                table=pa.Table.from_pandas(table.iloc[rows], preserve_index=False),
                rows=rows,
                provenance=real.provenance | {SPLIT_UNIT: split_unit},
            )
        made.append(Half(rows, TileSet.open(folder)))
    return made


@dataclass(frozen=True)
class Side:
    """Features (n, d) of images, and the patient of each."""

    features: np.ndarray
    groups: np.ndarray


def beyond_floor(
    distance: Callable[[np.ndarray, np.ndarray], float],
    reference: Side,
    synthetic: Side,
    floor: Side,
    *,
    seed: int,
) -> Interval:
    """How much farther a set lies from the reference than the floor half does, with its interval.

        D = distance(reference, synthetic) - distance(reference, floor)

    A reference patient is left out of both distances at once, so what the choice of reference
    patients does to both cancels: the interval of D is narrower than the two distances' intervals
    suggest. The half-widths of what the reference and the set bring, and of what the floor half
    brings, are taken to be independent and add in squares.
    """

    def difference(real: np.ndarray, made: np.ndarray) -> float:
        return distance(real, made) - distance(real, floor.features)

    paired = jackknife_interval(
        reference.features,
        synthetic.features,
        real_groups=reference.groups,
        synthetic_groups=synthetic.groups,
        statistic=difference,
        seed=seed,
    )
    ignored = np.zeros((2, floor.features.shape[1]))  # a jackknife of two sets, one of them fixed
    of_floor = jackknife_interval(
        floor.features,
        ignored,
        real_groups=floor.groups,
        statistic=lambda half, _: distance(reference.features, half),
        seed=seed,
    )
    assert isinstance(paired, Interval) and isinstance(of_floor, Interval)
    reach = float(np.hypot(paired.ci_high - paired.value, of_floor.ci_high - of_floor.value))
    se = float(np.hypot(paired.se, of_floor.se))
    return Interval(paired.value, paired.value - reach, paired.value + reach, se)
