"""The manifest of a synthetic set: everything needed to make any of its images again.

It is the set's provenance in tileset.json: the sampling settings, the condition, the seed, and the
hash and place of each file that the images came from. Image i is row i of the set; its noise seed
stands in the set's table.
"""

import os
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from histosynth.device import versions
from histosynth.diffusion.requests import Requests
from histosynth.errors import InputError
from histosynth.files import sha256_file, short_hash

if TYPE_CHECKING:
    from histosynth.diffusion.condition_sampling import Generator

# What must be as it was for an image to come out again, in words.
HASHES = {
    "weights": "the generator's weights",
    "autoencoder": "the autoencoder",
    "table": "the condition table",
    "test": "the test tiles",
    "clusters": "the clusters",
    "features": "features of the test tiles",
}
FILES = ("model", "autoencoder", "latents", "table", "test", "clusters")


def manifest(
    generator: "Generator", requests: Requests, files: Mapping[str, Path | None], *, root: Path
) -> dict[str, Any]:
    """What the images of `requests` are made of.

    Parameters
    ----------
    files : of `FILES` (None where there are none), and
        features:<encoder> of those that the condition needs
    root : the folder that the paths are told from: the study's results
    """
    return {
        "name": requests.name,
        "condition": requests.spec.resolved(),
        "seed": requests.seed,
        "labels": list(requests.label_names),
        "sampling": requests.settings.model_dump(mode="json", exclude={"shards"}),
        **hashes(generator, requests, files),
        "files": {
            name: None if path is None else Path(os.path.relpath(path, root)).as_posix()
            for name, path in files.items()
        },
        "versions": versions("torch", "diffusers", "numpy"),
        "device": generator.device.type,
    }


def hashes(
    generator: "Generator", requests: Requests, files: Mapping[str, Path | None]
) -> dict[str, str | None]:
    """The hash of everything that an image comes from, by `HASHES`."""
    table, clusters = files["table"], files["clusters"]
    assert table is not None
    features = requests.targets.pool.features
    return {
        "weights": sha256_file(generator.model / "weights.safetensors"),
        "autoencoder": generator.fingerprint,
        "table": sha256_file(table),
        "test": requests.test.fingerprint,
        "clusters": None if clusters is None else sha256_file(clusters / "assignments.parquet"),
        "features": short_hash(
            {name: sha256(f.tobytes()).hexdigest() for name, f in features.items()}
        )
        if features
        else None,
    }


def check_hashes(told: dict[str, Any], found: dict[str, str | None], *, folder: Path) -> None:
    """What is there now must be what the set in `folder` was made of.

    Raises
    ------
    InputError
        Something has other contents; it is named with both hashes.
    """
    for name, words in HASHES.items():
        if told[name] != found[name]:
            path = told["files"].get("model" if name == "weights" else name, name)
            raise InputError(
                f"{folder}: was made with {words} of hash {told[name]}, but {path} has "
                f"{found[name]} now; restore what the set was made with, or sample it again"
            )
