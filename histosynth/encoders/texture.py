"""Texture encoder: stain statistics and multi-scale texture of a tile, with no weights at all.

Colour deconvolution (Ruifrok & Johnston 2001) separates haematoxylin, eosin and a residual; then

- optical density of each: mean, spread, percentiles, correlations; share of bare glass;
- band energies of a Gaussian pyramid of H and E: how much detail there is at each scale;
- uniform local binary patterns (Ojala et al. 2002) of H and of grey at three radii;
- grey-level co-occurrence (Haralick et al. 1973) of H, averaged over directions.

It runs anywhere, says in words what a feature means, and serves the demo and the clusters. It is
no substitute for a histology foundation model: it sees colour and texture, not what a nucleus
ought to look like.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import gaussian_filter
from skimage.color import rgb2hed
from skimage.feature import graycomatrix, graycoprops, local_binary_pattern

from histosynth.device import versions
from histosynth.encoders import register_encoder
from histosynth.encoders.pixels import check_images, resize

if TYPE_CHECKING:
    from histosynth.settings import EncoderSettings

# Raise when a change of this file changes any feature: it is part of the fingerprint.
_VERSION = 1
_STAINS = {"haematoxylin": 0.06, "eosin": 0.035, "residual": 0.02}  # usual optical density
_PERCENTILES = (5, 25, 50, 75, 95)
# Statistic, its usual value and its usual spread, both in units of the stain's usual density.
_DENSITY_CONSTANTS = (
    ("mean", 1.0, 0.5),
    ("std", 0.7, 0.35),
    ("p5", 0.2, 0.3),
    ("p25", 0.5, 0.4),
    ("p50", 0.9, 0.5),
    ("p75", 1.5, 0.7),
    ("p95", 2.5, 1.0),
)
_NEIGHBOURS, _RADII = 8, (1, 2, 4)  # of the binary patterns; radii in pixels
_LEVELS = 4
_OFFSETS = (1, 3)
_COOCCURRENCE_CONSTANTS = {  # property: usual value, usual spread
    "contrast": (11.0, 6.0),
    "dissimilarity": (2.2, 0.8),
    "homogeneity": (0.5, 0.12),
    "energy": (0.25, 0.15),
    "correlation": (0.5, 0.15),
}
_GREYS = 16


class TextureEncoder:
    """Hand-made features; see the module. `feature_names` has one name a column."""

    def __init__(self, name: str, *, input_size: int | None = None):
        self.name = name
        self._input_size = input_size
        self.feature_names, self._offsets, self._scales = _layout()
        self.width = len(self.feature_names)
        size = f"resize {input_size} bicubic antialiased" if input_size else "as they are"
        self.fingerprint = {
            "model": f"texture-{_VERSION}",
            "weights": None,
            "transform": f"{size}; HED optical density",
            "dtype": "float32",
            "versions": versions("scikit-image", "numpy"),
        }

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Embed uint8 images (n, H, W, 3), at least 32 pixels a side, to float32 (n, d)."""
        check_images(images, encoder=self.name)
        if self._input_size:
            images = resize(images, self._input_size)
        # Four halvings and patterns of radius 4 say nothing about less.
        check_images(images, encoder=self.name, minimum_side=32)
        # A few at a time: the float planes of a large batch would fill the memory.
        parts = [self._embed(images[i : i + 32]) for i in range(0, len(images), 32)]
        return np.concatenate(parts) if parts else np.zeros((0, self.width), np.float32)

    def _embed(self, images: np.ndarray) -> np.ndarray:
        stains = rgb2hed(images).astype(np.float32)  # optical density, mostly 0 .. 0.3
        blocks = [
            _stain_statistics(images, stains),
            _band_energies(stains[..., 0]),
            _band_energies(stains[..., 1]),
            np.stack(
                [_patterns_and_cooccurrence(*pair) for pair in zip(images, stains, strict=True)]
            ),
        ]
        features = np.concatenate(blocks, axis=1)
        return ((features - self._offsets) / self._scales).astype(np.float32)


@register_encoder("texture")
def load(name: str, settings: EncoderSettings) -> TextureEncoder:
    """Build the texture encoder; of the settings, only `input_size` matters."""
    return TextureEncoder(name, input_size=settings.input_size)


