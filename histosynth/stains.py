"""How much haematoxylin and eosin each pixel holds, by colour deconvolution.

Ruifrok & Johnston (2001), "Quantification of histochemical staining by color deconvolution", Anal.
Quant. Cytol. Histol. 23:291. By the Beer-Lambert law the optical densities of a pixel,
-log10(I / 255) in red, green and blue, are the sum of what its stains absorb:

    density (3) = amounts (2) @ STAINS (2, 3)

Two stains leave three equations for two unknowns, solved here by least squares; what neither stain
explains (their third stain) is left out. The stains' colours are those of the paper, the same for
every set, so a laboratory's own shade of either stain shows as more or less of it.
"""

import numpy as np

STAIN_NAMES = ("hematoxylin", "eosin")
_COLOURS = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11]])  # absorbed of red, green, blue
STAINS = _COLOURS / np.linalg.norm(_COLOURS, axis=1, keepdims=True)
_UNMIXING = np.linalg.pinv(STAINS).astype(np.float32)
# Level 0 would be infinitely dense; it counts as level 1.
_DENSITY = -np.log10(np.maximum(np.arange(256), 1) / 255).astype(np.float32)


def optical_density(image: np.ndarray) -> np.ndarray:
    """-log10(I / 255), float32 of the image's shape, of uint8 values; 0 is pure white."""
    return _DENSITY[image]


def stain_amounts(density: np.ndarray) -> np.ndarray:
    """Optical density of haematoxylin and of eosin.

    Parameters
    ----------
    density : float (..., 3), of `optical_density`

    Returns
    -------
    float32 (..., 2); slightly below 0 where a pixel's colour is that of neither stain
    """
    return density @ _UNMIXING
