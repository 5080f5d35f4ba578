"""Polygons from GeoJSON as QuPath exports it.

A FeatureCollection, a list of features or one feature; corners are level-0 pixels. Every part of a
MultiPolygon is a polygon of its own, interior rings are holes. The group is the feature's
`classification` (a name, or an object with `name` or, of derived classes, `names`, which QuPath
shows as "Tumor: Positive"), else its `name`. Points and lines are left out.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from histosynth.slides.annotations.polygons import Polygon, check_ring, register_polygons

_NO_AREAS = ("Point", "MultiPoint", "LineString", "MultiLineString")


@register_polygons(".geojson", ".json")
def read_geojson(path: Path) -> list[Polygon]:
    """The polygons of a GeoJSON file.

    Raises
    ------
    ValueError : no JSON, no features, no polygon among them, or one that is broken.
    """
    try:
        document = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"is not valid JSON: {error}; export it again") from None
    polygons = []
    for number, feature in enumerate(_features(document), start=1):
        where = f"feature {number}"
        if not isinstance(feature, dict) or feature.get("type") != "Feature":
            raise ValueError(f'{where}: expected an object of type "Feature"; export it again')
        group = _group(feature.get("properties"), where)
        for rings in _parts(feature.get("geometry"), where):
            if not isinstance(rings, list) or not rings:
                raise ValueError(f"{where}: a polygon without rings; delete it or draw it again")
            polygons.append(Polygon(group, [check_ring(ring, where) for ring in rings]))
    if not polygons:
        raise ValueError(
            "names no polygon; expected features with a Polygon or MultiPolygon. For a slide of "
            "one class throughout write uniform:<class> instead of a file"
        )
    return polygons


def _features(document: Any) -> list[Any]:
    if isinstance(document, dict) and document.get("type") == "Feature":
        return [document]
    if isinstance(document, dict) and document.get("type") == "FeatureCollection":
        document = document.get("features")
    if not isinstance(document, list):
        raise ValueError(
            'is no GeoJSON; expected a "FeatureCollection" with `features`, a list of features, '
            "or one feature, as QuPath exports them"
        )
    return document


def _group(properties: Any, where: str) -> str:
    if properties is None:
        return ""
    if not isinstance(properties, dict):
        raise ValueError(f"{where}: `properties` is no object; export it again")
    group = properties.get("classification")
    if isinstance(group, dict):
        names = group.get("names")
        group = ": ".join(map(str, names)) if isinstance(names, list) else group.get("name")
    if group is None:
        group = properties.get("name")
    if not isinstance(group, str | None):
        raise ValueError(f"{where}: its classification {group!r} is no name; export it again")
    return group or ""


def _parts(geometry: Any, where: str) -> Iterator[Any]:
    """The rings of every polygon in a geometry."""
    waiting = [geometry]
    while waiting:
        geometry = waiting.pop()
        kind = geometry.get("type") if isinstance(geometry, dict) else None
        key = "geometries" if kind == "GeometryCollection" else "coordinates"
        inner = geometry.get(key) if isinstance(geometry, dict) else None
        if geometry is None or kind in _NO_AREAS:
            continue
        if kind == "Polygon":
            yield inner
        elif kind == "MultiPolygon" and isinstance(inner, list):
            yield from inner
        elif kind == "GeometryCollection" and isinstance(inner, list):
            waiting.extend(inner)
        else:
            raise ValueError(
                f"{where}: geometry of type {kind!r}; expected Polygon or MultiPolygon (left out: "
                f"{', '.join(_NO_AREAS)})"
            )
