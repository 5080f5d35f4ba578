"""Osorio's rules for patches that show nothing: dark, grey, flat, blurred or empty ones.

After the code of Osorio et al. (arXiv 2312.09792), whose thresholds are for 96-px patches at about
1 um a pixel. There a patch is left out where mean V < 70, mean S < 3, std V < 4, std S < 4, std
H < 1.5 (Pillow's HSV, 0-255), the Laplacian's variance < 100, or fewer than 10 contours lie at a
grey level of 150. OpenCV is not needed: the Laplacian and the contours are its own to the number.
"""

import numpy as np
from PIL import Image
from scipy import ndimage

from histosynth.resizing import resize

PATCH = 96
GREY_LEVEL = 150

# Reason -> what it means, in the order in which the rules apply.
OUTLIER_RULES = {
    "outlier_dark": "too dark",
    "outlier_grey": "without colour",
    "outlier_flat_brightness": "of one brightness",
    "outlier_flat_saturation": "of one saturation",
    "outlier_flat_hue": "of one hue",
    "outlier_blurred": "without sharp edges",
    "outlier_empty": "with too few shapes in it",
}


def osorio_outlier(image: np.ndarray) -> str:
    """The first of the rules that a tile breaks, a key of `OUTLIER_RULES`; "" for none.

    Parameters
    ----------
    image : uint8 (H, W, 3); resized (antialiased) to 96 px where it is not, since edges
        and shapes in it depend on the size of a pixel. A tile much smaller than 96 px gets
        smoother by that, and breaks the rule for blur the sooner.
    """
    patch = Image.fromarray(resize(image, (PATCH, PATCH)))
    hue, saturation, value = np.asarray(patch.convert("HSV")).astype(float).transpose(2, 0, 1)
    if value.mean() < 70:
        return "outlier_dark"
    if saturation.mean() < 3:
        return "outlier_grey"
    if value.std() < 4:
        return "outlier_flat_brightness"
    if saturation.std() < 4:
        return "outlier_flat_saturation"
    if hue.std() < 1.5:  # hue as a number, not as an angle: as in the paper's code
        return "outlier_flat_hue"
    grey = np.asarray(patch.convert("L"))
    if laplacian_variance(grey) < 100:
        return "outlier_blurred"
    if count_contours(grey > GREY_LEVEL) < 10:
        return "outlier_empty"
    return ""


def laplacian_variance(grey: np.ndarray) -> float:
    """Variance of the four-neighbour Laplacian of grey (H, W), mirrored at the borders.

    Equal to `cv2.Laplacian(grey, cv2.CV_64F).var()`.
    """
    return float(ndimage.laplace(grey.astype(float), mode="mirror").var())


def count_contours(mask: np.ndarray) -> int:
    """Boundaries of the shapes in a bool mask (H, W): one a shape, and one a hole in a shape.

    Shapes hang together over corners (8 neighbours), holes over sides only (4 neighbours); a shape
    cut off by the image's edge counts, and what it cuts off there is no hole. Equal to
    `len(cv2.findContours(mask, cv2.RETR_TREE, ...)[0])`.
    """
    padded = np.pad(mask, 1)
    _, shapes = ndimage.label(padded, structure=np.ones((3, 3)))
    _, gaps = ndimage.label(~padded)
    return shapes + gaps - 1  # the gap around everything is no hole
