"""No patient is on two sides, and the split depends on the seed alone."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from histosynth.cohort_settings import Split
from histosynth.errors import InputError
from histosynth.slides.splits import SPLITS, assign_splits, check_own_images, split_sizes


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


@pytest.mark.parametrize("missing", ["train", "test"])
def test_a_split_without_patients_is_refused(missing):
    cohort = make_cohort(4)
    cohort["split"] = np.repeat([{"train": "test", "test": "train"}[missing], "val"], 4)
    with pytest.raises(InputError, match=f"no patient is in {missing}"):
        assign_splits(cohort, Split())


def test_unknown_splits_and_empty_ones_with_no_split_left_for_them_are_refused():
    for wrong in ("holdout", ""):
        cohort = make_cohort(4)
        cohort["split"] = np.repeat(["train", "val", "test", wrong], 2)
        with pytest.raises(InputError, match=rf"p03-s0 has split '{wrong}' \(2 slide"):
            assign_splits(cohort, Split())


# --- what a default study has been given before must not change


def frozen_cohort() -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"slide_id": f"p{p:02d}-s{s}", "patient_id": f"p{p:02d}", "split": ""}
            | {"site": "abc"[p * p % 3], "label": "xy"[p // 7 % 2]}
            for p in range(40)
            for s in range(1 + p % 2)
        ]
    )


def letters(cohort: pd.DataFrame, chosen: Split) -> str:
    """The patients' splits in the order of their ids: r, v or t for train, val or test."""
    splits = assign_splits(cohort, chosen)
    by_patient = dict(zip(cohort["patient_id"], splits, strict=True))
    return "".join(
        {"train": "r", "val": "v", "test": "t"}[by_patient[p]] for p in sorted(by_patient)
    )


def test_the_dealing_by_fractions_stays_as_it_was():
    demo = pd.DataFrame(
        {
            "slide_id": f"P{p:03d}-0",
            "patient_id": f"P{p:03d}",
            "site": f"site{p % 2}",
            "label": None,
        }
        for p in range(16)
    )
    assert letters(demo, Split(train=0.6, val=0.1, test=0.3)) == "rtrrvrrtrvtttrrr"
    cohort = frozen_cohort()
    assert letters(cohort, Split(seed=3)) == "vvrrrttrvrrvrrrrrrrrvrrrtrrrrtrtrtrttttv"
    bare = cohort.drop(columns=["site", "label"])
    chosen = Split(train=0.5, val=0.25, test=0.25, seed=1)
    assert letters(bare, chosen) == "rrttvttvrrvvrttrvtvvrrrvtrrtrrvrrrvrtrrr"
    assert letters(cohort, chosen.model_copy(update={"stratify": []})) == letters(bare, chosen)


SCHEMES = st.sampled_from(
    [
        {},
        {"stratify": []},
        {"stratify": ["label"]},
        {"folds": 4, "fold": 2},
        {"group": "site"},
        {"group": "site", "folds": 3, "fold": 1},
    ]
)


@settings(max_examples=50, deadline=None)
@given(scheme=SCHEMES, seed=st.integers(0, 5), order=st.randoms(use_true_random=False))
def test_no_scheme_depends_on_the_order_of_rows(scheme, seed, order):
    cohort = frozen_cohort()
    cohort["site"] = "site" + cohort["patient_id"].str[1]  # four of them
    cohort["label"] = cohort["slide_id"].str[-1]  # a patient's slides differ in it
    rows = list(range(len(cohort)))
    order.shuffle(rows)
    chosen = Split(**scheme, seed=seed)
    first = assign_splits(cohort, chosen)
    mixed = assign_splits(cohort.iloc[rows], chosen).sort_index()
    assert mixed.tolist() == first.tolist()
    assert set(first) == set(SPLITS)
    assert (first.groupby(cohort["patient_id"]).nunique() == 1).all()


# --- splits that are partly given


def test_patients_without_a_split_are_dealt_among_those_that_no_row_names():
    cohort = make_cohort(30, 2, site="a", label="x")
    cohort.loc[:19, "split"] = "test"  # the first ten patients, as Camelyon16's
    found = assign_splits(cohort, Split(train=0.6, val=0.15, test=0.25))
    assert (found[:20] == "test").all()
    # 20 patients at 0.6 : 0.15
    assert found[20:].value_counts().to_dict() == {"train": 32, "val": 8}


def test_a_patient_of_whom_one_slide_has_a_split_goes_there_whole():
    cohort = make_cohort(9, 2)
    cohort.loc[[0, 3, 5], "split"] = "test"
    found = assign_splits(cohort, Split())
    assert (found[:6] == "test").all() and not (found[6:] == "test").any()
    assert (found.groupby(cohort["patient_id"]).nunique() == 1).all()


def test_val_is_dealt_out_of_the_official_train_where_only_train_and_test_are_named():
    cohort = make_cohort(30, 2, label=np.repeat(["x", "y"], 30))
    cohort["split"] = np.where(np.arange(60) % 30 < 10, "test", "Training")
    official = cohort["split"] == "test"
    found = assign_splits(cohort, Split(train=0.6, val=0.15, test=0.25))
    assert ((found == "test") == official).all()
    # 20 patients at 0.6 : 0.15, of each label as many
    of_val = cohort[found == "val"].drop_duplicates("patient_id")
    assert of_val["label"].value_counts().to_dict() == {"x": 2, "y": 2}


def test_a_partly_given_split_with_too_few_patients_left_is_refused():
    cohort = make_cohort(3, 1)
    cohort["split"] = ["test", "test", ""]
    with pytest.raises(InputError, match=r"1 patient\(s\), but train and val need at least one"):
        assign_splits(cohort, Split())


