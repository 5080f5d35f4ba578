"""Splitting a cohort by patient, before anything is fitted to it.

A patient's slides stay together: neighbouring tiles of one patient on two sides make every score
optimistic. What a `split` column says is kept, and checked; what it leaves open is dealt.
"""

import os
from collections.abc import Sequence

import numpy as np
import pandas as pd

from histosynth.cohort_settings import Split
from histosynth.errors import InputError

SPLITS = ("train", "val", "test")
UNKNOWN_SITE = "unknown"
_ALIASES = {"training": "train", "validation": "val", "valid": "val", "testing": "test"}


def assign_splits(cohort: pd.DataFrame, settings: Split, *, source: str = "cohort") -> pd.Series:
    """The split of every slide; it depends on the settings and the slides, not on their order.

    Without a `split` column, patients are shuffled by the seed and dealt so that each site and
    label (`stratify`) comes near the fractions; the number of patients a split depends on the
    fractions alone. With `folds`, they are dealt likewise into as many equal folds: fold number
    `fold` is the test split, the next one the validation split, and the others train. With
    `group: site`, whole sites are dealt instead, see `deal_sites`.

    What a `split` column says is kept: patients without a word in it are dealt among the splits
    that it does not name, by the study's fractions among these (Camelyon16 names its test slides;
    the others become train and val). Where it names train and test for every slide, val is dealt
    out of train, so that the official test split stays as it is.

    Parameters
    ----------
    cohort : one row a slide: slide_id, patient_id, and optionally site, label, split
    settings : of the study
    source : the table's name, for errors

    Returns
    -------
    Series of "train", "val" or "test", indexed as `cohort`

    Raises
    ------
    InputError : a patient in two splits, a split with no patient, an unknown split, too few
        patients or sites, or folds or sites asked for beside a filled column.
    """
    named = cohort.get("split", pd.Series("", cohort.index)).str.strip().str.lower()
    named = named.replace(_ALIASES)
    if (named != "").any():
        splits = _complete(cohort, named, settings, source)
    elif settings.group == "site":
        dealt = deal_sites(cohort, settings, source=source)  # it refuses a missing site
        splits = cohort["site"].map(dealt)
    else:
        splits = cohort["patient_id"].map(deal_patients(cohort, settings, source=source))
    empty = [name for name in SPLITS if not (splits == name).any()]
    if empty:
        raise InputError(
            f"{source}: split column: no patient is in {', '.join(empty)}; every one of "
            f"{', '.join(SPLITS)} needs at least one. Move patients there, or remove the column to "
            "split by the study's fractions"
        )
    return splits


def deal_patients(
    cohort: pd.DataFrame, settings: Split, *, source: str, among: Sequence[str] = SPLITS
) -> dict[str, str]:
    """patient_id -> split, see `assign_splits`; `among` some of the splits only, by fractions."""
    patients = cohort.sort_values(["patient_id", "slide_id"]).drop_duplicates("patient_id")
    names: Sequence[str]
    if settings.folds and among == SPLITS:
        names, sizes = _fold_names(settings), _fold_sizes(len(patients), settings, source=source)
    else:
        by_split = split_sizes(len(patients), settings, source=source, among=among)
        names, sizes = among, list(by_split.values())
    rng = np.random.default_rng(settings.seed)
    patients = patients.iloc[rng.permutation(len(patients))]
    strata = [name for name in ("site", "label") if name in patients and name in settings.stratify]
    if strata:
        first, *others = [patients[name].fillna("").astype(str) for name in strata]
        keys = first.str.cat(others, sep="\t").to_numpy(object)
        patients = patients.iloc[np.argsort(keys, kind="stable")]
    quota = np.array(sizes)
    shares = quota / len(patients)
    given = np.zeros(len(quota))
    dealt = {}
    for turn, patient in enumerate(patients["patient_id"], start=1):
        # The one furthest behind its share goes next, so every stretch of a stratum is mixed.
        behind = shares * turn - given
        behind[given >= quota] = -np.inf
        chosen = int(np.argmax(behind))
        given[chosen] += 1
        dealt[patient] = names[chosen]
    return dealt


def deal_sites(cohort: pd.DataFrame, settings: Split, *, source: str) -> dict[str, str]:
    """site -> split, so that a model is tested on hospitals that it never saw.

    The sites with the most patients are dealt first, each to the split (or fold) that lacks the
    most patients of its share, and every split gets one; the seed decides among sites of one size.
    To test on another site, use `folds` and `fold`. Labels are not balanced: whole sites cannot be.

    Raises
    ------
    InputError : fewer sites than splits or folds, a slide of an unknown site, a patient of two.
    """
    known = cohort.get("site", pd.Series(UNKNOWN_SITE, cohort.index)).fillna(UNKNOWN_SITE)
    unknown = cohort["slide_id"][known.isin(["", UNKNOWN_SITE])]
    if len(unknown):
        raise InputError(
            f"{source}: split.group: site needs every slide's site; {len(unknown)} slide(s) have "
            f"none, the first is {unknown.min()}. Fill the column `site`, or set split.group: "
            "patient"
        )
    pairs = cohort[["patient_id", "site"]].drop_duplicates().sort_values(["patient_id", "site"])
    twice = pairs[pairs["patient_id"].duplicated(keep=False)]
    if len(twice):
        first = twice[twice["patient_id"] == twice["patient_id"].iloc[0]]
        raise InputError(
            f"{source}: split.group: site: patient {first['patient_id'].iloc[0]} has slides of "
            f"{' and '.join(first['site'])}; give a patient's slides one site, or set "
            "split.group: patient"
        )
    sizes = pairs["site"].value_counts().sort_index()
    names = _fold_names(settings) if settings.folds else list(SPLITS)
    if len(sizes) < len(names):
        raise InputError(
            f"{source}: split.group: site needs at least {len(names)} sites, one a "
            f"{'fold' if settings.folds else 'split'}; found {len(sizes)}: "
            f"{', '.join(sizes.index)}. Add sites, or set split.group: patient"
        )
    sizes = sizes.iloc[np.random.default_rng(settings.seed).permutation(len(sizes))]
    sizes = sizes.iloc[np.argsort(-sizes.to_numpy(), kind="stable")]
    fractions = [1.0 if settings.folds else getattr(settings, name) for name in names]
    missing = np.array(fractions) / sum(fractions) * sizes.sum()
    has_none = np.ones(len(names), dtype=bool)
    dealt = {}
    for place, (site, patients) in enumerate(sizes.items()):
        must_fill = len(sizes) - place <= has_none.sum()
        chosen = int(np.argmax(np.where(has_none | (not must_fill), missing, -np.inf)))
        missing[chosen] -= patients
        has_none[chosen] = False
        dealt[str(site)] = names[chosen]
    return dealt


