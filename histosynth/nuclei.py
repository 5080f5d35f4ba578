"""Nuclei by threshold and watershed: enough to compare two sets of tiles, not to diagnose one.

A pixel is a nucleus's where its haematoxylin is dense for its tile (Otsu's threshold, IEEE Trans.
SMC 9:62, 1979) and for its surroundings; touching nuclei are parted by a watershed from the maxima
of the distance to their common border. Otsu's threshold splits anything in two, so it may not
leave the neighbourhood of one that comes from the real tiles: the same rule then holds for every
set, and tissue without nuclei has none.

All lengths are in micrometres, whatever a pixel is. How well it counts is shown by the nuclei of
phantom slides, which are known: tests/test_tissue_statistics.py.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from histosynth.stains import optical_density, stain_amounts

FINEST_UM = 0.6  # sigma of the smoothing before the threshold
SURROUNDINGS_UM = 25.0  # side of the square that a pixel is compared with
APART_UM = 2.0  # two nuclei's centres are further apart than this
SMALLEST_UM2 = 10.0  # of a nucleus, and of a hole that is not one's own
TYPICAL_UM = 7.0  # a nucleus's width, for telling how many pixels see it
COARSE_MPP, COARSEST_MPP = 1.0, 2.0  # from the one on sizes are rough, beyond the other all is
UNKNOWN_MPP = 1.0  # what lengths are taken at where the resolution is not known
_GLASS = 0.08  # mean optical density: less is glass
_BOUNDS = (0.6, 1.5)  # of a tile's threshold, over that of the real tiles
_MARGIN = 0.1  # by which a nucleus stands out of its surroundings, over the real tiles' threshold
_LEVELS = np.linspace(-0.5, 3.0, 1401)


@dataclass(frozen=True)
class NucleusRule:
    """What counts as a nucleus.

    Attributes
    ----------
    threshold : optical density of haematoxylin, of the real tiles as a whole
    mpp : micrometres a pixel; None where unknown
    """

    threshold: float
    mpp: float | None

    @property
    def scale(self) -> float:
        return UNKNOWN_MPP if self.mpp is None else self.mpp

    @property
    def area_unit(self) -> str:
        return "pixels" if self.mpp is None else "µm²"


def nucleus_rule(images: Iterable[np.ndarray], mpp: float | None) -> NucleusRule:
    """Otsu's threshold of the haematoxylin of all these real tiles together, glass left out.

    Parameters
    ----------
    images : uint8 (H, W, 3) each
    """
    from skimage.filters import threshold_otsu

    scale = UNKNOWN_MPP if mpp is None else mpp
    counts = np.zeros(len(_LEVELS) - 1)
    for image in images:
        hematoxylin, tissue = _hematoxylin(image, scale)
        counts += np.histogram(hematoxylin[tissue], _LEVELS)[0]
    centres = (_LEVELS[1:] + _LEVELS[:-1]) / 2
    return NucleusRule(float(threshold_otsu(hist=(counts, centres))), mpp)


def nucleus_labels(image: np.ndarray, rule: NucleusRule) -> np.ndarray:
    """Nuclei of a tile, int32 (H, W): 0 is none, and each nucleus has a number of its own.

    Parameters
    ----------
    image : uint8 (H, W, 3)
    """
    from scipy import ndimage
    from skimage.feature import peak_local_max
    from skimage.segmentation import watershed

    scale = rule.scale
    hematoxylin, tissue = _hematoxylin(image, scale)
    least = SMALLEST_UM2 / scale**2
    dense = tissue & (hematoxylin > _thresholds(hematoxylin, tissue, rule))
    holes, _ = ndimage.label(~dense)
    small = np.bincount(holes.ravel()) < least
    small[0] = True  # what is dense itself
    dense = small[holes]
    inside = ndimage.gaussian_filter(ndimage.distance_transform_edt(dense), FINEST_UM / scale)
    peaks = peak_local_max(
        inside,
        min_distance=max(1, round(APART_UM / scale)),
        labels=dense.astype(np.int32),
        exclude_border=False,
    )
    seeds = np.zeros(dense.shape, np.int32)
    seeds[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    labels = watershed(-inside, seeds, mask=dense)
    large = np.bincount(labels.ravel()) >= least
    large[0] = False
    numbers = np.cumsum(large, dtype=np.int32) * large
    return numbers[labels]


def count_and_areas(labels: np.ndarray) -> tuple[int, np.ndarray]:
    """How many nuclei a tile has, and the areas in pixels of those that are seen whole.

    A nucleus that is cut by the lower or right edge belongs to the next tile, so that none is
    counted twice and large ones no more often than small ones (Gundersen 1977).
    """
    areas = np.bincount(labels.ravel())
    counted = np.ones(len(areas), bool)
    counted[0] = False
    counted[np.concatenate([labels[-1], labels[:, -1]])] = False
    whole = counted.copy()
    whole[np.concatenate([labels[0], labels[:, 0]])] = False
    return int(counted.sum()), areas[whole]


def _hematoxylin(image: np.ndarray, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Smoothed density of haematoxylin, float32 (H, W), and where there is tissue, bool (H, W)."""
    from scipy import ndimage

    density = optical_density(image)
    hematoxylin = stain_amounts(density)[..., 0]
    smooth = ndimage.gaussian_filter(hematoxylin, FINEST_UM / scale, truncate=3)
    return smooth, density.mean(axis=-1) > _GLASS


def _thresholds(hematoxylin: np.ndarray, tissue: np.ndarray, rule: NucleusRule) -> np.ndarray:
    """The threshold at every pixel (H, W): halfway between its tile's and its surroundings'."""
    from scipy import ndimage
    from skimage.filters import threshold_otsu

    seen = hematoxylin[tissue]
    low, high = (bound * rule.threshold for bound in _BOUNDS)
    of_tile = np.clip(threshold_otsu(seen), low, high) if seen.size and np.ptp(seen) > 0 else high
    side = 2 * round(SURROUNDINGS_UM / rule.scale / 2) + 1
    share = ndimage.uniform_filter(tissue.astype(np.float32), side)
    around = ndimage.uniform_filter(hematoxylin * tissue, side) / np.maximum(share, 1e-6)
    return (of_tile + around) / 2 + _MARGIN * rule.threshold
