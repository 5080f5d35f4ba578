"""Somebody else's images as a tile set, so that they can be scored like our own."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from histosynth.errors import InputError
from histosynth.image_codecs import codec_of
from histosynth.image_files import (
    ImageFile,
    broken_error,
    find_images,
    modes_of,
    read_headers,
    sizes_of,
)
from histosynth.resizing import RESIZE_FILTER, resize
from histosynth.slides.annotations import class_fractions, downsample_classes, read_mask
from histosynth.slides.cohorts import read_table
from histosynth.slides.readers import read_image
from histosynth.slides.tiling import class_entropy
from histosynth.tilesets import UNLABELLED, TileSet, TileSetWriter

_FROM_LABELS = ("slide_id", "patient_id", "site", "split")


def import_images(
    images: str | Path,
    output: str | Path,
    *,
    labels: str | Path | None = None,
    masks: str | Path | None = None,
    classes: Sequence[str] = (),
    label_by_class: bool = False,
    size: int | None = None,
    facts: Mapping[Path, Mapping[str, str]] | None = None,
    skip_broken: bool = False,
    provenance: Mapping[str, Any] | None = None,
    scanned: "ScannedFolder | None" = None,
    progress: bool = True,
) -> TileSet:
    """Write a tile set from a folder of images.

    Its provenance holds the files' modes, codecs and, where they were resized, sizes as they came,
    the values of its masks, and the names of files skipped.

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
    label_by_class : label an image by the class that covers most of it, where it has no other label
    size : resize square images (antialiased) and masks (majority) to this side
    facts : what `labels` would tell of each image, for a caller who knows it already
    skip_broken : leave files out that cannot be read, rather than refuse the folder
    provenance : more to record
    scanned : what `scan_folder` gave with the same `size`, so that no header is read twice

    Raises
    ------
    InputError : no images, images of different sizes (unless `size` is given), of more than 8 bits
        a channel, a file that cannot be read, a label or mask that is missing or fits no image,
        masks that use 255 where a class is meant.
    """
    folder = Path(images)
    if (masks is None) != (not classes):
        raise InputError("--masks and --classes go together: name the class of every mask value")
    if size is not None and size < 1:
        raise InputError(f"--size {size}: expected a side in pixels, 1 or more")
    images_of = scanned or scan_folder(folder, size=size, skip_broken=skip_broken)
    files = [image.path for image in images_of.files]
    if labels:
        facts = read_image_table(files, folder, Path(labels))
    mask_files = find_masks(files, folder, Path(masks)) if masks else {}
    told: dict[str, Any] = {
        "images": str(folder),
        "resize": RESIZE_FILTER if size else None,
        "modes": modes_of(images_of.files),
        "codecs": str(codec_of(image.compression for image in images_of.files)),
        **(provenance or {}),
    }
    if size is not None and any(image.size != (size, size) for image in images_of.files):
        told["native_sizes"] = sizes_of(images_of.files)  # part of every score's protocol
    broken = list(images_of.broken)
    values: set[int] = set()
    with TileSetWriter(output, classes=classes, provenance=told) as writer:
        for path in tqdm(files, desc=f"import {folder.name}", unit="image", disable=not progress):
            try:
                image = read_image(path)
            except Exception as error:
                broken.append((path, str(error)))
                continue
            if broken and not skip_broken:
                continue  # nothing will come of it: only look for more of the kind
            native = image.size
            pixels = np.asarray(image)
            if size is not None:
                pixels = resize(pixels, (size, size))
            class_map = None
            if masks:
                mask = _read_values(mask_files[path], native, image=path, classes=classes)
                values.update(np.flatnonzero(np.bincount(mask.ravel(), minlength=1)).tolist())
                height, width = pixels.shape[:2]
                class_map = downsample_classes(mask, (height, width), count=len(classes))
            row = _row(path, folder, (facts or {}).get(path, {}), class_map, classes, len(pixels))
            if label_by_class and row["label"] is None:
                row["label"] = _commonest(row, classes)
            writer.add(pixels, row, class_map)
        if broken and not (skip_broken and len(broken) < images_of.count):
            raise broken_error(folder, broken, images_of.count)
        if masks:
            _check_values(values, Path(masks), classes)
            told["mask_values"] = sorted(values)
        told["skipped"] = [path.relative_to(folder).as_posix() for path, _ in broken]
        writer.provenance = told
    return TileSet.open(output)


@dataclass(frozen=True)
class ScannedFolder:
    """The images of a folder by their headers, and the files that are none, with the reason."""

    folder: Path
    files: tuple[ImageFile, ...]
    broken: tuple[tuple[Path, str], ...]

    @property
    def count(self) -> int:
        return len(self.files) + len(self.broken)


def scan_folder(
    folder: Path, *, size: int | None = None, skip_broken: bool = False
) -> ScannedFolder:
    """Find and check a folder's images, before any work.

    Raises
    ------
    InputError : as `import_images` about images; not for those cut off, whose headers are whole.
    """
    paths = find_images(folder, lambda path: _tile_id(path, folder))
    files, broken = read_headers(paths, folder)
    if broken and not (skip_broken and files):
        raise broken_error(folder, broken, len(paths))
    _check_sizes(files, folder, size)
    return ScannedFolder(folder, tuple(files), tuple(broken))


def _tile_id(path: Path, folder: Path) -> str:
    name = path.relative_to(folder).with_suffix("").as_posix()
    return re.sub(r"[^A-Za-z0-9_-]+", "_", name).lstrip("_-") or "tile"


def _check_sizes(files: Sequence[ImageFile], folder: Path, size: int | None) -> None:
    sizes: dict[tuple[int, int], list[Path]] = {}
    for file in files:
        sizes.setdefault(file.size, []).append(file.path)
    if size is None and len(sizes) > 1:
        most = sorted(sizes.items(), key=lambda item: -len(item[1]))
        listed = "; ".join(
            f"{len(paths)} of {w} x {h}, as {paths[0].relative_to(folder)}"
            for (w, h), paths in most[:3]
        )
        square = all(width == height for width, height in sizes)
        raise InputError(
            f"{folder}: images of {len(sizes)} sizes: {listed}; all tiles of a set have one size: "
            f"{'give --size to resize them' if square else 'crop them to one size'}, or sort them "
            "into folders"
        )
    for (width, height), paths in sizes.items():
        if size is not None and width != height:
            raise InputError(
                f"{folder}: {paths[0].relative_to(folder)} is {width} x {height} pixels; --size "
                "takes square images only: crop it first"
            )


def read_image_table(
    files: Sequence[Path], folder: Path, table: Path, *, column: str = "label"
) -> dict[Path, dict[str, str]]:
    """The row of a table for every image; `column` must be there and filled.

    Raises
    ------
    InputError : a missing column or cell, a row of no image or of several, an image without a row.
    """
    rows = read_table(table)
    for name in ("image", column):
        if name not in rows:
            raise InputError(
                f"{table}: column {name!r} is missing; found: {', '.join(rows.columns)}"
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
        if not record[column]:
            raise InputError(f"{table}: image {name!r} has no {column}; fill the column")
    bare = [path for path in files if path not in found]
    if bare:
        raise InputError(
            f"{table}: {len(bare)} of {len(files)} images have no row, the first is "
            f"{bare[0].relative_to(folder)}; add them"
        )
    return found


def find_masks(files: Sequence[Path], folder: Path, masks: Path) -> dict[Path, Path]:
    """The mask of every image of `folder`: the file of its name, but for the ending, in `masks`.

    Raises
    ------
    InputError : no such folder, or an image without a mask.
    """
    found = find_images(masks, lambda path: _tile_id(path, masks))
    by_id = {_tile_id(path, masks): path for path in found}
    bare = [path for path in files if _tile_id(path, folder) not in by_id]
    if bare:
        raise InputError(
            f"{masks}: {len(bare)} of {len(files)} images have no mask of the same name, the first "
            f"is {bare[0].relative_to(folder)}; add them, or leave --masks out"
        )
    return {path: by_id[_tile_id(path, folder)] for path in files}


def _read_values(
    path: Path, native: tuple[int, int], *, image: Path, classes: Sequence[str]
) -> np.ndarray:
    """The mask (uint8) of an image of `native` (width, height)."""
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
    return values.astype(np.uint8)


def _check_values(values: set[int], masks: Path, classes: Sequence[str]) -> None:
    """Refuse a set's masks where 255 stands for a class, as in masks of black and white.

    With 255 there, two classes at the least must be told apart: a set of one class and the rest
    has no other sign of what its owner meant by 255.
    """
    named = values - {UNLABELLED}
    if UNLABELLED in values and len(named) < 2:
        found = " and ".join(map(str, sorted(values)))
        raise InputError(
            f"{masks}: the masks hold nothing but {found}; {UNLABELLED} means unlabelled, so "
            f"{len(named)} of the classes named ({', '.join(classes)}) would be seen. If "
            f"{UNLABELLED} is a class, as in masks of black and white, store it as 1 and name "
            "both, as in --classes background,tumour"
        )


def unseen_classes(tiles: TileSet) -> list[str]:
    """Classes that no mask of an imported set holds while 255, for unlabelled, is there."""
    values = tiles.provenance.get("mask_values", [])
    if UNLABELLED not in values:
        return []
    return [name for value, name in enumerate(tiles.classes) if value not in values]


def _row(
    path: Path,
    folder: Path,
    labels: Mapping[str, str],
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


def _commonest(row: Mapping[str, Any], classes: Sequence[str]) -> str | None:
    """The class of most pixels; None where no pixel has one."""
    name = max(classes, key=lambda c: row[f"class_{c}"])
    return name if row[f"class_{name}"] > 0 else None
