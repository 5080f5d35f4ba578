"""Adherence to maps and labels: networks trained on real tissue read the synthetic tiles.

IoU and boundary F-score come from counts over all pixels of the set, never from a mean over
tiles, which would have to say what the score of a class is where it does not occur.
"""

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from histosynth.errors import InputError
from histosynth.evaluations.counts import Score, accuracy, iou_of, patients, recall_of
from histosynth.evaluations.obedience import Requests, RequestScore
from histosynth.evaluations.protocol import adherence_protocol, check_comparable
from histosynth.evaluations.rows import MetricRow, Scored
from histosynth.evaluations.subsets import site_of
from histosynth.judges.targets import label_indices
from histosynth.metrics import (
    boundary_counts,
    boundary_f,
    boundary_tolerance,
    iou_from_confusion,
    mean_boundary_f,
    mean_iou,
    tile_confusions,
)

if TYPE_CHECKING:
    from histosynth.judges.judge import Judge
    from histosynth.tilesets import TileSet

IOU_METRICS = ("map_iou", "map_iou_ratio")
BOUNDARY_METRICS = ("map_boundary_f", "map_boundary_f_ratio")
MAP_METRICS = (*IOU_METRICS, *BOUNDARY_METRICS)
LABEL_METRICS = ("label_accuracy", "label_accuracy_ratio")
TileColumns = dict[str, np.ndarray]
"""Columns of adherence_tiles.parquet by name, one value a tile of the set."""


def map_rows(
    scored: Scored, real: "TileSet", synthetic: "TileSet", *, judge: "Judge", seed: int
) -> tuple[list[MetricRow], TileColumns]:
    """Agreement of the segmenter's maps with the requested ones, overall, by class and by site.

    Parameters
    ----------
    scored : the condition `real` scores the judge itself; `synthetic` is the test set then
    real : the real test tiles with their maps
    synthetic : tiles with the maps requested of the generator
    seed : of the shuffling and the bootstrap

    Returns
    -------
    rows : IoU and boundary F-score
    columns : by class the pixels in both maps, and in either one

    Raises
    ------
    InputError
        Other classes than the judge's, another size or codec.
    """
    if not synthetic.classes:
        reason = "the set has no maps: the condition does not request any"
        return [scored.absent(metric, reason) for metric in MAP_METRICS], {}
    check_comparable(real, synthetic)
    for tiles in (real, synthetic):
        if tiles.classes != judge.names:
            raise InputError(
                f"{tiles.folder}: its maps have the classes {list(tiles.classes)}, the segmenter "
                f"learned {list(judge.names)}; train the judge again on this study's tiles"
            )
    names = judge.names
    made, truth = (_read_maps(tiles, judge) for tiles in (synthetic, real))
    count = partial(tile_confusions, n_classes=len(names))
    counts = count(made.asked, made.found)
    absent = np.flatnonzero(np.isnan(iou_from_confusion(counts.sum(axis=0))))
    remark = (
        f"no tile requests or shows {', '.join(names[c] for c in absent)}" if absent.size else ""
    )
    protocol = adherence_protocol(real, judge=judge.fingerprint, synthetic=synthetic)
    iou: dict[str, Score] = {"all": mean_iou}
    iou |= {f"class={name}": iou_of(c) for c, name in enumerate(names)}
    overlap = RequestScore(
        scored, IOU_METRICS, iou, count, len(names), truth, protocol=protocol, seed=seed
    )
    tolerance = boundary_tolerance(*real.size)
    border: dict[str, Score] = {"all": mean_boundary_f}
    border |= {f"class={name}": _boundary_f_of(c) for c, name in enumerate(names)}
    outline = RequestScore(
        scored,
        BOUNDARY_METRICS,
        border,
        partial(boundary_counts, n_classes=len(names), tolerance=tolerance),
        len(names),
        truth,
        protocol=protocol | {"boundary_tolerance_px": round(tolerance, 3)},
        seed=seed,
    )
    rows = overlap.rows(made, remark=remark) + outline.rows(made)
    hits = np.diagonal(counts, axis1=1, axis2=2)
    either = counts.sum(axis=1) + counts.sum(axis=2) - hits
    columns = {f"map_intersection_{name}": hits[:, c] for c, name in enumerate(names)}
    return rows, columns | {f"map_union_{name}": either[:, c] for c, name in enumerate(names)}


def label_rows(
    scored: Scored, real: "TileSet", synthetic: "TileSet", *, judge: "Judge", seed: int
) -> tuple[list[MetricRow], TileColumns]:
    """Agreement of the classifier's labels with the requested ones: accuracy, also by site; recall
    by label.

    Parameters and errors as of `map_rows`. Tiles without a label are left out, and said to be.

    Returns
    -------
    rows
    columns : label_hit, 1 where the label is the requested one, -1 where none was requested
    """
    asked = label_indices(synthetic, judge.names)
    kept = np.flatnonzero(asked >= 0)
    if len(kept) == 0:
        reason = "the set has no labels: the condition does not request any"
        return [scored.absent(metric, reason) for metric in LABEL_METRICS], {}
    check_comparable(real, synthetic)
    of_real = label_indices(real, judge.names)
    real_kept = np.flatnonzero(of_real >= 0)
    if len(real_kept) == 0:
        raise InputError(f"{real.folder}: no tile has a label; label adherence needs real labels")
    made, truth = (
        Requests(
            labels[rows],
            judge.labels(tiles.images(rows)).argmax(1),
            patients(tiles)[rows],
            site_of(tiles.table)[rows],
        )
        for tiles, labels, rows in ((synthetic, asked, kept), (real, of_real, real_kept))
    )
    score = class_score(
        scored,
        LABEL_METRICS,
        [f"label={name}" for name in judge.names],
        truth,
        protocol=adherence_protocol(real, judge=judge.fingerprint, synthetic=synthetic),
        seed=seed,
    )
    left_out = len(synthetic) - len(kept)
    remark = f"{left_out} tiles without a label are left out" if left_out else ""
    return score.rows(made, remark=remark), {"label_hit": hits_of(made, kept, len(synthetic))}


def class_score(
    scored: Scored,
    metrics: tuple[str, str],
    subsets: list[str],
    truth: Requests,
    *,
    protocol: dict,
    seed: int,
    encoder: str = "",
) -> RequestScore:
    """Accuracy over all tiles and recall by class, of requests of one class a tile."""
    scores: dict[str, Score] = {"all": accuracy}
    scores |= {subset: recall_of(c) for c, subset in enumerate(subsets)}

    def count(asked: np.ndarray, found: np.ndarray) -> np.ndarray:
        # A label is a map of one pixel.
        return tile_confusions(asked[:, None], found[:, None], n_classes=len(subsets))

    return RequestScore(
        scored, metrics, scores, count, len(subsets), truth, protocol, seed, encoder
    )


def hits_of(made: Requests, rows: np.ndarray, n: int) -> np.ndarray:
    """Of n tiles: 1 where the request is met, 0 where not, -1 where `rows` has no request."""
    hits = np.full(n, -1, dtype=np.int8)
    hits[rows] = made.asked == made.found
    return hits


def _read_maps(tiles: "TileSet", judge: "Judge") -> Requests:
    asked = tiles.maps()
    assert asked is not None
    found = judge.maps(tiles.images())
    return Requests(asked, found, patients(tiles), site_of(tiles.table))


def _boundary_f_of(c: int) -> Score:
    return lambda counts: float(boundary_f(counts[c]))
