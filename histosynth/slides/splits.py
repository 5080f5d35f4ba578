"""Splitting a cohort by patient, before anything is fitted to it.

A patient's slides stay together: neighbouring tiles of one patient on two sides make every score
optimistic. A `split` column that the user gives is taken as it is, and checked.
"""

import numpy as np
import pandas as pd

from histosynth.cohort_settings import Split
from histosynth.errors import InputError

SPLITS = ("train", "val", "test")
_ALIASES = {"training": "train", "validation": "val", "valid": "val", "testing": "test"}


def assign_splits(cohort: pd.DataFrame, settings: Split, *, source: str = "cohort") -> pd.Series:
    """The split of every slide.

    Without a `split` column, patients are shuffled by the seed and dealt so that each site and
    label comes near the fractions; the number of patients a split depends on the fractions alone.

    Parameters
    ----------
    cohort : one row a slide: slide_id, patient_id, and optionally site, label, split
    settings : fractions and seed
    source : the table's name, for errors

    Returns
    -------
    Series of "train", "val" or "test", indexed as `cohort`

    Raises
    ------
    InputError : a patient in two splits, a split with no patient, an unknown or empty split.
    """
    if "split" in cohort and (cohort["split"] != "").any():
        splits = cohort["split"].str.strip().str.lower().replace(_ALIASES)
        _check_names(cohort, splits, source)
        check_disjoint(cohort.assign(split=splits), source=source)
    else:
        dealt = deal_patients(cohort, settings, source=source)
        splits = cohort["patient_id"].map(dealt)
    empty = [name for name in SPLITS if not (splits == name).any()]
    if empty:
        raise InputError(
            f"{source}: split column: no patient is in {', '.join(empty)}; every one of "
            f"{', '.join(SPLITS)} needs at least one. Move patients there, or remove the column to "
            "split by the study's fractions"
        )
    return splits


def deal_patients(cohort: pd.DataFrame, settings: Split, *, source: str) -> dict[str, str]:
    """patient_id -> split, by fractions; see `assign_splits`."""
    patients = cohort.drop_duplicates("patient_id").sort_values("patient_id")
    quota = split_sizes(len(patients), settings, source=source)
    rng = np.random.default_rng(settings.seed)
    patients = patients.iloc[rng.permutation(len(patients))]
    strata = [name for name in ("site", "label") if name in patients]
    if strata:
        keys = patients[strata].fillna("").astype(str).agg("\t".join, axis=1)
        patients = patients.iloc[np.argsort(keys.to_numpy(), kind="stable")]
    shares = np.array([quota[name] for name in SPLITS]) / len(patients)
    given = np.zeros(len(SPLITS))
    dealt = {}
    for turn, patient in enumerate(patients["patient_id"], start=1):
        # The split furthest behind its share goes next, so every stretch of a stratum is mixed.
        behind = shares * turn - given
        behind[given >= [quota[name] for name in SPLITS]] = -np.inf
        chosen = int(np.argmax(behind))
        given[chosen] += 1
        dealt[patient] = SPLITS[chosen]
    return dealt


def split_sizes(patients: int, settings: Split, *, source: str) -> dict[str, int]:
    """Patients a split: at least one each, the rest by largest remainder."""
    if patients < len(SPLITS):
        raise InputError(
            f"{source}: {patients} patient(s), but train, val and test need at least one each; add "
            "patients (a patient's slides are never divided)"
        )
    fractions = np.array([getattr(settings, name) for name in SPLITS])
    exact = fractions / fractions.sum() * patients
    sizes = np.maximum(np.floor(exact + 1e-9).astype(int), 1)
    while sizes.sum() < patients:
        sizes[np.argmax(exact - sizes)] += 1
    while sizes.sum() > patients:
        sizes[np.argmax(np.where(sizes > 1, sizes - exact, -np.inf))] -= 1
    return dict(zip(SPLITS, sizes.tolist(), strict=True))


def check_disjoint(cohort: pd.DataFrame, *, source: str) -> None:
    """Refuse a patient in two splits, naming the patient and its slides."""
    counts = cohort.groupby("patient_id")["split"].nunique()
    shared = counts.index[counts > 1]
    if len(shared):
        lines = []
        for patient in shared[:5]:
            rows = cohort[cohort["patient_id"] == patient].drop_duplicates(["split", "slide_id"])
            slides = ", ".join(f"{r.slide_id} in {r.split}" for r in rows.head(6).itertuples())
            lines.append(f"  patient {patient}: {slides}")
        raise InputError(
            f"{source}: {len(shared)} patient(s) in more than one split; put all slides of a "
            "patient into one:\n" + "\n".join(lines)
        )


def _check_names(cohort: pd.DataFrame, splits: pd.Series, source: str) -> None:
    strange = ~splits.isin(SPLITS)
    if strange.any():
        first = cohort[strange].iloc[0]
        raise InputError(
            f"{source}: slide {first['slide_id']} has split {first['split']!r} ({strange.sum()} "
            f"slide(s) in all); expected one of {', '.join(SPLITS)}. Fill the column for every "
            "slide, or remove it to split by the study's fractions"
        )
