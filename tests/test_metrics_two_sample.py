"""Real-or-synthetic AUC: folds that keep patients together, and scikit-learn's own numbers."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.preprocessing import StandardScaler

from histosynth.errors import InputError
from histosynth.metrics import classifier_auc


def patients(n_patients, tiles, d=10, *, spread=2.0, seed=0, shift=0.0):
    """Tiles about a place of their patient's; shifted by what would be a generator's trace."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(n_patients), tiles)
    places = rng.normal(size=(n_patients, d)) * spread
    return places[groups] + rng.normal(size=(len(groups), d)) + shift, groups


def test_is_the_mean_over_folds_of_scikit_learns_auc():
    real, ours = patients(9, 12, seed=1)
    synthetic, theirs = patients(9, 10, seed=2, shift=0.4)
    x, y = np.vstack([real, synthetic]), np.repeat([0, 1], [108, 90])
    groups = np.concatenate([ours, theirs]).astype(str)
    expected = []
    for train, test in StratifiedGroupKFold(5, shuffle=True, random_state=0).split(x, y, groups):
        scaler = StandardScaler().fit(x[train])
        model = LogisticRegression(C=0.01, max_iter=1000, tol=1e-3)
        model.fit(scaler.transform(x[train]), y[train])
        said = model.predict_proba(scaler.transform(x[test]))[:, 1]
        expected.append(roc_auc_score(y[test], said))
        assert not set(groups[train]) & set(groups[test])
    found = classifier_auc(real, synthetic, real_groups=ours, synthetic_groups=theirs)
    assert found.value == pytest.approx(np.mean(expected), abs=1e-12)
    assert found.ci_low < found.value < found.ci_high


def test_equal_distributions_cannot_be_told_apart_and_a_shift_can():
    values, covered = [], 0
    for seed in range(8):
        real, synthetic = np.random.default_rng(seed).normal(size=(2, 100, 8))
        found = classifier_auc(real, synthetic, seed=seed)
        values.append(found.value)
        covered += found.ci_low <= 0.5 <= found.ci_high
    assert np.mean(values) == pytest.approx(0.5, abs=4 * np.std(values) / np.sqrt(8))
    assert covered >= 6
    real, synthetic = np.random.default_rng(0).normal(size=(2, 150, 8))
    found = classifier_auc(real, synthetic + 10)
    assert found.value == 1 and np.isnan(found.ci_low)


def test_patients_are_not_what_is_told_apart():
    # Each patient lies in a place of his own, real and synthetic alike: there is nothing to tell.
    # A classifier that meets the same patients again, in both sets, learns them where it may.
    both = [patients(12, 20, spread=6, seed=3) for _ in range(2)]
    rng = np.random.default_rng(4)
    (real, ours), (synthetic, theirs) = both
    real, synthetic = real + rng.normal(size=real.shape), synthetic + rng.normal(size=real.shape)
    kept = np.isin(ours, range(8)), np.isin(theirs, range(4, 12))
    sets = real[kept[0]], synthetic[kept[1]]
    names = {"real_groups": ours[kept[0]], "synthetic_groups": theirs[kept[1]]}
    honest = classifier_auc(*sets, **names)
    leaking = classifier_auc(*sets)  # every tile for itself
    assert leaking.value > 0.75
    assert honest.value < leaking.value - 0.15


def test_input_kind_and_seed():
    real, ours = patients(6, 10, seed=1)
    synthetic, _ = patients(6, 10, seed=2, shift=0.3)
    found = classifier_auc(real, synthetic, real_groups=ours)
    assert classifier_auc(real, synthetic, real_groups=ours) == found
    tensors = map(torch.from_numpy, (real, synthetic))
    assert classifier_auc(*tensors, real_groups=ours) == found


@pytest.mark.parametrize("n", [8, 12])
def test_few_tiles_and_constant_columns_are_scored(n):
    rng = np.random.default_rng(0)
    real = np.hstack([rng.normal(size=(n, 40)), np.ones((n, 2))])
    assert 0 <= classifier_auc(real, real + 0.1).value <= 1


def test_bad_input_is_named():
    rng = np.random.default_rng(0)
    real, synthetic = rng.normal(size=(2, 20, 4))
    with pytest.raises(InputError, match="from one patient"):
        classifier_auc(real, synthetic, real_groups=["p"] * 20)
    with pytest.raises(InputError, match=r"synthetic_groups has shape \(3,\)"):
        classifier_auc(real, synthetic, synthetic_groups=["p", "q", "r"])
    with pytest.raises(InputError, match="synthetic features: NaN"):
        classifier_auc(real, np.where(real > 0, np.nan, real))
    with pytest.raises(InputError, match="real features have too few rows: 1"):
        classifier_auc(real[:1], synthetic)
