"""Area under the ROC curve, of two labels or many, by ranks."""

import numpy as np
from scipy.stats import rankdata


def label_auc(positive: np.ndarray, score: np.ndarray) -> float:
    """Area under the ROC curve: the chance that a positive outranks a negative, ties half.

    Parameters
    ----------
    positive : bool (n,)
    score : (n,)

    Returns
    -------
    Within 0..1; NaN where either side is empty.
    """
    n, m = int(positive.sum()), int((~positive).sum())
    if n == 0 or m == 0:
        return float("nan")
    return float((rankdata(score)[positive].sum() - n * (n + 1) / 2) / (n * m))


def macro_auc(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """AUC of two labels; of more, the mean of each against the rest, over labels that occur.

    Parameters
    ----------
    labels : int (n,)
    probabilities : (n, labels)
    """
    n_labels = probabilities.shape[1]
    chosen = [1] if n_labels == 2 else range(n_labels)
    values = np.array([label_auc(labels == c, probabilities[:, c]) for c in chosen])
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")
