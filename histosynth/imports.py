"""Somebody else's images as a tile set, so that they can be scored like our own."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from histosynth.errors import InputError
from histosynth.slides.annotations import class_fractions, downsample_classes, read_mask
from histosynth.slides.cohorts import read_table
from histosynth.slides.readers import RESIZE_FILTER, read_image
from histosynth.slides.tiling import class_entropy
from histosynth.tilesets import UNLABELLED, TileSet, TileSetWriter

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp")
_FROM_LABELS = ("slide_id", "patient_id", "site", "split")


def import_images(
    images: str | Path,
    output: str | Path,
    *,
    labels: str | Path | None = None,
    masks: str | Path | None = None,
    classes: Sequence[str] = (),
    size: int | None = None,
    progress: bool = True,
) -> TileSet:
    """Write a tile set from a folder of images.

    Parameters
    ----------
    images : folder; its images and those of its subfolders are taken, in the order of their names
    output : folder of the tile set
    labels : table with the columns image (file name, or path below `images`, with or without its
        ending) and label; patient_id, slide_id, site and split are taken where it has them. Without
        it every image is its own slide and patient.
    masks : folder with a mask for every image, of the same path below it but for the ending; its
        values are indices into `classes`, 255 for unlabelled
    classes : names of the classes; they and `masks` go together
    size : resize square images (Pillow's Lanczos, antialiased) and masks (majority) to this side

    Raises
    ------
    InputError : no images, images of different sizes (unless `size` is given), a file that cannot
        be read, a label or mask that is missing or fits no image.
    """
    folder = Path(images)
    if (masks is None) != (not classes):
        raise InputError("--masks and --classes go together: name the class of every mask value")
    if size is not None and size < 1:
        raise InputError(f"--size {size}: expected a side in pixels, 1 or more")
    files = find_images(folder)
    _check_sizes(files, folder, size)
    table = _labels(files, folder, Path(labels)) if labels else {}
    mask_files = _masks(files, folder, Path(masks)) if masks else {}
    provenance = {"images": str(folder), "resize": RESIZE_FILTER if size else None}
    with TileSetWriter(output, classes=classes, provenance=provenance) as writer:
        for path in tqdm(files, desc="importing", unit="image", disable=not progress):
            image = _load(path)
            native = image.size
            if size is not None and native != (size, size):
                image = image.resize((size, size), Image.Resampling.LANCZOS)
            pixels = np.asarray(image)
            class_map = None
            if masks:
                class_map = _load_map(
                    mask_files[path], native, image=path, shape=pixels.shape[:2], classes=classes
                )
            row = _row(path, folder, table.get(path, {}), class_map, classes, pixels.shape[0])
            writer.add(pixels, row, class_map)
    return TileSet.open(output)


def find_images(folder: Path) -> list[Path]:
    """All image files below a folder, by name; hidden ones are skipped."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder of images")
    files = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
    if not files:
        raise InputError(f"{folder}: no images in it; expected files of {', '.join(SUFFIXES)}")
    ids: dict[str, Path] = {}
    for path in files:
        other = ids.setdefault(_tile_id(path, folder), path)
        if other is not path:
            raise InputError(
                f"{folder}: {other.relative_to(folder)} and {path.relative_to(folder)} would have "
                f"the same tile_id {_tile_id(path, folder)}; rename one (its ending and signs "
                "other than letters, digits, `_` and `-` do not count)"
            )
    return files


def _tile_id(path: Path, folder: Path) -> str:
    name = path.relative_to(folder).with_suffix("").as_posix()
    return re.sub(r"[^A-Za-z0-9_-]+", "_", name).lstrip("_-") or "tile"


def _check_sizes(files: list[Path], folder: Path, size: int | None) -> None:
    """Sizes by the files' headers, before any work."""
    sizes: dict[tuple[int, int], list[Path]] = {}
    broken = []
    for path in files:
        try:
            with Image.open(path) as image:
                sizes.setdefault(image.size, []).append(path)
        except Exception as error:
            broken.append(f"  {path.relative_to(folder)}: {error}")
    if broken:
        raise InputError(
            f"{folder}: {len(broken)} of {len(files)} images cannot be read; copy them again or "
            "remove them:\n" + "\n".join(broken[:5])
        )
    if size is None and len(sizes) > 1:
        most = sorted(sizes.items(), key=lambda item: -len(item[1]))
        listed = "; ".join(
            f"{len(paths)} of {w} x {h}, as {paths[0].relative_to(folder)}"
            for (w, h), paths in most[:3]
        )
        raise InputError(
            f"{folder}: images of {len(sizes)} sizes: {listed}; all tiles of a set have one size: "
            "give --size to resize them, or sort them into folders"
        )
    for (width, height), paths in sizes.items():
        if size is not None and width != height:
            raise InputError(
                f"{folder}: {paths[0].relative_to(folder)} is {width} x {height} pixels; --size "
                "takes square images only: crop it first"
            )


