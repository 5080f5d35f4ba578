"""Stains unmixed, nuclei counted, effects measured: against closed forms and known truth."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.stats import ttest_ind, wasserstein_distance
from tissue_sets import discs, image_of

from histosynth.metrics import (
    cohens_d,
    cohens_d_of_sums,
    histogram_distance,
    jackknife_interval,
)
from histosynth.nuclei import (
    NucleusRule,
    nucleus_count,
    nucleus_labels,
    nucleus_rule,
    whole_nuclei,
)
from histosynth.slides import phantom_cells
from histosynth.slides.phantom import render_slide
from histosynth.slides.phantom_layout import lay_out
from histosynth.stains import STAINS, optical_density, stain_amounts
from histosynth.tissue_statistics import EDGES, class_shares, measure_tiles


def test_unmixing_is_the_inverse_of_the_stains_with_a_third_across_both():
    image = np.random.default_rng(0).integers(1, 256, (8, 8, 3), dtype=np.uint8)
    across = np.cross(STAINS[0], STAINS[1])
    matrix = np.stack([*STAINS, across / np.linalg.norm(across)])
    expected = -np.log10(image / 255) @ np.linalg.inv(matrix)
    found = stain_amounts(optical_density(image))
    np.testing.assert_allclose(found, expected[..., :2], atol=1e-5)  # float32


def test_unmixing_agrees_with_scikit_image_where_there_is_no_third_stain():
    from skimage.color import rgb2hed

    image = image_of(np.linspace(0, 0.7, 12)[:, None], np.linspace(0, 0.7, 12))
    theirs = rgb2hed(image) * 6  # theirs is in units of -log10(1e-6)
    ours = stain_amounts(optical_density(image))
    # Their colours are not of unit length, ours are; 8 bits round dark pixels by about 0.01.
    lengths = np.linalg.norm([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11]], axis=1)
    np.testing.assert_allclose(ours, theirs[..., :2] * lengths, atol=0.02)


@settings(deadline=None, max_examples=50)
@given(st.floats(0, 0.8), st.floats(0, 0.8))
def test_the_amounts_that_made_a_pixel_are_found_again(hematoxylin, eosin):
    found = stain_amounts(optical_density(image_of(hematoxylin, eosin)))
    np.testing.assert_allclose(found, [hematoxylin, eosin], atol=0.03)  # 8 bits


def test_single_discs_are_counted_and_measured():
    places = [(20, 20), (20, 60), (60, 25), (60, 90), (95, 55)]
    image = discs(places, 7)
    labels = nucleus_labels(image, nucleus_rule([image], 0.5))
    areas, _ = whole_nuclei(labels)
    assert nucleus_count(labels) == len(areas) == 5
    np.testing.assert_allclose(areas, np.pi * 7**2, rtol=0.15)  # a rim of half a pixel is 14 %


@pytest.mark.parametrize("gap", [1.5, 1.7, 2.0])
def test_touching_discs_are_parted(gap):
    """Centres `gap` radii apart: at 2 they touch, at 1.5 they share a fifth of their areas."""
    radius = 8
    places = [(30, 30), (30, 30 + gap * radius), (80, 70), (80 + gap * radius, 70)]
    image = discs(places, radius)
    labels = nucleus_labels(image, nucleus_rule([image], 0.5))
    areas, _ = whole_nuclei(labels)
    assert nucleus_count(labels) == len(areas) == 4
    assert np.ptp(areas) < 0.3 * areas.mean()


def test_a_nucleus_cut_by_the_lower_or_right_edge_is_left_to_the_next_tile():
    labels = np.zeros((20, 20), int)
    labels[0:4, 5:9] = 1  # cut above: counted, but not seen whole
    labels[8:12, 8:12] = 2
    labels[16:20, 8:12] = 3
    labels[8:12, 17:20] = 4
    areas, weights = whole_nuclei(labels)
    assert nucleus_count(labels) == 2 and areas.tolist() == [16]
    assert weights.tolist() == [20 * 20 / (15 * 15)]  # rows and columns at which it may begin


def label_discs(radii, *, side, seed):
    """Labels (side, side) of discs that do not touch, and their areas; the outermost 32 pixels
    hold none."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[:side, :side]
    labels = np.zeros((side, side), np.int32)
    for number, radius in enumerate(radii, start=1):
        while True:
            row, column = random.uniform(32 + radius, side - 33 - radius, 2)
            disc = (rows - row) ** 2 + (columns - column) ** 2 <= radius**2
            if not labels[disc].any():
                break
        labels[disc] = number
    return labels, np.bincount(labels.ravel())[1:]


