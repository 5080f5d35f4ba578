"""Where the self-test's tiles come from: phantom slides, or tile sets of real images."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from histosynth.errors import InputError
from histosynth.evaluations.fidelity import scored_subset
from histosynth.selftest.scene import Encode, Scene, Tiles, embed
from histosynth.tilesets import TileSet

PATIENTS = 36
_SIDE = 64  # pixels of a tile
_SLIDE = 6 * _SIDE
_MPP = 1.5
_BACKGROUND = 0.65  # of a tile at most
TILES = 192  # of the reference and of the set in the synthetic one's place
MOST = 512  # of a study: what more would tell is not worth its time
LEAST = 100  # of any role: a 1 % quantile of held-out distances takes 99
_RESERVE = 1 / 3  # of the patients' tiles
_SHARES = (1.0, 1.5, 1.0)  # of real, made with its reserve, and training tiles
LEAST_IMAGES = round(sum(_SHARES) * LEAST)


class Deal(NamedTuple):
    """Rows of every role."""

    real: np.ndarray
    made: np.ndarray
    train: np.ndarray


def phantom_tiles(*, patients: int = PATIENTS, seed: int = 0) -> tuple[np.ndarray, ...]:
    """Tiles of phantom slides of one laboratory: images, labels (the largest tissue), patients.

    One laboratory, as two stains lie so far apart that they would hide every lesser fault.
    """
    from histosynth.slides.phantom import PHANTOM_CLASSES, render_slide

    images, labels, names = [], [], []
    for patient in range(patients):
        slide, mask = render_slide(
            _SLIDE, _SLIDE, mpp=_MPP, seed=seed, site=0, patient=patient, difficulty=0.5
        )
        for y in range(0, _SLIDE, _SIDE):
            for x in range(0, _SLIDE, _SIDE):
                place = np.s_[y : y + _SIDE, x : x + _SIDE]
                if (mask[place] == 0).mean() > _BACKGROUND:
                    continue
                images.append(slide[place])
                areas = np.bincount(mask[place].ravel(), minlength=len(PHANTOM_CLASSES))
                labels.append(PHANTOM_CLASSES[1 + areas[1:].argmax()])
                names.append(f"P{patient:03d}")
    return np.stack(images), np.array(labels), np.array(names)


def phantom_scene(encode: Encode, *, patients: int = PATIENTS, seed: int = 0) -> Scene:
    """A scene of phantom tiles, which needs no data: three groups of patients."""
    images, labels, names = phantom_tiles(patients=patients, seed=seed)
    number = np.unique(names, return_inverse=True)[1]
    role = number % 3
    tiles = Tiles(embed(images, encode), labels, names, images)
    return scene_of(tiles, Deal(*(np.flatnonzero(role == i) for i in range(3))), encode, seed=seed)


def scene_of_sets(
    real: TileSet, train: TileSet | None, encode: Encode, *, n: int = TILES, seed: int = 0
) -> Scene:
    """A scene of real tiles, without a common patient in any two roles.

    Parameters
    ----------
    real : the reference; all roles come from it where there is no `train`
    train : its patients are dealt to the set in the synthetic one's place and to training
    n : at most so many tiles of each role

    Raises
    ------
    InputError : too few patients or tiles.
    """
    from histosynth.evaluations.memorization_cast import halves

    def read(tiles: TileSet, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        table = tiles.table.iloc[rows]
        labels = table["label"].astype(object).where(table["label"].notna(), "").astype(str)
        names = table["patient_id"].astype(str)
        return tiles.images(rows), labels.to_numpy(), names.to_numpy()

    if train is None:
        names = real.table["patient_id"].astype(str).to_numpy()
        parts = [(real, rows) for rows in thirds(names, seed=seed)]
    else:
        names = train.table["patient_id"].astype(str).to_numpy()
        parts = [
            (real, np.arange(len(real))),
            *((train, rows) for rows in halves(names, seed=seed)),
        ]
    found, deal, start = [], [], 0
    for (tiles, rows), most in zip(parts, (n, round(n / (1 - _RESERVE)), n), strict=True):
        chosen = rows[scored_subset(len(rows), most, seed=seed)]
        found.append(read(tiles, chosen))
        deal.append(np.arange(start, start + len(chosen)))
        start += len(chosen)
    images, labels, patients = (np.concatenate(column) for column in zip(*found, strict=True))
    tiles_of_all = Tiles(embed(images, encode), labels, patients, images)
    return scene_of(tiles_of_all, Deal(*deal), encode, n=n, seed=seed)


def scene_of(tiles: Tiles, deal: Deal, encode: Encode, *, n: int = TILES, seed: int = 0) -> Scene:
    """Cast tiles for their roles; a part of the second group is kept in reserve.

    Where tiles have no labels or one only, clusters of their features stand in.
    """
    smallest = min(len(deal.real), round((1 - _RESERVE) * len(deal.made)), len(deal.train))
    if smallest < LEAST:
        counts = ", ".join(str(len(rows)) for rows in deal)
        raise InputError(
            f"the images fall into groups of {counts} without a common patient; the self-test "
            f"needs {LEAST} in each after a third of the second is set aside: give more images, "
            "or patients of more even size"
        )
    if len(np.unique(tiles.labels)) < 2:
        tiles = _labelled_by_cluster(tiles, seed)
    n = min(n, smallest)
    random = np.random.default_rng([seed, 8])
    order = random.permutation(deal.made)
    made, reserve = np.sort(order[:n]), np.sort(order[n:])
    real, train = (np.sort(random.permutation(rows)[:n]) for rows in (deal.real, deal.train))
    return Scene(tiles.take(real), tiles.take(made), tiles.take(train), tiles.take(reserve), encode)


def thirds(patients: np.ndarray, *, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows of three groups without a common patient, the second half as large again.

    Raises
    ------
    InputError : fewer than three patients.
    """
    names, index, sizes = np.unique(patients, return_inverse=True, return_counts=True)
    if len(names) < 3:
        raise InputError(
            f"{len(names)} patient(s) cannot be dealt to three groups; the self-test needs real "
            "images of three patients or more"
        )
    wanted = np.array(_SHARES)
    filled, role = np.zeros(3), np.zeros(len(names), dtype=int)
    order = np.random.default_rng(seed).permutation(len(names))
    for patient in sorted(order.tolist(), key=lambda p: -sizes[p]):  # largest first
        role[patient] = int((filled / wanted).argmin())
        filled[role[patient]] += sizes[patient]
    rows = [np.flatnonzero(role[index] == i) for i in range(3)]
    return rows[0], rows[1], rows[2]


def _labelled_by_cluster(tiles: Tiles, seed: int) -> Tiles:
    from sklearn.cluster import KMeans

    scale = np.maximum(tiles.features.std(axis=0), 1e-6)
    found = KMeans(2, n_init=4, random_state=seed).fit_predict(tiles.features / scale)
    names = np.array([f"cluster {number}" for number in found])
    return Tiles(tiles.features, names, tiles.patients, tiles.images)
