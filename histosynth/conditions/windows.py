"""Windows of a class in tissue maps: where crops are cut, and which tiles have any.

Two rules: `draw_window` takes any square that is pure enough; `htd_window` follows the code of the
authors of HeteroTissue-Diffuse (Alfasly et al., arXiv 2509.17847).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from histosynth.conditions.targets import TilePool

LARGEST_SIZES = 5  # window sides tried between the smallest and the largest
CHUNK = 128  # maps whose integral images are in memory at once

# Of the authors' code, in pixels of a tile of 256.
HTD_TILE = 256
HTD_SIDES = range(200, 30, -10)
HTD_GRID = 10
HTD_LARGE = 100  # a larger window is cut down at random, to no less than
HTD_LEAST = 64


@dataclass(frozen=True)
class Window:
    """A rectangle of a tile, and which of its pixels are shown.

    Attributes
    ----------
    y, x : its corner
    shown : bool (h, w)
    """

    y: int
    x: int
    shown: np.ndarray

    @classmethod
    def full(cls, y: int, x: int, height: int, width: int) -> "Window":
        return cls(y, x, np.ones((height, width), bool))

    @property
    def shape(self) -> tuple[int, int]:
        return self.shown.shape  # type: ignore[return-value]

    @property
    def slices(self) -> tuple[slice, slice]:
        return self.at(self.y, self.x)

    def at(self, y: int, x: int) -> tuple[slice, slice]:
        """The slices of an image where the window lies with its corner at (y, x)."""
        return slice(y, y + self.shape[0]), slice(x, x + self.shape[1])

    def centred_on(self, mask: np.ndarray) -> tuple[int, int]:
        """The corner that centres it on the centroid of a mask (H, W), within the frame."""
        ys, xs = np.nonzero(mask)
        corner = (ys.mean() + 0.5 - self.shape[0] / 2, xs.mean() + 0.5 - self.shape[1] / 2)
        y, x = (
            int(np.clip(round(place), 0, size - side))
            for place, size, side in zip(corner, mask.shape, self.shape, strict=True)
        )
        return y, x


def window_sizes(tile: int, shares: tuple[float, float]) -> list[int]:
    """Up to five window sides in pixels, evenly from the smallest to the largest share."""
    lowest, highest = (max(2, min(tile, round(share * tile))) for share in shares)
    return sorted({round(s) for s in np.linspace(lowest, highest, LARGEST_SIZES)})


def integral_images(masks: np.ndarray) -> np.ndarray:
    """Bool (..., H, W) -> int32 (..., H+1, W+1), the sum above and left of each corner."""
    sums = np.zeros((*masks.shape[:-2], masks.shape[-2] + 1, masks.shape[-1] + 1), np.int32)
    np.cumsum(masks, axis=-2, dtype=np.int32, out=sums[..., 1:, 1:])
    np.cumsum(sums[..., 1:, 1:], axis=-1, out=sums[..., 1:, 1:])
    return sums


def window_counts(sums: np.ndarray, side: int) -> np.ndarray:
    """Pixels of the mask in every window of `side`, by its corner: int32 (..., H-s+1, W-s+1)."""
    return (
        sums[..., side:, side:]
        - sums[..., :-side, side:]
        - sums[..., side:, :-side]
        + sums[..., :-side, :-side]
    )


def draw_window(
    mask: np.ndarray,
    sizes: Sequence[int],
    *,
    purity: float,
    random: np.random.Generator,
    purest: bool = False,
) -> Window | None:
    """Draw a square with a share of at least `purity` in a mask, bool (H, W).

    Sides are tried in random order, places within one side are equally likely. Where no window is
    pure enough: None, or with `purest` the purest one of the smallest side.
    """
    sums = integral_images(mask)
    for side in random.permutation(np.asarray(sizes)):
        counts = window_counts(sums, side)
        places = np.flatnonzero(counts >= purity * side * side)
        if places.size:
            y, x = divmod(int(places[random.integers(places.size)]), counts.shape[1])
            return Window.full(y, x, int(side), int(side))
    if not purest or not mask.any():
        return None
    counts = window_counts(sums, sizes[0])
    y, x = divmod(int(np.argmax(counts)), counts.shape[1])
    return Window.full(y, x, int(sizes[0]), int(sizes[0]))


def htd_window(mask: np.ndarray, random: np.random.Generator) -> Window | None:
    """The window of a class, bool (H, W), that the authors' code takes; None for an empty mask.

    Of squares on a coarse grid the largest that lies wholly inside the class, the first of them
    from the top, then from the left. A large one keeps its corner and is cut down to a random
    height and width, each by itself. Where no square fits, the whole region of the class.
    """
    scale = min(mask.shape) / HTD_TILE
    sums = integral_images(mask)
    for named in HTD_SIDES:
        side = max(1, round(named * scale))
        counts = window_counts(sums, side)
        ys, xs = (_grid(n, scale) for n in counts.shape)
        fits = np.argwhere(counts[np.ix_(ys, xs)] == side * side)
        if not len(fits):
            continue
        y, x = int(ys[fits[0][0]]), int(xs[fits[0][1]])
        if named <= HTD_LARGE:
            return Window.full(y, x, side, side)
        height, width = random.integers(round(HTD_LEAST * scale), side, size=2)
        return Window.full(y, x, int(height), int(width))
    if not mask.any():
        return None
    ys, xs = np.nonzero(mask)
    y, x = int(ys.min()), int(xs.min())
    return Window(y, x, mask[y : ys.max() + 1, x : xs.max() + 1])


def _grid(places: int, scale: float) -> np.ndarray:
    """Corners on the authors' grid among `places` possible ones."""
    corners = np.rint(np.arange(0, HTD_TILE, HTD_GRID) * scale).astype(np.int64)
    return corners[corners < places]


