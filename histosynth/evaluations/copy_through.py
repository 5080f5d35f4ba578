"""Copy-through: does a generator hand back the pixels of the crops that it was shown?

A crop is tissue of a real patient, whoever's it is. How like what was shown an image is where it
was shown is told by `copied_inside`, for every source of crops. Its control, the condition's
`~shuffled` row, puts another request's crop of the same class in the same place: what tissue of one
class has in common with any other of it.

With `source: same_image` the crops are windows of the very target, in place or moved. Then
`handed_over_share` tells how much of the target is given away, and `copied_outside` how like the
target the image is where nothing was pasted, in pixels that were not shown elsewhere either; its
control is another request's target in the same area. Where inside is high and outside is as
shuffled, what looks like quality is copied.

All of it is by the mean over images of the correlation of pixels, each channel centred: inside
within each crop, so that neither the map nor a stain that was taken over counts as copied; outside
within the area.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from histosynth.conditions import TilePool
from histosynth.conditions.crop import CropSignal
from histosynth.conditions.table import read_condition_table, table_targets
from histosynth.errors import InputError
from histosynth.evaluations.adherence_crop import crop_signal
from histosynth.evaluations.counts import derangement, patients
from histosynth.evaluations.protocol import copy_through_protocol
from histosynth.evaluations.rows import MetricRow, Scored
from histosynth.metrics import cluster_bootstrap
from histosynth.tilesets import TileSet

if TYPE_CHECKING:
    from histosynth.conditions.targets import Targets
    from histosynth.config import Study

OF_TARGET = ("handed_over_share", "copied_outside")  # only where crops are of the target itself
COPY_METRICS = ("handed_over_share", "pasted_share", "copied_inside", "copied_outside")
_AT_ONCE = 256  # images in memory; controls are drawn among them


class Found(NamedTuple):
    """What is measured of an image; NaN where it has no such area with any contrast."""

    handed_over_share: float
    pasted_share: float
    copied_inside: float
    copied_outside: float
    shuffled_inside: float
    shuffled_outside: float


@dataclass(frozen=True)
class Pasted:
    """A crop as it was pasted.

    Attributes
    ----------
    c : the class that it stands for
    donor : row of the real tile that it was cut from
    place : the smallest rectangle of the image that holds it
    pixels : uint8 (h, w, 3), of that rectangle
    shown : bool (h, w), where the crop is, and no crop of a later class lies over it
    """

    c: int
    donor: int
    place: tuple[slice, slice]
    pixels: np.ndarray
    shown: np.ndarray


def copy_through_rows(
    scored: Scored, study: "Study", *, test: TileSet, synthetic: TileSet | None, table: Path | None
) -> list[MetricRow]:
    """Rows of one condition: not applicable where no crops were shown.

    Parameters
    ----------
    synthetic : the condition's set, row i made from row i of the table; None for real tiles
    table : the condition table

    Raises
    ------
    InputError
        The table is missing, or the set was not made from it.
    """
    reason = why_nothing_is_shown(study, scored.condition)
    if reason or synthetic is None:
        return [scored.absent(metric, reason) for metric in COPY_METRICS]
    if table is None:
        raise InputError(f"{scored.condition} was shown crops; give --table to find them")
    requests = read_condition_table(table, test)
    if synthetic.table["source_tile_id"].tolist() != requests["source_tile_id"].tolist():
        raise InputError(f"{synthetic.folder} was not made from {table}; sample it again")
    signal = crop_signal(study, scored.condition)
    assert isinstance(signal, CropSignal)
    pool = TilePool.of(test, {"images", "maps"})
    targets = table_targets(requests, pool, test.classes)
    found = _found(signal, targets, synthetic, seed=study.evaluation.seed)
    groups = patients(synthetic)
    protocol = copy_through_protocol(test, crop=signal.options.model_dump(mode="json"))
    others = why_not_the_target(signal.options.source)
    rows = []
    for name, values in zip(Found._fields, found.T, strict=True):
        metric = name.replace("shuffled", "copied")
        condition = None if metric == name else f"{scored.condition}~shuffled"
        known = np.isfinite(values)
        if metric in OF_TARGET and others:
            rows += [scored.absent(metric, others)] if condition is None else []
            continue
        if not known.any():
            told = "no image has such an area with any contrast"
            rows.append(scored.absent(metric, told, condition=condition))
            continue
        interval = cluster_bootstrap(values[known], groups[known], seed=study.evaluation.seed)
        counts: dict[str, Any] = {"n_real": len(test), "n_synthetic": int(known.sum())}
        # A mean hides the one image that is a copy.
        told = f"the highest of an image is {values[known].max():.2f}" * (name == "copied_inside")
        rows.append(
            scored.row(
                metric, interval, protocol=protocol, condition=condition, reason=told, **counts
            )
        )
    return rows


def why_nothing_is_shown(study: "Study", condition: str) -> str:
    """Why a condition (or reference row) is shown no real pixel; "" where it is shown crops."""
    if condition not in study.conditions:
        return f"{condition} is not made from requests, so nothing was handed over"
    if study.conditions[condition].external is not None:
        return "somebody else's images: what their generator was shown is not known"
    if crop_signal(study, condition) is None:
        return "the condition has no crops: no pixel of a real tile is handed over"
    return ""


def why_not_the_target(source: str) -> str:
    """Why crops of a source hold no pixel of the target; "" where they do."""
    if source == "same_image":
        return ""
    donors = "other tiles of the same slide" if source == "same_slide" else "other slides"
    return f"its crops come from {donors}: no pixel of the target itself is handed over"


def _found(signal: CropSignal, targets: "Targets", synthetic: TileSet, *, seed: int) -> np.ndarray:
    """What is found of every image, float64 (n, fields of `Found`)."""
    images = targets.pool.images
    assert images is not None
    order, found = derangement(len(targets), seed=seed), []
    for start in range(0, len(targets), _AT_ONCE):
        chunk = np.arange(start, min(start + _AT_ONCE, len(targets)))
        part = targets.take(chunk)
        crops = _crops(signal, part)
        controls = _controls(crops, np.random.default_rng([seed, start]))
        for at, (row, given_away) in enumerate(
            zip(chunk.tolist(), signal.shown_pixels(part), strict=True)
        ):
            made = synthetic.image(row)
            pasted = np.zeros(made.shape[:2], bool)
            for crop in crops[at]:
                pasted[crop.place] |= crop.shown
            # What was pasted elsewhere was seen, too.
            unseen = ~(pasted | given_away)
            own, other = (images[int(targets.rows[i])] for i in (row, int(order[row])))
            found.append(
                Found(
                    given_away.mean(),
                    pasted.mean(),
                    correlation([_compared(made, crop, crop) for crop in crops[at]]),
                    area_correlation(made, own, unseen),
                    correlation([_compared(made, *pair) for pair in controls[at]]),
                    area_correlation(made, other, unseen),
                )
            )
    return np.array(found, dtype=np.float64)


def _crops(signal: CropSignal, targets: "Targets") -> list[list[Pasted]]:
    """The crops of each target; the planes of later classes lie over those of earlier ones."""
    crops: list[list[Pasted]] = []
    for i, planes in enumerate(signal.encode(targets)):
        by_class = planes.reshape(-1, 3, *planes.shape[1:])
        shown = (by_class != 0).any(axis=1)  # a plane is 0 where nothing is, as no 8-bit pixel is
        top = np.where(shown.any(axis=0), len(shown) - 1 - shown[::-1].argmax(axis=0), -1)
        crops.append([])
        for c in np.flatnonzero(shown.any(axis=(1, 2))).tolist():
            ys, xs = (np.flatnonzero(shown[c].any(axis=axis)) for axis in (1, 0))
            place = slice(int(ys[0]), int(ys[-1]) + 1), slice(int(xs[0]), int(xs[-1]) + 1)
            pixels = np.rint((by_class[c][:, *place] + 1) * 127.5).astype(np.uint8)
            crops[-1].append(
                Pasted(
                    c,
                    _donor(signal, targets, i, c),
                    place,
                    pixels.transpose(1, 2, 0),
                    shown[c][place] & (top[place] == c),
                )
            )
    return crops


def _donor(signal: CropSignal, targets: "Targets", i: int, c: int) -> int:
    if signal.options.source == "same_image":
        return int(targets.rows[i])
    assert targets.donors is not None
    return int(targets.donors[signal.options.source].rows[i, c])


def _controls(
    crops: Sequence[Sequence[Pasted]], random: np.random.Generator
) -> list[list[tuple[Pasted, Pasted]]]:
    """Each image's crops, each with another request's of its class, which is of another tile.

    A crop is left out where there is no such other one.
    """
    pairs: list[list[tuple[Pasted, Pasted]]] = [[] for _ in crops]
    for c in sorted({crop.c for of_image in crops for crop in of_image}):
        here = [(i, crop) for i, of_image in enumerate(crops) for crop in of_image if crop.c == c]
        cycle = [here[at] for at in random.permutation(len(here)).tolist()]
        for at, (i, crop) in enumerate(cycle):
            following = (other for _, other in cycle[at + 1 :] + cycle[:at])
            other = next((other for other in following if other.donor != crop.donor), None)
            if other is not None:
                pairs[i].append((crop, other))
    return pairs


def _compared(made: np.ndarray, crop: Pasted, shown: Pasted) -> tuple[np.ndarray, np.ndarray]:
    """The image and a crop, both (m, 3), where `crop` was pasted and `shown` would cover it.

    The two crops are laid over each other by their centres.
    """
    sides = [min(pair) for pair in zip(crop.shown.shape, shown.shown.shape, strict=True)]
    ours, theirs = (
        tuple(
            slice((whole - side) // 2, (whole - side) // 2 + side)
            for whole, side in zip(one.shown.shape, sides, strict=True)
        )
        for one in (crop, shown)
    )
    area = crop.shown[ours] & shown.shown[theirs]
    return made[crop.place][ours][area], shown.pixels[theirs][area]


def area_correlation(first: np.ndarray, second: np.ndarray, area: np.ndarray) -> float:
    """Correlation of two images (H, W, 3) within an area, bool (H, W), each channel centred.

    NaN where the area is empty or of one colour.
    """
    return correlation([(first[area], second[area])])


def correlation(pieces: Sequence[tuple[np.ndarray, np.ndarray]]) -> float:
    """Correlation of pairs of pixels (m, 3), each channel centred within each piece.

    NaN where the pieces are empty or of one colour.
    """
    sums = np.zeros(3)
    for a, b in pieces:
        if len(a):
            a, b = (side - side.mean(axis=0, dtype=np.float64) for side in (a, b))
            sums += (a * b).sum(), (a * a).sum(), (b * b).sum()
    scale = np.sqrt(sums[1] * sums[2])
    return float(sums[0] / scale) if scale > 0 else float("nan")
