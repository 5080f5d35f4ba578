"""Folders of somebody else's images: checked together by their headers, then made tile sets.

All that can be wrong is looked for before any image is decoded. Tile sets lie in a work folder
under a name made of the files' paths, sizes and dates, so what was imported once is found again.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from histosynth.encoders.legacy import LEGACY
from histosynth.errors import InputError
from histosynth.files import short_hash
from histosynth.image_codecs import ANY_CODEC, Codec, codec_of
from histosynth.image_files import sizes_of
from histosynth.imports import (
    ScannedFolder,
    find_masks,
    import_images,
    read_image_table,
    scan_folder,
)
from histosynth.tilesets import TileSet

REAL, TRAIN = "real", "train"
FOLDERS = "folders"  # labels that are the names of subfolders


@dataclass(frozen=True)
class Options:
    """How folders are read.

    Attributes
    ----------
    size : side in pixels to resize all images to, by the antialiased filter of imports
    patients : of real images: a regular expression with one group on paths below the folder (of
        training images too, where it fits all of them), or a table with the columns image and
        patient_id
    labels : set -> table with the columns image and label, or `folders` for all
    masks : set -> folder with a mask for every image; the label is then the class that covers most
    classes : names of the masks' values 0, 1, ...
    skip_broken : leave out files that cannot be read
    allow_codec_mismatch : score JPEG against PNG, or against JPEG of another quality, all the same
    legacy : published protocols to score under too, on images of their own sizes
    """

    size: int | None = None
    patients: str | None = None
    labels: Mapping[str, str] | str | None = None
    masks: Mapping[str, Path] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    skip_broken: bool = False
    allow_codec_mismatch: bool = False
    legacy: tuple[str, ...] = ()


@dataclass(frozen=True)
class External:
    """A folder whose headers are sound.

    Attributes
    ----------
    facts : of each image, its label and patient where they are known
    codec : of its files (`codec_of`)
    masks : folder of its masks, where there are any
    """

    name: str
    images: ScannedFolder
    facts: Mapping[Path, Mapping[str, str]]
    codec: Codec
    masks: Path | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the first image."""
        return self.images.files[0].size

    @property
    def sizes(self) -> str:
        """Of all images, width x height."""
        return sizes_of(self.images.files)


def check_folders(
    folders: Mapping[str, Path], options: Options, *, least: Mapping[str, int]
) -> dict[str, External]:
    """Read all headers, labels and patients; nothing is decoded.

    Parameters
    ----------
    least : fewest images of a set; `""` for sets that are not named

    Raises
    ------
    InputError : too few images, sets of different sizes or codecs, and all that `scan_folder` and
        tables raise.
    """
    found = {}
    for name, folder in folders.items():
        images = scan_folder(folder, size=options.size, skip_broken=options.skip_broken)
        wanted = least.get(name, least[""])
        if len(images.files) < wanted:
            raise InputError(
                f"{folder}: {len(images.files)} images are too few for a score; give {wanted} at "
                "the least, and a thousand for one to rely on"
            )
        facts, masks = _facts(name, images, options), options.masks.get(name)
        if masks is not None:
            find_masks([file.path for file in images.files], folder, masks)
        codec = codec_of(image.compression for image in images.files)
        found[name] = External(name, images, facts, codec, masks)
    _check_alike(found, options)
    _check_legacy(found, options)
    return found


def _facts(name: str, images: ScannedFolder, options: Options) -> dict[Path, dict[str, str]]:
    files, folder = [file.path for file in images.files], images.folder
    facts: dict[Path, dict[str, str]] = {path: {} for path in files}
    labels = options.labels
    if labels == FOLDERS:
        flat = [path for path in files if path.parent == folder]
        if flat:
            raise InputError(
                f"{folder}: --labels {FOLDERS}, but {len(flat)} images lie in no subfolder, the "
                f"first is {flat[0].name}; expected one subfolder a label"
            )
        for path in files:
            facts[path]["label"] = path.relative_to(folder).parts[0]
    elif isinstance(labels, Mapping) and name in labels:
        for path, row in read_image_table(files, folder, Path(labels[name])).items():
            facts[path] |= {key: row[key] for key in ("label", "patient_id") if row.get(key)}
    if name in (REAL, TRAIN) and options.patients is not None:
        for path, patient in _patients(name, files, folder, options.patients).items():
            facts[path]["patient_id"] = patient
    return facts


def patients_of_labels(sets: Mapping[str, External], options: Options) -> list[str]:
    """What to tell of patients that came with a table of labels: they decide the halves."""
    labels = options.labels if isinstance(options.labels, Mapping) else {}
    told = []
    for name in labels:
        found = {row["patient_id"] for row in sets[name].facts.values() if "patient_id" in row}
        if found and not (options.patients is not None and name in (REAL, TRAIN)):
            told.append(
                f"patients of {name} taken from its labels table: {len(found)}"
                + "; none is in both halves of the real images" * (name == REAL)
            )
    return told


