"""Annotations made of polygons, of whatever file format: checked once, painted tile by tile."""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from histosynth.cohort_settings import TissueClass
from histosynth.errors import InputError
from histosynth.slides.annotations.classes import background_class, group_key, group_lookup
from histosynth.slides.annotations.raster import even_odd, even_odd_area, polygon_edges
from histosynth.slides.annotations.registry import Annotation, register_annotation, require_file

_FARTHEST = 1e9  # level-0 pixels; no slide comes near it


class Polygon(NamedTuple):
    """One polygon of a file.

    group : its group or classification as written; "" where it has none
    rings : float64 (n, 2) each: x, y of the corners in level-0 pixels, as of `check_ring`; under
        the even-odd rule the order of the rings does not count
    """

    group: str
    rings: list[np.ndarray]


def check_ring(points: Any, where: str) -> np.ndarray:
    """A ring's corners as float64 (n, 2), n >= 3, the closing corner left out.

    Parameters
    ----------
    points : sequence of at least two numbers each, of which the first two are x and y
    where : what errors call the ring

    Raises
    ------
    ValueError : no such sequence, a number that is no place on a slide, fewer than three corners.
    """
    try:
        ring = np.array(points)
    except ValueError:  # lists of unequal length
        ring = np.empty(0, dtype=object)
    if ring.shape == (0,) and ring.dtype.kind == "f":  # an empty list
        ring = ring.reshape(0, 2)
    if ring.dtype.kind not in "iuf" or ring.ndim != 2 or ring.shape[1] < 2:
        raise ValueError(f"{where}: its coordinates are not pairs of numbers; correct or delete it")
    ring = ring[:, :2].astype(np.float64)
    strange = ~(np.abs(ring) <= _FARTHEST)  # so that NaN is strange, too
    if strange.any():
        raise ValueError(
            f"{where}: coordinate {ring[strange][0]} is no place on a slide; correct or delete it"
        )
    if len(ring) > 1 and (ring[0] == ring[-1]).all():
        ring = ring[:-1]
    if len(ring) < 3:
        raise ValueError(
            f"{where}: {len(ring)} point(s), and a polygon has at least 3; delete it or draw it "
            "again"
        )
    return ring


class PolygonAnnotation(Annotation):
    """Polygons of a slide; see the package's docstring for what lies on top of what.

    Parameters
    ----------
    polygons : in the order of their file
    path : of that file, for errors
    dimensions : (width, height) of the slide's level 0 in pixels
    classes : the study's classes

    Raises
    ------
    InputError : a group that no class claims, or a polygon wholly outside the slide.
    """

    def __init__(
        self,
        polygons: Sequence[Polygon],
        *,
        path: Path,
        dimensions: tuple[int, int],
        classes: Sequence[TissueClass],
        slide_id: str,
        site: str,
    ) -> None:
        name = f"slide {slide_id}: annotation {path}"
        lookup = group_lookup(classes)
        _refuse_unclaimed(polygons, lookup, name=name)
        corners = [np.vstack(polygon.rings) for polygon in polygons]
        bounds = np.array([[*points.min(axis=0), *points.max(axis=0)] for points in corners])
        _refuse_outside(bounds, dimensions, name=name)
        edges = [polygon_edges(polygon.rings) for polygon in polygons]
        areas = np.array([even_odd_area(each) for each in edges])
        order = np.argsort(-areas, kind="stable")  # the largest is painted first
        self._bounds = bounds[order]
        self._edges = [edges[i] for i in order]
        self._classes = [lookup[group_key(polygons[i].group)] for i in order]
        self._background = background_class(classes, site=site)

    def region(self, x: float, y: float, size: int, *, scale: float) -> np.ndarray:
        """The class map of a square of the slide: see `Annotation.region`."""
        centres = (np.arange(size) + 0.5) * scale
        columns, rows = x + centres, y + centres
        left, right = np.searchsorted(columns, self._bounds[:, [0, 2]].T)
        top, bottom = np.searchsorted(rows, self._bounds[:, [1, 3]].T)
        class_map = np.full((size, size), self._background, dtype=np.uint8)
        for i in np.flatnonzero((left < right) & (top < bottom)):
            here = np.s_[top[i] : bottom[i], left[i] : right[i]]
            inside = even_odd(self._edges[i], columns[here[1]], rows[here[0]])
            class_map[here][inside] = self._classes[i]
        return class_map


def _refuse_unclaimed(polygons: Sequence[Polygon], lookup: dict[str, int], *, name: str) -> None:
    found = Counter(polygon.group.strip() for polygon in polygons)
    if any(group_key(group) not in lookup for group in found):
        listed = ", ".join(f"{group or 'no group'!r} ({n})" for group, n in found.most_common(12))
        known = ", ".join(repr(group) for group in lookup) or "none"
        raise InputError(
            f"{name}: polygon groups found: {listed}; claimed by the `groups` of `classes`: {known}"
            '. Add the others to the class that they are; "" stands for polygons without a group'
        )


def _refuse_outside(bounds: np.ndarray, dimensions: tuple[int, int], *, name: str) -> None:
    outside = (bounds[:, 2:] <= 0).any(axis=1) | (bounds[:, :2] >= dimensions).any(axis=1)
    if outside.any():
        x0, y0 = bounds[:, :2].min(axis=0)
        x1, y1 = bounds[:, 2:].max(axis=0)
        raise InputError(
            f"{name}: {outside.sum()} of its {len(bounds)} polygon(s) lie wholly outside the "
            f"slide; they reach from ({x0:.0f}, {y0:.0f}) to ({x1:.0f}, {y1:.0f}), the slide is "
            f"{dimensions[0]} x {dimensions[1]} pixels. Expected level-0 pixels of this slide: "
            "correct the `annotation` path if it is another slide's, export in pixels, or delete "
            "what lies outside"
        )


def register_polygons(
    *suffixes: str,
) -> Callable[[Callable[[Path], list[Polygon]]], Callable[[Path], list[Polygon]]]:
    """Register a reader of polygon files: path -> polygons.

    What is wrong with a file it tells by a `ValueError`, whose text goes on from the file's name.
    """

    def register(read: Callable[[Path], list[Polygon]]) -> Callable[[Path], list[Polygon]]:
        @register_annotation(*suffixes)
        def open_polygons(
            path: Path,
            /,
            *,
            dimensions: tuple[int, int],
            classes: Sequence[TissueClass],
            slide_id: str,
            site: str,
        ) -> Annotation:
            require_file(path, kind="annotation", slide_id=slide_id)
            try:
                polygons = read(path)
            except (OSError, ValueError) as error:
                raise InputError(f"slide {slide_id}: annotation {path}: {error}") from None
            return PolygonAnnotation(
                polygons,
                path=path,
                dimensions=dimensions,
                classes=classes,
                slide_id=slide_id,
                site=site,
            )

        return read

    return register
