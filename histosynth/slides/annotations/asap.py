"""Polygons from the XML of ASAP, the annotation format of the Camelyon challenges.

    <Annotation Name="_0" Type="Polygon" PartOfGroup="Tumor">
      <Coordinates><Coordinate Order="0" X="12.5" Y="80.0"/> ...

Corners are level-0 pixels, in the order of `Order`. Splines and rectangles are taken as the polygon
through their points; dots and other marks without an area are left out.
"""

from pathlib import Path
from xml.parsers import expat

from histosynth.slides.annotations.polygons import Polygon, check_ring, register_polygons

_AREAS = ("polygon", "spline", "rectangle")
_NO_AREAS = ("dot", "pointset", "measurement")


class _Annotation:
    """An `<Annotation>` while its coordinates come in."""

    def __init__(self, number: int, attributes: dict[str, str]) -> None:
        self.where = f"annotation {attributes.get('Name') or number}"
        self.kind = attributes.get("Type", "Polygon").strip().lower()
        self.group = attributes.get("PartOfGroup", "")
        self.corners: list[tuple[float, float, float]] = []
        if self.kind not in _AREAS + _NO_AREAS:
            raise ValueError(
                f"{self.where} is of Type {attributes['Type']!r}; expected one of "
                f"{', '.join(_AREAS)} (or, left out, {', '.join(_NO_AREAS)})"
            )

    def add(self, attributes: dict[str, str]) -> None:
        texts = [attributes.get("Order", str(len(self.corners)))]
        texts += [attributes.get(axis, "") for axis in "XY"]
        try:
            order, x, y = map(float, texts)
        except ValueError:
            raise ValueError(
                f"{self.where}: Coordinate {attributes}: expected numbers, with a decimal point, "
                "as X, Y and Order"
            ) from None
        self.corners.append((order, x, y))

    def polygon(self) -> Polygon:
        corners = [(x, y) for _, x, y in sorted(self.corners, key=lambda corner: corner[0])]
        return Polygon(self.group, [check_ring(corners, self.where)])


@register_polygons(".xml")
def read_asap(path: Path) -> list[Polygon]:
    """The polygons of an ASAP file.

    Raises
    ------
    ValueError : no XML, a document type in it, no polygon, or one that is broken.
    """
    found: list[_Annotation] = []
    tags: dict[str, None] = {}  # in the order of their first use

    def start(tag: str, attributes: dict[str, str]) -> None:
        tags[tag] = None
        if tag == "Annotation":
            found.append(_Annotation(len(found) + 1, attributes))
        elif tag == "Coordinate" and found:
            found[-1].add(attributes)

    def refuse_document_type(*_: object) -> None:
        raise ValueError(
            "declares a document type (<!DOCTYPE ...>), which may hide entities that fill the "
            "memory; ASAP writes none: export it again"
        )

    parser = expat.ParserCreate()
    parser.StartElementHandler = start
    parser.StartDoctypeDeclHandler = refuse_document_type
    try:
        parser.Parse(path.read_bytes(), True)
    except (expat.ExpatError, LookupError) as error:  # LookupError: an unknown encoding
        raise ValueError(f"is not valid XML: {error}; export it again") from None
    polygons = [annotation.polygon() for annotation in found if annotation.kind in _AREAS]
    if not polygons:
        raise ValueError(
            "names no polygon; expected ASAP's <Annotation> with <Coordinate>s, found "
            f"{', '.join(list(tags)[:8])}. For a slide of one class throughout write "
            "uniform:<class> instead of a file"
        )
    return polygons