def _stain_statistics(images: np.ndarray, stains: np.ndarray) -> np.ndarray:
    """Optical density of each stain, their correlations, and bare glass: (n, 25)."""
    pixels = stains.reshape(len(stains), -1, 3)
    mean, deviation = pixels.mean(axis=1), pixels.std(axis=1)
    percentiles = np.percentile(pixels, _PERCENTILES, axis=1)  # (5, n, 3)
    centred = (pixels - mean[:, None]) / (deviation[:, None] + 1e-4)
    correlations = np.einsum("npi,npj->nij", centred, centred) / pixels.shape[1]
    glass = (images.min(axis=-1) > 220).mean(axis=(1, 2))
    return np.concatenate(
        [
            np.stack([mean, deviation, *percentiles], axis=1).reshape(len(stains), -1),
            correlations[:, [0, 0, 1], [1, 2, 2]],
            glass[:, None],
        ],
        axis=1,
    )


def _band_energies(plane: np.ndarray) -> np.ndarray:
    """Logarithm of each pyramid band's spread, and how peaked it is: (n, 2 * levels)."""
    features = []
    for _ in range(_LEVELS):
        smooth = gaussian_filter(plane, sigma=(0, 1, 1), mode="reflect")
        band = plane - smooth
        spread = band.std(axis=(1, 2))
        absolute = np.abs(band).mean(axis=(1, 2))
        features += [np.log10(spread + 1e-4), absolute / (spread + 1e-4)]
        plane = smooth[:, ::2, ::2]
    return np.stack(features, axis=1)


def _patterns_and_cooccurrence(image: np.ndarray, stains: np.ndarray) -> np.ndarray:
    """Local binary patterns of H and grey, co-occurrence of H, of one tile."""
    # Fixed range, not the tile's own: contrast is part of the texture. 0.2 is dark nuclei.
    haematoxylin = np.clip(stains[..., 0] / 0.2 * 255, 0, 255).astype(np.uint8)
    grey = np.round(image @ np.array([0.299, 0.587, 0.114])).astype(np.uint8)
    features = []
    for plane in (haematoxylin, grey):
        for radius in _RADII:
            codes = local_binary_pattern(plane, _NEIGHBOURS, radius, method="uniform")
            counts = np.bincount(codes.astype(np.int64).ravel(), minlength=_NEIGHBOURS + 2)
            features.append(np.sqrt(counts / codes.size))  # Hellinger: rare codes count too
    matrix = graycomatrix(
        haematoxylin // (256 // _GREYS),
        _OFFSETS,
        (0, np.pi / 4, np.pi / 2, 3 * np.pi / 4),
        levels=_GREYS,
        symmetric=True,
        normed=True,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the correlation of a constant tile: defined as 1 there
        features += [graycoprops(matrix, name).mean(axis=1) for name in _COOCCURRENCE_CONSTANTS]
    return np.concatenate(features)


def _layout() -> tuple[list[str], np.ndarray, np.ndarray]:
    """Names, offsets and scales of the columns, in the order in which they are computed.

    The constants bring every family to a like spread, about one over H&E of several sources, so
    that no family rules a distance. They are round numbers read off some H&E and fixed once, never
    fitted to a study: a score would otherwise depend on what it was computed beside.
    """
    columns: list[tuple[str, float, float]] = []
    for statistic, middle, spread in _DENSITY_CONSTANTS:
        columns += [
            (f"{stain} {statistic}", middle * density, spread * density)
            for stain, density in _STAINS.items()
        ]
    columns += [(f"correlation {pair}", 0, 0.3) for pair in ("H-E", "H-residual", "E-residual")]
    columns += [("glass", 0.1, 0.15)]
    for stain in ("haematoxylin", "eosin"):
        for level in range(_LEVELS):
            columns += [(f"{stain} band {level} energy", -2, 0.2)]
            columns += [(f"{stain} band {level} flatness", 0.7, 0.08)]
    for plane in ("haematoxylin", "grey"):
        for radius in _RADII:
            codes = [f"{plane} pattern r{radius} {c}" for c in range(_NEIGHBOURS + 2)]
            columns += [(name, 0.3, 0.03) for name in codes[:-1]]
            columns += [(codes[-1], 0.5, 0.03)]  # all patterns that are not uniform
    for name, (middle, spread) in _COOCCURRENCE_CONSTANTS.items():
        columns += [(f"{name} at {offset} px", middle, spread) for offset in _OFFSETS]
    names = [name for name, _, _ in columns]
    constants = np.array([numbers for _, *numbers in columns])
    # Twice the spread within one cohort: about the spread across cohorts and stains.
    return names, constants[:, 0], 2 * constants[:, 1]
