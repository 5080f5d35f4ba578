"""Which of the tiles that pass the rules are taken, where a cap leaves some over.

A slide's tiles are put in an order of preference and read from its head until the cap is full, so
that a tile found faulty only once it is read is replaced by the next. Which tiles are taken depends
on the slide (or patient) and the settings alone: neither on the other slides nor on the chunks.
"""

import zlib
from typing import NamedTuple

import numpy as np
import pandas as pd

from histosynth.cohort_settings import Tiling
from histosynth.slides.outliers import OUTLIER_RULES
from histosynth.slides.tiling import (
    LITTLE_TISSUE,
    ONE_CLASS,
    OVER_CAP,
    OVER_PATIENT_CAP,
    UNREADABLE,
    tile_entropy,
)


def preference(
    fractions: np.ndarray,
    labels: np.ndarray,
    entropy: np.ndarray,
    *,
    settings: Tiling,
    slide_id: str,
) -> np.ndarray:
    """The order in which a slide's tiles are taken, best first.

    With `balance`, strata (labels, or tiles' largest classes) take turns: as far as its tiles
    reach, every stratum has as many among the first n as any other, give or take one, for any n.

    Parameters
    ----------
    fractions : float (m, classes) of the tiles that pass the rules, NaN where not annotated
    labels : object (m,), None where there is none: these tiles are a stratum of their own
    entropy : float (m,), of the tissue types; stands in where there is no annotation
    settings : order, balance, max_tiles_per_slide and seed are used
    slide_id : seeds the draw together with `settings.seed`, so that it depends on nothing else

    Returns
    -------
    int64 (m,), a permutation of 0 .. m - 1: grid order where nothing is capped, drawn or balanced
    """
    count, cap = len(fractions), settings.max_tiles_per_slide
    if settings.order == "random" and settings.balance == "none" and cap is None:
        return np.arange(count)
    order = _draw(count, settings.seed, slide_id, first=cap)
    if settings.order == "entropy":
        order = _by_entropy(order, tile_entropy(fractions, entropy))
    return _take_turns(order, _strata(fractions, labels, settings.balance))


def cap_patients(table: pd.DataFrame, *, settings: Tiling) -> np.ndarray:
    """Which tiles stay where `max_tiles_per_patient` is set.

    A patient's tiles are taken one by one from the stratum (see `balance`) that has the fewest so
    far, and in it from the slide that has the fewest; within those by `order`. The result does not
    depend on the order of rows: the draw is seeded by the patient's id.

    Parameters
    ----------
    table : tiles of all slides of the patients, with patient_id, slide_id, x, y, label, entropy
        and class_<name>
    settings : max_tiles_per_patient, order, balance and seed are used

    Returns
    -------
    bool (n,), in the order of the rows
    """
    taken = np.ones(len(table), dtype=bool)
    cap = settings.max_tiles_per_patient
    if cap is None:
        return taken
    sizes = table["patient_id"].value_counts()
    places = pd.Series(np.arange(len(table)), index=table.index)
    by_patient = table.assign(_place=places).groupby("patient_id", sort=False)
    for patient in sizes.index[sizes > cap]:
        tiles = by_patient.get_group(patient).sort_values(["slide_id", "y", "x"])
        kept = _share(tiles, cap, settings=settings, patient_id=str(patient))
        taken[tiles["_place"]] = False
        taken[tiles["_place"].to_numpy()[kept]] = True
    return taken


