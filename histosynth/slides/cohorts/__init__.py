"""Cohorts: whatever lists slides and patients, as one table with one row a slide.

A kind of cohort is one file here with a loader under `register_cohort`, and its settings in
`histosynth/cohort_settings.py`. The loader turns the study's `cohort` section into raw rows;
`load_cohort` checks them.
"""

import importlib
import pkgutil

from histosynth.slides.cohorts.load import load_cohort
from histosynth.slides.cohorts.registry import ADAPTERS, COHORT_COLUMNS, register_cohort
from histosynth.slides.cohorts.tables import read_table

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

__all__ = ["ADAPTERS", "COHORT_COLUMNS", "load_cohort", "read_table", "register_cohort"]
