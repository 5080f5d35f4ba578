"""No patient is on two sides, and the split depends on the seed alone."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from histosynth.cohort_settings import Split
from histosynth.errors import InputError
from histosynth.slides.splits import SPLITS, assign_splits, split_sizes


def make_cohort(patients=20, slides=2, **columns) -> pd.DataFrame:
    rows = [
        {"slide_id": f"p{p:02d}-s{s}", "patient_id": f"p{p:02d}"}
        for p in range(patients)
        for s in range(slides)
    ]
    return pd.DataFrame(rows).assign(split="", **columns)


@settings(max_examples=50, deadline=None)
@given(
    patients=st.integers(3, 60),
    slides=st.integers(1, 3),
    train=st.floats(0.05, 1),
    val=st.floats(0.05, 1),
    seed=st.integers(0, 5),
)
def test_every_patient_is_in_one_split_and_every_split_has_one(patients, slides, train, val, seed):
    cohort = make_cohort(patients, slides)
    chosen = Split(train=train, val=val, test=0.25, seed=seed)
    cohort["split"] = assign_splits(cohort, chosen)
    assert (cohort.groupby("patient_id")["split"].nunique() == 1).all()
    counts = cohort.groupby("split")["patient_id"].nunique()
    assert set(counts.index) == set(SPLITS)
    assert counts.to_dict() == split_sizes(patients, chosen, source="cohort")


def test_sizes_follow_the_fractions():
    assert split_sizes(20, Split(train=0.6, val=0.15, test=0.25), source="c") == {
        "train": 12,
        "val": 3,
        "test": 5,
    }
    # Exact shares 3.5, 0.35, 1.15 of 5: one each, then the largest remainders.
    assert split_sizes(5, Split(train=0.7, val=0.07, test=0.23), source="c") == {
        "train": 3,
        "val": 1,
        "test": 1,
    }


def test_the_split_depends_on_the_seed_and_not_on_the_order_of_rows():
    cohort = make_cohort()
    first = assign_splits(cohort, Split(seed=1))
    mixed = cohort.sample(frac=1, random_state=np.random.RandomState(3))
    pd.testing.assert_series_equal(assign_splits(mixed, Split(seed=1)).sort_index(), first)
    assert (assign_splits(cohort, Split(seed=2)) != first).any()


def test_sites_and_labels_are_spread_over_the_splits():
    site = np.repeat(["a", "b"], [24, 16])
    label = np.tile(["x", "y"], 20)
    for seed in range(10):
        cohort = make_cohort(40, 1, site=site, label=label)
        cohort["split"] = assign_splits(cohort, Split(train=0.5, val=0.25, test=0.25, seed=seed))
        shares = pd.crosstab([cohort["site"], cohort["label"]], cohort["split"])
        expected = shares.sum(axis=1).to_numpy()[:, None] * np.array([0.25, 0.5, 0.25])
        # Dealt in turn: a stratum misses its share by the deal's start and end only.
        assert np.abs(shares[["test", "train", "val"]].to_numpy() - expected).max() <= 1


def test_a_split_column_wins():
    cohort = make_cohort(4)
    cohort["split"] = np.repeat(["train", "Validation", "test", " train"], 2)
    found = assign_splits(cohort, Split())
    assert found.tolist() == ["train"] * 2 + ["val"] * 2 + ["test"] * 2 + ["train"] * 2


def test_a_patient_in_two_splits_is_named_with_its_slides():
    cohort = make_cohort(4)
    cohort["split"] = ["train", "test", "val", "val", "test", "test", "train", "train"]
    with pytest.raises(
        InputError, match=r"(?s)my\.csv: 1 patient.*patient p00: p00-s0 in train, p00-s1 in test"
    ):
        assign_splits(cohort, Split(), source="my.csv")


def test_a_split_without_patients_is_refused():
    cohort = make_cohort(4)
    cohort["split"] = np.repeat(["train", "train", "test", "train"], 2)
    with pytest.raises(InputError, match="no patient is in val"):
        assign_splits(cohort, Split())


def test_unknown_and_empty_splits_are_refused():
    for wrong in ("holdout", ""):
        cohort = make_cohort(4)
        cohort["split"] = np.repeat(["train", "val", "test", wrong], 2)
        with pytest.raises(InputError, match=rf"p03-s0 has split '{wrong}' \(2 slide"):
            assign_splits(cohort, Split())


def test_too_few_patients_are_refused_however_many_slides():
    with pytest.raises(InputError, match=r"2 patient\(s\), but train, val and test need"):
        assign_splits(make_cohort(2, 50), Split())
