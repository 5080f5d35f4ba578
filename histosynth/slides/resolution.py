"""A slide's micrometres a pixel: what the slide says, then what the cohort says.

It is never guessed from the objective's magnification: scanners called "40x" range from 0.22 to
0.28 um a pixel.
"""

import math
from collections.abc import Mapping

from histosynth.errors import InputError

# A resolution outside this range is a desktop default (72 dpi reads 353 um), not a scanner's.
_PLAUSIBLE_MPP = (0.02, 50.0)
_ANISOTROPY = 0.05
# Where vendors write it themselves, for the slides in which OpenSlide does not take it up.
_MIRAX = "mirax.LAYER_0_LEVEL_0_SECTION.MICROMETER_PER_PIXEL"
_KEYS = (
    ("openslide.mpp-x", "openslide.mpp-y"),
    ("aperio.MPP", "aperio.MPP"),
    (f"{_MIRAX}_X", f"{_MIRAX}_Y"),
)
_UNITS = {"centimeter": 1e4, "inch": 2.54e4}  # um


def slide_mpp(
    properties: Mapping[str, str], *, fallback: float | None = None, slide_id: str = "?"
) -> float:
    """Micrometres a level-0 pixel from a slide's properties, else `fallback`.

    Looked for in OpenSlide's own keys, then the vendor's, then the TIFF's resolution.

    Raises
    ------
    InputError : nothing says it, or x and y differ by more than 5 %.
    """
    own = own_mpp(properties, slide_id=slide_id)
    if own is not None:
        return own
    if fallback is not None and math.isfinite(fallback) and fallback > 0:
        return float(fallback)
    raise InputError(
        f"slide {slide_id}: the file does not say its micrometres a pixel; fill the cohort table's "
        "`mpp` column for it, or set `cohort.mpp` in the study for all such slides"
    )


def own_mpp(properties: Mapping[str, str], *, slide_id: str = "?") -> float | None:
    """What the slide itself says, or None.

    Raises
    ------
    InputError : x and y differ by more than 5 %.
    """
    for x, y in (*_keyed(properties), _tiff_mpp(properties)):
        if not all(_PLAUSIBLE_MPP[0] <= value <= _PLAUSIBLE_MPP[1] for value in (x, y)):
            continue
        if abs(x - y) > _ANISOTROPY * min(x, y):
            raise InputError(
                f"slide {slide_id}: {x:g} um a pixel in x but {y:g} in y; tiles need the same in "
                "both (within 5 %): resample the slide, or remove its row from the cohort"
            )
        return (x + y) / 2
    return None


def _keyed(properties: Mapping[str, str]) -> list[tuple[float, float]]:
    return [(_number(properties.get(x)), _number(properties.get(y))) for x, y in _KEYS]


def _tiff_mpp(properties: Mapping[str, str]) -> tuple[float, float]:
    unit = _UNITS.get(properties.get("tiff.ResolutionUnit", ""), 0)
    x, y = (_number(properties.get(f"tiff.{axis}Resolution")) for axis in "XY")
    return (unit / x if x else 0.0), (unit / y if y else 0.0)


def _number(text: str | None) -> float:
    """The positive number in `text`, or 0."""
    try:
        value = float(text or 0)
    except ValueError:
        return 0.0
    return value if math.isfinite(value) and value > 0 else 0.0
