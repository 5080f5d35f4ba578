"""The error of neighbour scores: neither too small nor, as a plain jackknife's, far too large."""

import numpy as np
import pytest
from grouped_sets import sets

from histosynth.metrics import (
    Contributions,
    NeighbourStatistic,
    Reference,
    clipped_scores,
    jackknife_interval,
    paired_difference,
    prdc,
)
from histosynth.metrics.contributions import Bend, bent_interval, t_interval, weighted_sum

K = 3
NAMES = ("precision", "recall", "density", "coverage", "clipped_density", "clipped_coverage")


def apart(a, b):
    return np.linalg.norm(a[:, None] - b, axis=2)


def inside(centres, rows):
    """Whether each row lies in the ball around each centre: bool (centres, rows)."""
    radii = np.sort(apart(centres, centres), axis=1)[:, K]
    return apart(centres, rows) < radii[:, None]


def centred(d, shares):
    c2 = (shares**2).sum() / (shares**2 * (1 - 2 * shares + (shares**2).sum())).sum()
    return np.sqrt(c2) * (d - shares * d.sum())


def parts_one_by_one(value, hits, rows, balls, paired):
    """Parts of both kinds of groups, by loops; `hits` (balls, rows); dicts by name."""
    n = hits.shape[1]
    names, others = np.unique(rows), np.unique(balls)
    t = np.array([np.mean(rows == h) for h in names])
    s = np.array([np.mean(balls == g) for g in others])
    whole = np.array([value(hits[:, i].sum()) for i in range(n)])
    a = np.zeros((len(names), len(others)))
    for j, g in enumerate(others):
        left = np.array([value(hits[balls != g, i].sum()) for i in range(n)])
        for i, h in enumerate(names):
            a[i, j] = (whole - left)[rows == h].sum() / n
    for j, g in enumerate(others):
        if paired and g in names:
            own = np.flatnonzero(names == g)[0]
            others_share = 1 - t[own]
            a[own, j] = 0
            a[own, j] = a[:, j].sum() / others_share * t[own]
    of_balls = centred(a.sum(axis=0), s)
    q = np.array([centred(column, t) for column in a.T]).T
    q = np.array([centred(row, s) for row in q])
    kept = max(0, 1 - (q**2).sum() / (of_balls**2).sum())
    sums = np.array([whole[rows == h].sum() / n for h in names])
    return (
        dict(zip(names, centred(sums, t), strict=True)),
        dict(zip(others, np.sqrt(kept) * of_balls, strict=True)),
    )


@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize(("n", "m", "d"), [(120, 90, 4), (60, 80, 12)])
def test_every_part_is_that_of_the_equations(n, m, d, paired):
    real, synthetic, ours, theirs = sets(n, m, d)
    synthetic = 1.5 * synthetic  # clear of the bound of clipped density
    if not paired:
        theirs = np.char.add("other ", theirs)
    found = jackknife_interval(
        real,
        synthetic,
        real_groups=ours,
        synthetic_groups=theirs,
        statistic=NeighbourStatistic(K),
    )
    assert {name: found[name].value for name in NAMES} == prdc(real, synthetic, k=K) | (
        clipped_scores(real, synthetic, k=K)
    )
    of_real, of_synthetic = inside(real, synthetic), inside(synthetic, real)
    expected = {
        "precision": (lambda c: float(c > 0), of_real, theirs, ours),
        "recall": (lambda c: float(c > 0), of_synthetic, ours, theirs),
        "density": (lambda c: c / K, of_real, theirs, ours),
        "coverage": (lambda c: float(c > 0), of_real.T, ours, theirs),
    }
    sides = {name: parts_one_by_one(*of, paired) for name, of in expected.items()}
    # Clipped density: a ratio of two such means, here below its bound.
    radii = np.sort(apart(real, real), axis=1)[:, K]
    clipped = np.minimum(radii, np.median(radii) * (1 + 1e-14))[:, None]
    around = apart(real, synthetic) <= clipped
    own = (apart(real, real) <= clipped) & ~np.eye(n, dtype=bool)

    def filled(count):
        return min(count, K) / K

    above = parts_one_by_one(filled, around, theirs, ours, paired)
    below = parts_one_by_one(filled, own, ours, ours, True)
    scale = np.mean([filled(c) for c in own.sum(axis=0)])
    ratio = np.mean([filled(c) for c in around.sum(axis=0)]) / scale
    assert ratio < 1
    sides["clipped_density"] = [
        {g: weight * part / scale for g, part in side.items()}
        for weight, side in [*((1, s) for s in above), *((-ratio, s) for s in below)]
    ]
    for name, parts_of in sides.items():
        parts = found[name].contributions
        named = dict(parts.reference) | dict(parts.requested)
        together = {g: sum(side.get(g, 0) for side in parts_of) for g in named}
        assert named == pytest.approx(together, rel=1e-9, abs=1e-12), name
        assert found[name].se == pytest.approx(np.sqrt(sum(v**2 for v in together.values())))