def windows(labels, side):
    """Every window of this side that lies in the labels, at every pixel."""
    places = range(len(labels) - side + 1)
    return (labels[y : y + side, x : x + side] for y in places for x in places)


def test_areas_of_whole_nuclei_are_right_for_large_and_small_ones():
    """Ten small discs and four large ones, seen through every window of 32 pixels there is."""
    labels, truth = label_discs([3] * 10 + [9] * 4, side=150, seed=0)
    seen = [whole_nuclei(window) for window in windows(labels, 32)]
    areas, weights = (np.concatenate(column) for column in zip(*seen, strict=True))
    # Every disc lies in all windows that can hold it, so what the weights give is exact.
    assert np.average(areas, weights=weights) == pytest.approx(truth.mean(), rel=1e-12)
    assert weights.sum() == pytest.approx(len(truth) * 32**2, rel=1e-12)
    assert np.average(areas >= 200, weights=weights) == pytest.approx(4 / 14, rel=1e-12)
    assert areas.mean() < 0.75 * truth.mean()  # without weights, small ones prevail


def test_counts_are_right_for_large_and_small_ones():
    for radius in (3, 9):
        labels, truth = label_discs([radius] * 6, side=150, seed=1)
        counted = sum(nucleus_count(window) for window in windows(labels, 32))
        # Counted where it ends, but for the last row and column, which may cut it. At the corners
        # a tile does not see all that would be cut: 0.2 % too many small ones, 1.7 % large ones.
        assert 1 <= counted / (len(truth) * 31**2) < 1.02


def ellipses(width, mpp, patient, **options):
    """The true outlines of the nuclei of a phantom slide: (top, left, bool patch) each."""
    shapes = []
    for cells in phantom_nuclei(width, mpp, patient, **options):
        for centre, length, breadth, angle in zip(
            cells.centre / mpp, cells.length / mpp, cells.width / mpp, cells.angle, strict=True
        ):
            top, left = np.floor(centre - length / 2).astype(int) - 1
            side = int(np.ceil(length)) + 3
            down, right = np.mgrid[top : top + side, left : left + side]
            down, right = down - centre[0], right - centre[1]
            u = (right * np.cos(angle) + down * np.sin(angle)) / (length / 2)
            v = (down * np.cos(angle) - right * np.sin(angle)) / (breadth / 2)
            shapes.append((top, left, u**2 + v**2 <= 1))
    return shapes


def test_a_tiling_of_a_phantom_gives_the_mean_area_of_its_nuclei():
    """True ellipses cut by the edges of tiles of 40 um: each weighted as a whole nucleus is."""
    mpp, width, side = 0.5, 1600, 80
    whole, weights, truth = [], [], []
    for top, left, patch in ellipses(width, mpp, 0, seed=5, difficulty=0.5):
        rows, columns = (np.flatnonzero(patch.any(axis=axis)) for axis in (1, 0))
        if not len(rows):
            continue
        first = np.array([top + rows[0], left + columns[0]])
        last = np.array([top + rows[-1], left + columns[-1]])
        if (first < side).any() or (last >= width - side).any():
            continue  # nuclei of the slide's rim are not in all tiles that they could be in
        truth.append(patch.sum())
        tile, end = first // side * side, last // side * side
        if (tile == end).all():
            labels = np.zeros((side, side), np.int32)
            y, x = np.array([top, left]) - tile
            at = np.argwhere(patch) + (y, x)
            labels[tuple(at.T)] = 1
            area, weight = whole_nuclei(labels)
            whole += area.tolist()
            weights += weight.tolist()
    truth = np.mean(truth)
    assert np.mean(whole) < 0.95 * truth
    assert np.average(whole, weights=weights) == pytest.approx(truth, rel=0.02)  # by chance
    assert len(whole) > 1000


