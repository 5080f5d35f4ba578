"""Real images are dealt into halves that share no patient and are as even as patients allow."""

import numpy as np
import pytest

from histosynth.errors import InputError
from histosynth.evaluations.halves import deal_halves


def uneven(rng):
    """Patients of 8 to 59 images with one label each; 1 to 5 patients a label, 2 to 7 labels."""
    patients, labels = [], []
    for label in range(rng.integers(2, 8)):
        for number in range(rng.integers(1, 6)):
            images = int(rng.integers(8, 60))
            patients += [f"{label}-{number}"] * images
            labels += [f"kind {label}"] * images
    order = rng.permutation(len(patients))
    return np.array(patients)[order], np.array(labels)[order]


def most(patients):
    return np.unique(patients, return_counts=True)[1].max()


@pytest.mark.parametrize("images", [33, 10])
def test_six_labels_of_three_patients_each_are_halved_as_evenly_as_without_labels(images):
    patients = np.repeat(np.arange(18), images)
    labels = np.repeat([f"kind {i}" for i in range(6)], 3 * images)
    for given in (labels, None):
        assert [len(rows) for rows in deal_halves(patients, given)] == [9 * images] * 2
    for rows in deal_halves(patients, labels):
        counts = np.unique(labels[rows], return_counts=True)[1] / images
        assert sorted(counts) == [1, 1, 1, 2, 2, 2]  # three patients cannot be halved better


@pytest.mark.parametrize("seed", range(40))
def test_halves_differ_by_one_patient_at_most_of_each_label_and_in_all(seed):
    patients, labels = uneven(np.random.default_rng(seed))
    halves = deal_halves(patients, labels, seed=seed)
    assert not set(patients[halves[0]]) & set(patients[halves[1]])
    assert sorted(np.concatenate(halves)) == list(range(len(patients)))
    assert abs(len(halves[0]) - len(halves[1])) <= most(patients)
    for label in np.unique(labels):
        ours = [int((labels[rows] == label).sum()) for rows in halves]
        assert abs(ours[0] - ours[1]) <= most(patients[labels == label])


def test_the_same_patients_are_dealt_alike_again_and_otherwise_by_another_seed():
    patients = np.repeat([f"p{i:02}" for i in range(30)], 7)
    first, again, other = (deal_halves(patients, seed=seed)[0] for seed in (0, 0, 1))
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def test_one_patient_cannot_be_halved():
    with pytest.raises(InputError, match=r"split by patient into 40 and 0 \(1 patients\)"):
        deal_halves(np.repeat("p", 40))
