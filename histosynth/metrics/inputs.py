"""Checks of feature arrays, shared by the scores: a bad array is named before it is scored."""

from __future__ import annotations

import operator
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from histosynth.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

_ROWS_AT_ONCE = 1024
# Scores square features, and the kernel adds up cubes of products: beyond this, float32 overflows,
# and so does a float64 array where a search narrows it. Encoders give far smaller ones.
_LARGEST = {"float32": 5e5, "float64": 1e15}


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
        Wrong number of dimensions, too few rows, no columns, complex, NaN or infinite values, or
        some beyond 500,000 in float32 (1e15 in float64).
    """
    if hasattr(features, "detach"):  # a torch tensor; bfloat16 has no numpy equivalent
        features = features.detach().cpu()
        kept = features.is_complex() or str(features.dtype) == "torch.float32"
        features = (features if kept else features.double()).numpy()
    array = np.asarray(features)
    if array.dtype.kind == "c":
        raise InputError(
            f"{name} features: {array.dtype} values; expected real ones. Take their absolute "
            "values, or their real and imaginary parts as columns of their own"
        )
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
    if len(array):
        _check_range(array, float(array.min()), float(array.max()), name)
    return array


def _check_range(array: np.ndarray, low: float, high: float, name: str) -> None:
    """Raise InputError where the least and largest value (NaN if any is) say that some are bad."""
    if not (np.isfinite(low) and np.isfinite(high)):
        bad_rows = np.flatnonzero(~np.isfinite(array).all(axis=1))
        raise InputError(
            f"{name} features: NaN or infinite values in {bad_rows.size} of {len(array)} rows "
            f"(the first is row {bad_rows[0]}); look at those tiles and embed them again"
        )
    largest, limit = max(-low, high), _LARGEST[str(array.dtype)]
    if largest > limit:
        raise InputError(
            f"{name} features: values as large as {largest:.3g} in {array.dtype}, and their "
            f"products would overflow; expected at most {limit:,.0f}. Scale the features of both "
            "sets by one number"
        )


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
    # The checks are numpy's, so the words are too; only a bad tensor pays for the copy.
    good = tensor.ndim == 2 and tensor.shape[1] and len(tensor) >= max(minimum_rows, 1)
    if not good or tensor.is_complex():
        as_features(tensor, name=name, minimum_rows=minimum_rows)
    if tensor.dtype != torch.float32:
        tensor = tensor.double()
    low, high = (float(x) for x in tensor.aminmax())
    if not max(-low, high) <= _LARGEST[str(tensor.dtype).removeprefix("torch.")]:
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


def check_count(value: Any, name: str, *, least: int = 1, usual: int | None = None) -> int:
    """A whole number of at least `least`, such as of rows a block, as an int.

    Raises
    ------
    InputError
        Names the argument, what it is and, where told, what is `usual`.
    """
    try:
        count = operator.index(value)
    except TypeError:
        count = least - 1
    if count < least or isinstance(value, bool):
        hint = "" if usual is None else f" ({usual} is usual)"
        raise InputError(f"{name} = {value!r}; expected a whole number of at least {least}{hint}")
    return count


def canonical_order(features: Tensor) -> np.ndarray:
    """Numbers (n,) of the rows in an order that hangs on what they hold, not on where they stand.

    Rows are sorted by a hash of their values in float64, so float32 features and the same ones
    widened are ordered alike, on any device. Equal rows stay as they are among themselves.
    """
    import torch

    factors = np.random.default_rng(0).integers(2**62, size=features.shape[1]) * 2 + 1
    odd = torch.from_numpy(factors).to(features.device)
    hashes = []
    for block in features.split(_ROWS_AT_ONCE):
        bits = (block.double() + 0.0).view(torch.int64)  # adding 0 makes -0 a 0
        bits = (bits ^ (bits >> 31)) * odd  # integers wrap, alike everywhere
        hashes.append((bits ^ (bits >> 29)).sum(dim=1))
    return np.argsort(torch.cat(hashes).cpu().numpy(), kind="stable")
