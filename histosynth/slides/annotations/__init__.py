"""Annotations of slides in any format, as maps of the study's class indices, tile by tile.

    with open_annotation(
        "S1.xml", dimensions=slide.dimensions, classes=study.classes, slide_id="S1"
    ) as annotation:
        class_map = annotation.region(x, y, 256, scale=4.0)  # uint8 (256, 256)

What an annotation may be:

- **a mask**, `.tif`, `.tiff`, `.btf` or `.png`: an image of the whole slide at any scale, whose
  pixel values are those of `classes.values`, for all slides or by the slide's site;
- **polygons**, `.xml` of ASAP or `.geojson`/`.json` of QuPath, in level-0 pixels of the slide,
  whose groups (ASAP) or classifications (QuPath) are those of `classes.groups`;
- **`uniform:<class>`**: the whole slide is of that class, as the normal slides of Camelyon16 are.

A pixel takes the class at its centre. With polygons that means:

- Under the even-odd rule a ring inside a ring is a hole, and an outline that crosses itself, as
  hand-drawn ones do, is no error: what it winds round twice is outside.
- Where polygons overlap, the smaller lies on top (of equal ones the later in the file). So a region
  drawn inside another cuts its own class out of it, as Camelyon16's exclusions (group `_2`) do
  inside tumours; list their group with the class that they are.
- What no polygon covers is of the class that has mask value 0 at the slide's site; without such a
  class it is unlabelled (255) and counts for none.
- Every group must be claimed by a class. `""` or `"None"` in `groups` claims the polygons without a
  group. Case and outer blanks do not count. ASAP's groups of groups are not followed.

What cannot be seen here: a mask or polygons of another slide of the same shape, or shifted against
the slide. `slides.placement` asks where most of it lies on glass; look at the contact sheet.

A further format is one file here: for images a class under `@register_annotation`, for polygons a
function under `@register_polygons`.
"""

from histosynth.slides.annotations import asap, geojson  # noqa: F401  (they register themselves)
from histosynth.slides.annotations.classes import (
    background_class,
    class_fractions,
    class_lookup,
    downsample_classes,
    to_classes,
)
from histosynth.slides.annotations.masks import Mask, read_mask
from histosynth.slides.annotations.polygons import Polygon, PolygonAnnotation, register_polygons
from histosynth.slides.annotations.registry import (
    UNIFORM,
    Annotation,
    open_annotation,
    register_annotation,
)

__all__ = [
    "UNIFORM",
    "Annotation",
    "Mask",
    "Polygon",
    "PolygonAnnotation",
    "background_class",
    "class_fractions",
    "class_lookup",
    "downsample_classes",
    "open_annotation",
    "read_mask",
    "register_annotation",
    "register_polygons",
    "to_classes",
]
