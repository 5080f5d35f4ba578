"""The style of a piece of tissue: how it is stained and how fine its grain is, from its pixels.

For a region of any shape, so that a crop of a few hundred pixels can be compared with the region
of a tile that was to be like it. Stains are separated by colour deconvolution (Ruifrok & Johnston
2001). Nothing is learnt, and nothing depends on where in the region a pixel lies.
"""

from collections.abc import Sequence

import numpy as np
from scipy.spatial.distance import cdist
from skimage.color import rgb2hed

STYLE_VERSION = 1  # raised when a change of this file changes any style
_PERCENTILES = (10, 50, 90)
_AT_ONCE = 512  # rows of the distance matrix in memory


def stains(images: np.ndarray) -> np.ndarray:
    """Optical density of haematoxylin, eosin and residual, float32, of uint8 (..., 3)."""
    return rgb2hed(images).astype(np.float32)


def style(density: np.ndarray, area: np.ndarray) -> np.ndarray:
    """Describe an area of one image by 17 numbers.

    Parameters
    ----------
    density : float32 (H, W, 3), of `stains`
    area : bool (H, W), at least one pixel

    Returns
    -------
    float64 (17,): of each stain the mean, the standard deviation and the mean absolute difference
    of neighbouring pixels; of H and E three percentiles; their correlation; H over H and E.
    """
    pixels = density[area].astype(np.float64)
    mean, deviation = pixels.mean(axis=0), pixels.std(axis=0)
    down, right = area[1:] & area[:-1], area[:, 1:] & area[:, :-1]
    steps = np.concatenate(
        [
            np.abs(density[1:] - density[:-1])[down],
            np.abs(density[:, 1:] - density[:, :-1])[right],
        ]
    )
    grain = steps.mean(axis=0) if len(steps) else np.zeros(3)
    percentiles = np.percentile(pixels[:, :2], _PERCENTILES, axis=0).ravel()
    centred = pixels[:, :2] - mean[:2]
    together = centred.prod(axis=1).mean() / (deviation[0] * deviation[1] + 1e-6)
    balance = mean[0] / (mean[0] + mean[1] + 1e-6)
    return np.concatenate([mean, deviation, grain, percentiles, [together, balance]])


def share_of_farther(
    pieces: np.ndarray, own: np.ndarray, others: np.ndarray, same: np.ndarray
) -> np.ndarray:
    """How often the distance to one's own is the smaller one.

    Parameters
    ----------
    pieces : (n, d)
    own : (n, d), what each piece was to be like; NaN where that is nothing
    others : (m, d), what it is compared with besides
    same : bool (n, m), pairs that are not to be compared

    Returns
    -------
    float64 (n,): the share of others that lie farther from the piece than its own does, ties by
    half; NaN where there is no other, or no own. Where own and others do not differ, 0.5 is
    expected.
    """
    to_own = np.sqrt(np.square(pieces - own).sum(axis=1))
    shares = np.full(len(pieces), np.nan)
    for start in range(0, len(pieces), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        to_others = cdist(pieces[part], others)
        farther = (to_others > to_own[part, None]) + 0.5 * (to_others == to_own[part, None])
        counted = ~same[part]
        n = counted.sum(axis=1)
        found = (farther * counted).sum(axis=1) / np.maximum(n, 1)
        shares[part] = np.where((n > 0) & np.isfinite(to_own[part]), found, np.nan)
    return shares


def unit_spread(styles: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
    """The standard deviation of each number over styles (n, d), 1 where all are alike: (d,)."""
    spread = np.std(styles, axis=0)
    return np.where(spread > 1e-9, spread, 1.0)
