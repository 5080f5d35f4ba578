"""Signal `crop`: for each class, one raw tissue crop of it, three planes a class, 0 elsewhere.

After HeteroTissue-Diffuse (Alfasly et al., arXiv 2509.17847). The authors' training code hands the
model a window of the target image itself, in place, which leaks a fifth to a third of its pixels;
their demo pastes crops of other images on the centroid of each class region. Both are here:

- source: other_slide - a window of another slide's tile, centred on the class region's centroid
  (moved inward where it would leave the frame); nothing of the target is shown;
- source: same_image - a window of the target itself, in place. Scores of such a condition hold the
  leak and are not comparable with the others.

A class that is absent from the target, or of which no window exists, gives zeros. Unlike the
authors' code, which then shows the whole class region.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field, field_validator

from histosynth.conditions.signal import Signal, SignalOptions, register_signal

if TYPE_CHECKING:
    from histosynth.conditions.targets import Targets, TilePool

LARGEST_SIZES = 5  # window sides tried between the smallest and the largest
PURITY = 0.9  # smallest share of the class in a window
CHUNK = 128  # maps whose integral images are in memory at once


class CropOptions(SignalOptions):
    source: Literal["other_slide", "same_image"] = Field(
        description="whose tissue is shown: other_slide or same_image"
    )
    size: tuple[float, float] = Field(
        (0.25, 0.5), description="smallest and largest side as shares of the tile's, in (0, 1]"
    )
    min_share: float = Field(
        0.02, ge=0, le=1, description="smallest share of a class in the target to get a crop"
    )
    purity: float = Field(PURITY, gt=0, le=1, description="share of the class in a window")

    @field_validator("size")
    @classmethod
    def _ordered(cls, size: tuple[float, float]) -> tuple[float, float]:
        if not 0 < size[0] <= size[1] <= 1:
            raise ValueError("expected 0 < smallest <= largest <= 1")
        return size


@register_signal
class CropSignal(Signal):
    """One raw crop of each class that the target's map holds."""

    kind = "crop"
    joins = "planes"
    needs = frozenset({"maps", "images"})
    Options = CropOptions

    @property
    def width(self) -> int:
        return 3 * len(self.study.classes)

    def encode(self, targets: "Targets") -> np.ndarray:
        maps = targets.maps()
        planes = np.zeros((len(targets), self.width, *maps.shape[1:]), np.float32)
        shown = self._shown_classes(maps)
        sizes = window_sizes(min(maps.shape[1:]), self.options.size)
        for i in range(len(targets)):
            random = targets.random(i)
            for c in np.flatnonzero(shown[i]):
                crop = self._crop(targets, i, int(c), sizes, random)
                if crop is None:
                    continue
                pixels, corner = crop
                y, x = corner or _centred(maps[i] == c, pixels.shape[:2])
                window = planes[i, 3 * c : 3 * c + 3]
                window[:, y : y + pixels.shape[0], x : x + pixels.shape[1]] = (
                    pixels.transpose(2, 0, 1) / np.float32(127.5) - 1
                )
        return planes

    def shown_tiles(self, targets: "Targets") -> list[list[str]]:
        ids = targets.pool.tile_ids
        if self.options.source == "same_image":
            return [[ids[row]] for row in targets.rows]
        assert targets.donors is not None, "crops drawn at random are known only when drawn"
        donors = np.where(self._shown_classes(targets.maps()), targets.donors, -1)
        return [[ids[donor] for donor in row if donor >= 0] for row in donors]

    def _shown_classes(self, maps: np.ndarray) -> np.ndarray:
        """Which classes are large enough in uint8 maps (b, H, W): bool (b, classes)."""
        counts = np.stack([(maps == c).sum((1, 2)) for c in range(len(self.study.classes))], 1)
        return counts >= max(1, self.options.min_share * maps[0].size)

    def _crop(
        self,
        targets: "Targets",
        i: int,
        c: int,
        sizes: Sequence[int],
        random: np.random.Generator,
    ) -> tuple[np.ndarray, tuple[int, int] | None] | None:
        """Pixels uint8 (s, s, 3) of class c, and their corner where it is given by the source."""
        pool, target = targets.pool, int(targets.rows[i])
        assert pool.images is not None and pool.maps is not None
        same = self.options.source == "same_image"
        if same:
            donor = target
        elif targets.donors is not None:
            donor = int(targets.donors[i, c])
        else:
            index = crop_index(pool, sizes, self.options.purity)
            donor = index.draw(c, int(pool.slides[target]), random)
        if donor < 0:
            return None
        found = draw_window(
            pool.maps[donor] == c,
            sizes,
            purity=self.options.purity,
            random=random,
            # the donor of a condition table has a window of the default sizes, maybe not of these
            purest=not same,
        )
        if found is None:
            return None
        y, x, side = found
        return pool.images[donor][y : y + side, x : x + side], (y, x) if same else None


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
) -> tuple[int, int, int] | None:
    """Draw (y, x, side) of a window with a share of at least `purity` in a mask, bool (H, W).

    Sides are tried in random order, places within one side are equally likely. Where no window is
    pure enough: None, or with `purest` the purest one of the smallest side.
    """
    sums = integral_images(mask)
    for side in random.permutation(np.asarray(sizes)):
        counts = window_counts(sums, side)
        places = np.flatnonzero(counts >= purity * side * side)
        if places.size:
            y, x = divmod(int(places[random.integers(places.size)]), counts.shape[1])
            return y, x, int(side)
    if not purest or not mask.any():
        return None
    counts = window_counts(sums, sizes[0])
    y, x = divmod(int(np.argmax(counts)), counts.shape[1])
    return y, x, int(sizes[0])


class CropIndex:
    """Which tiles hold a window of a class, sorted by slide, to draw one of another slide at once.

    Attributes
    ----------
    rows : for each class, rows of tiles with a pure window of any of the sizes
    """

    def __init__(self, pool: "TilePool", sizes: Sequence[int], purity: float) -> None:
        assert pool.maps is not None
        fits = np.zeros((len(pool), pool.classes), dtype=bool)
        for start in range(0, len(pool), CHUNK):
            stop = min(start + CHUNK, len(pool))
            maps = np.stack([pool.maps[row] for row in range(start, stop)])
            for c in range(pool.classes):
                present = np.flatnonzero((maps == c).sum((1, 2)) >= purity * sizes[0] ** 2)
                if not present.size:
                    continue
                sums = integral_images(maps[present] == c)
                for side in sizes:
                    counts = window_counts(sums, side).max((1, 2))
                    fits[start + present, c] |= counts >= purity * side * side
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


def crop_index(pool: "TilePool", sizes: Sequence[int], purity: float) -> CropIndex:
    """The pool's index for these windows, built once."""
    key = ("crop index", tuple(sizes), purity)
    if key not in pool.memo:
        pool.memo[key] = CropIndex(pool, sizes, purity)
    return pool.memo[key]


def _centred(mask: np.ndarray, shape: tuple[int, int]) -> tuple[int, int]:
    """The corner that centres a window of `shape` on the mask's centroid, within the frame."""
    ys, xs = np.nonzero(mask)
    corner = (ys.mean() + 0.5 - shape[0] / 2, xs.mean() + 0.5 - shape[1] / 2)
    y, x = (
        int(np.clip(round(place), 0, size - side))
        for place, size, side in zip(corner, mask.shape, shape, strict=True)
    )
    return y, x