@pytest.mark.parametrize(("key", "chosen"), [("folds", {"folds": 5}), ("group", {"group": "site"})])
def test_a_given_split_is_not_overruled_by_folds_or_sites(key, chosen):
    cohort = make_cohort(9, 1, site=list("abcabcabc"))
    cohort.loc[0, "split"] = "test"
    with pytest.raises(InputError, match=rf"1 slide\(s\) have a split already, .* split\.{key}"):
        assign_splits(cohort, Split(**chosen))


# --- folds


@settings(max_examples=30, deadline=None)
@given(
    patients=st.integers(3, 40),
    folds=st.integers(3, 7),
    seed=st.integers(0, 3),
    group=st.sampled_from(["patient", "site"]),
)
def test_over_all_folds_every_patient_is_tested_once_and_validated_once(
    patients, folds, seed, group
):
    site = [f"s{p % max(folds, 5)}" for p in range(patients) for _ in range(2)]
    cohort = make_cohort(patients, 2, site=site)
    if patients < folds:
        with pytest.raises(InputError, match="folds?"):
            assign_splits(cohort, Split(folds=folds, group=group))
        return
    chosen = [Split(folds=folds, fold=f, seed=seed, group=group) for f in range(folds)]
    each = pd.DataFrame([assign_splits(cohort, c).to_numpy() for c in chosen])
    assert ((each == "test").sum() == 1).all() and ((each == "val").sum() == 1).all()
    for f in range(folds):  # the fold that validates is the next to be tested
        assert ((each.iloc[f] == "val") == (each.iloc[(f + 1) % folds] == "test")).all()
    if group == "patient":
        sizes = (each == "test").sum(axis=1) / 2
        assert sizes.max() - sizes.min() <= 1


def test_folds_share_sites_and_labels_evenly():
    cohort = make_cohort(60, 1, site=np.repeat(["a", "b"], 30), label=np.tile(["x", "y"], 30))
    for fold in range(5):
        test = cohort[assign_splits(cohort, Split(folds=5, fold=fold, seed=2)) == "test"]
        assert test.groupby(["site", "label"]).size().tolist() == [3, 3, 3, 3]


# --- whole sites


def test_whole_sites_are_kept_together_and_come_near_the_fractions():
    sizes = {"a": 30, "b": 20, "c": 12, "d": 10, "e": 10, "f": 6, "g": 6, "h": 6}
    site = np.repeat(list(sizes), list(sizes.values()))
    cohort = make_cohort(100, 1, site=site)
    for seed in range(5):
        found = assign_splits(
            cohort, Split(train=0.6, val=0.15, test=0.25, seed=seed, group="site")
        )
        assert (found.groupby(cohort["site"]).nunique() == 1).all()
        counts = found.value_counts()
        assert abs(counts["train"] - 60) <= 3
        assert abs(counts["val"] - 15) <= 3 and abs(counts["test"] - 25) <= 3


def test_three_sites_are_one_split_each_and_folds_turn_them():
    cohort = make_cohort(10, 1, site=list("aaaaaabbbc"))
    found = assign_splits(cohort, Split(train=0.6, val=0.15, test=0.25, group="site"))
    assert dict(zip(cohort["site"], found, strict=True)) == {"a": "train", "b": "test", "c": "val"}
    tested = {
        cohort["site"][assign_splits(cohort, Split(group="site", folds=3, fold=f)) == "test"].iloc[
            0
        ]
        for f in range(3)
    }
    assert tested == {"a", "b", "c"}


def test_whole_sites_need_three_of_them_known_and_one_a_patient():
    chosen = Split(group="site")
    with pytest.raises(InputError, match="at least 3 sites, one a split; found 2: a, b"):
        assign_splits(make_cohort(4, 1, site=list("abab")), chosen)
    with pytest.raises(InputError, match="at least 4 sites, one a fold; found 3: a, b, c"):
        assign_splits(make_cohort(6, 1, site=list("abcabc")), Split(group="site", folds=4))
    cohort = make_cohort(6, 1, site=["a", "b", "c", "a", "unknown", "b"])
    with pytest.raises(InputError, match=r"1 slide\(s\) have none, the first is p04-s0"):
        assign_splits(cohort, chosen)
    with pytest.raises(InputError, match=r"2 slide\(s\) have none, the first is p00-s0"):
        assign_splits(make_cohort(2, 1), chosen)
    cohort = make_cohort(6, 2, site=list("aabbccaabbac"))
    with pytest.raises(InputError, match="patient p05 has slides of a and c"):
        assign_splits(cohort, chosen)


# --- leakage by files


def test_an_image_listed_for_two_patients_is_refused_with_both():
    cohort = make_cohort(3, 2)
    cohort["image"] = [f"/data/{name}.svs" for name in cohort["slide_id"]]
    check_own_images(cohort, source="c.csv")
    cohort.loc[1, "image"] = "/data/p00-s0.svs"  # twice the same patient: no leak
    check_own_images(cohort, source="c.csv")
    cohort.loc[4, "image"] = "/data/other/../p00-s0.svs"
    with pytest.raises(
        InputError,
        match=r"(?s)c\.csv: 1 image.*p00-s0\.svs: patients p00 \(slide p00-s0\), p02 \(slide p02",
    ):
        check_own_images(cohort, source="c.csv")


def test_too_few_patients_are_refused_however_many_slides():
    with pytest.raises(InputError, match=r"2 patient\(s\), but train, val and test need"):
        assign_splits(make_cohort(2, 50), Split())
