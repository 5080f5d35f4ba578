"""What sizes and codecs of folders make of their scores: warnings above everything else."""

from __future__ import annotations

from collections.abc import Mapping

from histosynth.external import REAL, External

_APART = (
    "Scores of a set whose {} is not that of the real images carry a protocol of their own, and "
    "are not ranked with others."
)


def pixel_warnings(folders: Mapping[str, External], side: int) -> list[tuple[str, str]]:
    """What resizing and compression bring into the scores: (in bold, the rest).

    Parameters
    ----------
    side : width of the images that were scored, in pixels
    """
    return [*_sizes(folders, side), *_codecs(folders)]


def _sizes(folders: Mapping[str, External], side: int) -> list[tuple[str, str]]:
    found = []
    real = folders[REAL]
    others = {name: other for name, other in folders.items() if other.sizes != real.sizes}
    grown = {
        name: other
        for name, other in (others and {REAL: real} | others).items()
        if any(file.size[0] < side for file in other.images.files)
    }
    apart = _APART.format("size")
    for name, other in grown.items():
        who = "The real images were" if name == REAL else f"{name} was"
        head = f"{who} enlarged from {_px(other)}: missing detail is scored."
        rest = (
            f"An enlarged image is smoother than one taken at {side} px, and every score sees "
            f"that, whatever the tissue is like; --size {_least(folders)} enlarges nothing. {apart}"
        )
        found.append((head, rest))
    rest_of = [f"{name} had {_px(other)}" for name, other in others.items() if name not in grown]
    if rest_of and REAL not in grown:
        head = f"Compared at {side} px: {', '.join(rest_of)}, the real images {_px(real)}."
        rest = (
            "What blurs or sharpens an image at its own size can vanish when it is reduced, so "
            f"sets may score alike that are not. {apart}"
        )
        found.append((head, rest))
    return found


def _codecs(folders: Mapping[str, External]) -> list[tuple[str, str]]:
    real = folders[REAL].codec
    others = {n: other.codec for n, other in folders.items() if not other.codec.is_like(real)}
    if not others:
        return []
    told = "; ".join(f"{name}: {codec}" for name, codec in [(REAL, real), *others.items()])
    rest = (
        "JPEG changes texture and colour, the more so the lower its quality and where it halves "
        f"the chroma, and the scores measure that too. {_APART.format('codec')}"
    )
    return [(f"Sets of different codecs are compared ({told}).", rest)]


def _px(folder: External) -> str:
    """The sizes of its images; of square ones the side alone."""
    sizes = dict.fromkeys(file.size for file in folder.images.files)
    words = [str(w) if w == h else f"{w} × {h}" for w, h in sorted(sizes)]
    if len(words) > 2:
        words = [f"{words[0]} to {words[-1]}"]
    return f"{' and '.join(words)} px"


def _least(folders: Mapping[str, External]) -> int:
    return min(min(file.size) for other in folders.values() for file in other.images.files)
