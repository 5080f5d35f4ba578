"""Random streams of single samples.

Each sample of a step has streams of its own, keyed by (seed, stream, step, position in the batch).
So a micro-batch, or another process's part of the batch, draws what the whole batch would.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np


class SampleRandom:
    """Draws for the samples of a step, as one generator whose first axis is the sample.

    Sample i draws from `generators[i]` alone. Philox (Salmon et al. 2011) is a function of key and
    counter: streams cost nothing to tell apart, and start in half the time of a hashed seed.
    """

    def __init__(self, seed: int, step: int, positions: Sequence[int], *, stream: int) -> None:
        self.generators = [
            np.random.Generator(np.random.Philox(key=[seed, stream], counter=[0, 0, step, place]))
            for place in positions
        ]

    def random(self, shape: int | tuple[int, ...]) -> np.ndarray:
        """Uniform in [0, 1), float64."""
        return self._fill(shape, lambda generator, row: generator.random(out=row), np.float64)

    def standard_normal(self, shape: int | tuple[int, ...], dtype: Any = np.float64) -> np.ndarray:
        return self._fill(
            shape, lambda generator, row: generator.standard_normal(dtype=dtype, out=row), dtype
        )

    def integers(self, high: int, size: int) -> np.ndarray:
        """Uniform in 0 .. high - 1, int64 (size,)."""
        assert size == len(self.generators)
        return np.array([generator.integers(high) for generator in self.generators], np.int64)

    def _fill(
        self, shape: int | tuple[int, ...], draw: Callable[..., Any], dtype: Any
    ) -> np.ndarray:
        drawn = np.empty(shape, dtype)
        assert len(drawn) == len(self.generators)
        rows = drawn.reshape(len(drawn), -1)
        for generator, row in zip(self.generators, rows, strict=True):
            draw(generator, row)
        return drawn


Random: TypeAlias = np.random.Generator | SampleRandom
