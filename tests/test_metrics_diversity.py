"""Vendi score: closed forms, and the kernel matrix's own eigenvalues."""

import numpy as np
import pytest
import torch

from histosynth.errors import InputError
from histosynth.metrics import vendi_score

RNG = np.random.default_rng(0)


def by_definition(rows):
    """exp(entropy of the eigenvalues of K / n), from the whole kernel matrix."""
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    values = np.linalg.eigvalsh(unit @ unit.T / len(rows))
    values = values[values > 1e-14]
    return np.exp(-(values * np.log(values)).sum())


@pytest.mark.parametrize(("n", "d"), [(20, 50), (50, 20), (30, 30), (300, 4)])
def test_equals_its_definition_by_either_gram_matrix(n, d):
    rows = RNG.normal(size=(n, d)) + 0.5
    # fp64; zero eigenvalues that rounding leaves at 1e-17 add 1e-15 each.
    assert vendi_score(rows) == pytest.approx(by_definition(rows), rel=1e-11)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_more_rows_than_a_block_holds_are_all_counted(dtype):
    # Blocks of 4,096 rows: three, the last one short and unlike the others.
    rows = (RNG.normal(size=(9_000, 12)) + 0.5).astype(dtype)
    rows[-800:, 0] += 9
    unit = rows.astype(float) / np.linalg.norm(rows.astype(float), axis=1, keepdims=True)
    values = np.linalg.svd(unit, compute_uv=False) ** 2 / 9_000
    expected = np.exp(-(values * np.log(values)).sum())
    assert vendi_score(rows) == pytest.approx(expected, rel=1e-11)


@pytest.mark.parametrize("n", [1, 2, 7])
def test_alike_tiles_count_as_one_and_orthogonal_ones_for_themselves(n):
    assert vendi_score(np.tile(RNG.normal(size=12), (n, 1))) == pytest.approx(1, abs=1e-12)
    assert vendi_score(np.eye(n, 12) * 3) == pytest.approx(n, rel=1e-12)


def test_groups_of_copies_count_by_their_shares():
    # Orthogonal types in shares p: exp of Shannon's entropy of p.
    rows = np.repeat(np.eye(3, 5), [6, 3, 1], axis=0)
    p = np.array([0.6, 0.3, 0.1])
    assert vendi_score(rows) == pytest.approx(np.exp(-(p * np.log(p)).sum()), rel=1e-12)


def test_length_order_duplication_and_constant_zero_columns_do_not_matter():
    rows = RNG.normal(size=(40, 9))
    value = vendi_score(rows)
    lengths = RNG.uniform(0.1, 9, (40, 1))
    for same in (
        rows * lengths,
        RNG.permutation(rows),
        np.repeat(rows, 2, axis=0),
        np.hstack([rows, np.zeros((40, 2))]),
        torch.from_numpy(rows),
    ):
        assert vendi_score(same) == pytest.approx(value, rel=1e-11)
    assert vendi_score(rows.astype(np.float32)) == pytest.approx(value, rel=1e-6)


def test_a_lost_mode_lowers_it():
    rows = RNG.normal(size=(300, 16)) * 0.1 + np.repeat(np.eye(3, 16), 100, axis=0)
    lost = np.vstack([rows[:150], rows[:150]])
    assert vendi_score(lost) < 0.8 * vendi_score(rows)


def test_bad_features_are_named():
    rows = RNG.normal(size=(10, 4))
    rows[7] = 0
    with pytest.raises(InputError, match="synthetic features: row 7 is all zeros"):
        vendi_score(rows)
    with pytest.raises(InputError, match="real features: NaN"):
        vendi_score(np.full((2, 2), np.nan), name="real")
    with pytest.raises(InputError, match="too few rows: 0"):
        vendi_score(np.zeros((0, 4)))
