"""Copy-through: does a generator hand back the pixels of the target that it was shown?

With `crop` of source same_image, windows of the very target tile are given to the generator, in
place or moved. How like what was shown the image is there, and how like the target elsewhere, is
told by the mean over images of the correlation of pixels, each channel centred within the area;
and, as the condition's `~shuffled` rows, by that with another request's target in the same area.
Where inside is high and outside is as shuffled, what looks like quality is copied.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from histosynth.conditions import TilePool, get_signal
from histosynth.conditions.table import read_condition_table, table_targets
from histosynth.errors import InputError
from histosynth.evaluations.counts import derangement, patients
from histosynth.evaluations.protocol import copy_through_protocol
from histosynth.evaluations.rows import MetricRow, Scored
from histosynth.metrics import cluster_bootstrap
from histosynth.tilesets import TileSet

if TYPE_CHECKING:
    from histosynth.conditions.targets import Targets
    from histosynth.config import Study

COPY_METRICS = ("handed_over_share", "copied_inside", "copied_outside")
_AT_ONCE = 256  # images in memory


def copy_through_rows(
    scored: Scored, study: "Study", *, test: TileSet, synthetic: TileSet | None, table: Path | None
) -> list[MetricRow]:
    """Rows of one condition: not applicable where no pixel of the target was shown.

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
        raise InputError(f"{scored.condition} was shown its targets; give --table to find them")
    requests = read_condition_table(table, test)
    if synthetic.table["source_tile_id"].tolist() != requests["source_tile_id"].tolist():
        raise InputError(f"{synthetic.folder} was not made from {table}; sample it again")
    signal = get_signal("crop", _crop(study, scored.condition) or {}, study)
    pool = TilePool.of(test, {"images", "maps"})
    targets = table_targets(requests, pool, test.classes)
    order = derangement(len(requests), seed=study.evaluation.seed)
    found = np.concatenate(list(_scores(signal, targets, synthetic, order)))
    groups = patients(synthetic)
    protocol = copy_through_protocol(test, crop=signal.options.model_dump(mode="json"))
    shuffled = f"{scored.condition}~shuffled"
    columns = [
        ("handed_over_share", None),
        ("copied_inside", None),
        ("copied_outside", None),
        ("copied_inside", shuffled),
        ("copied_outside", shuffled),
    ]
    rows = []
    for values, (metric, condition) in zip(found.T, columns, strict=True):
        known = np.isfinite(values)  # an area of one colour, or none, correlates with nothing
        if not known.any():
            told = "no image has such an area with any contrast"
            rows.append(scored.absent(metric, told, condition=condition))
            continue
        interval = cluster_bootstrap(values[known], groups[known], seed=study.evaluation.seed)
        counts: dict[str, Any] = {"n_real": len(test), "n_synthetic": int(known.sum())}
        rows.append(scored.row(metric, interval, protocol=protocol, condition=condition, **counts))
    return rows


def why_nothing_is_shown(study: "Study", condition: str) -> str:
    """Why a condition (or reference row) is shown no pixel of its target; "" where it is."""
    if condition not in study.conditions:
        return f"{condition} is not made from requests, so nothing was handed over"
    if study.conditions[condition].external is not None:
        return "somebody else's images: what their generator was shown is not known"
    options = _crop(study, condition)
    if options is None:
        return "the condition has no crops: no pixel of the target is handed over"
    source = options.get("source")
    if source == "same_image":
        return ""
    donors = "other tiles of the same slide" if source == "same_slide" else "other slides"
    return f"its crops come from {donors}: no pixel of the target is handed over"


def _crop(study: "Study", condition: str) -> dict[str, Any] | None:
    signals = study.conditions[condition].signals or []
    return next((signal.options for signal in signals if signal.kind == "crop"), None)


def _scores(
    signal: Any, targets: "Targets", synthetic: TileSet, order: np.ndarray
) -> Iterator[np.ndarray]:
    """Chunks (b, 5): share handed over; correlation inside, outside; the same, shuffled."""
    assert targets.pool.images is not None
    for start in range(0, len(targets), _AT_ONCE):
        part = np.arange(start, min(start + _AT_ONCE, len(targets)))
        # A plane is exactly 0 where nothing is given, which no 8-bit pixel becomes.
        planes = signal.encode(targets.take(part))
        shares = signal.shown_share(targets.take(part))
        for i, given, share in zip(part.tolist(), planes, shares, strict=True):
            made, by_class = synthetic.image(i), given.reshape(-1, 3, *given.shape[1:])
            area = (given != 0).any(axis=0)
            pasted = np.zeros_like(made)
            for crop in by_class:
                there = (crop != 0).any(axis=0)
                pasted[there] = np.rint((crop[:, there].T + 1) * 127.5)
            own, other = (targets.pool.images[int(targets.rows[row])] for row in (i, int(order[i])))
            yield np.array(
                [
                    [
                        share,
                        area_correlation(made, pasted, area),
                        area_correlation(made, own, ~area),
                        area_correlation(made, other, area),
                        area_correlation(made, other, ~area),
                    ]
                ]
            )


def area_correlation(first: np.ndarray, second: np.ndarray, area: np.ndarray) -> float:
    """Correlation of two images (H, W, 3) within an area, bool (H, W), each channel centred.

    NaN where the area is empty or of one colour.
    """
    a, b = (image[area].astype(np.float64) for image in (first, second))
    if not len(a):
        return float("nan")
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    scale = np.sqrt((a * a).sum() * (b * b).sum())
    return float((a * b).sum() / scale) if scale > 0 else float("nan")
