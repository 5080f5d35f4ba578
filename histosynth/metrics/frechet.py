"""Fréchet distance between two feature sets, each summarised by a Gaussian.

With means m and covariances S (Dowson & Landau 1982; used for images by Heusel et al. 2017, who
call it FID in Inception features):

    FD = |m1 - m2|^2 + tr S1 + tr S2 - 2 tr (S1 S2)^(1/2)                                      (1)

It is the squared 2-Wasserstein (Bures) distance of the two Gaussians. The square root of the
non-symmetric product is never formed. With any factors F^T F = S, the eigenvalues of S1 S2 are
the squared singular values of the cross product F1 F2^T, so

    tr (S1 S2)^(1/2) = |F1 F2^T|_*   (the sum of the singular values)                           (2)

For n <= d the centred features over sqrt(n - 1) are such a factor, and F1 F2^T is a small cross
Gram matrix; for n > d the factor is Cholesky's, or the eigenvectors' where the covariance is
singular. All of it in fp64 on centred features: fp32 sums are off by 1e-4 and worse.

The estimate is biased upwards by about 1/n: compare sets of the same n only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from histosynth.metrics.inputs import as_features, check_widths


@dataclass(frozen=True)
class FeatureStatistics:
    """What the Fréchet distance needs of one set; compute once, reuse over all conditions.

    Attributes
    ----------
    n : int
        Number of rows the statistics come from.
    mean : ndarray (d,) float64
        Mean feature vector.
    factor : ndarray (r, d) float64
        ``factor.T @ factor`` is the covariance (ddof = 1); r <= min(n, d).
    """

    n: int
    mean: np.ndarray
    factor: np.ndarray

    @classmethod
    def from_features(cls, features: Any, *, name: str = "real") -> FeatureStatistics:
        """Summarise an (n, d) feature array.

        Raises
        ------
        InputError
            Fewer than two rows, NaN or infinite values; `name` says which set is meant.
        """
        features = as_features(features, name=name)
        n, width = features.shape
        mean = features.mean(axis=0, dtype=np.float64)
        if n <= width:
            return cls(n, mean, (features - mean) / np.sqrt(n - 1))
        return cls(n, mean, _factor(_covariance(features, mean)))

    @property
    def trace(self) -> float:
        """Total variance: the trace of the covariance."""
        return float(np.vdot(self.factor, self.factor))


def frechet_distance(real: Any, synthetic: Any) -> float:
    """Fréchet distance of two feature sets, equation (1) of this module; 0 is best.

    Parameters
    ----------
    real, synthetic
        Feature arrays (n, d) and (m, d), numpy or torch, or a :class:`FeatureStatistics`.

    Returns
    -------
    float
        At least 0, in squared units of the features. Exact for any n >= 2, also n < d.

    Raises
    ------
    InputError
        Fewer than two rows, NaN or infinite values, different widths.
    """
    if not isinstance(real, FeatureStatistics):
        real = FeatureStatistics.from_features(real, name="real")
    if not isinstance(synthetic, FeatureStatistics):
        synthetic = FeatureStatistics.from_features(synthetic, name="synthetic")
    check_widths(real.mean.size, synthetic.mean.size)
    shift = real.mean - synthetic.mean
    distance = shift @ shift + real.trace + synthetic.trace
    distance -= 2 * _nuclear_norm(real.factor @ synthetic.factor.T)
    return max(float(distance), 0.0)  # rounding alone takes equal sets below zero


def _covariance(features: np.ndarray, mean: np.ndarray, *, chunk: int = 4096) -> np.ndarray:
    """Covariance (d, d) in fp64, widened and centred a chunk at a time to bound memory."""
    total = np.zeros((mean.size, mean.size))
    for start in range(0, len(features), chunk):
        centred = features[start : start + chunk] - mean
        total += centred.T @ centred
    return total / (len(features) - 1)


def _factor(covariance: np.ndarray) -> np.ndarray:
    """Return F (r, d) with F^T F = covariance."""
    try:
        return np.linalg.cholesky(covariance).T
    except np.linalg.LinAlgError:
        values, vectors = np.linalg.eigh(covariance)
        # Below this, an eigenvalue is rounding; its square root (1e-8) would be visible.
        kept = values > values[-1] * len(values) * np.finfo(np.float64).eps
        return np.sqrt(values[kept])[:, None] * vectors[:, kept].T


def _nuclear_norm(cross: np.ndarray) -> float:
    """Sum of the singular values of the cross product, equation (2)."""
    rows, columns = cross.shape
    if rows == 0 or columns == 0:  # a set without any variance
        return 0.0
    if rows == columns > 1024:
        # A third of the time at 2048. Squaring blurs singular values below 1e-8 of the largest,
        # which moves the sum by less than 1e-9 of itself for a spectrum that falls off.
        squares = np.linalg.eigvalsh(cross @ cross.T)
        return float(np.sqrt(np.clip(squares, 0, None)).sum())
    return float(np.linalg.svd(cross, compute_uv=False).sum())
