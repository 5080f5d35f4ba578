"""Annotations of every format give the classes that lie there, each in its place."""

import json
from functools import partial

import numpy as np
import pandas as pd
import pytest
import shapely
from annotation_files import (
    CLASSES,
    INNER,
    NORMAL,
    OTHER,
    SIDE,
    SQUARE,
    TUMOUR,
    UNLABELLED,
    asap,
    circle,
    collection,
    feature,
    opened,
    read_map,
    square,
)
from slide_files import tissue, write_slide

from histosynth.cohort_settings import TissueClass
from histosynth.config import Study
from histosynth.errors import InputError
from histosynth.slides.annotations import class_fractions
from histosynth.slides.sources import SlideSource


@pytest.fixture
def class_map(tmp_path):
    """Writes a text as a file of some suffix; its class map of the whole slide."""
    return partial(read_map, tmp_path)


def painted(*layers, ground=NORMAL):
    expected = np.full((SIDE, SIDE), ground, np.uint8)
    for index, (left, top, right, bottom) in layers:
        expected[top:bottom, left:right] = index
    return expected


# --- what is on top of what


def test_asap_and_qupath_files_of_the_same_polygons_give_the_same_map(class_map):
    from_xml = class_map(asap(("Tumor", SQUARE), ("Exclusion", INNER)), ".xml")
    from_json = class_map(
        collection(feature("Tumor", SQUARE), feature("Exclusion", INNER)), ".geojson"
    )
    expected = painted((TUMOUR, (10, 10, 90, 90)), (NORMAL, (30, 30, 60, 60)))
    np.testing.assert_array_equal(from_xml, expected)
    np.testing.assert_array_equal(from_json, expected)


@pytest.mark.parametrize("swap", [False, True])
def test_a_smaller_polygon_lies_on_a_larger_one_whatever_their_order(class_map, swap):
    # Camelyon16's names: _0 and _1 are tumour, _2 is normal tissue within.
    polygons = [("_0", SQUARE), ("_2", INNER), ("_1", square(40, 40, 50, 50))]
    text = asap(*(polygons[::-1] if swap else polygons))
    expected = painted(
        (TUMOUR, (10, 10, 90, 90)), (NORMAL, (30, 30, 60, 60)), (TUMOUR, (40, 40, 50, 50))
    )
    np.testing.assert_array_equal(class_map(text, ".xml"), expected)


def test_small_parts_of_a_large_multipolygon_lie_on_what_surrounds_them(class_map):
    islands = [square(x, y, x + 20, y + 20) for x in (15, 40, 65) for y in (15, 40, 65)]
    many = feature("Tumor", SQUARE)
    many["geometry"] = {"type": "MultiPolygon", "coordinates": [[ring] for ring in islands]}
    ring = square(12, 12, 62, 62)  # 2500 pixels: smaller than all islands together, larger than one
    found = class_map(collection(many, feature("Other", ring)), ".json")
    layers = [(TUMOUR, (*ring[0], *ring[2])) for ring in islands]
    np.testing.assert_array_equal(found, painted((OTHER, (12, 12, 62, 62)), *layers))


def test_interior_rings_are_holes_and_what_lies_in_them_stays(class_map):
    text = collection(
        feature("Other", square(30, 30, 60, 60)), feature("Tumor", SQUARE, square(20, 20, 70, 70))
    )
    expected = painted(
        (TUMOUR, (10, 10, 90, 90)), (NORMAL, (20, 20, 70, 70)), (OTHER, (30, 30, 60, 60))
    )
    np.testing.assert_array_equal(class_map(text, ".geojson"), expected)


def test_uncovered_pixels_are_of_the_class_with_value_0_else_unlabelled(class_map):
    by_site = [
        TissueClass(name="normal", values={"here": [0], "there": [7]}),
        TissueClass(name="tumour", values={"there": [0]}, groups=["tumor"]),
    ]
    text = asap(("Tumor", INNER))
    for classes, site, ground in (
        (CLASSES, "anywhere", NORMAL),
        (by_site, "here", 0),
        (by_site, "there", 1),
        (by_site, "elsewhere", UNLABELLED),
        ([TissueClass(name="x", values=[3]), TissueClass(name="t", groups=["TUMOR"])], "", 255),
    ):
        expected = painted((TUMOUR, (30, 30, 60, 60)), ground=ground)
        np.testing.assert_array_equal(class_map(text, ".xml", classes=classes, site=site), expected)


