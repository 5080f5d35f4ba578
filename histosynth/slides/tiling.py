"""Which tiles of a slide may be taken, and why the others may not: pure functions of arrays.

Which of them are, where a cap leaves some over, says `histosynth.slides.selection`.
The heterogeneity rule keeps tiles that show a border: at least two classes, each covering a share
within bounds (20 to 80 % in HistoSynth's papers; see the study's `tiling.heterogeneity`).
"""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from histosynth.cohort_settings import Label, Tiling

if TYPE_CHECKING:
    from histosynth.slides.sources import Candidates

# Why a tile is not taken; the faults of slides and of patches bring reasons of their own.
LITTLE_TISSUE, ONE_CLASS, OVER_CAP, OVER_PATIENT_CAP, UNREADABLE = (
    "little_tissue",
    "one_class",
    "over_cap",
    "over_patient_cap",
    "unreadable",  # followed by ": " and the reader's message
)


def grid_positions(dimensions: tuple[int, int], *, footprint: float, step: float) -> np.ndarray:
    """Upper left corners of all tiles that lie wholly on the slide, row by row.

    Parameters
    ----------
    dimensions : (width, height) of level 0 in pixels
    footprint : side of a tile in level-0 pixels
    step : distance of neighbours in level-0 pixels

    Returns
    -------
    int64 (n, 2): x, y in level-0 pixels; (0, 2) where the slide is smaller than a tile
    """
    x, y = (
        np.unique(np.rint(np.arange(_fitting(side, footprint, step)) * step).astype(np.int64))
        for side in dimensions
    )
    return np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)


def _fitting(side: int, footprint: float, step: float) -> int:
    # Half a pixel of grace: resolutions such as 0.499 make footprints fractional.
    return max(0, int(np.floor((side + 0.5 - footprint) / step)) + 1)


def class_entropy(fractions: np.ndarray) -> np.ndarray:
    """Shannon entropy of class shares in nats; NaN where shares are unknown.

    Parameters
    ----------
    fractions : float (n, classes); what is missing to 1 is unlabelled and left out

    Returns
    -------
    float32 (n,)
    """
    if fractions.shape[1] == 0:
        return np.full(len(fractions), np.nan, dtype=np.float32)
    total = fractions.sum(axis=1, keepdims=True)
    shares = np.divide(fractions, total, out=np.full_like(fractions, np.nan), where=total != 0)
    logs = np.log(shares, out=np.zeros_like(shares), where=shares > 0)
    return (0.0 - (shares * logs).sum(axis=1)).astype(np.float32)  # not -0.0 for a single class


def is_heterogeneous(fractions: np.ndarray, bounds: tuple[float, float]) -> np.ndarray:
    """bool (n,): at least two classes each have a share within [low, high]."""
    low, high = bounds
    return ((fractions >= low) & (fractions <= high)).sum(axis=1) >= 2


def tile_entropy(fractions: np.ndarray, tissue_types: np.ndarray) -> np.ndarray:
    """The entropy that tiles are told apart by, float32 (n,) in nats.

    Parameters
    ----------
    fractions : float (n, classes), NaN where not annotated
    tissue_types : float (n,), entropy of the tissue types found by colour and texture, which
        stands in where there is no annotation; NaN where not looked for
    """
    of_classes = class_entropy(fractions)
    return np.where(np.isnan(of_classes), tissue_types.astype(np.float32), of_classes)


def rejection_reasons(found: "Candidates", *, settings: Tiling) -> np.ndarray:
    """Why each tile of a slide may not be taken; "" for those that may, before any cap.

    A fault (unreadable, pen, border) goes before too little tissue, and that before one class.

    Parameters
    ----------
    found : its faults, tissue and fractions are used
    settings : min_tissue and heterogeneity are used

    Returns
    -------
    object (n,) of str
    """
    reasons = np.full(len(found.tissue), "", dtype=object)
    if settings.heterogeneity is not None:
        reasons[~is_heterogeneous(found.fractions, settings.heterogeneity)] = ONE_CLASS
    reasons[found.tissue < settings.min_tissue] = LITTLE_TISSUE
    faulty = found.faults != ""
    reasons[faulty] = found.faults[faulty]
    return reasons


def tile_labels(
    fractions: np.ndarray,
    *,
    label: Label | None,
    class_names: list[str],
    slide_label: str | None,
) -> np.ndarray:
    """The label of each tile: its slide's, or by the area of the study's `label.classes`.

    Returns
    -------
    object (n,) of str, None where there is none
    """
    labels = np.full(len(fractions), None, dtype=object)
    if label is None:
        return labels
    if label.source == "column":
        labels[:] = slide_label
        return labels
    area = fractions[:, [class_names.index(name) for name in label.classes]].sum(axis=1)
    # A mask's pixel count over the tile's area is exact, but its float32 sum may fall a bit short.
    labels[area >= label.threshold - 1e-6] = label.names[1]
    labels[area < label.threshold - 1e-6] = label.names[0]
    return labels


def tile_table(
    slide: pd.Series,
    *,
    positions: np.ndarray,
    tissue: np.ndarray,
    fractions: np.ndarray,
    entropy: np.ndarray,
    reasons: np.ndarray,
    labels: np.ndarray,
    class_names: list[str],
    size: int,
    mpp: float,
    mpp_source: str,
) -> pd.DataFrame:
    """The rows of a slide's tiles, in the columns of a tile set; `entropy` as `tile_entropy`."""
    table = pd.DataFrame({"x": positions[:, 0], "y": positions[:, 1]})
    ids = [f"{slide['slide_id']}_x{x}_y{y}" for x, y in positions.tolist()]
    table.insert(0, "tile_id", pd.Series(ids, dtype=object))
    for place, name in enumerate(("slide_id", "patient_id", "site", "split"), start=1):
        table.insert(place, name, slide[name])
    table.insert(5, "label", pd.Series(labels, dtype=object))
    table["size"] = size
    table["mpp"] = mpp
    table["mpp_source"] = mpp_source
    table["tissue"] = tissue.astype(np.float32)
    for index, name in enumerate(class_names):
        table[f"class_{name}"] = fractions[:, index]
    table["entropy"] = entropy
    table["accepted"] = reasons == ""
    table["reason"] = reasons
    return table
