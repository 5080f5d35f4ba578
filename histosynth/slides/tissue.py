"""Where the tissue is: Otsu's threshold on colour at low resolution, cleaned by morphology.

The threshold is Otsu's (IEEE Trans. SMC 9:62, 1979) on chroma, kept within bounds that hold for
stained tissue on glass, since Otsu splits anything in two: a slide of bare glass as well as one
that is tissue from edge to edge.
"""

from dataclasses import dataclass

import numpy as np

TISSUE_MPP = 8.0  # micrometres a pixel of the tissue mask
_CHROMA_BOUNDS = (0.04, 0.10)  # bare glass stays below the first, pale eosin lies above the second
_DARK_FIELD = 100  # brightfield glass and pale tissue are brighter than this grey
_INK = 30  # all channels below: black ink, a label or an unscanned field, not stained tissue
_CLOSING_UM = 24.0
_SMALLEST_TISSUE_UM2 = 2.0e4
_LARGEST_HOLE_UM2 = 1.0e5  # lumina and fat belong to the tissue, the space between pieces does not


@dataclass(frozen=True)
class Tissue:
    """A tissue mask.

    Attributes
    ----------
    mask : bool (H, W)
    reason : why there is no tissue; empty where there is some
    """

    mask: np.ndarray
    reason: str


def find_tissue(image: np.ndarray, *, mpp: float = TISSUE_MPP) -> Tissue:
    """Find stained tissue in an overview of a brightfield slide.

    Parameters
    ----------
    image : uint8 (H, W, 3)
    mpp : micrometres a pixel of `image`
    """
    from scipy import ndimage
    from skimage.filters import gaussian, threshold_otsu

    none = np.zeros(image.shape[:2], dtype=bool)
    bright = np.percentile(image.mean(axis=2), 95)
    if bright < _DARK_FIELD:
        return Tissue(none, f"no tissue: dark field (fluorescence?), 95 % are below {bright:.0f}")
    # Smoothed first: the colour noise of JPEG on glass is chroma too.
    smooth = gaussian(image.astype(np.float32) / 255, sigma=1, channel_axis=2)
    chroma = smooth.max(axis=2) - smooth.min(axis=2)
    otsu = float(threshold_otsu(chroma)) if np.ptp(chroma) > 0 else 0.0
    threshold = float(np.clip(otsu, *_CHROMA_BOUNDS))
    mask = (chroma > threshold) & (image.max(axis=2) > _INK)
    radius = max(1, round(_CLOSING_UM / mpp))
    reach = np.arange(-radius, radius + 1)
    disk = reach[:, None] ** 2 + reach[None, :] ** 2 <= radius**2
    # Padded by repetition, so that tissue cut by the slide's edge is not eaten there.
    closed = ndimage.binary_closing(np.pad(mask, radius, mode="edge"), disk)
    mask = closed[radius:-radius, radius:-radius]
    mask = _drop_small(mask, _SMALLEST_TISSUE_UM2 / mpp**2)
    mask = ~_drop_small(~mask, _LARGEST_HOLE_UM2 / mpp**2)
    if not mask.any():
        return Tissue(none, f"no tissue: nothing as coloured as stain (chroma > {threshold:.2f})")
    return Tissue(mask, "")


def _drop_small(mask: np.ndarray, smallest: float) -> np.ndarray:
    """`mask` without its connected parts of fewer than `smallest` pixels."""
    from scipy import ndimage

    parts, _ = ndimage.label(mask)
    area = np.bincount(parts.ravel())
    area[0] = 0
    # A part as large as half the picture is never dropped, however small the picture.
    return (area >= min(smallest, mask.size / 2))[parts] & mask


def box_means(values: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Mean of an image over boxes, each in constant time, from its integral image.

    Parameters
    ----------
    values : bool or float (H, W); pixel (i, j) covers [j, j + 1) x [i, i + 1)
    boxes : float (n, 4): left, top, right, bottom in pixels, fractions allowed; what lies outside
        the image counts as 0

    Returns
    -------
    float64 (n,)
    """
    integral = np.zeros((values.shape[0] + 1, values.shape[1] + 1))
    np.cumsum(np.cumsum(values, axis=0, dtype=np.float64), axis=1, out=integral[1:, 1:])
    left, top, right, bottom = np.asarray(boxes, dtype=np.float64).T
    total = (
        _interpolate(integral, right, bottom)
        - _interpolate(integral, left, bottom)
        - _interpolate(integral, right, top)
        + _interpolate(integral, left, top)
    )
    return total / ((right - left) * (bottom - top))


def _interpolate(integral: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Bilinear values of an integral image: exact, since the image is constant within a pixel."""
    x = np.clip(x, 0, integral.shape[1] - 1)
    y = np.clip(y, 0, integral.shape[0] - 1)
    column = np.minimum(x.astype(int), integral.shape[1] - 2)
    row = np.minimum(y.astype(int), integral.shape[0] - 2)
    along, down = x - column, y - row
    upper = integral[row, column] * (1 - along) + integral[row, column + 1] * along
    lower = integral[row + 1, column] * (1 - along) + integral[row + 1, column + 1] * along
    return upper * (1 - down) + lower * down
