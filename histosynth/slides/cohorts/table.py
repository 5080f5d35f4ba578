"""Slides listed in the user's own table."""

from pathlib import Path

import pandas as pd

from histosynth.cohort_settings import TableCohort
from histosynth.config import Study
from histosynth.slides.cohorts.registry import register_cohort
from histosynth.slides.cohorts.tables import read_table, rooted


@register_cohort("table")
def _table(study: Study, table: Path | None) -> pd.DataFrame:
    assert isinstance(study.cohort, TableCohort)
    path = Path(study.cohort.table)
    return rooted(read_table(path), path)
