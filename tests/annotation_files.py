"""Annotations of a slide of 100 x 100 pixels, as ASAP and QuPath write them."""

import json

import numpy as np

from histosynth.cohort_settings import TissueClass
from histosynth.slides.annotations import open_annotation

SIDE = 100  # level-0 pixels of the slide
NORMAL, TUMOUR, OTHER, UNLABELLED = 0, 1, 2, 255
CLASSES = [
    TissueClass(name="normal", values=[0], groups=["_2", "Exclusion"]),
    TissueClass(name="tumour", values=[1], groups=["_0", "_1", "Tumor"]),
    TissueClass(name="other", values=[2], groups=["Other", "Tumor: Necrotic"]),
]
SQUARE = [(10, 10), (90, 10), (90, 90), (10, 90)]
INNER = [(30, 30), (60, 30), (60, 60), (30, 60)]


def square(left, top, right, bottom):
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


def circle(radius, *, at, corners=720):
    """The corners of a regular polygon, float64 (corners, 2)."""
    angles = np.arange(corners) * 2 * np.pi / corners
    return np.array(at) + radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)


def asap(*annotations, **attributes):
    """ASAP's XML of (group, corners) pairs; `attributes` go to every Annotation."""
    more = "".join(
        f' {name}="{value}"' for name, value in ({"Type": "Polygon"} | attributes).items()
    )
    lines = ['<?xml version="1.0"?>', "<ASAP_Annotations><Annotations>"]
    for number, (group, corners) in enumerate(annotations):
        lines.append(f'<Annotation Name="A{number}" PartOfGroup="{group}" Color="#F4FA58"{more}>')
        lines.append("<Coordinates>")
        lines += [f'<Coordinate Order="{i}" X="{x}" Y="{y}" />' for i, (x, y) in enumerate(corners)]
        lines.append("</Coordinates></Annotation>")
    groups = '<AnnotationGroups><Group Name="Tumor" PartOfGroup="None" Color="#aa0000"/>'
    return "\n".join([*lines, "</Annotations>", groups, "</AnnotationGroups></ASAP_Annotations>"])


def feature(group, corners, *holes, kind="Polygon", **properties):
    rings = [[list(map(float, c)) for c in [*ring, ring[0]]] for ring in (corners, *holes)]
    return {
        "type": "Feature",
        "id": "c8a9",
        "geometry": {"type": kind, "coordinates": rings},
        "properties": {
            "objectType": "annotation",
            "classification": {"name": group, "color": [200, 0, 0]},
            **properties,
        },
    }


def collection(*features):
    return json.dumps({"type": "FeatureCollection", "features": features})


def opened(annotation, classes=CLASSES, side=SIDE, site=""):
    return open_annotation(
        annotation, dimensions=(side, side), classes=classes, slide_id="S1", site=site
    )


def read_map(folder, text, suffix, **options):
    """Write a text as a file of some suffix; the class map of the whole slide."""
    path = folder / f"slide{suffix}"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with opened(path, **options) as annotation:
        return annotation.region(0, 0, SIDE, scale=1.0)