def split_sizes(
    patients: int, settings: Split, *, source: str, among: Sequence[str] = SPLITS
) -> dict[str, int]:
    """Patients a split: at least one each, the rest by largest remainder."""
    if patients < len(among):
        listed = " and ".join([", ".join(among[:-1]), among[-1]] if among[1:] else among)
        verb = "need" if among[1:] else "needs"
        raise InputError(
            f"{source}: {patients} patient(s), but {listed} {verb} at least one each; add "
            "patients (a patient's slides are never divided)"
        )
    fractions = np.array([getattr(settings, name) for name in among])
    exact = fractions / fractions.sum() * patients
    sizes = np.maximum(np.floor(exact + 1e-9).astype(int), 1)
    while sizes.sum() < patients:
        sizes[np.argmax(exact - sizes)] += 1
    while sizes.sum() > patients:
        sizes[np.argmax(np.where(sizes > 1, sizes - exact, -np.inf))] -= 1
    return dict(zip(among, sizes.tolist(), strict=True))


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


def check_own_images(cohort: pd.DataFrame, *, source: str) -> None:
    """Refuse an image listed for two patients, who could then stand in two splits with one slide.

    For cohorts in which a row's image is its own: slide_id, patient_id and image are used.
    """
    rows = cohort.assign(image=cohort["image"].map(os.path.normpath))
    counts = rows.groupby("image", sort=False)["patient_id"].nunique()
    shared = counts.index[counts > 1]
    if len(shared):
        lines = []
        for image in shared[:5]:
            of_image = rows[rows["image"] == image].drop_duplicates("patient_id").head(6)
            patients = [f"{row.patient_id} (slide {row.slide_id})" for row in of_image.itertuples()]
            lines.append(f"  {image}: patients {', '.join(patients)}")
        raise InputError(
            f"{source}: {len(shared)} image(s) are listed for more than one patient; an image is "
            "of one patient: correct the paths or the patient_id:\n" + "\n".join(lines)
        )


def _complete(cohort: pd.DataFrame, named: pd.Series, settings: Split, source: str) -> pd.Series:
    """The splits that a column names (`named`, "" where it does not), and the rest dealt."""
    filled = named != ""
    _refuse_other_schemes(settings, int(filled.sum()), source)
    strange = filled & ~named.isin(SPLITS)
    if strange.any():
        raise _wrong_split(cohort, strange, source)
    check_disjoint(cohort[filled].assign(split=named[filled]), source=source)
    of_patient = named[filled].groupby(cohort["patient_id"][filled]).first()
    splits = cohort["patient_id"].map(of_patient).fillna("")
    unnamed = [name for name in SPLITS if not (splits == name).any()]
    dealt, among = splits == "", unnamed
    if dealt.any() and not unnamed:
        raise _wrong_split(cohort, dealt, source)
    if not dealt.any() and unnamed == ["val"]:
        dealt, among = splits == "train", ["train", "val"]
    if dealt.any():
        chosen = deal_patients(cohort[dealt], settings, source=source, among=among)
        splits[dealt] = cohort["patient_id"][dealt].map(chosen)
    return splits


def _refuse_other_schemes(settings: Split, slides: int, source: str) -> None:
    asked = {"folds": settings.folds is not None, "group: site": settings.group == "site"}
    for key, is_set in asked.items():
        if is_set:
            raise InputError(
                f"{source}: {slides} slide(s) have a split already, which split.{key} would "
                f"overrule; remove split.{key} from the study to keep the given split, or empty "
                "the table's `split` column to deal anew"
            )


def _wrong_split(cohort: pd.DataFrame, wrong: pd.Series, source: str) -> InputError:
    first = cohort[wrong].sort_values("slide_id").iloc[0]
    return InputError(
        f"{source}: slide {first['slide_id']} has split {first['split']!r} ({wrong.sum()} "
        f"slide(s) in all); expected one of {', '.join(SPLITS)}. Fill the column for every "
        "slide, leave one of the splits unnamed for those without, or remove the column to split "
        "by the study's fractions"
    )


def _fold_names(settings: Split) -> list[str]:
    """The split that each fold is."""
    assert settings.folds is not None
    names = ["train"] * settings.folds
    names[settings.fold] = "test"
    names[(settings.fold + 1) % settings.folds] = "val"
    return names


def _fold_sizes(patients: int, settings: Split, *, source: str) -> list[int]:
    assert settings.folds is not None
    if patients < settings.folds:
        raise InputError(
            f"{source}: {patients} patient(s) for split.folds: {settings.folds}; lower split.folds "
            "or add patients (a patient's slides are never divided)"
        )
    return [len(part) for part in np.array_split(np.arange(patients), settings.folds)]