def _patients(name: str, files: Sequence[Path], folder: Path, given: str) -> dict[Path, str]:
    if Path(given).is_file():
        if name == TRAIN:  # the table lists the real images
            return {}
        rows = read_image_table(files, folder, Path(given), column="patient_id")
        return {path: row["patient_id"] for path, row in rows.items()}
    try:
        pattern = re.compile(given)
    except re.error as error:
        raise InputError(
            f"--patients '{given}': no such table, and no regular expression: {error}"
        ) from None
    if pattern.groups != 1:
        raise InputError(
            f"--patients '{given}': no such table, and as a regular expression it has "
            f"{pattern.groups} groups; expected one, around the patient's part of a file name"
        )
    found = {path: pattern.search(path.relative_to(folder).as_posix()) for path in files}
    bare = [path for path, match in found.items() if not (match and match[1])]
    if bare and name == TRAIN:
        return {}
    if bare:
        raise InputError(
            f"--patients '{given}' does not fit {len(bare)} of {len(files)} images in {folder}, "
            f"the first is {bare[0].relative_to(folder)}"
        )
    return {path: match[1] for path, match in found.items() if match}


def _check_alike(sets: Mapping[str, External], options: Options) -> None:
    real = sets[REAL]
    for name, other in sets.items():
        if options.size is None and other.size != real.size:
            if all(width == height for width, height in (real.size, other.size)):
                remedy = "--size N resizes both to N x N by the same antialiased filter"
            else:
                remedy = "crop both to one size (squares can then be resized, by --size)"
            raise InputError(
                f"images of {real.images.folder} are {_by(real.size)} pixels, those of {name} "
                f"({other.images.folder}) {_by(other.size)}; {remedy}"
            )
        if not (other.codec.is_like(real.codec) or options.allow_codec_mismatch):
            raise InputError(
                f"images of {real.images.folder} are stored as {real.codec}, those of {name} "
                f"({other.images.folder}) as {other.codec} (png stands for all that loses "
                "nothing); what JPEG does to pixels would be scored too. Bring both to one from "
                "their sources, or give --allow-codec-mismatch, which marks every score"
            )


def _check_legacy(sets: Mapping[str, External], options: Options) -> None:
    scored = {name: other for name, other in sets.items() if name != TRAIN}
    for name, other in scored.items() if options.legacy else ():
        if len({file.size for file in other.images.files}) > 1:
            raise InputError(
                f"--legacy scores images as they came, and those of {name} "
                f"({other.images.folder}) have several sizes: {other.sizes}; sort them into "
                "folders, or leave --legacy out"
            )
    for protocol in options.legacy:
        for other in scored.values():
            LEGACY[protocol].check(sets[REAL].size[::-1], other.size[::-1])


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"


def protocol_codec(sets: Mapping[str, External], name: str) -> Codec:
    """The codec of a set, which is that of `real` where the two differ by no more than a little."""
    real, own = sets[REAL].codec, sets[name].codec
    return real if own.is_like(real) else own


def import_external(
    external: External,
    work: Path,
    options: Options,
    *,
    codec: Codec,
    log: Callable[[str], None],
) -> TileSet:
    """The folder's tile set in `work`, made unless the very same files were imported before.

    Parameters
    ----------
    codec : what protocols say of its files
    """
    folder = external.images.folder
    known = [(str(f.path.resolve()), *_stamp(f.path)) for f in external.images.files]
    facts = {str(path): dict(row) for path, row in external.facts.items() if row}
    told = {"codec": str(codec)} | ({ANY_CODEC: True} if options.allow_codec_mismatch else {})
    identity: list[Any] = [known, facts, options.size, options.skip_broken, told]
    if external.masks is not None:
        masks = find_masks([file.path for file in external.images.files], folder, external.masks)
        identity += [
            options.classes,
            "values",
            *((str(m.resolve()), *_stamp(m)) for m in masks.values()),
        ]
    output = work / "sets" / f"{external.name}-{short_hash(identity)}"
    if (output / "tileset.json").is_file():
        log(f"{external.name}: unchanged since it was imported")
        return TileSet.open(output)
    return import_images(
        folder,
        output,
        masks=external.masks,
        classes=options.classes if external.masks is not None else (),
        label_by_class=external.masks is not None,
        size=options.size,
        facts=external.facts,
        skip_broken=options.skip_broken,
        provenance=told,
        scanned=external.images,
    )


def _stamp(path: Path) -> tuple[int, int]:
    about = path.stat()
    return about.st_size, about.st_mtime_ns
