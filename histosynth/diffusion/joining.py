"""One synthetic set of its parts: by links to their files, nothing decoded."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from histosynth.errors import InputError
from histosynth.tileset_links import link_tilesets, read_tables
from histosynth.tileset_writer import read_description

OF_ONE_PART = ("rows", "seconds", "device")  # what may differ between two parts of one set


def join(parts: Sequence[Path], output: Path) -> int:
    """Make one set of parts (or chunks) in their order; returns its number of images.

    Raises
    ------
    InputError
        They are not neighbouring parts of one set.
    """
    provenance = _joined([read_description(p)["provenance"] for p in parts], names=parts)
    table = read_tables(parts)
    link_tilesets(output, parts, table=table, rows=np.arange(len(table)), provenance=provenance)
    return len(table)


def join_parts(parts: Sequence[Path], output: Path) -> int:
    """Make the whole set of all its parts, in their order; returns its number of images.

    Raises
    ------
    InputError
        They are not the parts of one set, or not all of them.
    """
    about = [read_description(part)["provenance"] for part in parts]
    found, n = (about[0]["rows"][0], about[-1]["rows"][1]), about[0]["sampling"]["n"]
    if found != (0, n):
        raise InputError(
            f"{parts[0]} to {parts[-1]} hold images {found[0]} to {found[1] - 1} of {n}; give all "
            "parts of the set"
        )
    return join(parts, output)


def _joined(parts: list[dict[str, Any]], *, names: Sequence[Path]) -> dict[str, Any]:
    """The manifest of a set joined of parts in their order, from the parts' own.

    Raises
    ------
    InputError
        They are not the parts of one set; what differs, or which rows lack, is named.
    """
    shared = [{k: v for k, v in part.items() if k not in OF_ONE_PART} for part in parts]
    for path, other in zip(names, shared, strict=True):
        differing = [k for k in shared[0] | other if shared[0].get(k) != other.get(k)]
        if differing:
            raise InputError(
                f"{names[0]} and {path} are parts of different sets: they differ in "
                f"{', '.join(differing)}; delete the parts and sample again"
            )
    end = parts[0]["rows"][0]
    for path, part in zip(names, parts, strict=True):
        if part["rows"][0] != end:
            raise InputError(
                f"{path}: begins with image {part['rows'][0]}, expected {end}; give all parts of "
                "the set, in their order"
            )
        end = part["rows"][1]
    devices = sorted({part["device"] for part in parts})
    return shared[0] | {
        "rows": [parts[0]["rows"][0], end],
        "device": ", ".join(devices),
        "seconds": round(sum(part["seconds"] for part in parts), 2),
    }