def test_a_tiling_counts_each_nucleus_once():
    rng = np.random.default_rng(1)
    grid = np.stack(np.meshgrid(np.arange(12, 230, 24), np.arange(12, 230, 24)), -1).reshape(-1, 2)
    image = discs(grid + rng.uniform(-3, 3, grid.shape), 6, side=240)
    rule = nucleus_rule([image], 0.5)
    tiles = [image[y : y + 60, x : x + 60] for y in range(0, 240, 60) for x in range(0, 240, 60)]
    counted = sum(nucleus_count(nucleus_labels(tile, rule)) for tile in tiles)
    # What is left of a nucleus in the next tile may be too small to be one.
    assert len(grid) * 0.9 <= counted <= len(grid)


def test_tissue_without_nuclei_has_none():
    with_nuclei = discs([(30, 30), (80, 80)], 7)
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 0.02, (120, 120))
    bare = image_of(0.1 + noise, 0.3)
    glass = np.full((120, 120, 3), 245, np.uint8)
    rule = nucleus_rule([with_nuclei, bare], 0.5)
    assert nucleus_labels(bare, rule).max() == 0
    assert nucleus_labels(glass, rule).max() == 0


def phantom_nuclei(width, mpp, patient, *, seed, difficulty):
    """All nuclei that `render_slide` draws, kind by kind; those of stroma turn with its fibres."""
    geometry, content, _ = np.random.default_rng([seed, patient, 0]).spawn(3)
    layout = lay_out(geometry, (width, width), mpp=mpp, difficulty=difficulty)
    streams = content.spawn(12)
    flat = np.zeros((width, width))  # the fibres turn nuclei, but do not move them
    return (
        phantom_cells.stromal_nuclei(streams[7], layout, flat, mpp=mpp),
        phantom_cells.lymphocytes(streams[8], layout, mpp=mpp, difficulty=difficulty),
        phantom_cells.tumour_nuclei(streams[9], layout, mpp=mpp, difficulty=difficulty),
        phantom_cells.gland_nuclei(streams[10], layout.glands),
    )


