"""What a pathologist would measure of tiles: stain, nuclei, and which tissue covers how much.

Pure functions of images and maps; `evaluations.tissue` compares two sets by them.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from histosynth.nuclei import NucleusRule, count_and_areas, nucleus_labels
from histosynth.stains import STAIN_NAMES, optical_density, stain_amounts

NAN = float("nan")
COUNT, AREA = "nuclei_count", "nuclei_area"
# Values beyond the ends are counted in the first and last bins.
EDGES = {f"od_{stain}": np.linspace(-0.25, 2.0, 91) for stain in STAIN_NAMES}
EDGES |= {AREA: np.linspace(0, 1500, 301)}


@dataclass(frozen=True)
class TileStatistics:
    """Numbers of n tiles.

    Attributes
    ----------
    values : name -> float (n,): od_<stain> (mean), od_<stain>_sd, and where nuclei were looked
        for nuclei_count and nuclei_area (mean of the whole ones, NaN where there is none)
    histograms : name -> int (n, bins) over `EDGES`: pixels by density, nuclei by area
    """

    values: dict[str, np.ndarray]
    histograms: dict[str, np.ndarray]


def measure_tiles(images: Iterable[np.ndarray], rule: NucleusRule | None) -> TileStatistics:
    """Measure tiles one by one.

    Parameters
    ----------
    images : uint8 (H, W, 3) each
    rule : what counts as a nucleus; None to look for none
    """
    rows: list[dict[str, float]] = []
    histograms: list[dict[str, np.ndarray]] = []
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
            count, pixels = count_and_areas(nucleus_labels(image, rule))
            areas = pixels * (1.0 if rule.mpp is None else rule.mpp**2)
            row |= {COUNT: count, AREA: float(areas.mean()) if len(areas) else NAN}
            counts[AREA] = _histogram(areas, EDGES[AREA])
        rows.append(row)
        histograms.append(counts)
    return TileStatistics(
        {name: np.array([row[name] for row in rows]) for name in (rows or [{}])[0]},
        {name: np.stack([h[name] for h in histograms]) for name in (histograms or [{}])[0]},
    )


def _histogram(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Counts (bins,) over equal bins; what lies beyond the ends counts in the outermost."""
    low, width, bins = edges[0], edges[1] - edges[0], len(edges) - 1
    at = np.clip(((values.ravel() - low) / width).astype(np.int64), 0, bins - 1)
    return np.bincount(at, minlength=bins)


def class_shares(maps: np.ndarray, n_classes: int) -> np.ndarray:
    """Share of each class in each map, float (n, classes), of uint8 class indices (n, H, W)."""
    flat = maps.reshape(len(maps), -1)
    return np.stack([(flat == c).mean(axis=1) for c in range(n_classes)], axis=1)
