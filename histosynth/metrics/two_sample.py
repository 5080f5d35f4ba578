"""Classifier two-sample score: can a classifier tell real from synthetic tiles?

A logistic regression on standardized features is trained on some tiles and asked about others
(Lopez-Paz & Oquab 2017), by cross-validation in which all tiles of a patient, and all synthetic
tiles asked for with that patient's maps or labels, lie in one fold: else it would know patients,
not origins. The score is its area under the ROC curve,

    AUC = P(s(y) > s(x)) + P(s(y) = s(x)) / 2

for a synthetic tile y and a real tile x of one fold, averaged over the folds, as scores of
different classifiers do not compare. 0.5: it cannot tell. Below 0.5 is chance.

Its error is that of a delete-a-group jackknife in which every classifier is trained again without
the group: what other training patients would have made of it is most of the error where the two
sets come from different patients. With coefficients b, feature rows x (a 1 at their end), s =
sigmoid(x.b), origins z and the ridge penalty D (0 for the constant), "trained again" is one step
of Newton's method from the classifier of all rows, to the optimum of the rows that are left:

    b' = b - (D + sum_left s (1 - s) x x^T)^-1 (D b + sum_left (s - z) x)

Trained anew to convergence, standardization and all, the error of 500 and 500 tiles of 20 patients
a side differs by one hundredth; of 8 patients with more features than tiles, by a seventh.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from histosynth.errors import InputError
from histosynth.metrics.contributions import Interval
from histosynth.metrics.inputs import as_tensor_pair, canonical_order, check_count
from histosynth.metrics.leave_out import GroupedSets, LeavingOut, Without
from histosynth.metrics.uncertainty import jackknife_interval

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
        Feature arrays (n, d) and (m, d), numpy or torch on any device. The classifier is trained
        on the CPU. The order of rows does not matter.
    real_groups, synthetic_groups
        (n,) and (m,) patient of each real tile, and behind each synthetic one. A name on both
        sides is one patient. Default: every tile stands for itself.
    folds
        At most, 2 or more; fewer where a side has fewer patients.
    seed
        Of the folds, and of the blocks of synthetic tiles without patients.

    Returns
    -------
    Interval
        Of :func:`jackknife_interval`, within 0 .. 1, with every patient's part in the error.
        Without bounds and parts where the value is so near to 0 or 1 that less than a tile's worth
        of the smaller set is on the wrong side, where it is the same without any patient, or where
        a side has two patients: the error cannot be seen there.

    Raises
    ------
    InputError
        Bad features, group names that do not match the rows, fewer than two groups on a side,
        fewer than two folds.
    """
    folds = check_count(folds, "folds", least=2, usual=5)
    tensors = as_tensor_pair(real, synthetic)
    sides = []
    for features, groups, who in zip(
        tensors, (real_groups, synthetic_groups), ("real", "synthetic"), strict=True
    ):
        rows = features.cpu().numpy()
        if groups is None:  # each tile has a name that it keeps in whatever order they come
            rows = rows[canonical_order(features)]
            names = np.array([f"{who} tile {i}" for i in range(len(rows))])
        else:
            names = np.asarray(groups).astype(str)
            if names.shape != (len(rows),):
                raise InputError(
                    f"{who}_groups has shape {names.shape}; expected one name for {len(rows)} rows"
                )
        if len(np.unique(names)) < 2:
            raise InputError(
                "all tiles of one set come from one patient; a classifier is tested on patients "
                "that it has not seen, so both sets need two or more"
            )
        sides.append((rows, names))
    (ours, our_names), (theirs, their_names) = sides
    found = jackknife_interval(
        ours,
        theirs,
        real_groups=our_names,
        synthetic_groups=None if synthetic_groups is None else their_names,
        statistic=_Classified(np.concatenate([our_names, their_names]), folds, seed),
        bounds=(0, 1),
        seed=seed,
    )
    assert isinstance(found, Interval)
    unseen = 1 / min(len(ours), len(theirs))
    bare = not found.se > 0 or not unseen <= found.value <= 1 - unseen
    return Interval(found.value) if bare else found


