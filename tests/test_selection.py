"""Caps are filled in an order of preference, evenly where asked, and by seed and name alone."""

import zlib

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from histosynth.cohort_settings import Tiling
from histosynth.slides.selection import AcceptanceRow, acceptance_table, cap_patients, preference
from histosynth.slides.tiling import class_entropy


def prefer(fractions, labels=None, entropy=None, *, slide_id="S1", **tiling) -> list[int]:
    fractions = np.asarray(fractions, float)
    count = len(fractions)
    labels = np.full(count, None, object) if labels is None else np.array(labels, object)
    entropy = np.full(count, np.nan) if entropy is None else np.asarray(entropy, float)
    chosen = Tiling(**tiling)
    return preference(fractions, labels, entropy, settings=chosen, slide_id=slide_id).tolist()


def even_shares(counts: list[int], n: int) -> list[int]:
    """n things dealt one by one to whoever has the fewest and may still get one."""
    dealt = [0] * len(counts)
    for _ in range(n):
        dealt[min((d, i) for i, d in enumerate(dealt) if d < counts[i])[1]] += 1
    return sorted(dealt)


# --- one slide


def test_without_cap_order_or_balance_tiles_come_in_grid_order():
    assert prefer(np.ones((5, 1))) == [0, 1, 2, 3, 4]
    assert prefer(np.ones((0, 1)), max_tiles_per_slide=3) == []


@pytest.mark.parametrize(("count", "cap"), [(100, 10), (30, 29), (3, 7), (20_000, 500)])
def test_the_head_of_a_random_order_is_the_plain_draw_of_a_cap(count, cap):
    order = prefer(np.ones((count, 1)), max_tiles_per_slide=cap, seed=4)
    assert sorted(order) == list(range(count))
    rng = np.random.default_rng([4, zlib.crc32(b"S1")])
    drawn = rng.choice(count, min(cap, count), replace=False)
    assert set(order[:cap]) == set(drawn)


def test_a_random_order_depends_on_seed_and_slide():
    first = prefer(np.ones((100, 1)), max_tiles_per_slide=10, seed=1)
    assert first == prefer(np.ones((100, 1)), max_tiles_per_slide=10, seed=1)
    assert first[:10] != prefer(np.ones((100, 1)), max_tiles_per_slide=10, seed=2)[:10]
    other = prefer(np.ones((100, 1)), max_tiles_per_slide=10, seed=1, slide_id="S2")
    assert first[:10] != other[:10]


def test_the_highest_entropy_goes_first_and_the_unknown_last():
    fractions = np.random.default_rng(0).dirichlet([1, 1, 1], 50)
    fractions[[7, 8]] = np.nan
    order = prefer(fractions, order="entropy", max_tiles_per_slide=5)
    assert set(order[-2:]) == {7, 8}
    found = class_entropy(fractions)[order[:-2]]
    assert (np.diff(found) <= 1e-6).all()


def test_tissue_types_decide_the_entropy_where_there_is_no_annotation():
    fractions = [[0.5, 0.5], [np.nan, np.nan], [np.nan, np.nan], [1, 0]]
    types = [9.0, 2.0, 0.1, 9.0]  # not asked where the classes are known
    assert prefer(fractions, entropy=types, order="entropy") == [1, 0, 2, 3]
    assert prefer(np.zeros((3, 0)), entropy=[0.1, 0.3, 0.2], order="entropy") == [1, 2, 0]


def test_equal_entropies_are_drawn():
    # Mirrored shares differ in the last bit of their entropy at most.
    fractions = np.array([[0.3, 0.7], [0.7, 0.3]] * 20)
    orders = [prefer(fractions, order="entropy", seed=seed) for seed in range(3)]
    assert orders[0] != orders[1] != orders[2]
    for order in orders:
        assert 5 < sum(i % 2 for i in order[:20]) < 15


@settings(max_examples=50, deadline=None)
@given(
    labels=st.lists(st.sampled_from(["a", "b", "c", None]), min_size=1, max_size=40),
    by=st.sampled_from(["label", "class"]),
    order=st.sampled_from(["random", "entropy"]),
    cap=st.none() | st.integers(1, 50),
)
def test_any_prefix_of_a_balanced_order_is_as_even_as_the_supply_allows(labels, by, order, cap):
    shares = {"a": [0.8, 0.1, 0.1], "b": [0.3, 0.5, 0.2], "c": [0, 0, 1], None: [np.nan] * 3}
    fractions = [shares[label] for label in labels]
    given_labels = labels if by == "label" else None
    chosen = prefer(fractions, given_labels, balance=by, order=order, max_tiles_per_slide=cap)
    assert sorted(chosen) == list(range(len(labels)))
    names = list(dict.fromkeys(labels))
    counts = [labels.count(name) for name in names]
    for n in range(len(labels) + 1):
        head = [labels[i] for i in chosen[:n]]
        assert sorted(head.count(name) for name in names) == even_shares(counts, n)


def test_within_a_stratum_the_order_holds():
    fractions = np.random.default_rng(1).dirichlet([1, 1, 1], 60)
    entropy = class_entropy(fractions)
    order = prefer(fractions, balance="class", order="entropy", max_tiles_per_slide=9)
    largest = fractions.argmax(axis=1)
    for stratum in range(3):
        of_stratum = [i for i in order if largest[i] == stratum]
        assert len(of_stratum) > 5 and (np.diff(entropy[of_stratum]) <= 1e-6).all()
    assert order[0] == entropy.argmax()