def draw(rng, requests):
    """Unequal patients with looks of their own; two conditions, both too varied."""
    sizes = np.maximum(3, rng.gamma(2.0, size=12) * 15).astype(int)
    patients = np.repeat(np.arange(12), sizes)
    looks = 0.5 * rng.normal(size=(12, 8))
    real = looks[patients] + rng.normal(size=(len(patients), 8))
    behind = patients if requests == "shared" else None
    if behind is None:
        asked = 0.5 * rng.normal(size=real.shape)
    else:
        asked = looks[patients]
    noise = rng.normal(size=real.shape)
    return real, patients, [a * asked + 1.25 * noise + 0.15 for a in (0.9, 0.7)], behind


@pytest.mark.parametrize("requests", ["shared", "nobody"])
def test_intervals_cover_and_are_no_wider_than_they_need_be(requests):
    rng = np.random.default_rng(3)
    drawn = []
    for _ in range(100):
        real, patients, conditions, behind = draw(rng, requests)
        drawn.append(
            [
                jackknife_interval(
                    real,
                    made,
                    real_groups=patients,
                    synthetic_groups=behind,
                    statistic=NeighbourStatistic(),
                )
                for made in conditions
            ]
        )
    for name in NAMES:
        scores = [a[name] for a, _ in drawn]
        differences = [paired_difference({0: a[name]}, {0: b[name]}) for a, b in drawn]
        # Images that nobody asked for are taken for independent; these share their noise.
        for found in [scores, differences] if requests == "shared" else [scores]:
            values = np.array([i.value for i in found])
            held = sum(i.ci_low <= values.mean() <= i.ci_high for i in found)
            error = np.sqrt(np.mean([i.se**2 for i in found]))
            # Fewer than 88 of 100 once in 700 runs, were it 95 %. The spread is known to 7 %.
            assert held >= 88, name
            assert 0.7 < error / values.std(ddof=1) < 1.9, name


def test_a_reference_at_hand_gives_the_same_neighbour_scores():
    real, synthetic, ours, _ = sets(150, 130, 8)
    real, synthetic = real.astype(np.float32), synthetic.astype(np.float32)
    found = [
        jackknife_interval(real, synthetic, real_groups=ours, statistic=statistic)
        for statistic in (
            NeighbourStatistic(5),
            NeighbourStatistic(reference=Reference(real, k=5)),
            NeighbourStatistic(reference=Reference(real, k=5), narrow=True),
        )
    ]
    for name, interval in found[0].items():
        for other in found[1:]:
            assert (other[name].value, other[name].se) == pytest.approx(
                (interval.value, interval.se), rel=1e-9
            )


def test_shares_that_no_patient_moves_have_no_interval():
    rng = np.random.default_rng(0)
    real = rng.normal(size=(60, 3))
    found = jackknife_interval(
        real, real + 1e-6, real_groups=np.arange(60) % 6, statistic=NeighbourStatistic(5)
    )
    for name in ("precision", "recall", "coverage"):
        assert found[name].value == 1
        assert np.isnan(found[name].ci_low)


@pytest.mark.parametrize("expected", [0.85, 0.95, 1.0, 1.1])
def test_the_interval_of_a_clipped_score_holds_the_clip_of_what_is_expected(expected):
    rng = np.random.default_rng(5)
    held, at_bound = 0, 0
    for _ in range(400):
        looks = expected + 0.3 * rng.normal(size=20)  # of 20 patients; their mean is clipped
        parts = (looks - looks.mean()) / np.sqrt(20 * 19)
        of_patients = Contributions(dict(zip("abcdefghijklmnopqrst", parts, strict=True)))
        value = min(looks.mean(), 1.0)
        bend = Bend(looks.mean(), lambda x: min(x, 1.0))
        found = bent_interval(value, bend, of_patients)
        straight = t_interval(looks.mean(), of_patients)
        assert found.value == value
        assert found.ci_low == min(straight.ci_low, 1.0)
        if straight.ci_high < 1:
            assert (found.ci_high, found.se) == pytest.approx((straight.ci_high, straight.se))
            assert found.contributions == weighted_sum([(1.0, of_patients)])
        if value == 1:
            at_bound += 1
            assert found.contributions is None  # no difference is told from another's
        held += found.ci_low <= min(expected, 1.0) <= found.ci_high
    # Below the bound 95 %, at and above it at least as often; 0.92 once in 300 runs.
    assert held / 400 >= 0.92
    assert (at_bound > 100) == (expected >= 1)


@pytest.mark.parametrize("one", ["one", "a"])
def test_a_set_of_one_group_has_no_interval_but_values(one):
    """Nor where the other set has this patient, too."""
    real, synthetic, ours, _ = sets(50, 40, 4)
    found = jackknife_interval(
        real,
        synthetic,
        real_groups=ours,
        synthetic_groups=[one] * 40,
        statistic=NeighbourStatistic(K),
    )
    assert found["recall"].value == prdc(real, synthetic, k=K)["recall"]
    assert np.isnan(found["recall"].se)
