"""Whether an annotation lies on its slide's tissue: one that was shifted, or of another slide, does
not."""

import numpy as np

from histosynth.slides.annotations import Annotation
from histosynth.tilesets import UNLABELLED

MISPLACED = 0.5  # share of what is drawn that may lie on glass; outlines are drawn wide
_POINTS = 500
_FEWEST = 20  # points in what is drawn, for a verdict


def misplaced(
    annotation: Annotation,
    tissue: np.ndarray,
    *,
    dimensions: tuple[int, int],
    background: int,
    seed: int = 0,
) -> str:
    """Why an annotation seems not to belong where it lies; "" where it does, or cannot be told.

    It is looked up at points spread at random over the slide: with p points in what is drawn, the
    share of it on glass has a standard error of at most 0.5 / sqrt(p).

    Parameters
    ----------
    annotation : of the slide
    tissue : bool (H, W), the slide's overview
    dimensions : (width, height) of the slide in level-0 pixels
    background : index of the class that is not drawn but stands for the rest; 255 for none
    """
    if background == UNLABELLED:
        return ""
    places = np.random.default_rng(seed).random((_POINTS, 2))
    drawn, on_glass = 0, 0
    for across, down in places:
        x, y = across * dimensions[0], down * dimensions[1]
        here = int(annotation.region(int(x), int(y), 1, scale=1.0)[0, 0])
        if here in (background, UNLABELLED):
            continue
        drawn += 1
        on_glass += not tissue[int(down * tissue.shape[0]), int(across * tissue.shape[1])]
    if not _FEWEST <= drawn < _POINTS:  # all of it: a class for the whole slide
        return ""
    if on_glass <= MISPLACED * drawn:
        return ""
    return (
        f"{100 * on_glass / drawn:.0f} % of the annotated area lies on glass: is the annotation "
        "shifted, or that of another slide? Compare it with the contact sheet"
    )
