"""The registry of cohort kinds."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

import pandas as pd

from histosynth.config import Study

COHORT_COLUMNS = (
    "slide_id patient_id site split image annotation label mpp mpp_source split_unit"
).split()


class Adapter(NamedTuple):
    """How one kind of cohort is read.

    load : (study, table) -> text columns, some of `COHORT_COLUMNS` ("" for unknown). Its `attrs`
        tell the `source` (a file or folder, for errors); where that is not "patient", the
        `split_unit`: what the cohort can keep apart at best ("slide" or "image"); and
        `tile_labels`, True where every tile brings a label of its own (`Candidates.labels`); and
        `rows`, where they are of another kind than `source`, as one cohort's releases may differ.
        Its index tells where a row comes from, for errors: see `tables.where`.
    source : what a row is: a slide to tile, an image that is a tile already, or a slide whose
        patches were cut by others (see `histosynth.slides.sources`)
    """

    load: Callable[[Study, Path | None], pd.DataFrame]
    source: Literal["slide", "image", "patches"] = "slide"


ADAPTERS: dict[str, Adapter] = {}


def register_cohort(
    kind: str, *, source: Literal["slide", "image", "patches"] = "slide"
) -> Callable[[Callable], Callable]:
    """Register a loader for `cohort.kind`; see `Adapter`."""

    def register(load: Callable[[Study, Path | None], pd.DataFrame]) -> Callable:
        ADAPTERS[kind] = Adapter(load, source)
        return load

    return register
