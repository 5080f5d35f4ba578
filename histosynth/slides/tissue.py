"""Where the tissue is on a slide's overview, and what hides it: pen marks and black fields.

Everything is decided on optical density, -ln(I / glass), smoothed by a pixel. Tissue is what the
stains colour: Otsu's threshold (IEEE Trans. SMC 9:62, 1979) on the chroma of optical density, its
largest channel less its smallest, kept within bounds that hold for stained tissue on glass, since
Otsu splits anything in two: a slide of bare glass as well as one that is tissue from edge to edge.
The rules for ink say where in the space of densities haematoxylin and eosin cannot lie. What the
numbers below were measured on is in docs/tissue.md.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

TISSUE_MPP = 8.0  # micrometres a pixel of the tissue mask
_CHROMA_BOUNDS = (0.05, 0.12)  # bare glass stays below the first, pale eosin lies above the second
_SATURATION = 0.15  # chroma over density: less is grey, as dust, shadows and black ink are
_DARKEST_GLASS = 225  # what is darker may be a slide of pale tissue only
_DARK_FIELD = 100  # brightfield glass and pale tissue are brighter than this grey
_BLACK = 30  # all channels at most: ink or a field that was not scanned, not stained tissue
_FLAT = 3.0  # grey levels: standard deviation of a field that was not scanned
_CLOSING_UM = 24.0
_RIM_UM = 16.0  # smoothing blurs black fields into what is around them
_PEN_RIM_UM = 40.0  # ink lies on the coverslip, out of focus
_SMALLEST_UM2 = 2.0e4  # of tissue, of a pen mark, of a black field
_LARGEST_HOLE_UM2 = 1.0e5  # lumina and fat belong to the tissue, the space between pieces does not
_INK_SHARE = 0.1  # of a stroke that is in part over dense tissue
_STRIP = 256  # rows at a time, which bounds the memory that a large overview takes


@dataclass(frozen=True)
class Tissue:
    """What an overview shows.

    Attributes
    ----------
    mask : bool (H, W), tissue
    reason : why there is no tissue; empty where there is some
    pen : bool (H, W), marker ink: none of it counts as tissue
    border : bool (H, W), black fields that were not scanned
    """

    mask: np.ndarray
    reason: str
    pen: np.ndarray
    border: np.ndarray


def find_tissue(image: np.ndarray, *, mpp: float = TISSUE_MPP) -> Tissue:
    """Find stained tissue in an overview of a brightfield slide.

    Parameters
    ----------
    image : uint8 (H, W, 3)
    mpp : micrometres a pixel of `image`
    """
    none = np.zeros(image.shape[:2], dtype=bool)
    smooth = np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(1)))
    border = _black_fields(smooth, mpp=mpp)
    dark = _dark_field(smooth, border, mpp=mpp)
    if dark:
        return Tissue(none, f"no tissue: dark field (fluorescence?), {dark}", none, none)
    # JPEG's colour noise and a scanner's warm light are chroma too: the one is smoothed away, the
    # other divided out.
    chroma, grey, ink, near = _densities(smooth, glass=_glass(image))
    pen = _pen_marks(ink & ~border, near & ~border, mpp=mpp) & ~border
    threshold = _chroma_threshold(chroma[~(pen | border)])
    mask = _clean((chroma > threshold) & ~grey & ~pen & ~border, mpp=mpp) & ~pen & ~border
    if not mask.any():
        return Tissue(mask, "no tissue: nothing as coloured as stain", pen, border)
    return Tissue(mask, "", pen, border)


def _glass(image: np.ndarray) -> np.ndarray:
    """float (3,): the light through bare glass, the 95th percentile of each channel."""
    # A sample of the pixels will do. Pure white is what readers fill in where nothing was scanned.
    step = max(1, int(np.sqrt(image.shape[0] * image.shape[1] / 1e5)))
    pixels = image[::step, ::step].reshape(-1, 3)
    pixels = pixels[(pixels < 255).any(axis=1)]
    if len(pixels) == 0:
        return np.full(3, 255.0)
    return np.clip(np.percentile(pixels, 95, axis=0), _DARKEST_GLASS, 255)


def _densities(
    smooth: np.ndarray, *, glass: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """What the colours say of each pixel.

    Returns
    -------
    float32 (H, W), chroma of optical density, and three bool (H, W): too grey for stain; colours
    that only ink has; colours that tissue under ink has, and the densest tissue
    """
    levels = np.maximum(np.arange(256), 1)
    tables = [np.maximum(-np.log(levels / light), 0).astype(np.float32) for light in glass]
    chroma = np.empty(smooth.shape[:2], dtype=np.float32)
    grey, ink, near = (np.empty(smooth.shape[:2], dtype=bool) for _ in range(3))
    for top in range(0, len(smooth), _STRIP):
        rows = slice(top, top + _STRIP)
        r, g, b = (tables[channel][smooth[rows, :, channel]] for channel in range(3))
        densest = np.maximum(np.maximum(r, g), b)
        faintest = np.minimum(np.minimum(r, g), b)
        chroma[rows] = densest - faintest
        grey[rows] = chroma[rows] <= _SATURATION * densest
        # Eosin and red cells absorb green most and red least; haematoxylin red and green alike,
        # blue less. Neither lets hardly any red through at this scale, where nuclei and what is
        # between them mix. Blood has the colour of red ink, but is never as dense.
        opaque = r > 1.8
        blue = ((r > 1.1 * g) & (r > 0.8)) | ((r > 1.4 * g) & (r > 0.3))
        green = (g < 0.85 * np.minimum(r, b)) & (densest > 0.4)
        yellow = (b > 1.6 * g) & (b > 0.4)
        red = (b > 0.7 * g) & (r < 0.4 * g) & (g > 1.6)
        black = (faintest > 1.0) & (chroma[rows] < 0.25 * densest)
        ink[rows] = opaque | blue | green | yellow | red | black
        near[rows] = ink[rows] | (r > 1.3) | ((faintest > 0.8) & (chroma[rows] < 0.35 * densest))
    return chroma, grey, ink, near


def _chroma_threshold(chroma: np.ndarray) -> float:
    from skimage.filters import threshold_otsu

    otsu = float(threshold_otsu(chroma)) if chroma.size and np.ptp(chroma) > 0 else 0.0
    return float(np.clip(otsu, *_CHROMA_BOUNDS))


def _black_fields(smooth: np.ndarray, *, mpp: float) -> np.ndarray:
    """bool (H, W): large parts that are black and, unlike black marker, flat."""
    from scipy import ndimage

    black = np.logical_and.reduce([smooth[..., channel] <= _BLACK for channel in range(3)])
    if not black.any():
        return black
    radius = _pixels(_RIM_UM, mpp)
    parts, _ = ndimage.label(_erode(black, radius))
    inside = parts > 0
    part, grey = parts[inside], smooth[inside].mean(axis=1)
    area = np.maximum(np.bincount(part, minlength=1), 1)
    mean = np.bincount(part, grey, minlength=1) / area
    square = np.bincount(part, grey**2, minlength=1) / area
    deviation = np.sqrt(np.maximum(square - mean**2, 0))
    field = (deviation <= _FLAT) & (area >= _SMALLEST_UM2 / mpp**2)
    field[0] = False
    return _dilate(field[parts], 2 * radius)


def _dark_field(smooth: np.ndarray, border: np.ndarray, *, mpp: float) -> str:
    """What makes the overview a dark field, where glass is black; empty for a brightfield."""
    grey = np.asarray(Image.fromarray(smooth).convert("L", matrix=(1 / 3, 1 / 3, 1 / 3, 0)))
    lit = grey[~border]
    bright = float(np.percentile(lit, 95)) if lit.size else 0.0
    if bright < _DARK_FIELD:
        return f"95 % darker than {bright:.0f} of 255"
    # Beside a field that was not scanned begins the glass; a dark field fades into its tissue.
    beside = _dilate(border, _pixels(2 * _RIM_UM, mpp)) & ~border
    if border.mean() > 0.5 and (faded := float(np.median(grey[beside]))) < _DARK_FIELD:
        return f"{border.mean():.0%} of it black, fading into {faded:.0f} of 255"
    return ""


def _pen_marks(ink: np.ndarray, near: np.ndarray, *, mpp: float) -> np.ndarray:
    """Strokes in ink's colours: no lone pixels, gaps closed, blurred rims taken in.

    Where a stroke crosses dense tissue its colour is lost, so parts of `near` belong to it, if
    ink is a good share of them.
    """
    from scipy import ndimage

    if not ink.any():
        return ink
    strokes = _drop_small(_close(ink, _pixels(_CLOSING_UM, mpp)), _SMALLEST_UM2 / mpp**2)
    parts, _ = ndimage.label(near | strokes)
    of_strokes = np.bincount(parts[strokes], minlength=parts.max() + 1)
    area = np.bincount(parts.ravel())
    crossed = of_strokes > _INK_SHARE * area
    crossed[0] = False
    return _dilate(crossed[parts], _pixels(_PEN_RIM_UM, mpp))


def _clean(mask: np.ndarray, *, mpp: float) -> np.ndarray:
    mask = _drop_small(_close(mask, _pixels(_CLOSING_UM, mpp)), _SMALLEST_UM2 / mpp**2)
    return ~_drop_small(~mask, _LARGEST_HOLE_UM2 / mpp**2)


def _pixels(length: float, mpp: float) -> int:
    return max(1, round(length / mpp))


def _close(mask: np.ndarray, radius: int) -> np.ndarray:
    return _erode(_dilate(mask, radius), radius)


def _erode(mask: np.ndarray, radius: int) -> np.ndarray:
    return ~_dilate(~mask, radius)


def _dilate(mask: np.ndarray, radius: int) -> np.ndarray:
    """Union of `mask` moved to every place of a disk: for small disks far faster than scipy's."""
    # Padded by repetition, so that tissue cut by the slide's edge is not eaten there.
    padded = np.pad(mask, radius, mode="edge")
    height, width = mask.shape
    grown = np.zeros_like(mask)
    for down in range(-radius, radius + 1):
        reach = int(np.sqrt(radius**2 - down**2))
        for along in range(-reach, reach + 1):
            top, left = radius + down, radius + along
            grown |= padded[top : top + height, left : left + width]
    return grown


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
