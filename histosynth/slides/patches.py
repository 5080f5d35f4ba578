"""Patches that others cut from slides: PatchCamelyon's, read one slide at a time.

They were drawn with repetition, and a tile is known by its place, so of patches at one place of a
slide only the first is taken.
"""

from pathlib import Path
from typing import Self

import numpy as np
import pandas as pd

from histosynth.config import Study
from histosynth.errors import InputError
from histosynth.resizing import resize
from histosynth.slides.cohorts.pcam_files import PatchFiles, open_hdf5, read_places
from histosynth.slides.sources import Candidates, ImageSource, Source


class PatchSource:
    """The patches of one slide, resized to the tile's size by an antialiasing filter.

    Parameters
    ----------
    row : the slide's row in the cohort: `image` is the file of patches, `patient_id` its `wsi`
    study : its `tiling.size` and `label` are used; patches of label 0 get the first name
    """

    def __init__(self, row: pd.Series, study: Study) -> None:
        self._path, self._size, self._label = Path(row["image"]), study.tiling.size, study.label
        places = read_places(self._path)
        own = places[places["slide"] == row["patient_id"]]
        if own.empty:
            raise InputError(
                f"slide {row['slide_id']}: {PatchFiles.of(self._path).places} has no patch of "
                f"{row['patient_id']!r}; make the cohort again"
            )
        disputed = own.groupby(["x", "y"])["label"].transform("nunique") > 1
        self._patches = own[~own.duplicated(["x", "y"]) & ~disputed]
        self._rows = {(p.x, p.y): p.Index for p in self._patches.itertuples()}
        self._file = open_hdf5(self._path)
        self._images = self._file["x"]
        self.mpp = float(row["mpp"]) * self._images.shape[1] / self._size  # NaN stays NaN
        self.mpp_source = row["mpp_source"]
        self.reader = "hdf5"
        self.note = _note(len(own), len(own) - len(self._patches), int(disputed.sum()))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def candidates(self) -> Candidates:
        count = len(self._patches)
        return Candidates(
            positions=self._patches[["x", "y"]].to_numpy(np.int64),
            tissue=np.ones(count),
            fractions=np.empty((count, 0), dtype=np.float32),
            faults=np.full(count, "", dtype=object),
            entropy=np.full(count, np.nan),
            labels=self._names(),
        )

    def _names(self) -> np.ndarray:
        if self._label is None:
            return np.full(len(self._patches), None, dtype=object)
        return np.array(self._label.names, dtype=object)[self._patches["label"].to_numpy()]

    def picture(self, table: pd.DataFrame) -> np.ndarray | None:
        return None

    def tile(self, x: int, y: int) -> tuple[np.ndarray, np.ndarray | None]:
        index = self._rows[x, y]
        try:
            patch = self._images[index]
        except OSError as error:
            raise InputError(f"patch {index} of {self._path}: {error}") from None
        if len(patch) != self._size:
            patch = resize(patch, (self._size, self._size))
        return patch, None


def _note(count: int, left_out: int, disputed: int) -> str:
    if not left_out:
        return ""
    why = f" ({disputed} since their labels contradict each other)" if disputed else ""
    return f"{left_out} of {count} patches at places given more than once are left out{why}"


def open_patches(row: pd.Series, study: Study) -> Source:
    """A row of kind pcam: a slide's patches, or in Kaggle's form one image."""
    if row["image"].endswith(".h5"):
        return PatchSource(row, study)
    return ImageSource(row, study)
