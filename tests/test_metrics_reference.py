"""All scores in one pass over the pairs: the numbers of the plain scores, whatever the precision.

The plain scores, in float64, are themselves held against torch-fidelity, prdc and definitions in
their own tests. Where a GPU is at hand, all of this runs on it too.
"""

import numpy as np
import pytest
import torch
from prdc import compute_prdc

from histosynth.errors import InputError
from histosynth.metrics import Reference, clipped_scores, frechet_distance, kernel_distance, prdc

DEVICES = ["cpu"] + ["cuda"] * torch.cuda.is_available()
NEIGHBOURS = ("precision", "recall", "density", "coverage", "clipped_density", "clipped_coverage")


def sets(n=300, m=260, d=24, *, shift=0.1, scale=0.9, seed=0, dtype=np.float32):
    rng = np.random.default_rng(seed)
    scales = (1 + np.arange(d)) ** -0.5
    real, synthetic = rng.normal(size=(n, d)) * scales, rng.normal(size=(m, d)) * scales
    return real.astype(dtype), (synthetic * scale + shift).astype(dtype)


def in_float64(real, synthetic, k):
    real, synthetic = real.astype(np.float64), synthetic.astype(np.float64)
    return {
        "frechet_distance": frechet_distance(real, synthetic),
        "kernel_distance": kernel_distance(real, synthetic),
        **prdc(real, synthetic, k=k),
        **clipped_scores(real, synthetic, k=k),
    }


def agree(found, expected):
    """Counts exactly; sums to what float32 products leave (kernels of these sets are below 2)."""
    assert found.keys() == expected.keys()
    for name in NEIGHBOURS:
        assert found[name] == pytest.approx(expected[name], rel=1e-14), name
    assert found["frechet_distance"] == pytest.approx(expected["frechet_distance"], rel=1e-9)
    assert found["kernel_distance"] == pytest.approx(expected["kernel_distance"], abs=2e-6)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("offset", [0, 5])
def test_one_pass_gives_the_numbers_of_the_plain_scores(device, dtype, offset):
    real, synthetic = (x + dtype(offset) for x in sets(dtype=dtype))
    reference = Reference(torch.from_numpy(real).to(device), k=5, chunk=64)
    found = reference.scores(torch.from_numpy(synthetic).to(device))
    expected = in_float64(real, synthetic, 5)
    if offset:  # the kernel is some 30,000 there, and its tolerance with it
        found["kernel_distance"] /= 30_000
        expected["kernel_distance"] /= 30_000
    agree(found, expected)


@pytest.mark.parametrize("chunk", [1, 7, 100, 5000])
def test_float32_neighbours_are_those_of_float64_whatever_the_chunk(chunk):
    n, m = (40, 35) if chunk == 1 else (300, 260)
    real, synthetic = sets(n, m)
    agree(Reference(real, k=3, chunk=chunk).scores(synthetic), in_float64(real, synthetic, 3))


def test_neighbours_in_float32_are_prdcs_in_float64():
    real, synthetic = sets(400, 400, 64)
    theirs = compute_prdc(real.astype(np.float64), synthetic.astype(np.float64), nearest_k=5)
    found = Reference(real).scores(synthetic)
    assert {name: found[name] for name in theirs} == pytest.approx(theirs, rel=1e-12)


def test_the_real_part_is_kept_and_serves_sets_of_any_size_and_precision():
    real, _ = sets()
    reference = Reference(real, chunk=128)
    for seed, m, dtype in ((1, 260, np.float32), (2, 50, np.float64), (1, 260, np.float32)):
        synthetic = sets(m=m, seed=seed, dtype=dtype)[1]
        agree(reference.scores(synthetic), in_float64(real, synthetic, 5))
    assert reference.statistics is reference.statistics
    assert len(reference._compared) == 2  # one a precision


def test_order_does_not_matter():
    real, synthetic = sets()
    rng = np.random.default_rng(1)
    shuffled = Reference(rng.permutation(real)).scores(rng.permutation(synthetic))
    agree(shuffled, in_float64(real, synthetic, 5))


@pytest.mark.parametrize(("n", "m"), [(20, 25), (20, 200), (200, 20)])
def test_fewer_tiles_than_features(n, m):
    real, synthetic = sets(n, m, 64)
    agree(Reference(real, k=3).scores(synthetic), in_float64(real, synthetic, 3))


@pytest.mark.parametrize("kind", ["equal", "twins", "collapsed", "one point", "outlier"])
def test_ties_and_extremes_are_decided_in_float64(kind):
    # Decided in float32, some of these comparisons would fall the other way.
    real, synthetic = sets(120, 120, 16)
    if kind == "equal":
        synthetic = real[::-1].copy()
    elif kind == "twins":
        real = np.repeat(real[:20], 6, axis=0)
        synthetic = np.repeat(real[::6], 3, axis=0)
    elif kind == "collapsed":
        synthetic = np.repeat(real[:1], 120, axis=0)
    elif kind == "one point":
        real = np.ones_like(real)
        synthetic = np.ones_like(synthetic)
    else:
        real[0] = 1e4
    found, expected = Reference(real, k=3).scores(synthetic), in_float64(real, synthetic, 3)
    for name in NEIGHBOURS:
        assert found[name] == expected[name], name


def test_constant_columns_change_nothing():
    real, synthetic = sets()
    constant = np.full((300, 3), 7, dtype=np.float32)
    wide = Reference(np.hstack([real, constant])).scores(np.hstack([synthetic, constant[:260]]))
    narrow = Reference(real).scores(synthetic)
    for name in (*NEIGHBOURS, "frechet_distance"):  # the kernel's mean product does change
        assert wide[name] == pytest.approx(narrow[name], rel=1e-9)


def test_features_on_disk_are_read_without_a_copy_or_a_warning(tmp_path, recwarn):
    real, synthetic = sets()
    np.save(tmp_path / "real.npy", real)
    mapped = np.load(tmp_path / "real.npy", mmap_mode="r")
    assert Reference(mapped).scores(synthetic) == Reference(real).scores(synthetic)
    assert not recwarn.list


def test_bad_features_are_named():
    real, synthetic = sets(30, 30, 8)
    with pytest.raises(InputError, match="real features have too few rows: 1"):
        Reference(real[:1])
    reference = Reference(real)
    broken = synthetic.copy()
    broken[3] = np.nan
    with pytest.raises(InputError, match="synthetic features: NaN or infinite values in 1 of 30"):
        reference.scores(broken)
    with pytest.raises(InputError, match="width 8, synthetic features width 7"):
        reference.scores(synthetic[:, :7])
    with pytest.raises(InputError, match="take k <= 3"):
        reference.scores(synthetic[:4])
