"""Tiling a chunk of a cohort, so that a kill costs a minute and a repeat only what changed."""

import shutil
import time
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm import tqdm

from histosynth.config import Study
from histosynth.errors import InputError
from histosynth.files import atomic_folder
from histosynth.grid import Grid
from histosynth.slides.gather import refuse_all_failed
from histosynth.slides.merging import merge_parts
from histosynth.slides.parts import (
    Finished,
    PartWriter,
    keep_part,
    new_part,
    read_parts,
    slide_key,
)
from histosynth.tileset_writer import writing

PART_SECONDS = 60.0


def check_annotations(cohort: pd.DataFrame, study: Study) -> None:
    """Refuse a study whose heterogeneity rule lacks the masks to decide it."""
    if study.tiling.heterogeneity is None:
        return
    cure = "; set tiling.heterogeneity: null to keep tiles whatever their classes"
    if not study.classes:
        raise InputError(f"tiling.heterogeneity needs `classes`, and the study has none{cure}")
    bare = cohort[cohort["annotation"] == ""]
    if len(bare):
        raise InputError(
            f"tiling.heterogeneity needs an annotation for every slide; {len(bare)} have none, "
            f"the first is {bare['slide_id'].iloc[0]}{cure}"
        )


def tile_chunk(
    cohort: pd.DataFrame,
    study: Study,
    folder: str | Path,
    *,
    chunk: int = 0,
    chunks: int = 1,
    progress: bool = True,
    part_seconds: float = PART_SECONDS,
) -> list[dict[str, Any]]:
    """Tile every `chunks`-th slide of a cohort, from `chunk` on.

    Writes `folder`, atomically, in the layout that `histosynth.slides.parts` describes. A slide
    that fails is an entry with its reason, and the others go on. What is done lies in parts in
    `folder`.state until then, and in one part of links to `folder` thereafter: a repeat takes over
    the slides whose row, files and settings are as they were, and tries the failed ones again.

    Parameters
    ----------
    part_seconds : a part ends with the first slide that is done so long after its start

    Returns
    -------
    what slides.json holds: one entry a slide, in the cohort's order

    Raises
    ------
    InputError : every slide of the cohort failed, or the rule for tiles cannot be decided.
    OutputError : the disk is full, say; the parts that were complete are kept.
    """
    check_annotations(cohort, study)
    folder = Path(folder)
    mine = cohort.iloc[chunk::chunks]
    settings = Grid(study).settings("tile")
    keys = {row["slide_id"]: slide_key(row, settings) for _, row in mine.iterrows()}
    state = folder.with_name(f"{folder.name}.state")
    for killed in folder.parent.glob(f".{folder.name}.*.partial"):
        shutil.rmtree(killed)
    with writing(folder):
        finished = read_parts(state, keys)
        todo = mine[~mine["slide_id"].isin(list(finished))]
        with tqdm(
            initial=len(finished),
            total=len(mine),
            desc="tiling",
            unit="slide",
            disable=not progress,
        ) as bar:
            while len(todo):
                part = _tile_part(todo, keys, study, new_part(state), part_seconds, bar)
                finished |= part
                todo = todo.iloc[len(part) :]
        slides = [finished[name] for name in mine["slide_id"]]
        entries = [slide.entry for slide in slides]
        if len(mine) == len(cohort):
            refuse_all_failed(entries)
        with atomic_folder(folder) as partial:
            merge_parts(slides, partial, study)
        keep_part(folder, state)
    return entries


def _tile_part(
    slides: pd.DataFrame,
    keys: dict[str, str],
    study: Study,
    folder: Path,
    seconds: float,
    bar: tqdm,
) -> dict[str, Finished]:
    """Tile slides from the head of the table until the time is up."""
    started = time.monotonic()
    with PartWriter(folder, study) as part:
        for _, row in slides.iterrows():
            part.tile(row, keys[row["slide_id"]])
            bar.update()
            if time.monotonic() - started >= seconds:
                break
    return {entry["slide_id"]: Finished(folder, entry) for entry in part.entries}
