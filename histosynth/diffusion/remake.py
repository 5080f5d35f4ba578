"""Making one image of a synthetic set again, from what the set's manifest names."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from histosynth.conditions.spec import ConditionSpec
from histosynth.config import Study
from histosynth.diffusion.condition_sampling import Generator
from histosynth.diffusion.manifest import check_hashes, hashes
from histosynth.diffusion.requests import Requests
from histosynth.errors import InputError
from histosynth.generator_settings import SamplingSettings
from histosynth.settings import SignalSettings
from histosynth.tilesets import TileSet

if TYPE_CHECKING:
    import torch

_TILE_ID = re.compile(r"(?P<condition>\w+)(-g(?P<scale>[\w-]+))?-s(?P<seed>\d+)-(?P<index>\d{6,})")


@dataclass(frozen=True)
class Remade:
    """One image made again.

    Attributes
    ----------
    image : uint8 (H, W, 3)
    difference : largest and mean difference from the stored one, in grey levels of 255
    """

    tile_id: str
    image: np.ndarray
    difference: tuple[int, float]


def set_of(results: Path, tile_id: str) -> Path:
    """The folder of the synthetic set that a tile belongs to, by its name.

    Raises
    ------
    InputError
        No such name, or no such set.
    """
    parts = _TILE_ID.fullmatch(tile_id)
    if parts is None:
        raise InputError(
            f"--tile {tile_id}: expected the id of a sampled image, such as map-s0-000017"
        )
    scale = parts["scale"]
    name = parts["condition"] + (f"~g{scale.replace('_', '.')}" if scale else "")
    folder = results / "tilesets" / "synthetic" / name / f"seed{parts['seed']}"
    if not folder.is_dir():
        raise InputError(
            f"{folder}: no such set, which tile {tile_id} would be in; give --results the "
            "folder of the study"
        )
    return folder


def remake(results: Path, tile_id: str, *, device: "torch.device") -> Remade:
    """Make one image again, and hold it against the stored one.

    Parameters
    ----------
    results : the study's results, with config.yaml

    Raises
    ------
    InputError
        No such image; or weights, tables or tiles are not those of the set's manifest, both
        hashes named.
    """
    folder = set_of(results, tile_id)
    stored = TileSet.open(folder)
    at = np.flatnonzero(stored.table["tile_id"] == tile_id)
    if len(at) != 1:
        raise InputError(
            f"{folder}: has no tile {tile_id}; its {len(stored)} tiles end with "
            f"{stored.table['tile_id'].iloc[-1]}"
        )
    row = int(at[0])
    made = _image(results, stored, stored.provenance["rows"][0] + row, device=device)
    apart = np.abs(made.astype(int) - stored.image(row))
    return Remade(tile_id, made, (int(apart.max()), float(apart.mean())))


def _image(results: Path, stored: TileSet, index: int, *, device: "torch.device") -> np.ndarray:
    """Image `index` of the condition table, as the set's manifest says."""
    about: dict[str, Any] = stored.provenance
    if "files" not in about:
        raise InputError(
            f"{stored.folder}: its manifest does not say what its images were made of; sample it "
            "again"
        )
    study = Study.load(results / "config.yaml")
    if study.label_names != about["labels"]:
        raise InputError(
            f"{stored.folder}: was made with the labels {', '.join(about['labels'])}, but "
            f"`label.names` of {results / 'config.yaml'} has {', '.join(study.label_names)} now; "
            "restore them, or sample it again"
        )
    signals = [SignalSettings(**signal) for signal in about["condition"]["signals"]]
    spec = ConditionSpec.compose(study, about["condition"]["name"], signals)
    files = {name: path and results / path for name, path in about["files"].items()}
    test = TileSet.open(files["test"])
    generator = Generator.load(spec, test, files, device=device)
    requests = Requests.read(
        spec,
        test,
        study,
        files,
        seed=about["seed"],
        name=about["name"],
        settings=SamplingSettings(**about["sampling"]),
    )
    check_hashes(about, hashes(generator, requests, files), folder=stored.folder)
    return generator.images(requests, np.array([index]))[0]
