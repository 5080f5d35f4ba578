"""The registry of annotation formats, by the suffix of the file."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, Self

import numpy as np

from histosynth.cohort_settings import TissueClass
from histosynth.errors import InputError

UNIFORM = "uniform:"  # annotation "uniform:normal": the whole slide is of class normal


class Annotation(ABC):
    """A slide's annotation, opened once and read tile by tile; use it in a `with`."""

    @abstractmethod
    def region(self, x: float, y: float, size: int, *, scale: float) -> np.ndarray:
        """The class map of a square of the slide.

        Parameters
        ----------
        x, y : upper left corner in level-0 pixels of the slide
        size : side in pixels of the result
        scale : level-0 pixels a pixel of the result

        Returns
        -------
        uint8 (size, size), indices into the classes; 255 where unlabelled
        """

    def close(self) -> None:  # noqa: B027 (most formats are read whole and hold no file)
        """Let go of the file, where one is held."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Opener(Protocol):
    """What is registered for a suffix; the parameters are those of `open_annotation`."""

    def __call__(
        self,
        path: Path,
        /,
        *,
        dimensions: tuple[int, int],
        classes: Sequence[TissueClass],
        slide_id: str,
        site: str,
    ) -> Annotation: ...


_OPENERS: dict[str, Opener] = {}


def register_annotation(*suffixes: str) -> Callable[[Opener], Opener]:
    """Register what opens files of these suffixes (lower case, with the dot)."""

    def register(opener: Opener) -> Opener:
        _OPENERS.update(dict.fromkeys(suffixes, opener))
        return opener

    return register


def open_annotation(
    annotation: str | Path,
    *,
    dimensions: tuple[int, int],
    classes: Sequence[TissueClass],
    slide_id: str,
    site: str = "",
) -> Annotation:
    """Open whatever annotates a slide.

    Parameters
    ----------
    annotation : a file, or "uniform:" and the name of a class
    dimensions : (width, height) of the slide's level 0 in pixels
    classes : the study's classes
    slide_id : the name that errors give the slide
    site : where the slide comes from; decides what mask values mean

    Raises
    ------
    InputError : an unknown format, a file that cannot be read, or one that does not fit the slide
        or the classes; names the slide and the file.
    """
    if str(annotation).startswith(UNIFORM):
        return _Uniform(str(annotation), classes, slide_id)
    path = Path(annotation)
    opener = _OPENERS.get(path.suffix.lower())
    if opener is None:
        raise InputError(
            f"slide {slide_id}: annotation {path} is of no known format; expected a file that ends "
            f"in {', '.join(sorted(_OPENERS))}, or {UNIFORM}<class>"
        )
    return opener(path, dimensions=dimensions, classes=classes, slide_id=slide_id, site=site)


def require_file(path: Path, *, kind: str, slide_id: str) -> None:
    """Raise an `InputError` unless `path` is a file with something in it."""
    if path.is_dir():
        fault = f"{kind} {path} is a folder, not a file"
    elif not path.is_file():
        fault = f"no such {kind} {path}"
    elif path.stat().st_size == 0:
        raise InputError(
            f"slide {slide_id}: {kind} {path} is empty (0 bytes); copy it again from its source"
        )
    else:
        return
    raise InputError(f"slide {slide_id}: {fault}; correct its `annotation` path")


class _Uniform(Annotation):
    def __init__(self, annotation: str, classes: Sequence[TissueClass], slide_id: str) -> None:
        name, known = annotation.removeprefix(UNIFORM), [c.name for c in classes]
        if name not in known:
            raise InputError(
                f"slide {slide_id}: annotation {annotation!r}: no class is called {name!r}; "
                f"`classes` has: {', '.join(known)}"
            )
        self._index = known.index(name)

    def region(self, x: float, y: float, size: int, *, scale: float) -> np.ndarray:
        return np.full((size, size), self._index, dtype=np.uint8)
