"""What the files of a folder of images are, by their headers: found before anything is read."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from histosynth.errors import InputError
from histosynth.image_codecs import Compression, compression

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp")
NAMED = 5  # files that an error lists
WORK_FOLDER = "evaluate-work"  # what scoring leaves beside its report; never searched for images
_MODE_WORDS = {"L": "grey", "LA": "grey", "1": "black and white", "P": "of a palette"}


@dataclass(frozen=True)
class ImageFile:
    """Attributes
    ----------
    size : (width, height) in pixels
    mode : Pillow's, such as RGB, RGBA, L (grey), CMYK
    compression : its codec and, of a JPEG, the quality
    """

    path: Path
    size: tuple[int, int]
    mode: str
    compression: Compression


def find_images(folder: Path, tile_id: Callable[[Path], str]) -> list[Path]:
    """All image files of a folder and its subfolders, by name; hidden ones are skipped, and what
    scoring left there (`WORK_FOLDER`).

    Parameters
    ----------
    tile_id : from a path to the id that its tile gets, which two files must not share

    Raises
    ------
    InputError : no such folder, no images in it, two files of one tile id.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder of images")
    files = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES
        and path.is_file()
        and not any(
            part.startswith(".") or part == WORK_FOLDER for part in path.relative_to(folder).parts
        )
    )
    if not files:
        raise InputError(f"{folder}: no images in it; expected files of {', '.join(SUFFIXES)}")
    ids: dict[str, Path] = {}
    for path in files:
        other = ids.setdefault(tile_id(path), path)
        if other is not path:
            raise InputError(
                f"{folder}: {other.relative_to(folder)} and {path.relative_to(folder)} would have "
                f"the same tile_id {tile_id(path)}; rename one (its ending and signs "
                "other than letters, digits, `_` and `-` do not count)"
            )
    return files


def read_headers(
    files: Iterable[Path], folder: Path
) -> tuple[list[ImageFile], list[tuple[Path, str]]]:
    """Size, mode and codec of every file, and those that are no images, each with the reason.

    Raises
    ------
    InputError : images of more than 8 bits a channel, by name.
    """
    found: list[ImageFile] = []
    broken: list[tuple[Path, str]] = []
    deep: list[tuple[Path, str]] = []
    for path in files:
        try:
            with Image.open(path) as image:
                # Pillow would cut 16-bit colour to 8 bits in silence; its raw mode tells.
                raw = " ".join(str(tile[3]) for tile in image.tile)
                if image.mode.startswith(("I", "F")) or ";16" in raw:
                    deep.append((path, f"pixels of mode {image.mode} ({raw})"))
                found.append(ImageFile(path, image.size, image.mode, compression(image)))
        except Exception as error:
            broken.append((path, str(error)))
    if deep:
        raise InputError(
            f"{folder}: {len(deep)} images have more than 8 bits a channel; expected 8: convert "
            f"them, with one scaling for all:\n{listed(deep, folder)}"
        )
    return found, broken


def listed(files: list[tuple[Path, str]], folder: Path) -> str:
    """The first files with what is wrong with them, one a line."""
    lines = [f"  {path.relative_to(folder)}: {reason}" for path, reason in files[:NAMED]]
    return "\n".join(lines + [f"  and {len(files) - NAMED} more"] * (len(files) > NAMED))


def broken_error(folder: Path, broken: list[tuple[Path, str]], count: int) -> InputError:
    """What to raise for files that are no whole images, of `count` in all."""
    return InputError(
        f"{folder}: {len(broken)} of {count} images cannot be read; copy them again or "
        f"remove them:\n{listed(broken, folder)}"
    )


def modes_of(files: Iterable[ImageFile]) -> dict[str, int]:
    """How many files have each mode, most first."""
    return dict(Counter(file.mode for file in files).most_common())


def odd_modes(files: Sequence[ImageFile], folder: Path) -> list[str]:
    """Which files of a set are not of the mode of the others, in words; empty where all are.

    RGB counts as the mode of a set that holds some, else the commonest. A subfolder that holds
    files of an odd mode alone is named, as masks beside their images are such a one.
    """
    counts = modes_of(files)
    usual = "RGB" if "RGB" in counts else next(iter(counts), "")
    told = []
    for mode in counts:
        if mode == usual:
            continue
        of_mode = {file.path.parent for file in files if file.mode == mode}
        others = {file.path.parent for file in files if file.mode != mode}
        words = f"{counts[mode]} of {len(files)} are {_MODE_WORDS.get(mode, mode)}"
        if folder not in of_mode and not of_mode & others:
            places = sorted(place.relative_to(folder).as_posix() + "/" for place in of_mode)
            further = f" and {len(places) - 2} further subfolders" if len(places) > 2 else ""
            words += f", all in {' and '.join(places[:2]) if not further else places[0] + further}"
        told.append(words)
    return told


def sizes_of(files: Iterable[ImageFile]) -> str:
    """The sizes of all files, width x height, smallest first; of many the first and the last."""
    sizes = sorted({file.size for file in files})
    words = [f"{width} x {height}" for width, height in sizes]
    return ", ".join(words) if len(words) <= NAMED else f"{words[0]} to {words[-1]}"
