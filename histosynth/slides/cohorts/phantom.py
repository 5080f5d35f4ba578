"""The phantom's own table of slides."""

from pathlib import Path

import pandas as pd

from histosynth.config import Study
from histosynth.errors import InputError
from histosynth.slides.cohorts.registry import register_cohort
from histosynth.slides.cohorts.tables import read_table, rooted


@register_cohort("phantom")
def _phantom(study: Study, table: Path | None) -> pd.DataFrame:
    if table is None:
        raise InputError(
            "cohort.kind phantom: draw the slides first (scripts/phantom.py), then give their "
            "table with --table <folder>/cohort.csv"
        )
    return rooted(read_table(table), table)