def _load(path: Path) -> Image.Image:
    try:
        return read_image(path)
    except Exception as error:
        raise InputError(
            f"image {path} cannot be read: {error}; copy it again or remove it"
        ) from None


def _labels(files: list[Path], folder: Path, table: Path) -> dict[Path, dict[str, str]]:
    """The row of the labels table for every image."""
    rows = read_table(table)
    for column in ("image", "label"):
        if column not in rows:
            raise InputError(
                f"{table}: column {column!r} is missing; found: {', '.join(rows.columns)}"
            )
    by_name: dict[str, list[Path]] = {}
    for path in files:
        below = path.relative_to(folder)
        names = {below.as_posix(), below.with_suffix("").as_posix(), path.name, path.stem}
        for name in names:
            by_name.setdefault(name, []).append(path)
    found: dict[Path, dict[str, str]] = {}
    for record in rows.to_dict("records"):
        name = Path(record["image"]).as_posix()
        matches = by_name.get(name, [])
        if len(matches) != 1:
            problem = "fits no image" if not matches else f"fits {len(matches)} images"
            raise InputError(
                f"{table}: image {name!r} {problem} in {folder}; give its path below that folder"
            )
        if found.setdefault(matches[0], record) is not record:
            raise InputError(f"{table}: image {name!r} is listed twice; keep one row an image")
        if not record["label"]:
            raise InputError(f"{table}: image {name!r} has no label; fill the column")
    bare = [path for path in files if path not in found]
    if bare:
        raise InputError(
            f"{table}: {len(bare)} of {len(files)} images have no row, the first is "
            f"{bare[0].relative_to(folder)}; add them"
        )
    return found


def _masks(files: list[Path], folder: Path, masks: Path) -> dict[Path, Path]:
    """The mask of every image."""
    by_id = {_tile_id(path, masks): path for path in find_images(masks)}
    bare = [path for path in files if _tile_id(path, folder) not in by_id]
    if bare:
        raise InputError(
            f"{masks}: {len(bare)} of {len(files)} images have no mask of the same name, the first "
            f"is {bare[0].relative_to(folder)}; add them, or leave --masks out"
        )
    return {path: by_id[_tile_id(path, folder)] for path in files}


def _load_map(
    path: Path,
    native: tuple[int, int],
    *,
    image: Path,
    shape: tuple[int, ...],
    classes: Sequence[str],
) -> np.ndarray:
    """The class map of an image of `native` (width, height), at `shape`."""
    try:
        values = read_mask(path)
    except Exception as error:
        raise InputError(f"mask {path} cannot be read: {error}; export it again") from None
    if values.shape[::-1] != native:
        raise InputError(
            f"mask {path} is {values.shape[1]} x {values.shape[0]} pixels, its image {image} "
            f"{native[0]} x {native[1]}; expected equal sizes: export the mask again"
        )
    strange = np.unique(values[(values >= len(classes)) & (values != UNLABELLED)])
    if strange.size:
        known = ", ".join(f"{i} ({name})" for i, name in enumerate(classes))
        raise InputError(
            f"mask {path}: values {strange[:8].tolist()} have no class; known: {known}, "
            f"{UNLABELLED} (unlabelled). Name all classes in --classes, or correct the mask"
        )
    return downsample_classes(values.astype(np.uint8), (shape[0], shape[1]), count=len(classes))


def _row(
    path: Path,
    folder: Path,
    labels: dict[str, str],
    class_map: np.ndarray | None,
    classes: Sequence[str],
    size: int,
) -> dict[str, Any]:
    name = _tile_id(path, folder)
    given = {key: labels[key] for key in _FROM_LABELS if labels.get(key)}
    row: dict[str, Any] = {"tile_id": name, "slide_id": name, "site": "unknown", "split": ""}
    row |= given
    row["patient_id"] = given.get("patient_id", row["slide_id"])
    row |= {"label": labels.get("label"), "x": 0, "y": 0, "size": size, "mpp": float("nan")}
    fractions = np.zeros((1, 0), dtype=np.float32)
    if class_map is not None:
        fractions = class_fractions(class_map, len(classes))[None]
    row["tissue"] = 1.0
    row |= {f"class_{c}": float(f) for c, f in zip(classes, fractions[0], strict=True)}
    row |= {"entropy": float(class_entropy(fractions)[0]), "accepted": True, "reason": ""}
    return row
