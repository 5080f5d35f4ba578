"""Which tiles of a slide are kept, and why the others are not: pure functions of arrays.

The heterogeneity rule keeps tiles that show a border: at least two classes, each covering a share
within bounds (20 to 80 % in HistoSynth's papers; see the study's `tiling.heterogeneity`).
"""

import zlib

import numpy as np
import pandas as pd

from histosynth.cohort_settings import Label, Tiling

LITTLE_TISSUE, ONE_CLASS, OVER_CAP, UNREADABLE = (
    "little_tissue",
    "one_class",
    "over_cap",
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


def rejection_reasons(
    tissue: np.ndarray,
    fractions: np.ndarray,
    *,
    faults: np.ndarray,
    settings: Tiling,
    slide_id: str,
) -> np.ndarray:
    """Why each tile of a slide is left out; "" for those kept.

    Parameters
    ----------
    tissue : float (n,), share of tissue
    fractions : float (n, classes), NaN where not known
    faults : object (n,) of str, see `Candidates`
    settings : min_tissue, heterogeneity, max_tiles_per_slide and seed are used
    slide_id : seeds the draw together with `settings.seed`, so that it depends on nothing else

    Returns
    -------
    object (n,) of str
    """
    reasons = np.full(len(tissue), "", dtype=object)
    if settings.heterogeneity is not None:
        reasons[~is_heterogeneous(fractions, settings.heterogeneity)] = ONE_CLASS
    reasons[tissue < settings.min_tissue] = LITTLE_TISSUE
    reasons[faults != ""] = faults[faults != ""]
    kept = np.flatnonzero(reasons == "")
    if settings.max_tiles_per_slide is not None and len(kept) > settings.max_tiles_per_slide:
        rng = np.random.default_rng([settings.seed, zlib.crc32(slide_id.encode())])
        drawn = rng.choice(kept, settings.max_tiles_per_slide, replace=False)
        reasons[np.setdiff1d(kept, drawn)] = OVER_CAP
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
    reasons: np.ndarray,
    labels: np.ndarray,
    class_names: list[str],
    size: int,
    mpp: float,
    mpp_source: str,
) -> pd.DataFrame:
    """The rows of a slide's tiles, in the columns of a tile set."""
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
    table["entropy"] = class_entropy(fractions)
    table["accepted"] = reasons == ""
    table["reason"] = reasons
    return table
