"""What a pathologist would measure of tiles: stain, nuclei, and which tissue covers how much.

Pure functions of images and maps; `evaluations.tissue` compares two sets by them.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from histosynth.nuclei import NucleusRule, nucleus_count, nucleus_labels, whole_nuclei
from histosynth.stains import STAIN_NAMES, optical_density, stain_amounts

COUNT, AREA = "nuclei_count", "nuclei_area"
# Values beyond the ends are counted in the first and last bins.
EDGES = {f"od_{stain}": np.linspace(-0.25, 2.0, 91) for stain in STAIN_NAMES}
EDGES |= {AREA: np.linspace(0, 1500, 301)}  # um2
# A nucleus has 20 pixels at 1.5 um a pixel and 5,000 at 0.1: bins of 1 pixel, from 33 on of 3 %.
PIXEL_EDGES = np.append(0, np.unique(np.geomspace(10, 100_000, 301).round()) - 0.5)


@dataclass(frozen=True)
class TileStatistics:
    """Numbers of n tiles.

    Attributes
    ----------
    values : name -> float (n,): od_<stain> (mean), od_<stain>_sd, and where nuclei were looked
        for nuclei_count
    histograms : name -> (n, bins) over `edges`: int, pixels by density; float, nuclei by area, each
        by the number that it stands for
    edges : name -> float (bins + 1,)
    sums : of nuclei_area, where nuclei were looked for: float (n, 3), of the weights of a tile's
        whole nuclei (see `whole_nuclei`), of weight times area, of weight times squared area
    """

    values: dict[str, np.ndarray]
    histograms: dict[str, np.ndarray]
    edges: dict[str, np.ndarray]
    sums: dict[str, np.ndarray]


def area_edges(rule: NucleusRule) -> np.ndarray:
    """Bins of the areas of nuclei, float (bins + 1,), in the rule's unit."""
    return PIXEL_EDGES if rule.mpp is None else EDGES[AREA]


def measure_tiles(images: Iterable[np.ndarray], rule: NucleusRule | None) -> TileStatistics:
    """Measure tiles one by one.

    Parameters
    ----------
    images : uint8 (H, W, 3) each
    rule : what counts as a nucleus; None to look for none
    """
    rows: list[dict[str, float]] = []
    histograms: list[dict[str, np.ndarray]] = []
    sums: list[np.ndarray] = []
    edges = EDGES | ({AREA: area_edges(rule)} if rule else {})
    for image in images:
        row: dict[str, float] = {}
        counts: dict[str, np.ndarray] = {}
        amounts = stain_amounts(optical_density(image))
        for channel, stain in enumerate(STAIN_NAMES):
            name, values = f"od_{stain}", amounts[..., channel]
            row[name] = float(values.mean(dtype=np.float64))
            row[f"{name}_sd"] = float(values.std(dtype=np.float64))
            counts[name] = _histogram(values, EDGES[name])
        if rule is not None:
            labels = nucleus_labels(image, rule)
            pixels, weights = whole_nuclei(labels)
            areas = pixels * (1.0 if rule.mpp is None else rule.mpp**2)
            row[COUNT] = nucleus_count(labels)
            counts[AREA] = _weighted_histogram(areas, edges[AREA], weights)
            sums.append(np.array([(weights * areas**power).sum() for power in range(3)]))
        rows.append(row)
        histograms.append(counts)
    return TileStatistics(
        {name: np.array([row[name] for row in rows]) for name in (rows or [{}])[0]},
        {name: np.stack([h[name] for h in histograms]) for name in (histograms or [{}])[0]},
        edges,
        {AREA: np.stack(sums)} if sums else {},
    )


def _histogram(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Counts (bins,) over equal bins; what lies beyond the ends counts in the outermost."""
    low, width, bins = edges[0], edges[1] - edges[0], len(edges) - 1
    at = np.clip(((values.ravel() - low) / width).astype(np.int64), 0, bins - 1)
    return np.bincount(at, minlength=bins)


def _weighted_histogram(values: np.ndarray, edges: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Sums of weights (bins,) over any bins; what lies beyond the ends as above."""
    bins = len(edges) - 1
    at = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, bins - 1)
    return np.bincount(at, weights, minlength=bins)


def class_shares(maps: np.ndarray, n_classes: int) -> np.ndarray:
    """Share of each class in each map, float (n, classes), of uint8 class indices (n, H, W)."""
    flat = maps.reshape(len(maps), -1)
    return np.stack([(flat == c).mean(axis=1) for c in range(n_classes)], axis=1)