def test_tiles_at_any_place_and_scale_are_windows_of_the_whole(tmp_path):
    rng = np.random.default_rng(0)
    triangles = [("_0" if i % 3 else "_2", rng.uniform(-20, 420, (3, 2))) for i in range(60)]
    triangles = [(g, c) for g, c in triangles if c.max(axis=0).min() > 0 and c.min() < 400]
    (tmp_path / "many.xml").write_text(asap(*triangles))
    with opened(tmp_path / "many.xml", side=400) as annotation:
        whole = annotation.region(0, 0, 400, scale=1.0)
        assert set(np.unique(whole)) == {NORMAL, TUMOUR}
        for x, y, size in ((0, 0, 64), (37, 311, 89), (399, 399, 1), (100, 0, 300)):
            tile = annotation.region(x, y, size, scale=1.0)
            np.testing.assert_array_equal(tile, whole[y : y + size, x : x + size])
        # By 3: the centre of a tile's pixel is that of the middle one of three.
        coarse = annotation.region(30, 60, 100, scale=3.0)
        np.testing.assert_array_equal(coarse, whole[61:361:3, 31:331:3])


def test_a_uniform_slide_is_of_its_class():
    with opened("uniform:tumour") as annotation:
        found = annotation.region(-3, 1e6, 7, scale=0.3)
    assert found.shape == (7, 7) and found.dtype == np.uint8 and (found == TUMOUR).all()
    with pytest.raises(InputError, match=r"S1: annotation 'uniform:Tumour': no class .*'Tumour'; "):
        opened("uniform:Tumour")


# --- groups and the ways to write them


@pytest.mark.parametrize("group", ["Tumor", "TUMOR", " tumor ", "_0"])
def test_case_and_blanks_of_a_group_do_not_count(class_map, group):
    expected = painted((TUMOUR, (30, 30, 60, 60)))
    np.testing.assert_array_equal(class_map(asap((group, INNER)), ".xml"), expected)


@pytest.mark.parametrize("claimed", ["", "None", "none"])
@pytest.mark.parametrize("written", ["", "None"])
def test_polygons_without_a_group_can_be_claimed(class_map, claimed, written):
    classes = [TissueClass(name="n", values=[0]), TissueClass(name="t", groups=[claimed])]
    expected = painted((TUMOUR, (30, 30, 60, 60)))
    bare = feature("", INNER)
    bare["properties"] = None
    for text, suffix in ((asap((written, INNER)), ".xml"), (collection(bare), ".json")):
        np.testing.assert_array_equal(class_map(text, suffix, classes=classes), expected)


def test_unclaimed_groups_are_listed_with_those_claimed(class_map):
    text = asap(("Tumor", SQUARE), ("Artefact", INNER), ("Artefact", INNER), ("None", INNER))
    with pytest.raises(
        InputError,
        match=r"slide S1: annotation .*slide\.xml: polygon groups found: 'Artefact' \(2\), "
        r"'Tumor' \(1\), 'None' \(1\); claimed .*: '_2', 'exclusion', '_0'",
    ):
        class_map(text, ".xml")
    bare = feature(None, INNER)
    with pytest.raises(InputError, match=r"found: 'no group' \(1\); claimed .*: none\. Add"):
        class_map(collection(bare), ".json", classes=[TissueClass(name="a", values=[0, 1])])


def test_a_group_may_not_be_claimed_twice(class_map):
    classes = [TissueClass(name="a", groups=["Tumor"]), TissueClass(name="b", groups=["tumor"])]
    with pytest.raises(InputError, match="classes a and b both claim the polygon group 'tumor'"):
        class_map(asap(("Tumor", INNER)), ".xml", classes=classes)


@pytest.mark.parametrize(
    ("properties", "index"),
    [
        ({"classification": {"name": "Tumor", "colorRGB": -3670016}}, TUMOUR),
        ({"classification": {"names": ["Tumor", "Necrotic"], "color": [1, 2, 3]}}, OTHER),
        ({"classification": "Other", "name": "Tumor"}, OTHER),
        ({"classification": None, "name": "Other"}, OTHER),
        ({"name": "Tumor"}, TUMOUR),
    ],
)
def test_qupaths_ways_to_write_a_classification(class_map, properties, index):
    item = feature("", INNER)
    item["properties"] = properties
    expected = painted((index, (30, 30, 60, 60)))
    texts = [collection(item), json.dumps([item]), json.dumps(item)]
    texts.append("\ufeff" + texts[0])  # a byte order mark, as some Windows programs write
    for text in texts:
        np.testing.assert_array_equal(class_map(text, ".geojson"), expected)


