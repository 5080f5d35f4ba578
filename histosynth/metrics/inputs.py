"""Checks of feature arrays, shared by the scores: a bad array is named before it is scored."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from histosynth.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor


def as_features(features: Any, *, name: str, minimum_rows: int = 2) -> np.ndarray:
    """Check one feature array and return it as numpy, float32 or float64.

    Parameters
    ----------
    features
        Array or torch tensor (any device, any float type) of shape (n, d).
    name
        What to call the array in an error: ``"real"``, ``"synthetic"``.
    minimum_rows
        The fewest rows the score can be computed from.

    Returns
    -------
    ndarray (n, d)
        float32 stays float32 (the scores widen it piece by piece, which keeps memory low);
        everything else becomes float64.

    Raises
    ------
    InputError
        Wrong number of dimensions, too few rows, no columns, NaN or infinite values.
    """
    if hasattr(features, "detach"):  # a torch tensor; bfloat16 has no numpy equivalent
        features = features.detach().cpu()
        features = (
            features if str(features.dtype) == "torch.float32" else features.double()
        ).numpy()
    array = np.asarray(features)
    if array.dtype != np.float32:
        try:
            array = array.astype(np.float64, copy=False)
        except (TypeError, ValueError) as error:
            raise InputError(
                f"{name} features: {array.dtype} values are not numbers; expected a float array"
            ) from error
    if array.ndim != 2 or array.shape[1] == 0:
        raise InputError(
            f"{name} features have shape {array.shape}; expected (n, d): one row of d features "
            "a tile"
        )
    if len(array) < minimum_rows:
        raise InputError(
            f"{name} features have too few rows: {len(array)} tiles, and this score needs at "
            f"least {minimum_rows}; add tiles or leave the score out"
        )
    bad_rows = np.flatnonzero(~np.isfinite(array).all(axis=1))
    if bad_rows.size:
        raise InputError(
            f"{name} features: NaN or infinite values in {bad_rows.size} of {len(array)} rows "
            f"(the first is row {bad_rows[0]}); look at those tiles and embed them again"
        )
    return array


def as_feature_pair(
    real: Any, synthetic: Any, *, minimum_rows: int = 2
) -> tuple[np.ndarray, np.ndarray]:
    """Check a real and a synthetic feature array, and that one encoder could have made both."""
    real = as_features(real, name="real", minimum_rows=minimum_rows)
    synthetic = as_features(synthetic, name="synthetic", minimum_rows=minimum_rows)
    check_widths(real.shape[1], synthetic.shape[1])
    return real, synthetic


def as_tensor(features: Any, *, name: str, minimum_rows: int = 2) -> Tensor:
    """Check one feature array and return it as a tensor, where it is: a GPU's stays there.

    Arguments and errors as :func:`as_features`. numpy arrays are not copied; float32 stays
    float32, everything else becomes float64.
    """
    import torch

    if not isinstance(features, torch.Tensor) or features.device.type == "cpu":
        array = as_features(features, name=name, minimum_rows=minimum_rows)
        with warnings.catch_warnings():  # a read-only memory map is fine: nothing is written
            warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
            return torch.from_numpy(np.ascontiguousarray(array))
    tensor = features.detach()
    if tensor.dtype != torch.float32:
        tensor = tensor.double()
    # The checks are numpy's, so the words are too; only a bad tensor pays for the copy.
    good = tensor.ndim == 2 and tensor.shape[1] and len(tensor) >= minimum_rows
    if not good or not bool(torch.isfinite(tensor).all()):
        as_features(tensor, name=name, minimum_rows=minimum_rows)
    return tensor


def as_tensor_pair(real: Any, synthetic: Any, *, minimum_rows: int = 2) -> tuple[Tensor, Tensor]:
    """`as_tensor` of both sets, which one encoder could have made, on the real set's device."""
    real = as_tensor(real, name="real", minimum_rows=minimum_rows)
    synthetic = as_tensor(synthetic, name="synthetic", minimum_rows=minimum_rows)
    check_widths(real.shape[1], synthetic.shape[1])
    return real, synthetic.to(real.device)


def check_widths(real_width: int, synthetic_width: int) -> None:
    """Raise InputError where the two sets have different numbers of features."""
    if real_width != synthetic_width:
        raise InputError(
            f"real features have width {real_width}, synthetic features width {synthetic_width}; "
            "both must come from the same encoder: embed both sets again with one encoder"
        )
