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
:mod:`histosynth.metrics.extrapolation` takes the bias away.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from histosynth.metrics.inputs import as_tensor, check_widths

if TYPE_CHECKING:
    from torch import Tensor

_ROWS_AT_ONCE = 1024


@dataclass(frozen=True)
class FeatureStatistics:
    """What the Fréchet distance needs of one set; compute once, reuse over all conditions.

    Attributes
    ----------
    n : int
        Number of rows the statistics come from.
    mean : torch tensor (d,) float64
        Mean feature vector, on the features' device.
    factor : torch tensor (r, d) float64
        ``factor.T @ factor`` is the covariance (ddof = 1); r <= min(n, d).
    """

    n: int
    mean: Tensor
    factor: Tensor

    @classmethod
    def from_features(cls, features: Any, *, name: str = "real") -> FeatureStatistics:
        """Summarise an (n, d) feature array.

        Raises
        ------
        InputError
            Fewer than two rows, NaN or infinite values; `name` says which set is meant.
        """
        features = as_tensor(features, name=name)
        n, width = features.shape
        mean = column_means(features)
        if n <= width:
            return cls(n, mean, (features - mean) / (n - 1) ** 0.5)
        return cls(n, mean, _factor(_covariance(features, mean)))

    @classmethod
    def from_covariance(cls, n: int, mean: Tensor, covariance: Tensor) -> FeatureStatistics:
        """Of n rows with this mean (d,) and covariance (d, d; ddof = 1), both float64."""
        return cls(n, mean, _factor(covariance))

    @property
    def trace(self) -> float:
        """Total variance: the trace of the covariance."""
        return float((self.factor * self.factor).sum())


def frechet_distance(real: Any, synthetic: Any) -> float:
    """Fréchet distance of two feature sets, equation (1) of this module; 0 is best.

    Parameters
    ----------
    real, synthetic
        Feature arrays (n, d) and (m, d), numpy or torch, on any device, or a
        :class:`FeatureStatistics`.

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
    check_widths(len(real.mean), len(synthetic.mean))
    mean, factor = (x.to(real.mean.device) for x in (synthetic.mean, synthetic.factor))
    shift = real.mean - mean
    distance = float(shift @ shift) + real.trace + synthetic.trace
    distance -= 2 * _nuclear_norm(real.factor @ factor.T)
    return max(distance, 0.0)  # rounding alone takes equal sets below zero


def column_means(features: Tensor) -> Tensor:
    """Means (d,) of all columns in float64; torch's own, which widens, takes ten times as long."""
    import torch

    total = torch.zeros(features.shape[1], dtype=torch.float64, device=features.device)
    for block in features.split(_ROWS_AT_ONCE):
        total += block.double().sum(dim=0)
    return total / len(features)


def _covariance(features: Tensor, mean: Tensor) -> Tensor:
    """Covariance (d, d) in fp64, of which only the upper triangle is sure to be filled.

    Rows are widened and centred a chunk at a time, to bound memory.
    """
    import torch

    width = len(mean)
    total = torch.zeros((width, width), dtype=torch.float64, device=mean.device).T
    for block in features.split(_ROWS_AT_ONCE):
        total = _add_products(total, (block - mean).T)
    return total / (len(features) - 1)


def _add_products(total: Tensor, columns: Tensor) -> Tensor:
    """total + a a^T in fp64, its upper triangle at least; `total` is overwritten.

    Both with the strides of a transpose (Fortran's order). On a CPU half of the work is left out.
    """
    import torch

    if total.device.type != "cpu":
        return total.addmm_(columns, columns.T)
    from scipy.linalg.blas import dsyrk

    return torch.from_numpy(dsyrk(1.0, columns.numpy(), 1.0, total.numpy(), overwrite_c=True))


def _factor(covariance: Tensor) -> Tensor:
    """Return F (r, d) with F^T F = covariance, of which only the upper triangle is read."""
    import torch

    factor, failed = torch.linalg.cholesky_ex(covariance, upper=True)
    if not failed:
        return factor
    values, vectors = torch.linalg.eigh(covariance, UPLO="U")
    # Below this, an eigenvalue is rounding; its square root (1e-8) would be visible.
    kept = values > values[-1] * len(values) * torch.finfo(values.dtype).eps
    return values[kept].sqrt()[:, None] * vectors[:, kept].T


def _nuclear_norm(cross: Tensor) -> float:
    """Sum of the singular values of the cross product, equation (2)."""
    import torch

    if 0 in cross.shape:  # a set without any variance
        return 0.0
    if min(cross.shape) <= 1024:
        return float(torch.linalg.svdvals(cross).sum())
    # A third of the time of singular values at 2048, but squaring loses those below the rounding
    # of the largest: where these could show, as with many copied tiles, they are computed.
    small = cross if cross.shape[0] <= cross.shape[1] else cross.T
    empty = small.new_zeros(len(small), len(small)).T
    products = _add_products(empty, small.T.contiguous().T)
    if products.device.type == "cpu":  # numpy's took a quarter of the time of torch's
        squares = torch.from_numpy(np.linalg.eigvalsh(products.numpy(), UPLO="U"))
    else:
        squares = torch.linalg.eigvalsh(products, UPLO="U")
    squares = squares.clamp(min=0)
    total = float(squares.sqrt().sum())
    rounding = float(squares[-1]) * torch.finfo(squares.dtype).eps
    lost = int((squares < 100 * rounding).sum())
    if lost * rounding**0.5 > 1e-8 * total:
        return float(torch.linalg.svdvals(cross).sum())
    return total