def _share(tiles: pd.DataFrame, cap: int, *, settings: Tiling, patient_id: str) -> list[int]:
    """Rows of one patient's `cap` tiles."""
    fractions = tiles[[name for name in tiles if name.startswith("class_")]].to_numpy(float)
    order = _draw(len(tiles), settings.seed, patient_id)
    if settings.order == "entropy":
        order = _by_entropy(order, tiles["entropy"].to_numpy(float))
    strata = _strata(fractions, tiles["label"].to_numpy(object), settings.balance)
    slides = pd.factorize(tiles["slide_id"])[0]
    of_stratum, of_slide = np.zeros(strata.max() + 1, int), np.zeros(slides.max() + 1, int)
    waiting: dict[tuple[int, int], list[int]] = {}
    for row in order[::-1].tolist():  # reversed, since lists give their last
        waiting.setdefault((strata[row], slides[row]), []).append(row)
    rank = np.argsort(order)
    kept: list[int] = []

    def behind(cell: tuple[int, int]) -> tuple[int, int, int]:
        stratum, slide = cell
        return of_stratum[stratum], of_slide[slide], rank[waiting[cell][-1]]

    while len(kept) < cap:
        stratum, slide = cell = min(waiting, key=behind)
        kept.append(waiting[cell].pop())
        of_stratum[stratum] += 1
        of_slide[slide] += 1
        if not waiting[cell]:
            del waiting[cell]
    return kept


def _draw(count: int, seed: int, name: str, *, first: int | None = None) -> np.ndarray:
    """A seeded permutation; its first `first` are a draw of so many, whatever follows."""
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    head = rng.choice(count, min(first or count, count), replace=False)
    return np.concatenate([head, rng.permutation(np.setdiff1d(np.arange(count), head))])


def _by_entropy(order: np.ndarray, entropy: np.ndarray) -> np.ndarray:
    """Highest first, unknown last; equal to 1e-6 stay in `order`, so that rounding decides none."""
    values = np.nan_to_num(np.round(entropy[order], 6), nan=-1.0)
    return order[np.argsort(-values, kind="stable")]


def _strata(fractions: np.ndarray, labels: np.ndarray, balance: str) -> np.ndarray:
    """int64 (m,): the number of each tile's stratum; one for all without balance."""
    if balance == "label":
        return pd.factorize(pd.Series(labels, dtype=object), use_na_sentinel=False)[0]
    if balance == "class" and fractions.shape[1]:
        known = ~np.isnan(fractions).any(axis=1)
        return np.where(known, np.nan_to_num(fractions).argmax(axis=1), fractions.shape[1])
    return np.zeros(len(fractions), dtype=np.int64)


def _take_turns(order: np.ndarray, strata: np.ndarray) -> np.ndarray:
    """First the best of every stratum, then the second best of every stratum, and so on."""
    turn = pd.Series(strata[order]).groupby(strata[order]).cumcount().to_numpy()
    return order[np.argsort(turn, kind="stable")]


class AcceptanceRow(NamedTuple):
    """What one rule took of the tiles that the rules before it had left.

    Attributes
    ----------
    rule : the reason's short name, as counted; "grid" for the start
    words : what it means
    taken : tiles that it took away
    left : tiles that remain
    """

    rule: str
    words: str
    taken: int
    left: int


# In the order in which the rules apply.
_RULES = {
    UNREADABLE: "cannot be read",
    "pen": "pen marks",
    "border": "at the border of the scan",
    LITTLE_TISSUE: "too little tissue",
    ONE_CLASS: "not two classes within the bounds",
    "blurred": "out of focus",
    **OUTLIER_RULES,
}
_CAPS = {
    OVER_CAP: "more than a slide may give",
    OVER_PATIENT_CAP: "more than a patient may give",
}


def acceptance_table(counts: dict[str, int]) -> list[AcceptanceRow]:
    """How many tiles each rule took, in the order in which the rules apply.

    Parameters
    ----------
    counts : tiles by reason, and under "accepted" those kept: `reasons` of summary.json

    Returns
    -------
    One row for the whole grid, then one for each rule that took a tile; the last row's `left` is
    the number of tiles kept. A reason not known here stands before the caps, in its own words.
    """
    left = sum(counts.values())
    rows = [AcceptanceRow("grid", "all tiles of the grid", 0, left)]
    unknown = [name for name in counts if name not in {"accepted", *_RULES, *_CAPS}]
    rules = {**_RULES, **{name: name.replace("_", " ") for name in sorted(unknown)}, **_CAPS}
    for rule, words in rules.items():
        if taken := counts.get(rule, 0):
            left -= taken
            rows.append(AcceptanceRow(rule, words, taken, left))
    return rows
