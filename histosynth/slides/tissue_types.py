"""Tissue types of a slide that nobody annotated, from the colour and texture of its overview.

HeteroTissue-Diffuse (arXiv 2509.17847) prefers regions of high entropy, H = -sum_i p_i ln p_i over
the shares p_i of phenotypes, which it finds by clustering a foundation model's features of every
patch of every slide. These types stand in for them where tiles are chosen, before any encoder has
run: k-means over the pixels of the one slide's overview. They are good for telling a border of two
tissues from the inside of one; they mean nothing from one slide to the next.
"""

import numpy as np

from histosynth.slides.tissue import box_means

_SAMPLE = 20_000  # pixels that k-means sees
_STRIP = 256  # rows at a time, which bounds the memory that a large overview takes
_TEXTURE = 5  # pixels: side of the window that texture is measured in
_TEXTURE_WEIGHT = 2.0  # of the deviation, whose range is narrower than that of density


def type_entropy(
    overview: np.ndarray,
    tissue: np.ndarray,
    boxes: np.ndarray,
    *,
    types: int = 8,
    seed: int = 0,
) -> np.ndarray:
    """Entropy of the tissue types within boxes of an overview.

    Parameters
    ----------
    overview : uint8 (H, W, 3), at about 8 um a pixel
    tissue : bool (H, W); what is not tissue is of no type
    boxes : float (n, 4): left, top, right, bottom in pixels, fractions allowed
    types : k of k-means
    seed : of k-means and of the pixels it sees

    Returns
    -------
    float64 (n,), nats, from 0 to ln(types); NaN where a box has no tissue
    """
    kinds = tissue_types(overview, tissue, types=types, seed=seed)
    shares = np.stack([box_means(kinds == kind, boxes) for kind in range(types)])
    total = shares.sum(axis=0)
    # What an integral image of a million pixels leaves of nothing is not quite nothing.
    shares = np.divide(shares, total, out=np.full_like(shares, np.nan), where=total > 1e-6)
    logs = np.log(shares, out=np.zeros_like(shares), where=shares > 1e-6)
    return np.maximum(-(shares * logs).sum(axis=0), 0)


def tissue_types(
    overview: np.ndarray, tissue: np.ndarray, *, types: int = 8, seed: int = 0
) -> np.ndarray:
    """The type of every pixel: int8 (H, W), -1 where there is no tissue; see `type_entropy`."""
    from sklearn.cluster import KMeans

    kinds = np.full(tissue.shape, -1, dtype=np.int8)
    where = np.argwhere(tissue)
    if len(where) == 0:
        return kinds
    features = _features(overview)
    rng = np.random.default_rng(seed)
    drawn = where[np.sort(rng.permutation(len(where))[:_SAMPLE])]
    sample = features[drawn[:, 0], drawn[:, 1]]
    # No more types than there are colours to tell apart.
    k = min(types, len(np.unique(sample, axis=0)))
    centres = KMeans(k, n_init=1, random_state=seed).fit(sample).cluster_centers_.astype(np.float32)
    for top in range(0, len(kinds), _STRIP):
        rows = slice(top, top + _STRIP)
        found = features[rows][tissue[rows]]
        distances = (centres**2).sum(axis=1) - 2 * found @ centres.T
        kinds[rows][tissue[rows]] = distances.argmin(axis=1)
    return kinds


def _features(overview: np.ndarray) -> np.ndarray:
    """float32 (H, W, 4): optical density of the channels, and how it varies nearby."""
    from scipy import ndimage

    density = -np.log(np.maximum(np.arange(256), 1) / 255).astype(np.float32)
    features = np.empty((*overview.shape[:2], 4), dtype=np.float32)
    grey = np.zeros(overview.shape[:2], dtype=np.float32)
    for channel in range(3):
        values = density[overview[..., channel]]
        grey += values / 3
        features[..., channel] = ndimage.uniform_filter(values, 3)
    mean = ndimage.uniform_filter(grey, _TEXTURE)
    variance = ndimage.uniform_filter(grey**2, _TEXTURE) - mean**2
    features[..., 3] = _TEXTURE_WEIGHT * np.sqrt(np.maximum(variance, 0))
    return features
