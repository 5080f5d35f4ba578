"""Classifier two-sample score: can a classifier tell real from synthetic tiles?

A logistic regression on standardized features is trained on some tiles and asked about others
(Lopez-Paz & Oquab 2017), by cross-validation in which all tiles of a patient, and all synthetic
tiles asked for with that patient's maps or labels, lie in one fold: else it would know patients,
not origins. The score is its area under the ROC curve,

    AUC = P(s(y) > s(x)) + P(s(y) = s(x)) / 2

for a synthetic tile y and a real tile x of one fold, averaged over the folds, as scores of
different classifiers do not compare. 0.5: it cannot tell. Below 0.5 is chance.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from histosynth.errors import InputError
from histosynth.metrics.inputs import as_feature_pair
from histosynth.metrics.uncertainty import Interval, cluster_bootstrap

# Strong enough for features as wide as there are tiles; weaker ones only take longer to fit.
_PENALTY = 100.0


def classifier_auc(
    real: Any,
    synthetic: Any,
    *,
    real_groups: Any = None,
    synthetic_groups: Any = None,
    folds: int = 5,
    seed: int = 0,
) -> Interval:
    """AUC of telling synthetic from real tiles of patients that the classifier has not seen.

    Parameters
    ----------
    real, synthetic
        Feature arrays (n, d) and (m, d), numpy or torch.
    real_groups, synthetic_groups
        (n,) and (m,) patient of each real tile, and behind each synthetic one. A name on both
        sides is one patient. Default: every tile stands for itself.
    folds
        At most; fewer where a side has fewer patients.
    seed
        Of the folds and the resampling.

    Returns
    -------
    Interval
        By resampling patients with the classifiers as they are: it leaves out what other
        training tiles would have made of them. Without bounds where the value is 0 or 1.

    Raises
    ------
    InputError
        Bad features, group names that do not match the rows, fewer than two groups on a side.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedGroupKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    real, synthetic = as_feature_pair(real, synthetic)
    n, m = len(real), len(synthetic)
    groups = np.concatenate(
        [_names(real_groups, n, "real"), _names(synthetic_groups, m, "synthetic")]
    )
    features = np.concatenate([real, synthetic])
    made = np.repeat([False, True], [n, m])
    fewest = min(len(np.unique(groups[made == side])) for side in (False, True))
    if fewest < 2:
        raise InputError(
            "all tiles of one set come from one patient; a classifier is tested on patients that "
            "it has not seen, so both sets need two or more"
        )
    dealt = StratifiedGroupKFold(min(folds, fewest), shuffle=True, random_state=seed)
    won = []
    for train, test in dealt.split(features, made, groups):
        if len(np.unique(made[train])) < 2 or len(np.unique(made[test])) < 2:
            continue  # one patient holds nearly all of a set
        model = make_pipeline(
            StandardScaler(), LogisticRegression(C=1 / _PENALTY, max_iter=1000, tol=1e-3)
        )
        said = model.fit(features[train], made[train]).decision_function(features[test])
        ours, theirs = said[made[test]][:, None], said[~made[test]]
        won.append(((ours > theirs) + (ours == theirs) / 2, test[made[test]], test[~made[test]]))
    if not won:
        raise InputError(
            "one patient holds nearly all tiles of a set; no fold has both sets to train and test "
            "on. Add patients, or leave the score out"
        )

    def auc(index: np.ndarray) -> float:
        drawn = np.bincount(index, minlength=n + m).astype(float)
        scores = []
        for wins, ours, theirs in won:
            pairs = drawn[ours].sum() * drawn[theirs].sum()
            if pairs:
                scores.append(drawn[ours] @ wins @ drawn[theirs] / pairs)
        return float(np.mean(scores)) if scores else float("nan")

    interval = cluster_bootstrap(auc, groups, seed=seed)
    # Resampling cannot say what was not seen: one that fails to be told apart, or is.
    return Interval(interval.value) if interval.value in (0, 1) else interval


def _names(groups: Any, n: int, who: str) -> np.ndarray:
    if groups is None:
        return np.array([f"{who} tile {i}" for i in range(n)])
    groups = np.asarray(groups).astype(str)
    if groups.shape != (n,):
        raise InputError(f"{who}_groups has shape {groups.shape}; expected one name for {n} rows")
    return groups
