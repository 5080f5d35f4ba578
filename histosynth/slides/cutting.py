"""Cutting one slide: which of its tiles are read, in what order, and what became of each."""

from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from histosynth.cohort_settings import Tiling
from histosynth.config import Study
from histosynth.errors import InputError
from histosynth.slides.faults import image_fault
from histosynth.slides.outliers import osorio_outlier
from histosynth.slides.selection import preference
from histosynth.slides.sources import Source, open_source
from histosynth.slides.tiling import (
    OVER_CAP,
    UNREADABLE,
    rejection_reasons,
    tile_entropy,
    tile_labels,
    tile_table,
)


class CutTile(NamedTuple):
    """A tile that is kept.

    row : of the tile set's table
    image : uint8 (size, size, 3)
    map : uint8 (size, size), None in a study without classes
    """

    row: dict[str, Any]
    image: np.ndarray
    map: np.ndarray | None


class SlideCut:
    """One slide, cut by going through `tiles`; then the rest is known too.

    Parameters
    ----------
    row : the slide's row in the cohort

    Attributes
    ----------
    entry : what slides.json says of it: status "ok" or "failed", and why; tiles by reason
    table : all tiles of its grid, each accepted or with the reason why not; None where it failed
    picture : uint8 (H, W, 3), the slide with its tiles, where there is one
    """

    def __init__(self, row: pd.Series, study: Study) -> None:
        self._row, self._study = row, study
        self.entry: dict[str, Any] = {
            name: row[name]
            for name in ("slide_id", "patient_id", "site", "split", "split_unit", "image")
        }
        self.entry |= {"status": "ok", "reason": "", "counts": {}}
        self.entry |= {"mpp": None, "mpp_source": "", "reader": None}
        self.table: pd.DataFrame | None = None
        self.picture: np.ndarray | None = None

    def tiles(self) -> Iterator[CutTile]:
        """The tiles kept, as they are read.

        A tile that cannot be read, or shows a fault when it is, is left out and the next best is
        read. Whatever else goes wrong ends this slide, not the caller: `entry` holds the reason,
        and the tiles given so far count for nothing.
        """
        try:
            with open_source(self._row, self._study) as source:
                table = _plan(self._row, self._study, source)
                planned = bool(table["accepted"].any())
                yield from _read(source, table, self._study)
                self._describe(source, table, planned=planned)
        except Exception as error:  # one bad slide must not end the chunk; the reason is kept
            kind = "" if isinstance(error, InputError) else f"{type(error).__name__}: "
            self.entry |= {"status": "failed", "reason": f"{kind}{error}", "counts": {}}
            self.table = None

    def _describe(self, source: Source, table: pd.DataFrame, *, planned: bool) -> None:
        short = table["reason"].map(short_reason)
        self.entry |= {
            "reason": source.note,
            "counts": dict(Counter(short)),
            "mpp": None if np.isnan(source.mpp) else source.mpp,
            "mpp_source": source.mpp_source,
            "reader": source.reader,
        }
        unread = table["reason"][short == UNREADABLE]
        if len(unread):
            first = f"{len(unread)} tile(s) unreadable, the first: {unread.iloc[0]}"
            self.entry["reason"] = first
            if planned and not table["accepted"].any():
                self.entry["status"] = "failed"
        self.table = table
        self.picture = source.picture(table)


def tile_fault(image: np.ndarray, *, mpp: float, settings: Tiling) -> str:
    """Why the pixels of a tile, once read, rule it out; "" where they do not.

    Parameters
    ----------
    image : uint8 (size, size, 3)
    mpp : micrometres a pixel, NaN where unknown
    """
    fault = image_fault(image, mpp=mpp, reject=settings.reject)
    if not fault and settings.outliers == "osorio":
        return osorio_outlier(image)
    return fault


def short_reason(reason: str) -> str:
    """The rule's name, as counted: a reason less the words that follow it."""
    return reason.split(":", 1)[0] or "accepted"


def _plan(row: pd.Series, study: Study, source: Source) -> pd.DataFrame:
    """All tiles of the grid; "" is the reason of those that may be taken, before any is read.

    Its `attrs["preference"]` are these tiles' rows, best first.
    """
    found = source.candidates()
    reasons = rejection_reasons(found, settings=study.tiling)
    labels = found.labels
    if labels is None:
        labels = tile_labels(
            found.fractions,
            label=study.label,
            class_names=study.class_names,
            slide_label=row["label"],
        )
    may = np.flatnonzero(reasons == "")
    best = preference(
        found.fractions[may],
        labels[may],
        found.entropy[may],
        settings=study.tiling,
        slide_id=row["slide_id"],
    )
    table = tile_table(
        row,
        positions=found.positions,
        tissue=found.tissue,
        fractions=found.fractions,
        entropy=tile_entropy(found.fractions, found.entropy),
        reasons=reasons,
        labels=labels,
        class_names=study.class_names,
        size=study.tiling.size,
        mpp=source.mpp,
        mpp_source=source.mpp_source,
    )
    table.attrs["preference"] = may[best]
    return table


def _read(source: Source, table: pd.DataFrame, study: Study) -> Iterator[CutTile]:
    """Read tiles by preference until there are as many as a slide may give; settles the table.

    In rounds: as many as are still wanted, in the order of the grid, since neighbours share what
    the reader decodes; then the next best in the place of those that could not be used.
    """
    waiting = table.attrs.pop("preference")
    wanted = study.tiling.max_tiles_per_slide or len(waiting)
    reasons = table["reason"].to_numpy(object)
    while wanted and len(waiting):
        chosen, waiting = waiting[:wanted], waiting[wanted:]
        places = table.iloc[chosen].sort_values(["y", "x"])
        for i, row in zip(places.index, places.to_dict("records"), strict=True):
            try:
                image, class_map = source.tile(row["x"], row["y"])
            except InputError as error:
                reasons[i] = f"{UNREADABLE}: {error}"
                continue
            reasons[i] = tile_fault(image, mpp=source.mpp, settings=study.tiling)
            if not reasons[i]:
                wanted -= 1
                yield CutTile(_plain(row), image, class_map)
    reasons[waiting] = OVER_CAP
    table["reason"], table["accepted"] = reasons, reasons == ""


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    """The row as the writer takes it: None for a missing label."""
    return row if isinstance(row["label"], str) else row | {"label": None}