@pytest.mark.parametrize("mpp", [0.8, 2.0])
def test_nuclei_of_a_phantom_slide_are_counted(mpp):
    """Crowded, overlapping and stained as two laboratories do: counts follow the truth.

    At 0.5 um a pixel, 144 tiles of four patients: correlation 0.90, sum 0.70 of the truth.
    """
    side, width = int(96 / mpp), int(576 / mpp)
    tiles, truth = [], []
    for patient in (0, 1):
        options = {"seed": 5, "difficulty": 0.5}
        image, _ = render_slide(width, width, mpp=mpp, site=patient, patient=patient, **options)
        drawn = phantom_nuclei(width, mpp, patient, **options)
        tile_of = np.concatenate([cells.centre for cells in drawn]) / mpp // side
        for y in range(width // side):
            for x in range(width // side):
                tiles.append(image[y * side : (y + 1) * side, x * side : (x + 1) * side])
                truth.append((tile_of == [y, x]).all(axis=1).sum())
    rule = nucleus_rule(tiles, mpp)
    found = measure_tiles(tiles, rule).values["nuclei_count"]
    assert np.corrcoef(found, truth)[0, 1] > 0.9
    assert 0.7 < found.sum() / np.sum(truth) < 1.1  # overlapping ones merge, cut ones are left out


def test_class_shares_add_up_to_the_pixels_of_each_class():
    maps = np.random.default_rng(0).integers(0, 3, (5, 8, 8), dtype=np.uint8)
    shares = class_shares(maps, 4)
    assert shares.shape == (5, 4)
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    assert shares[2, 1] == np.count_nonzero(maps[2] == 1) / 64


def test_cohens_d_is_the_t_statistic_scaled():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=30), rng.normal(0.7, 1.5, size=45)
    t = ttest_ind(y, x).statistic  # equal variances: the pooled one
    assert cohens_d(x, y) == pytest.approx(t * np.sqrt(1 / 30 + 1 / 45), rel=1e-12)
    both = cohens_d(np.stack([x, -x], 1), np.stack([y, -y], 1))
    np.testing.assert_allclose(both, [both[0], -both[0]])
    assert np.isnan(cohens_d(np.full(9, 0.1), np.full(7, 0.3))) and np.isnan(cohens_d([1.0], x))


def test_cohens_d_of_sums_is_that_of_values_repeated():
    rng = np.random.default_rng(0)
    x, y = rng.gamma(3, 30, 40), rng.gamma(4, 30, 50)
    often = rng.integers(1, 5, 40), rng.integers(1, 5, 50)
    sums = (
        np.stack([w * v**power for power in range(3)], axis=1)
        for v, w in zip((x, y), often, strict=True)
    )
    expected = cohens_d(np.repeat(x, often[0]), np.repeat(y, often[1]))
    assert cohens_d_of_sums(*sums) == pytest.approx(float(expected), rel=1e-12)
    assert np.isnan(cohens_d_of_sums(np.zeros((3, 3)), np.ones((3, 3))))  # no weight
    one_size = [[2, 2 * 0.3, 2 * 0.3**2]] * 2
    assert np.isnan(cohens_d_of_sums(one_size, one_size))


@settings(deadline=None, max_examples=50)
@given(
    arrays.arrays(np.int64, 12, elements=st.integers(0, 50)),
    arrays.arrays(np.int64, 12, elements=st.integers(0, 50)),
)
def test_histogram_distance_is_scipys_of_the_bins(a, b):
    if not a.any() or not b.any():
        assert np.isnan(histogram_distance(a, b, width=0.1))
        return
    bins = np.arange(12) * 0.1
    expected = wasserstein_distance(bins, bins, a, b)
    assert histogram_distance(a, b, width=0.1) == pytest.approx(expected, abs=1e-12)
    assert histogram_distance(a, a, width=0.1) == 0
    middles = np.cumsum(np.arange(12.0))  # bins that widen
    expected = wasserstein_distance(middles, middles, a, b)
    assert histogram_distance(a, b, width=np.diff(middles)) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("shared", [True, False])
def test_the_interval_covers_a_known_effect(shared):
    """Eight patients who differ by as much as their tiles do; requests from them, or not."""
    rng = np.random.default_rng(0)
    patient = np.arange(160) % 8
    names = np.array([f"p{p}" for p in range(16)])
    others = patient if shared else patient + 8
    covered = []
    for _ in range(300):
        level = rng.normal(size=16) * 0.7
        x = rng.normal(level[patient], 0.7)[:, None]
        y = rng.normal(level[others] + 0.5, 0.7)[:, None]
        found = jackknife_interval(
            x,
            y,
            real_groups=names[patient],
            synthetic_groups=names[others],
            statistic=lambda a, b: float(cohens_d(a, b)[0]),
        )
        truth = 0.5 / np.hypot(0.7, 0.7)
        covered.append(found.ci_low <= truth <= found.ci_high)
    assert 0.9 <= np.mean(covered) <= 0.99


def test_values_beyond_the_bins_are_counted_at_the_ends():
    dark, glass = np.zeros((4, 4, 3), np.uint8), np.full((4, 4, 3), 255, np.uint8)
    found = measure_tiles([dark, glass], None).histograms["od_eosin"]
    assert found.sum(axis=1).tolist() == [16, 16] and found.shape == (2, len(EDGES["od_eosin"]) - 1)


def test_areas_in_pixels_find_room_whatever_a_pixel_is():
    for radius in (4, 30, 55):
        image = discs([(80, 80)], radius, side=160)
        found = measure_tiles([image], nucleus_rule([image], None))
        (weights,), edges = found.histograms["nuclei_area"], found.edges["nuclei_area"]
        (at,) = np.flatnonzero(weights)
        weight, area, _ = found.sums["nuclei_area"][0]
        assert edges[at] <= area / weight < edges[at + 1] and at < len(edges) - 2
        assert area / weight == pytest.approx(np.pi * radius**2, rel=0.25 if radius < 10 else 0.1)


def test_a_rule_without_resolution_measures_in_pixels():
    assert NucleusRule(0.4, None).area_unit == "pixels" and NucleusRule(0.4, 0.5).area_unit == "µm²"