class CropIndex:
    """Which tiles hold a window of a class, sorted by slide, to draw a donor of a crop at once.

    Attributes
    ----------
    rows : for each class, rows of tiles with a pure window of any of the sizes
    """

    def __init__(self, pool: "TilePool", sizes: Sequence[int], purity: float) -> None:
        assert pool.maps is not None
        self._boxes = pool.boxes
        fits = np.zeros((len(pool), pool.classes), dtype=bool)
        for start in range(0, len(pool), CHUNK):
            stop = min(start + CHUNK, len(pool))
            maps = np.stack([pool.maps[row] for row in range(start, stop)])
            for c in range(pool.classes):
                present = np.flatnonzero((maps == c).sum((1, 2)) >= purity * sizes[0] ** 2)
                # Most tiles have a window of the first side tried: only the others try more.
                sums = integral_images(maps[present] == c)
                for side in sizes:
                    left = np.flatnonzero(~fits[start + present, c])
                    if not left.size:
                        break
                    counts = window_counts(sums[left], side).max((1, 2))
                    fits[start + present[left], c] = counts >= purity * side * side
        self.rows: list[np.ndarray] = []
        self._slides: list[np.ndarray] = []
        for c in range(pool.classes):
            rows = np.flatnonzero(fits[:, c])
            rows = rows[np.argsort(pool.slides[rows], kind="stable")]
            self.rows.append(rows)
            self._slides.append(pool.slides[rows])

    def draw(self, c: int, slide: int, random: np.random.Generator) -> int:
        """A row of class c on any slide but `slide`, all equally likely; -1 where there is none."""
        first, last = np.searchsorted(self._slides[c], [slide, slide + 1])
        others = len(self.rows[c]) - (last - first)
        if others == 0:
            return -1
        place = int(random.integers(others))
        return int(self.rows[c][place if place < first else place + last - first])

    def draw_beside(self, c: int, target: int, slide: int, random: np.random.Generator) -> int:
        """A row of class c on the target's `slide` that shares no pixel with it; -1 for none."""
        first, last = np.searchsorted(self._slides[c], [slide, slide + 1])
        rows = self.rows[c][first:last]
        rows = rows[rows != target]
        if self._boxes is not None and len(rows):
            corner, end = self._boxes[rows, :2], self._boxes[rows, 2:]
            own = self._boxes[target]
            rows = rows[~((corner < own[2:]) & (end > own[:2])).all(axis=1)]
        return int(rows[random.integers(len(rows))]) if len(rows) else -1

    def draw_other_class(self, c: int, slide: int, random: np.random.Generator) -> tuple[int, int]:
        """A row on any slide but `slide`, and the class but c that it shows; -1, -1 for none."""
        others = [k for k in range(len(self.rows)) if k != c]
        for k in random.permutation(np.array(others, dtype=np.int64)).tolist():
            row = self.draw(k, slide, random)
            if row >= 0:
                return row, k
        return -1, -1


def crop_index(pool: "TilePool", sizes: Sequence[int], purity: float) -> CropIndex:
    """The pool's index for these windows, built once."""
    key = ("crop index", tuple(sizes), purity)
    if key not in pool.memo:
        pool.memo[key] = CropIndex(pool, sizes, purity)
    return pool.memo[key]
