"""Signal `crop`: for each class, one raw tissue crop of it, three planes a class, 0 elsewhere.

After HeteroTissue-Diffuse (Alfasly et al., arXiv 2509.17847). The authors' training code hands the
model a window of the target image itself, in place, which leaks a fifth to a third of its pixels;
their demo pastes crops of other images on the centroid of each class region. `source` says whose
tissue is shown:

- other_slide: a tile of another slide; nothing of the target is shown;
- same_slide: another tile of the target's slide, none that overlaps it; its stain is the target's,
  its pixels are not;
- same_image: the target itself. Scores of such a condition hold the leak and are not comparable
  with the others;
- shuffled_class: a tile of another slide, of which another class is shown than the one that the
  crop stands for. A probe: does the generator believe the map or the crop?

`training_source` is the source while training, if it is another than in sampling. What other slides
look like says nothing of the target, so a generator that is trained with them learns to ignore its
crops; one trained with same_slide has a reason to follow them.

`placement` is where a crop is pasted: `in_place` where the donor had it, or `centred` on the
centroid of the target's class region, moved inward where it would leave the frame. By default, the
target's own crops are in place and others centred.

`rule` is how a crop is cut: `uniform` draws a pure square of the sizes given, `htd` follows the
authors' code (see `windows.htd_window`).

A class that is absent from the target, or of which no donor exists, gives zeros.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from pydantic import Field, field_validator, model_validator

from histosynth.conditions.signal import Signal, SignalOptions, register_signal
from histosynth.conditions.windows import (
    HTD_SIDES,
    HTD_TILE,
    Window,
    crop_index,
    draw_window,
    htd_window,
    window_sizes,
)

if TYPE_CHECKING:
    from histosynth.conditions.targets import Targets, TilePool

Source = Literal["other_slide", "same_slide", "same_image", "shuffled_class"]
SIZE = (0.25, 0.5)
PURITY = 0.9  # smallest share of the class in a window
MIN_SHARE = 0.02


class CropOptions(SignalOptions):
    source: Source = Field(description=f"whose tissue is shown: {', '.join(get_args(Source))}")
    training_source: Source | None = Field(
        None, description="the source while training; by default the same"
    )
    placement: Literal["in_place", "centred"] | None = Field(
        None, description="where it is pasted; by default same_image in place, others centred"
    )
    rule: Literal["uniform", "htd"] = Field(
        "uniform", description="how it is cut: uniform, or htd as that paper's authors do"
    )
    size: tuple[float, float] | None = Field(
        None,
        description="smallest and largest side as shares of the tile's, in (0, 1], or one number",
    )
    min_share: float = Field(
        MIN_SHARE, ge=0, le=1, description="smallest share of a class in the target to get a crop"
    )
    purity: float = Field(PURITY, gt=0, le=1, description="share of the class in a window")

    @model_validator(mode="before")
    @classmethod
    def _filled(cls, given: Any) -> Any:
        filled = {key: value for key, value in given.items() if value is not None}
        if filled.get("source") in get_args(Source):
            filled.setdefault("training_source", filled["source"])
        if filled.get("rule") == "htd":
            return {"min_share": 0.0, "purity": 1.0} | filled
        return {"size": SIZE} | filled

    @field_validator("size", mode="before")
    @classmethod
    def _one_size(cls, size: Any) -> Any:
        return (size, size) if isinstance(size, int | float) else size

    @field_validator("size")
    @classmethod
    def _ordered(cls, size: tuple[float, float]) -> tuple[float, float]:
        if not 0 < size[0] <= size[1] <= 1:
            raise ValueError("expected 0 < smallest <= largest <= 1")
        return size

    @model_validator(mode="after")
    def _htd_has_its_own(self) -> "CropOptions":
        if self.rule == "htd" and (self.size is not None or self.purity != 1):
            raise ValueError(
                "rule htd has sizes of its own and cuts wholly inside a class; leave out size "
                "and purity"
            )
        return self

    def placed(self, source: Source) -> str:
        """Where crops of this source are pasted: in_place or centred."""
        return self.placement or ("in_place" if source == "same_image" else "centred")


@dataclass(frozen=True)
class Crop:
    """What is shown for a class of a target: a window of a donor, and the corner it is pasted at.

    Attributes
    ----------
    c : the class that it stands for
    donor : row of the pool
    """

    c: int
    donor: int
    window: Window
    corner: tuple[int, int]


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
        # Looking for windows is the slow part of a step, and `crop_color` asks for the same ones.
        key = ("crop planes", self.options)
        if key not in targets.memo:
            targets.memo[key] = self._planes(targets)
        return targets.memo[key]

    def _planes(self, targets: "Targets") -> np.ndarray:
        maps, images = targets.maps(), targets.pool.images
        assert images is not None, "the pool was read without images"
        planes = np.zeros((len(targets), self.width, *maps.shape[1:]), np.float32)
        for i in range(len(targets)):
            for crop in self._crops(targets, i, maps[i]):
                window = crop.window
                pixels = images[crop.donor][window.slices] / np.float32(127.5) - 1
                pixels = np.where(window.shown[..., None], pixels, np.float32(0))
                shown = planes[i, 3 * crop.c : 3 * crop.c + 3]
                shown[:, *window.at(*crop.corner)] = pixels.transpose(2, 0, 1)
        return planes

    def shown_tiles(self, targets: "Targets") -> list[list[str]]:
        ids = targets.pool.tile_ids
        source = self._source(targets)
        if source == "same_image":
            return [[ids[row]] for row in targets.rows]
        assert targets.donors is not None, "crops drawn at random are known only when drawn"
        donors = targets.donors[source].rows
        donors = np.where([self._shown(map) for map in targets.maps()], donors, -1)
        return [[ids[donor] for donor in row if donor >= 0] for row in donors]

    def shown_share(self, targets: "Targets") -> np.ndarray:
        return np.array([seen.mean() for seen in self.shown_pixels(targets)], dtype=np.float64)

    def shown_pixels(self, targets: "Targets") -> Iterator[np.ndarray]:
        """Which of its own pixels each target shows, wherever they are pasted: bool (H, W)."""
        own = self._source(targets) == "same_image"
        for i, map in enumerate(targets.maps()):
            seen = np.zeros(map.shape, bool)
            for crop in self._crops(targets, i, map) if own else ():
                seen[crop.window.slices] |= crop.window.shown
            yield seen

    def _source(self, targets: "Targets") -> Source:
        """A condition table, which fixes donors, is for sampling; else donors are drawn."""
        if targets.donors is not None:
            return self.options.source
        return self.options.training_source

    def _shown(self, map: np.ndarray) -> np.ndarray:
        """Which classes are large enough in a uint8 map (H, W): bool (classes,)."""
        counts = np.bincount(map.ravel(), minlength=256)[: len(self.study.classes)]
        return counts >= max(1, self.options.min_share * map.size)

    def _crops(self, targets: "Targets", i: int, map: np.ndarray) -> Iterator[Crop]:
        """The crops of target i, whose map is uint8 (H, W)."""
        pool, target, source = targets.pool, int(targets.rows[i]), self._source(targets)
        assert pool.maps is not None
        sizes, random = self._sizes(min(map.shape)), targets.random(i)
        for c in np.flatnonzero(self._shown(map)).tolist():
            if targets.donors is not None and source != "same_image":
                donor = int(targets.donors[source].rows[i, c])
                shown = int(targets.donors[source].classes[i, c])
            else:
                donor, shown = draw_donor(
                    pool, source, c, target, sizes, self.options.purity, random
                )
            if donor < 0:
                continue
            region = pool.maps[donor] == shown
            if self.options.rule == "htd":
                window = htd_window(region, random)
            else:
                window = draw_window(
                    region,
                    sizes,
                    purity=self.options.purity,
                    random=random,
                    # a table's donor has a window of the default sizes, maybe not of these
                    purest=source != "same_image",
                )
            if window is not None:
                centred = self.options.placed(source) == "centred"
                corner = window.centred_on(map == c) if centred else (window.y, window.x)
                yield Crop(c, donor, window, corner)

    def _sizes(self, tile: int) -> list[int]:
        """Sides that a donor may have a window of, in pixels."""
        if self.options.rule == "htd":
            return [max(1, round(min(HTD_SIDES) * tile / HTD_TILE))]
        assert self.options.size is not None
        return window_sizes(tile, self.options.size)


def draw_donor(
    pool: "TilePool",
    source: Source,
    c: int,
    target: int,
    sizes: Sequence[int],
    purity: float,
    random: np.random.Generator,
) -> tuple[int, int]:
    """The row that gives a target its crop for class c, and the class shown of it; -1 for none."""
    if source == "same_image":
        return target, c
    index, slide = crop_index(pool, sizes, purity), int(pool.slides[target])
    if source == "shuffled_class":
        return index.draw_other_class(c, slide, random)
    if source == "same_slide":
        return index.draw_beside(c, target, slide, random), c
    return index.draw(c, slide, random), c
