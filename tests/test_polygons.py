"""Polygons fall on exactly the pixels whose centres they hold, whatever the tile that asks."""

import numpy as np
import pytest
import shapely
from annotation_files import circle
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from histosynth.slides.annotations.raster import even_odd, even_odd_area, polygon_edges

FEW = settings(deadline=None, max_examples=50)


def raster(rings, *, size=256, scale=1.0, x=0.0, y=0.0):
    centres = (np.arange(size) + 0.5) * scale
    return even_odd(polygon_edges([np.array(r, float) for r in rings]), x + centres, y + centres)


def rectangle(width, height, *, at, degrees):
    turn = np.deg2rad(degrees)
    rotation = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    return np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) / 2 * [width, height] @ rotation + at


# Shapes of about 180 pixels of a tile of 256: rings as seen at scale 1, and their area.
SHAPES = {
    "circle": ([circle(90, at=(128, 128))], np.pi * 90**2),
    "triangle": ([[(20, 30), (240, 70), (90, 230)]], (220 * 200 - 40 * 70) / 2),
    "ring": ([circle(100, at=(128, 128)), circle(60, at=(140, 120))], np.pi * (100**2 - 60**2)),
    "rotated": ([rectangle(180, 70, at=(130, 125), degrees=33)], 180 * 70),
}


@pytest.mark.parametrize("scale", [0.5, 1.0, 2.5, 4.016])
@pytest.mark.parametrize("shape", SHAPES)
def test_areas_are_exact_to_a_hundredth_at_any_scale_and_offset(shape, scale):
    rings, area = SHAPES[shape]
    for offset in [(0, 0), (0.31, -0.77), (5000.5, 9999.123)]:
        placed = [np.array(ring) * scale + offset for ring in rings]
        inside = raster(placed, scale=scale, x=offset[0] - 0.4 * scale, y=offset[1] + 0.2 * scale)
        assert inside.sum() == pytest.approx(area, rel=0.01)


def test_a_pixel_belongs_to_the_polygon_over_its_centre():
    # Its border runs through centres: the left and upper ones count, the right and lower do not.
    square = [(0.5, 0.5), (3.5, 0.5), (3.5, 3.5), (0.5, 3.5)]
    expected = np.zeros((5, 5), bool)
    expected[:3, :3] = True
    np.testing.assert_array_equal(raster([square], size=5), expected)
    np.testing.assert_array_equal(raster([square[::-1]], size=5), expected)
    assert even_odd_area(polygon_edges([np.array(square)])) == pytest.approx(9)
    assert not raster([[(1.6, 1.6), (2.4, 1.6), (2.4, 2.4), (1.6, 2.4)]], size=5).any()


# Coordinates on a grid of half pixels run through centres and corners on purpose.
on_grid = st.integers(-40, 140).map(lambda n: n / 2)
anywhere = st.floats(-20, 70, allow_nan=False, width=32)
outlines = st.one_of(
    st.lists(st.tuples(on_grid, on_grid), min_size=3, max_size=14),
    st.lists(st.tuples(anywhere, anywhere), min_size=3, max_size=14),
)


CENTRES = shapely.points(*np.meshgrid(np.arange(50) + 0.5, np.arange(50) + 0.5))


@FEW
@given(outlines)
def test_any_outline_even_one_that_crosses_itself_agrees_with_shapely(points):
    # A point is inside under the even-odd rule where it lies in an odd number of the triangles that
    # the edges make with one corner.
    fan = [
        shapely.Polygon([points[0], a, b]) for a, b in zip(points[1:-1], points[2:], strict=True)
    ]
    odd = sum(shapely.intersects(triangle, CENTRES).astype(int) for triangle in fan) % 2 == 1
    # Centres on an edge of a triangle would count for both or neither of two.
    clear = shapely.distance(shapely.MultiLineString([t.exterior for t in fan]), CENTRES) > 1e-6
    np.testing.assert_array_equal(raster([points], size=50)[clear], odd[clear])


