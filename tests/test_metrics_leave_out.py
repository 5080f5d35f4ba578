"""Leaving groups out of sums gives the scores of the rows that are left."""

import numpy as np
import pytest
from grouped_sets import sets

from histosynth.metrics import (
    FrechetStatistic,
    KernelStatistic,
    frechet_distance,
    jackknife_interval,
    kernel_distance,
    leave_out,
)


def rbf(real, synthetic):
    return kernel_distance(real, synthetic, kernel="rbf", sigma=2.0)


CASES = [
    (KernelStatistic(), kernel_distance),
    (KernelStatistic("rbf", sigma=2.0), rbf),
    (FrechetStatistic(), frechet_distance),
]


@pytest.mark.parametrize("chunk", [7, 2048])
@pytest.mark.parametrize(("n", "m", "d"), [(120, 90, 6), (40, 60, 80), (30, 200, 90)])
@pytest.mark.parametrize(("quick", "plain"), CASES)
def test_a_score_without_groups_is_that_of_the_rows_left(monkeypatch, quick, plain, n, m, d, chunk):
    monkeypatch.setattr(leave_out, "_CHUNK", chunk)
    real, synthetic, ours, theirs = sets(n, m, d)
    without = quick.leaving_out(leave_out.GroupedSets(real, synthetic, ours, theirs))
    for of_real in (None, "a", "d", "e"):
        for of_synthetic in (None, "b", "e", "a"):
            left = real[ours != of_real], synthetic[theirs != of_synthetic]
            assert without(of_real, of_synthetic) == pytest.approx(plain(*left), rel=1e-8, abs=1e-9)


@pytest.mark.parametrize("patients", ["shared", "apart", "unknown"])
@pytest.mark.parametrize(("quick", "plain"), CASES)
def test_the_interval_is_that_of_the_score_repeated(quick, plain, patients):
    real, synthetic, ours, theirs = sets(100, 80, 5)
    names = {"shared": theirs, "apart": np.char.add("s", theirs), "unknown": None}[patients]
    found = [
        jackknife_interval(
            real, synthetic, real_groups=ours, synthetic_groups=names, statistic=statistic
        )
        for statistic in (quick, plain)
    ]
    assert (found[0].value, found[0].se) == pytest.approx((found[1].value, found[1].se), rel=1e-7)
    assert found[0].contributions.reference.keys() == found[1].contributions.reference.keys()


def test_float32_products_move_the_interval_by_far_less_than_its_width():
    real, synthetic, ours, _ = sets(400, 300, 64)
    wide, narrow = (
        jackknife_interval(
            real.astype(np.float32),
            synthetic,
            real_groups=ours,
            statistic=KernelStatistic(narrow=n),
        )
        for n in (False, True)
    )
    for bound in ("value", "ci_low", "ci_high"):
        assert abs(getattr(wide, bound) - getattr(narrow, bound)) < 1e-3 * wide.se


def test_a_set_of_one_large_group_has_no_interval_but_a_value():
    real, synthetic, ours, theirs = sets(50, 40, 4)
    alone = np.where(np.arange(40) < 39, "most", "one")
    for quick, plain in CASES:
        found = jackknife_interval(
            real, synthetic, real_groups=ours, synthetic_groups=alone, statistic=quick
        )
        assert found.value == pytest.approx(plain(real, synthetic), rel=1e-8)
        assert np.isnan(found.se)
