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
# What lengths are taken at where the resolution is not known. Counts depend on it: of a phantom's
# nuclei, 0.65 are found at a known 0.25 um a pixel and 1.25 at an unknown; at 1.5 um 0.76 and 0.50.
UNKNOWN_MPP = 1.0
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


def nucleus_count(labels: np.ndarray) -> int:
    """How many nuclei of a tile are its own.

    A nucleus that is cut by the lower or right edge belongs to the next tile, so that none is
    counted twice and large ones no more often than small ones (Gundersen 1977). So is one that ends
    right at that edge: what is counted is that of (H - 1)(W - 1) pixels.

    Parameters
    ----------
    labels : of `nucleus_labels`, int (H, W)
    """
    counted = np.ones(int(labels.max()) + 1, bool)
    counted[0] = False
    counted[np.concatenate([labels[-1], labels[:, -1]])] = False
    return int(counted[np.unique(labels)].sum())


def whole_nuclei(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Areas of the nuclei that a tile shows whole, and how many nuclei each stands for.

    An edge cuts large nuclei more often than small ones, so those seen whole are too small as they
    are. Of H x W pixels, a nucleus with a bounding box of h x w touches no edge in
    (H - h - 1)(W - w - 1) of all H W places that the tile may lie at; it weighs the inverse of that
    share (the Miles-Lantuejoul correction: Serra 1982, "Image Analysis and Mathematical
    Morphology"). Weighted sums over many tiles are then right for nuclei of
    every size that fits into a tile.

    Parameters
    ----------
    labels : of `nucleus_labels`, int (H, W)

    Returns
    -------
    areas : int (n,), pixels
    weights : float (n,), above 1; their sum estimates the number of nuclei a tile
    """
    from scipy import ndimage

    height, width = labels.shape
    sizes = np.bincount(labels.ravel())
    areas, weights = [], []
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is None:
            continue
        rows, columns = box
        if min(rows.start, columns.start) == 0 or rows.stop == height or columns.stop == width:
            continue
        places = (height - (rows.stop - rows.start) - 1) * (
            width - (columns.stop - columns.start) - 1
        )
        areas.append(sizes[number])
        weights.append(height * width / places)
    return np.array(areas, np.int64), np.array(weights, np.float64)


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
