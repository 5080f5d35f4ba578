"""Where tiles are cut from: a slide with its mask, or an image that is a tile already."""

from typing import NamedTuple, Protocol, Self

import numpy as np
import pandas as pd
from PIL import Image

from histosynth.config import Study
from histosynth.errors import InputError
from histosynth.resizing import resize
from histosynth.slides.annotations import (
    Annotation,
    background_class,
    class_fractions,
    downsample_classes,
    open_annotation,
    read_mask,
    to_classes,
)
from histosynth.slides.cohorts import ADAPTERS
from histosynth.slides.contact_sheet import slide_picture
from histosynth.slides.faults import overview_faults
from histosynth.slides.placement import misplaced
from histosynth.slides.readers import Slide, open_slide, read_image
from histosynth.slides.tiling import UNREADABLE, grid_positions
from histosynth.slides.tissue import TISSUE_MPP, box_means, find_tissue
from histosynth.slides.tissue_types import type_entropy
from histosynth.tilesets import UNLABELLED


class Candidates(NamedTuple):
    """Every tile of the grid, before any is chosen.

    positions : int64 (n, 2), upper left corners x, y in level-0 pixels
    tissue : float (n,), area share of tissue
    fractions : float32 (n, classes), area shares; NaN where the mask was not read
    faults : object (n,) of str: "" or why the tile cannot be taken ("unreadable: ...", "pen", ...)
    entropy : float (n,), of the tissue types found by colour and texture; NaN where not looked for
    labels : object (n,), where every tile brings its own label; else None
    """

    positions: np.ndarray
    tissue: np.ndarray
    fractions: np.ndarray
    faults: np.ndarray
    entropy: np.ndarray
    labels: np.ndarray | None = None


class Source(Protocol):
    """What `chunks.tile_chunk` cuts.

    Attributes
    ----------
    mpp : of the tiles, NaN where unknown
    mpp_source : who says so: "slide", "table", "study" or ""
    reader : which code reads it
    note : what is odd about it
    """

    mpp: float
    mpp_source: str
    reader: str
    note: str

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    def candidates(self) -> Candidates: ...

    def tile(self, x: int, y: int) -> tuple[np.ndarray, np.ndarray | None]: ...

    def picture(self, table: pd.DataFrame) -> np.ndarray | None:
        """uint8 (H, W, 3): the slide with its tissue and its tiles, for the contact sheet."""
        ...


def open_source(row: pd.Series, study: Study) -> Source:
    """What the cohort's kind says a row is, opened for cutting."""
    kind = ADAPTERS[study.cohort.kind].source
    if kind == "patches":
        from histosynth.slides.patches import open_patches  # which builds on this module

        return open_patches(row, study)
    return ImageSource(row, study) if kind == "image" else SlideSource(row, study)


