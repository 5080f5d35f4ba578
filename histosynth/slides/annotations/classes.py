"""What mask values and polygon groups mean: indices into the study's classes."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from histosynth.cohort_settings import TissueClass
from histosynth.errors import InputError
from histosynth.tilesets import UNLABELLED

_NO_CLASS = 254  # marks a mask value that no class claims; never leaves this module
_LARGEST = 65535  # of mask values


def class_lookup(classes: Sequence[TissueClass], *, slide_id: str, site: str = "") -> np.ndarray:
    """The class index of every mask value at a site.

    Sites may contradict each other: PANDA's 2 is cancer at Karolinska and benign at Radboud.

    Returns
    -------
    uint8 (65536,)

    Raises
    ------
    InputError : no class has values at the site, or a value fits no mask.
    """
    lookup = np.full(_LARGEST + 1, _NO_CLASS, dtype=np.uint8)
    for index, tissue_class in enumerate(classes):
        values = tissue_class.values_at(site)
        wrong = [v for v in values if not 0 <= v <= _LARGEST]
        if wrong:
            raise InputError(
                f"class {tissue_class.name}: mask value {wrong[0]}; expected 0 to {_LARGEST}"
            )
        lookup[values] = index
    if (lookup == _NO_CLASS).all():
        sites = sorted({name for c in classes if isinstance(c.values, dict) for name in c.values})
        raise InputError(
            f"slide {slide_id}: no class has mask values for site {site!r}; `classes.values` "
            f"knows the sites: {', '.join(sites) or 'none'}. Add the site there, or correct the "
            "cohort's `site`"
        )
    return lookup


def to_classes(
    values: np.ndarray, classes: Sequence[TissueClass], *, slide_id: str, site: str = ""
) -> np.ndarray:
    """Class indices of mask values.

    Parameters
    ----------
    values : unsigned integers or bool (H, W)
    classes : the study's classes, each with its mask values

    Returns
    -------
    uint8 (H, W), indices into `classes`

    Raises
    ------
    InputError : a value has no class; names the slide, the value and those known.
    """
    lookup = class_lookup(classes, slide_id=slide_id, site=site)
    indices = lookup[values.astype(np.uint16, copy=False)]
    if (indices == _NO_CLASS).any():
        strange = sorted({int(v) for v in np.unique(values[indices == _NO_CLASS])})
        known = ", ".join(f"{v} ({c.name})" for c in classes for v in c.values_at(site))
        where = f" at site {site!r}" if any(isinstance(c.values, dict) for c in classes) else ""
        raise InputError(
            f"slide {slide_id}: mask value {', '.join(map(str, strange[:8]))} has no class{where}; "
            f"known: {known}. Add it to the `values` of one of the study's `classes`, or correct "
            "the mask"
        )
    return indices


def group_key(name: str) -> str:
    """The name of a polygon group as it is compared; "" for polygons without a group."""
    key = name.strip().casefold()
    return "" if key == "none" else key


def group_lookup(classes: Sequence[TissueClass]) -> dict[str, int]:
    """The class index of every polygon group, by `group_key`.

    Raises
    ------
    InputError : two classes claim one group.
    """
    lookup: dict[str, int] = {}
    for index, tissue_class in enumerate(classes):
        for name in tissue_class.groups:
            other = lookup.setdefault(group_key(name), index)
            if other != index:
                raise InputError(
                    f"classes {classes[other].name} and {tissue_class.name} both claim the polygon "
                    f"group {name!r}; case does not count. Leave it in the `groups` of one"
                )
    return lookup


def background_class(classes: Sequence[TissueClass], *, site: str) -> int:
    """The class that has mask value 0 at the site: what no polygon covers; else 255."""
    for index, tissue_class in enumerate(classes):
        if 0 in tissue_class.values_at(site):
            return index
    return UNLABELLED


def class_fractions(class_map: np.ndarray, count: int) -> np.ndarray:
    """Area share of each class in a map; unlabelled pixels belong to none.

    Parameters
    ----------
    class_map : uint8 (H, W) of class indices, 255 for unlabelled
    count : number of classes

    Returns
    -------
    float32 (count,)
    """
    counts = np.bincount(class_map.ravel(), minlength=UNLABELLED + 1)[:count]
    return (counts / class_map.size).astype(np.float32)


def downsample_classes(class_map: np.ndarray, size: tuple[int, int], *, count: int) -> np.ndarray:
    """Resize a class map by majority of area (ties: the lower index).

    Parameters
    ----------
    class_map : uint8 (H, W) of class indices, 255 for unlabelled
    size : (height, width) of the result
    count : number of classes

    Returns
    -------
    uint8 `size`
    """
    if class_map.shape == tuple(size):
        return class_map
    indices = [*range(count), UNLABELLED]
    shares = [
        np.asarray(
            Image.fromarray((class_map == index).astype(np.float32)).resize(
                (size[1], size[0]), Image.Resampling.BOX
            )
        )
        for index in indices
    ]
    return np.array(indices, dtype=np.uint8)[np.argmax(shares, axis=0)]