# --- one patient


def make_tiles(cells: dict[tuple[str, str, str], int]) -> pd.DataFrame:
    """Tiles by (patient, slide, label), of two classes and rising entropy."""
    rows = [
        {
            "patient_id": patient,
            "slide_id": slide,
            "label": label or None,
            "x": 10 * i,
            "y": 0 if i % 2 else 7,
            "class_a": 0.7 if label == "no" else 0.3,
            "class_b": 0.3 if label == "no" else 0.7,
            "entropy": i / 100,
        }
        for (patient, slide, label), count in cells.items()
        for i in range(count)
    ]
    return pd.DataFrame(rows)


def capped(table: pd.DataFrame, **tiling) -> pd.DataFrame:
    return table[cap_patients(table, settings=Tiling(**tiling))]


def test_without_a_cap_all_tiles_of_a_patient_stay():
    assert len(capped(make_tiles({("P1", "S1", ""): 9}))) == 9


@settings(max_examples=50, deadline=None)
@given(
    counts=st.lists(st.integers(1, 12), min_size=1, max_size=4),
    cap=st.integers(1, 30),
    order=st.sampled_from(["random", "entropy"]),
)
def test_a_patients_cap_is_shared_evenly_over_its_slides(counts, cap, order):
    cells = {("P1", f"S{i}", ""): count for i, count in enumerate(counts)}
    table = make_tiles({**cells, ("P2", "other", ""): 2})
    kept = capped(table, max_tiles_per_patient=cap, order=order)
    of_slide = kept["slide_id"].value_counts()
    found = sorted(int(of_slide.get(f"S{i}", 0)) for i in range(len(counts)))
    assert found == even_shares(counts, min(cap, sum(counts)))
    assert of_slide["other"] == min(2, cap)


@pytest.mark.parametrize("balance", ["label", "class"])
def test_a_patients_cap_is_shared_evenly_over_strata_and_then_over_slides(balance):
    both = [("P1", slide, label) for slide in "AB" for label in ("yes", "no")]
    table = make_tiles(dict(zip(both, [20, 30, 40, 50], strict=True)))
    kept = capped(table, max_tiles_per_patient=12, balance=balance)
    assert kept["label"].value_counts().to_dict() == {"yes": 6, "no": 6}
    assert kept["slide_id"].value_counts().to_dict() == {"A": 6, "B": 6}
    # Only B has `no`: the labels stay even, and A gives `yes` but for what came before any `no`.
    table = make_tiles({("P1", "A", "yes"): 20, ("P1", "B", "yes"): 20, ("P1", "B", "no"): 20})
    kept = capped(table, max_tiles_per_patient=12, balance=balance)
    assert kept["label"].value_counts().to_dict() == {"yes": 6, "no": 6}
    assert (kept[kept["label"] == "yes"]["slide_id"] == "A").sum() >= 5


def test_the_most_entropic_tiles_of_each_slide_stay():
    table = make_tiles({("P1", "A", ""): 30, ("P1", "B", ""): 20})
    kept = capped(table, max_tiles_per_patient=8, order="entropy")
    for slide, count in (("A", 30), ("B", 20)):
        best = sorted(kept[kept["slide_id"] == slide]["entropy"])
        assert best == [i / 100 for i in range(count - 4, count)]


def test_a_patients_tiles_do_not_depend_on_the_order_of_rows_or_on_other_patients():
    table = make_tiles({("P1", "A", "yes"): 30, ("P1", "B", "no"): 20, ("P2", "C", "yes"): 40})
    chosen = {"max_tiles_per_patient": 9, "balance": "label", "seed": 3}
    first = capped(table, **chosen)
    assert len(first) == 18
    mixed = table.sample(frac=1, random_state=np.random.RandomState(0))
    assert set(capped(mixed, **chosen).index) == set(first.index)
    alone = capped(table[table["patient_id"] == "P1"], **chosen)
    assert set(alone.index) == set(first.index[first["patient_id"] == "P1"])
    other_seed = capped(table, **{**chosen, "seed": 4})
    assert set(other_seed.index) != set(first.index)


# --- what the rules took


def test_the_acceptance_table_counts_down_from_the_grid_to_the_tiles_kept():
    counts = {
        "over_patient_cap": 1,
        "accepted": 10,
        "over_cap": 4,
        "outlier_grey": 2,
        "one_class": 20,
        "little_tissue": 50,
        "torn_label": 3,
        "pen": 5,
        "unreadable": 1,
    }
    rows = acceptance_table(counts)
    assert [(row.rule, row.taken, row.left) for row in rows] == [
        ("grid", 0, 96),
        ("unreadable", 1, 95),
        ("pen", 5, 90),
        ("little_tissue", 50, 40),
        ("one_class", 20, 20),
        ("outlier_grey", 2, 18),
        ("torn_label", 3, 15),
        ("over_cap", 4, 11),
        ("over_patient_cap", 1, 10),
    ]
    assert rows[6].words == "torn label" and all(row.words for row in rows)


def test_a_grid_of_which_nothing_was_taken_is_one_row():
    assert acceptance_table({"accepted": 7}) == [
        AcceptanceRow("grid", "all tiles of the grid", 0, 7)
    ]
    assert acceptance_table({})[0].left == 0