class SlideSource:
    """Tiles on a grid over a slide, at the study's resolution.

    Parameters
    ----------
    row : the slide's row in the cohort
    study : its `tiling` and `classes` are used
    """

    def __init__(self, row: pd.Series, study: Study) -> None:
        self._tiling, self._classes = study.tiling, study.classes
        self._annotation: Annotation | None = None
        self._slide: Slide = open_slide(row["image"], mpp=row["mpp"], slide_id=row["slide_id"])
        try:
            if self._tiling.mpp is not None:
                self._slide.check_mpp(self._tiling.mpp)
            if study.classes and row["annotation"]:
                self._annotation = open_annotation(
                    row["annotation"],
                    dimensions=self._slide.dimensions,
                    classes=study.classes,
                    slide_id=row["slide_id"],
                    site=row["site"],
                )
        except Exception:
            self._slide.close()
            raise
        self.mpp = self._tiling.mpp or self._slide.mpp
        self.mpp_source = self._slide.mpp_source or row["mpp_source"]
        self.reader = self._slide.reader
        self.note = ""
        self._scale = self.mpp / self._slide.mpp
        self._background = background_class(self._classes, site=row["site"])
        self._seen: tuple[np.ndarray, np.ndarray]  # overview and tissue, once looked for

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._slide.close()
        if self._annotation is not None:
            self._annotation.close()

    def candidates(self) -> Candidates:
        size = self._tiling.size
        positions = grid_positions(
            self._slide.dimensions,
            footprint=size * self._scale,
            step=(self._tiling.stride or size) * self._scale,
        )
        overview, unread = self._slide.thumbnail(TISSUE_MPP)
        found = find_tissue(overview, mpp=max(TISSUE_MPP, self._slide.mpp))
        self.note = found.reason or self._misplaced(found.mask)
        self._seen = overview, found.mask
        boxes = self._boxes(positions)
        tissue = box_means(found.mask, boxes)
        unreadable = box_means(unread, boxes) > 0
        faults = overview_faults(found, boxes, self._tiling.reject)
        faults[unreadable] = f"{UNREADABLE}: the overview cannot be decoded here"
        fractions = np.full((len(positions), len(self._classes)), np.nan, dtype=np.float32)
        if self._annotation is not None:
            for i in np.flatnonzero((tissue >= self._tiling.min_tissue) & (faults == "")):
                fractions[i] = class_fractions(self._map(*positions[i]), len(self._classes))
        entropy = np.full(len(positions), np.nan)
        if self._annotation is None and self._tiling.order == "entropy":
            entropy = type_entropy(overview, found.mask, boxes, seed=self._tiling.seed)
        return Candidates(positions, tissue, fractions, faults, entropy)

    def _misplaced(self, tissue: np.ndarray) -> str:
        if self._annotation is None:
            return ""
        return misplaced(
            self._annotation,
            tissue,
            dimensions=self._slide.dimensions,
            background=self._background,
        )

    def _boxes(self, positions: np.ndarray) -> np.ndarray:
        """Tiles at level-0 positions (n, 2) as boxes (n, 4) of the overview."""
        per_pixel = np.array(self._slide.dimensions) / np.array(self._seen[0].shape[1::-1])
        corners = positions / per_pixel
        return np.hstack([corners, corners + self._tiling.size * self._scale / per_pixel])

    def picture(self, table: pd.DataFrame) -> np.ndarray | None:
        boxes = self._boxes(table[["x", "y"]].to_numpy())
        return slide_picture(*self._seen, boxes=boxes, reasons=table["reason"].tolist())

    def tile(self, x: int, y: int) -> tuple[np.ndarray, np.ndarray | None]:
        image = self._slide.read_region(x, y, self._tiling.size, self.mpp)
        return image, self._map(x, y) if self._classes else None

    def _map(self, x: int, y: int) -> np.ndarray:
        if self._annotation is None:
            return np.full((self._tiling.size, self._tiling.size), UNLABELLED, dtype=np.uint8)
        return self._annotation.region(x, y, self._tiling.size, scale=self._scale)


class ImageSource:
    """A ready-made image with its mask, resized to the tile's size.

    Images by an antialiasing filter; masks by majority of area.
    """

    def __init__(self, row: pd.Series, study: Study) -> None:
        size = study.tiling.size
        image = self._read_image(row)
        self._image = resize(np.asarray(image), (size, size))
        self._map = self._read_map(row, study, image.size) if study.classes else None
        self._count = len(study.classes)
        self.mpp = float(row["mpp"]) * image.size[0] / size  # NaN stays NaN
        self.mpp_source = row["mpp_source"]
        self.reader = "pillow"
        self.note = ""

    @staticmethod
    def _read_image(row: pd.Series) -> Image.Image:
        try:
            return read_image(row["image"])
        except Exception as error:
            raise InputError(
                f"slide {row['slide_id']}: image {row['image']} cannot be read: {error}; copy it "
                "again from its source, or remove its row"
            ) from None

    @staticmethod
    def _read_map(row: pd.Series, study: Study, image_size: tuple[int, int]) -> np.ndarray:
        size = study.tiling.size
        if not row["annotation"]:
            return np.full((size, size), UNLABELLED, dtype=np.uint8)
        try:
            values = read_mask(row["annotation"])
        except Exception as error:
            raise InputError(
                f"slide {row['slide_id']}: mask {row['annotation']} cannot be read: {error}; "
                "export it again, or remove its row"
            ) from None
        if values.shape[::-1] != image_size:
            raise InputError(
                f"slide {row['slide_id']}: mask {row['annotation']} is {values.shape[1]} x "
                f"{values.shape[0]} pixels, its image {image_size[0]} x {image_size[1]}; expected "
                "equal sizes: export the mask again"
            )
        threshold = getattr(study.cohort, "mask_threshold", None)
        if threshold is not None:
            values = (values > threshold).astype(np.uint8)
        class_map = to_classes(values, study.classes, slide_id=row["slide_id"], site=row["site"])
        return downsample_classes(class_map, (size, size), count=len(study.classes))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def candidates(self) -> Candidates:
        fractions = np.full((1, self._count), np.nan, dtype=np.float32)
        if self._map is not None and (self._map != UNLABELLED).any():
            fractions[0] = class_fractions(self._map, self._count)
        return Candidates(
            positions=np.zeros((1, 2), dtype=np.int64),
            tissue=np.ones(1),
            fractions=fractions,
            faults=np.full(1, "", dtype=object),
            entropy=np.full(1, np.nan),
        )

    def picture(self, table: pd.DataFrame) -> np.ndarray | None:
        return None

    def tile(self, x: int, y: int) -> tuple[np.ndarray, np.ndarray | None]:
        return self._image, self._map