def test_points_and_lines_beside_polygons_are_left_out(class_map):
    expected = painted((TUMOUR, (30, 30, 60, 60)))
    others = [feature("Nobody's", [(1, 1), (2, 2)], kind=kind) for kind in ("Point", "LineString")]
    nothing = feature("Nobody's", INNER) | {"geometry": None}
    inside = feature("Tumor", INNER)
    inside["geometry"] = {
        "type": "GeometryCollection",
        "geometries": [inside["geometry"], {"type": "Point", "coordinates": [5, 5]}],
    }
    text = collection(*others, nothing, inside)
    np.testing.assert_array_equal(class_map(text, ".geojson"), expected)
    dots = asap(("Nobody's", [(1, 1)]), Type="Dot")
    text = asap(("Tumor", INNER)).replace("</Annotations>", dots[dots.index("<Annotation N") :], 1)
    text = text[: text.index("</ASAP_Annotations>")] + "</ASAP_Annotations>"
    np.testing.assert_array_equal(class_map(text, ".xml"), expected)


@pytest.mark.parametrize("kind", ["Polygon", "Spline", "Rectangle", "polygon"])
def test_corners_of_asap_are_joined_in_their_order(class_map, kind):
    text = asap(("Tumor", INNER), Type=kind)
    lines = text.split("\n")
    first = next(i for i, line in enumerate(lines) if "Order" in line)
    lines[first : first + 2] = lines[first : first + 2][::-1]  # a bow tie, but for Order
    np.testing.assert_array_equal(
        class_map("\n".join(lines), ".xml"), painted((TUMOUR, (30, 30, 60, 60)))
    )


def test_a_polygon_may_reach_over_the_slides_edge_and_cross_itself(class_map):
    np.testing.assert_array_equal(
        class_map(asap(("Tumor", square(-50, -1e6, 20, 30))), ".xml"),
        painted((TUMOUR, (0, 0, 20, 30))),
    )
    eight = [(10, 10), (90, 10), (10, 90), (90, 90)]
    found = class_map(asap(("Tumor", eight)), ".xml")
    assert class_fractions(found, 3)[TUMOUR] == pytest.approx(0.32, rel=0.03)
    assert found[20, 50] == found[80, 50] == TUMOUR and found[50, 20] == found[50, 80] == NORMAL


def test_tiles_of_a_slide_share_out_the_area_of_its_polygons(tmp_path):
    outlines = {"Tumor": circle(150, at=(230, 260)), "Exclusion": circle(61.5, at=(255.3, 240.7))}
    (tmp_path / "S1.xml").write_text(asap(*outlines.items()))
    image = write_slide(tmp_path / "S1.tiff", tissue(512, 512))
    study = Study.parse(
        {
            "study": "test",
            "cohort": {"kind": "table", "table": "unused.csv"},
            "classes": [c.model_dump() for c in CLASSES],
            "tiling": {"size": 32, "mpp": 2.0, "heterogeneity": None, "min_tissue": 0},
            "encoders": {"texture": {}},
            "conditions": {"plain": {"signals": []}},
            "evaluation": {"encoders": ["texture"]},
        }
    )
    row = {"slide_id": "S1", "site": "here", "mpp": np.nan, "mpp_source": "", "image": str(image)}
    row = pd.Series(row | {"annotation": str(tmp_path / "S1.xml")})
    with SlideSource(row, study) as source:
        candidates = source.candidates()
        tiles = [source.tile(x, y)[1] for x, y in candidates.positions]
    tumour, hole = (shapely.Polygon(outline) for outline in outlines.values())
    for (x, y), shares, tile in zip(candidates.positions, candidates.fractions, tiles, strict=True):
        here = tumour.difference(hole).intersection(shapely.box(x, y, x + 64, y + 64)).area
        assert shares[TUMOUR] == pytest.approx(here / 64**2, abs=0.01)
        np.testing.assert_array_equal(class_fractions(tile, 3), shares)
    area = candidates.fractions[:, TUMOUR].sum() * 64**2
    assert area == pytest.approx(tumour.difference(hole).area, rel=0.002)
