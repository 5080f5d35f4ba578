"""Slides in, tiles out: readers, tissue, annotations, tiling, cohorts, splits and the phantom."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from histosynth.slides.readers import open_slide

__all__ = ["open_slide"]


def __getattr__(name: str) -> Any:
    if name == "open_slide":  # OpenSlide is loaded by those who read slides, not by every job
        from histosynth.slides.readers import open_slide

        return open_slide
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
