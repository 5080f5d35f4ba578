"""Why a tile cannot be used although it shows tissue: pen, black fields, and lack of focus.

Pen and black fields are seen on the slide's overview (`tissue.find_tissue`), focus only on the tile
itself. What the numbers below were measured on is in docs/tissue.md.
"""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from histosynth.slides.tissue import Tissue, box_means

PEN, BORDER, BLURRED = "pen", "border", "blurred"
_LARGEST_SHARE = 0.02  # of a tile's area: the masks hold no lone pixels, so little is needed
_FOCUS_MPP = 2.0  # the finest detail looked at; noise and compression lie below it
_COARSE = 4  # coarse detail over fine: 8 um, the size of a nucleus
_SHARP = 0.15  # fine over coarse detail
_NOISE = 0.5  # grey levels of fine detail that noise and compression make up
_VISIBLE = 4.0  # grey levels of coarse detail; half of a tissue's points in focus have over 15
_CLEAR = 205  # the darkest channel of glass, fat and lumina is brighter
_SMALLEST_SIDE = 24  # pixels of _FOCUS_MPP: a smaller tile shows too few structures to judge


def overview_faults(tissue: Tissue, boxes: np.ndarray, reject: Sequence[str]) -> np.ndarray:
    """Which tiles show marker ink or a field that was not scanned.

    Parameters
    ----------
    tissue : of the slide's overview
    boxes : float (n, 4), the tiles: left, top, right, bottom in overview pixels
    reject : the faults looked for, of "pen" and "border"; others are ignored

    Returns
    -------
    object (n,) of str: "", "pen" or "border"
    """
    faults = np.full(len(boxes), "", dtype=object)
    for fault, mask in ((BORDER, tissue.border), (PEN, tissue.pen)):
        if fault in reject and mask.any():
            faults[box_means(mask, boxes) > _LARGEST_SHARE] = fault
    return faults


def image_fault(image: np.ndarray, *, mpp: float, reject: Sequence[str]) -> str:
    """Whether a tile is out of focus.

    The rule abstains, and returns "", where the resolution is unknown or coarser than 2 um a
    pixel, where the tile is smaller than 48 um, and where it is flat and bright, as in fat or in a
    lumen. Coloured but flat is out of focus: tissue far off, or ink that lies on the glass.

    Parameters
    ----------
    image : uint8 (H, W, 3), the tile as read
    mpp : micrometres a pixel of `image`; NaN where unknown
    reject : the faults looked for; only "blurred" counts

    Returns
    -------
    "" or "blurred"
    """
    if BLURRED not in reject:
        return ""
    sharpness = focus_score(image, mpp=mpp)
    return BLURRED if sharpness < _SHARP else ""  # NaN is not less


def focus_score(image: np.ndarray, *, mpp: float) -> float:
    """Detail at 2 um relative to detail at 8 um: how sharp, whatever the contrast and the stain.

    Both are the root mean square of a Laplacian, at 2 and at 8 um a pixel. In focus, nuclei and
    fibres hold both; out of focus the finer goes first, and in a smooth image its Laplacian is
    1/16 of the coarser by the ratio of their steps.

    Parameters
    ----------
    image : uint8 (H, W, 3)
    mpp : micrometres a pixel of `image`

    Returns
    -------
    float, 0 where a coloured tile has hardly any detail, NaN where nothing can be said (see
    `image_fault`)
    """
    if not 0 < mpp <= _FOCUS_MPP:
        return np.nan
    small = Image.fromarray(image)
    width, height = (round(side * mpp / _FOCUS_MPP) for side in small.size)
    if min(width, height) < _SMALLEST_SIDE:
        return np.nan
    if (width, height) != small.size:
        small = small.resize((width, height), Image.Resampling.BILINEAR)
    pairs = _neighbour_means(np.asarray(small.convert("L"), dtype=np.float32), 1)
    fine, coarse = _laplacian(pairs, 1), _laplacian(_neighbour_means(pairs, 2), _COARSE)
    # A speck of dust is sharp in any tile, so most of what is coloured must show detail.
    darkest = np.asarray(small, dtype=np.float32).min(axis=2)
    darkest = _neighbour_means(_neighbour_means(darkest, 1), 2)
    coloured = darkest[_COARSE:-_COARSE, _COARSE:-_COARSE] < _CLEAR
    if coloured.mean() >= 0.5 and np.median(np.abs(coarse[coloured])) < _VISIBLE:
        return 0.0
    if (spread := _root_mean_square(coarse)) < _VISIBLE:
        return np.nan
    return float(np.sqrt(max(_root_mean_square(fine) ** 2 - _NOISE**2, 0)) / spread)


def _neighbour_means(values: np.ndarray, step: int) -> np.ndarray:
    """Means of 2 x 2 values `step` apart."""
    values = values[step:] + values[:-step]
    return (values[:, step:] + values[:, :-step]) * np.float32(0.25)


def _laplacian(values: np.ndarray, step: int) -> np.ndarray:
    """Sum of the four neighbours `step` apart, less four times the value."""
    inner = values[step:-step, step:-step]
    laplacian = values[2 * step :, step:-step] + values[: -2 * step, step:-step]
    laplacian += values[step:-step, 2 * step :]
    laplacian += values[step:-step, : -2 * step]
    laplacian -= 4 * inner
    return laplacian


def _root_mean_square(values: np.ndarray) -> float:
    return float(np.sqrt(np.square(values).mean()))
