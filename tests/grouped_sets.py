"""Two small feature sets with groups, for tests of what a group does to a score."""

import numpy as np


def sets(n: int, m: int, d: int):
    """Two sets of unlike means, with groups of unequal size; the last of each is the other's."""
    rng = np.random.default_rng(n + d)
    real, synthetic = rng.normal(size=(n, d)), 1.2 * rng.normal(size=(m, d)) + 0.3
    groups = rng.choice(["a", "b", "c", "d"], n, p=[0.1, 0.2, 0.3, 0.4])
    return real, synthetic, groups, rng.choice(["b", "d", "e"], m)
