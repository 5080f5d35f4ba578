"""An annotation that cannot be used says so, with its slide, its file and what is wrong with it."""

import io
import json
import os

import numpy as np
import pytest
import tifffile
from annotation_files import (
    INNER,
    SIDE,
    SQUARE,
    asap,
    collection,
    feature,
    opened,
    read_map,
    square,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from histosynth.errors import InputError

BAD_XML = {
    "is not valid XML": ["no xml", asap(("Tumor", INNER))[:-40], "<a>&nobody;</a>", "\x00"],
    "names no polygon; .* found ASAP_Annotations, Annotations": [asap()],
    "found Annotations, Annotation, Regions, Region": [  # Aperio ImageScope's
        '<Annotations><Annotation Id="1"><Regions><Region><Vertices><Vertex X="1" Y="2"/>'
        "</Vertices></Region></Regions></Annotation></Annotations>".replace(
            "<Annotation Id", '<Annotation Type="Dot" Id'
        )
    ],
    "annotation A0: Coordinate .*expected numbers, with a decimal": [
        asap(("Tumor", [(1, 1), ("1,5", 2), (3, 3)])),
        asap(("Tumor", [(1, 1), ("", 2), (3, 3)])),
        asap(("Tumor", INNER)).replace('Y="30"', "", 1),
        asap(("Tumor", INNER)).replace('Order="0"', 'Order="first"'),
    ],
    "annotation A0: coordinate (nan|inf|2e.20) is no place on a slide": [
        asap(("Tumor", [(1, 1), (n, 2), (3, 3)])) for n in ("nan", "inf", "2e20")
    ],
    r"annotation A0: 2 point\(s\), and a polygon has at least 3": [
        asap(("Tumor", [(1, 1), (2, 2)])),
        asap(("Tumor", [(1, 1), (2, 2), (1, 1)])),
    ],
    r"annotation A0: 0 point\(s\)": [asap(("Tumor", []))],
    "annotation A0 is of Type 'Blob'; expected one of polygon": [
        asap(("Tumor", INNER), Type="Blob")
    ],
    r"2 of its 3 polygon\(s\) lie wholly outside the slide; they reach from \(30, 30\) to "
    r"\(230, 260\), the slide is 100 x 100 pixels": [
        asap(("_0", INNER), ("_0", square(130, 30, 160, 60)), ("_2", square(200, 230, 230, 260)))
    ],
    "declares a document type": [
        '<!DOCTYPE a SYSTEM "http://localhost/a.dtd"><a/>',
        '<!DOCTYPE a [<!ENTITY b "' + "ha" * 9 + '">]><a>&b;</a>',
        '<!DOCTYPE a [<!ENTITY b "x">]>'.encode("utf-16") + "<a>&b;</a>".encode("utf-16-le"),
    ],
}

BAD_JSON = {
    "is not valid JSON": [
        "no json",
        collection(feature("Tumor", INNER))[:-9],
        "[" * 10**5,
        b"\xff",
    ],
    "is no GeoJSON": ["7", '{"type": "FeatureCollection"}', '{"shapes": []}', '{"features": [1]}'],
    'feature 1: expected an object of type "Feature"': ["[1]", "[[]]", '[{"type": "Polygon"}]'],
    "names no polygon": [
        "[]",
        collection(),
        collection(feature("Tumor", INNER, kind="LineString")),
    ],
    "feature 1: geometry of type 'Circle'; expected": [
        collection(feature("Tumor", INNER, kind="Circle"))
    ],
    "feature 2: a polygon without rings": [
        collection(
            feature("Tumor", INNER),
            feature("Tumor", INNER) | {"geometry": {"type": "Polygon", "coordinates": rings}},
        )
        for rings in ([], None, 5)
    ],
    "feature 1: its coordinates are not pairs": [
        collection(
            feature("Tumor", INNER) | {"geometry": {"type": "Polygon", "coordinates": [ring]}}
        )
        for ring in (
            5,
            {},
            "abc",
            [1, 2, 3],
            [[1, 2], [3], [4, 5]],
            [["1", "2"], ["3", "4"], ["5", "6"]],
            [[None, 1], [2, 3], [4, 5]],
            [[10**400, 1], [2, 3], [4, 5]],
            [[], [], []],
        )
    ],
    "is no place on a slide": [collection(feature("Tumor", [(1, 1), (float("nan"), 2), (3, 3)]))],
    r"feature 1: 2 point\(s\)": [collection(feature("Tumor", [(1, 1), (2, 2)]))],
    "feature 1: `properties` is no object": [collection(feature("x", INNER) | {"properties": [1]})],
    "feature 1: its classification 5 is no name": [collection(feature(5, INNER))],
    "lie wholly outside": [collection(feature("Tumor", square(-50, 10, -1, 30)))],
}


@pytest.mark.parametrize(
    ("text", "suffix", "message"),
    [(text, ".xml", message) for message, texts in BAD_XML.items() for text in texts]
    + [(text, ".geojson", message) for message, texts in BAD_JSON.items() for text in texts],
)
def test_a_bad_file_is_refused_with_its_slide_name_and_fault(tmp_path, text, suffix, message):
    with pytest.raises(InputError, match=rf"slide S1: annotation .*slide\{suffix}: .*{message}"):
        read_map(tmp_path, text, suffix)


@pytest.mark.parametrize("suffix", [".xml", ".geojson", ".tif", ".png"])
def test_no_file_an_empty_file_a_folder_and_a_locked_file_are_told_apart(tmp_path, suffix):
    path = tmp_path / f"slide{suffix}"
    with pytest.raises(InputError, match=rf"slide S1: no such \w+ .*slide\{suffix}; correct"):
        opened(path)
    path.touch()
    with pytest.raises(InputError, match=rf"slide S1: \w+ .*slide\{suffix} is empty \(0 bytes\)"):
        opened(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(InputError, match=rf"slide S1: \w+ .*slide\{suffix} is a folder"):
        opened(path)
    if os.geteuid() != 0:  # nothing is locked to root
        path.rmdir()
        path.write_text("<a/>")
        path.chmod(0)
        with pytest.raises(InputError, match=r"slide S1: .*[Pp]ermission denied"):
            opened(path)


def test_a_format_nobody_knows_is_refused_with_those_known(tmp_path):
    with pytest.raises(
        InputError, match=r"slide\.svg is of no known format; .*\.geojson, .*\.xml, or uniform:"
    ):
        opened(tmp_path / "slide.svg")


def mutated(text: bytes):
    """Changes of bytes anywhere: overwritten, left out, doubled."""
    place = st.integers(0, len(text) - 1)
    edit = st.tuples(place, st.integers(0, 60), st.binary(max_size=8))

    def apply(edits):
        changed = text
        for start, length, new in edits:
            changed = changed[:start] + new + changed[start + length :]
        return changed or b"0"

    return st.lists(edit, min_size=1, max_size=6).map(apply)


XML = asap(("Tumor", SQUARE), ("Exclusion", INNER)).encode()
JSON = collection(feature("Tumor", SQUARE, INNER), feature("Other", INNER)).encode()
VALUES = np.indices((SIDE, SIDE), np.uint8).sum(axis=0, dtype=np.uint8) // 80
TIFF, PNG = io.BytesIO(), io.BytesIO()
tifffile.imwrite(TIFF, VALUES, tile=(64, 64), compression="deflate")
Image.fromarray(VALUES).save(PNG, "PNG")
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                "type features geometry geometries coordinates properties name names "
                "classification".split()
            ),
            inner
            | st.sampled_from(
                "Feature FeatureCollection Polygon MultiPolygon GeometryCollection Point".split()
            ),
            max_size=5,
        )
    ),
    max_leaves=25,
).map(lambda value: json.dumps(value).encode())


@settings(deadline=None, max_examples=150)
@given(
    st.one_of(
        st.tuples(st.just(".xml"), mutated(XML) | st.binary(min_size=1)),
        st.tuples(st.just(".geojson"), mutated(JSON) | st.binary(min_size=1) | json_values),
        st.tuples(st.just(".tiff"), mutated(TIFF.getvalue()) | st.binary(min_size=1)),
        st.tuples(st.just(".png"), mutated(PNG.getvalue()) | st.binary(min_size=1)),
    )
)
def test_whatever_the_bytes_the_answer_is_a_map_or_an_input_error(tmp_path_factory, case):
    suffix, text = case
    path = tmp_path_factory.getbasetemp() / f"fuzz{suffix}"
    path.write_bytes(text)
    try:
        with opened(path) as annotation:
            found = annotation.region(0, 0, SIDE, scale=1.0)
    except InputError as error:
        assert str(error).startswith("slide S1: ")
    else:
        assert found.shape == (SIDE, SIDE) and set(np.unique(found)) <= {0, 1, 2}