class _Classified(LeavingOut):
    """The mean AUC over folds by `patients` (n + m,) of all rows, the real ones first."""

    def __init__(self, patients: np.ndarray, folds: int, seed: int) -> None:
        self.patients, self.folds, self.seed = patients, folds, seed

    def leaving_out(self, sets: GroupedSets) -> Without:
        from sklearn.model_selection import StratifiedGroupKFold

        features = np.concatenate([sets.real, sets.synthetic])
        n = len(sets.real)
        made = np.arange(len(features)) >= n
        fewest = min(len(np.unique(self.patients[side])) for side in (~made, made))
        number = min(self.folds, fewest)
        dealt = StratifiedGroupKFold(number, shuffle=True, random_state=self.seed)
        folds = [
            _Fold.trained(features, made, train, test)
            for train, test in dealt.split(features, made, self.patients)
            if _both(made[train]) and _both(made[test])  # else one patient holds nearly all
        ]
        if not folds:
            raise InputError(
                "one patient holds nearly all tiles of a set; no fold has both sets to train and "
                "test on. Add patients, or leave the score out"
            )

        def without(of_real: str | None, of_synthetic: str | None) -> float:
            gone = np.zeros(len(features), dtype=bool)
            if of_real is not None:
                gone[:n] = sets.real_groups == of_real
            if of_synthetic is not None:
                gone[n:] = sets.synthetic_groups == of_synthetic
            areas = [area for fold in folds if (area := fold.area_without(gone)) is not None]
            return float(np.mean(areas)) if areas else float("nan")

        return without


@dataclass(frozen=True)
class _Fold:
    """A classifier, what it says of the rows kept from it, and what its optimum hangs on.

    Attributes
    ----------
    made : bool (n + m,), whether a row is synthetic
    train, test : rows
    said : float64 (test,), decisions
    seen, asked : float32 (train, p) and (test, p), rows in coordinates in which the curvature at
        the optimum is the identity
    residuals, weights : float32 (train,), s - z and sqrt(s (1 - s))
    gradient : float32 (p,), at the coefficients that were found
    """

    made: np.ndarray
    train: np.ndarray
    test: np.ndarray
    said: np.ndarray
    seen: np.ndarray
    asked: np.ndarray
    residuals: np.ndarray
    weights: np.ndarray
    gradient: np.ndarray

    @classmethod
    def trained(
        cls, features: np.ndarray, made: np.ndarray, train: np.ndarray, test: np.ndarray
    ) -> _Fold:
        from scipy.linalg import solve_triangular
        from scipy.special import expit
        from sklearn.linear_model import LogisticRegression
        from sklearn.preprocessing import StandardScaler

        scaler = StandardScaler().fit(features[train])
        seen, asked = (scaler.transform(features[rows]) for rows in (train, test))
        model = LogisticRegression(C=1 / _PENALTY, max_iter=1000, tol=1e-3).fit(seen, made[train])
        said, coefficients = model.decision_function(asked), model.coef_[0]
        # An error is known to two digits at best, so float32 serves from here on.
        seen, asked = seen.astype(np.float32), asked.astype(np.float32)
        if seen.shape[0] < seen.shape[1]:  # coefficients lie in the span of the rows
            basis = np.linalg.qr(seen.T)[0]
            seen, asked, coefficients = seen @ basis, asked @ basis, coefficients @ basis
        penalty = np.append(np.full(seen.shape[1], _PENALTY, np.float32), np.float32(0))
        seen, asked = (np.pad(x, ((0, 0), (0, 1)), constant_values=1) for x in (seen, asked))
        coefficients = np.append(coefficients, model.intercept_).astype(np.float32)
        chances = expit(seen @ coefficients)
        weights = np.sqrt(chances * (1 - chances))
        curved = seen * weights[:, None]
        root = np.linalg.cholesky(curved.T @ curved + np.diag(penalty))
        seen, asked = (solve_triangular(root, x.T, lower=True).T for x in (seen, asked))
        residuals = (chances - made[train]).astype(np.float32)
        gradient = solve_triangular(root, penalty * coefficients, lower=True) + seen.T @ residuals
        return cls(made, train, test, said, seen, asked, residuals, weights, gradient)

    def area_without(self, gone: np.ndarray) -> float | None:
        """The AUC had some rows never been; None where a set is then missing on either side."""
        lost, kept = gone[self.train], ~gone[self.test]
        made = self.made[self.test][kept]
        if not _both(made) or not _both(self.made[self.train][~lost]):
            return None
        said = self.said
        if lost.any():
            rows = self.seen[lost]
            step = self.gradient - rows.T @ self.residuals[lost]
            # Woodbury's identity: the curvature of the rest is the identity less that of the lost.
            curved = rows * self.weights[lost, None]
            rest = np.eye(len(curved), dtype=np.float32) - curved @ curved.T
            step += curved.T @ np.linalg.solve(rest, curved @ step)
            said = said - self.asked @ step
        return _area(said[kept], made)


def _both(made: np.ndarray) -> bool:
    return bool(made.any() and not made.all())


def _area(said: np.ndarray, made: np.ndarray) -> float:
    """P(said of a synthetic row > said of a real one) + P(equal) / 2, from ranks."""
    from scipy.stats import rankdata

    m = int(made.sum())
    above = rankdata(said)[made].sum() - m * (m + 1) / 2
    return float(above / (m * (len(made) - m)))