@pytest.mark.parametrize("seed", range(5))
def test_an_outline_drawn_by_hand_that_crosses_itself_keeps_its_area(seed):
    rng = np.random.default_rng(seed)
    drawn = circle(100, at=(128, 128), corners=150) + rng.normal(0, 5, (150, 2))  # loops back
    polygon = shapely.Polygon(drawn)
    assert not polygon.is_valid
    area = shapely.make_valid(polygon).area
    assert raster([drawn]).sum() == pytest.approx(area, rel=0.01)
    assert even_odd_area(polygon_edges([drawn])) == pytest.approx(area, rel=0.01)


@FEW
@given(st.integers(0, 2**32 - 1), st.integers(3, 40), st.floats(0.3, 5))
def test_the_area_of_random_polygons_with_holes_is_shapelys(seed, corners, scale):
    rng = np.random.default_rng(seed)

    def star(low, high):
        angles = np.sort(rng.uniform(0, 2 * np.pi, corners))
        radii = rng.uniform(low, high, corners)
        return (np.stack([np.cos(angles), np.sin(angles)], 1) * radii[:, None] + 128) * scale

    outer, hole = star(80, 125), star(10, 50)
    polygon = shapely.Polygon(outer, [hole])
    assume(polygon.is_valid and polygon.area > 3000 * scale**2)  # not a hairline
    # Centres miscount by some pixels in each row that an edge crosses; they cancel out in part.
    area = raster([outer, hole], scale=scale).sum() * scale**2
    assert area == pytest.approx(polygon.area, rel=0.01)
    assert even_odd_area(polygon_edges([outer, hole])) == pytest.approx(polygon.area, rel=0.01)


@FEW
@given(outlines, st.integers(-30, 30), st.integers(-30, 30), st.sampled_from([0.25, 1, 1.5, 4]))
def test_tiles_join_without_a_seam(points, x, y, scale):
    whole = raster([points], size=48, scale=scale, x=x, y=y)
    tiles = [
        [raster([points], size=16, scale=scale, x=x + j * scale, y=y + i * scale) for j in places]
        for places in [range(0, 48, 16)]
        for i in places
    ]
    np.testing.assert_array_equal(np.block(tiles), whole)


@FEW
@given(st.lists(on_grid, min_size=2, max_size=30), st.booleans())
def test_of_two_polygons_with_one_border_each_pixel_is_in_just_one(xs, reverse):
    border = list(zip(xs, np.linspace(-10, 60, len(xs)), strict=True))
    left = [(-100, -10), *border, (-100, 60)]
    right = [(200, -10), *border, (200, 60)]
    if reverse:
        right = right[::-1]
    np.testing.assert_array_equal(raster([left], size=50), ~raster([right], size=50))


def test_parts_and_holes_follow_from_the_even_odd_rule_in_any_order():
    rings = [rectangle(side, side, at=(32, 32), degrees=0) for side in (60, 40, 20)]
    expected = np.zeros((64, 64), int)
    for side in (60, 40, 20):
        expected[32 - side // 2 : 32 + side // 2, 32 - side // 2 : 32 + side // 2] ^= 1
    for order in ((0, 1, 2), (2, 0, 1)):
        np.testing.assert_array_equal(raster([rings[i] for i in order], size=64), expected)


def test_an_outline_in_a_figure_of_eight_has_both_its_lobes():
    eight = [(10, 10), (50, 50), (50, 10), (10, 50)]
    assert even_odd_area(polygon_edges([np.array(eight, float)])) == pytest.approx(800, rel=0.01)
    assert raster([eight], size=64).sum() == pytest.approx(800, rel=0.03)


def test_edges_too_flat_to_compute_with_break_nothing():
    # The upper edge rises by the smallest number there is: its slope would be infinite.
    sliver = [(0, 0), (40, 5e-324), (20, 20)]
    inside = raster([sliver], size=64, y=-0.5)  # centres of the first row at y = 0
    assert inside.sum() == pytest.approx(40 * 20 / 2, rel=0.06)  # half a row too many
    assert not inside[:, 41:].any()
