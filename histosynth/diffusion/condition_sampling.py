"""From a trained model and the condition table to a synthetic tile set, in chunks and in parts.

Images are made a chunk at a time, and each chunk is kept beside the output until all are there: a
job that was killed goes on behind its last whole chunk. A set may also be sampled in parts by
several jobs, whose sets are then joined. Chunks and parts end where batches end, so that what comes
out is the same however the work was cut. Joining links files, and decodes nothing.
"""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from histosynth.conditions.spec import ConditionSpec
from histosynth.diffusion.autoencoder import Autoencoder, autoencoder_fingerprint, load_autoencoder
from histosynth.diffusion.checks import check_model_of
from histosynth.diffusion.conditioning import sampling_source
from histosynth.diffusion.guidance import check_dropout
from histosynth.diffusion.joining import join
from histosynth.diffusion.latents import LatentCache, Whitening
from histosynth.diffusion.network import ConditionedNetwork
from histosynth.diffusion.requests import Requests
from histosynth.diffusion.sample import sample_images
from histosynth.diffusion.state import discard_state
from histosynth.diffusion.synthetic import add_tiles
from histosynth.diffusion.train import load_network
from histosynth.errors import InputError
from histosynth.tileset_writer import read_description
from histosynth.tilesets import TileSet, TileSetWriter

if TYPE_CHECKING:
    import torch

CHUNK = 512  # images in memory at once, and what a kill costs at most


@dataclass(frozen=True)
class Generator:
    """A trained network with the autoencoder and whitening of its latents.

    Attributes
    ----------
    model : folder of the weights
    fingerprint : of the autoencoder
    """

    network: ConditionedNetwork
    autoencoder: Autoencoder
    whitening: Whitening
    device: "torch.device"
    model: Path
    fingerprint: str

    @classmethod
    def load(
        cls,
        spec: ConditionSpec,
        test: TileSet,
        files: Mapping[str, Path | None],
        *,
        device: "torch.device",
    ) -> "Generator":
        """Load the pieces, and refuse those that do not belong together.

        Parameters
        ----------
        files : model, autoencoder and latents, of `manifest.FILES`

        Raises
        ------
        InputError
            Weights of another condition, autoencoder or tile size, or latents of another one.
        """
        model, autoencoder, latents = (files[name] for name in ("model", "autoencoder", "latents"))
        assert model is not None and autoencoder is not None and latents is not None
        network, record = load_network(model / "weights.safetensors", device=device)
        decoder = load_autoencoder(autoencoder, device=device)
        fingerprint = autoencoder_fingerprint(decoder)
        check_model_of(model, record, spec, autoencoder=fingerprint, tile_size=test.size[0])
        LatentCache.open(latents, autoencoder=fingerprint)  # refuses another autoencoder's
        whitening = Whitening(**{name: tuple(of) for name, of in record["whitening"].items()})
        return cls(network, decoder, whitening, device, model, fingerprint)

    def images(self, requests: Requests, positions: np.ndarray) -> np.ndarray:
        """The images at some positions of the condition table, uint8 (n, H, W, 3).

        Raises
        ------
        InputError
            Guidance by what the model was never trained without.
        """
        scale = requests.settings.guidance
        names = self.network.spec.names
        check_dropout(scale, names, self.network.settings, model=str(self.model))
        return sample_images(
            self.network,
            self.autoencoder,
            self.whitening,
            sampling_source(requests.spec, requests.targets.take(positions)),
            seeds=requests.noise_seeds[positions],
            settings=requests.settings,
            device=self.device,
        )


def part_bounds(n: int, part: tuple[int, int], batch_size: int) -> tuple[int, int]:
    """Images [first, end) of part k of N, part = (k, N): as equal as whole batches can be.

    Raises
    ------
    InputError
        There is no such part.
    """
    k, parts = part
    if not 0 <= k < parts:
        raise InputError(f"--part {k} {parts}: expected a part from 0 to {parts - 1}")
    batches = -(-n // batch_size)
    first, end = (min(n, batch_size * (batches * i // parts)) for i in (k, k + 1))
    return first, end


def chunks_of(output: Path) -> Path:
    """Where the finished chunks of a set lie until it stands."""
    return output.with_name(f".{output.name}.state")


def sample_condition(
    generator: Generator,
    requests: Requests,
    about: dict[str, Any],
    part: tuple[int, int] = (0, 1),
    *,
    output: Path,
    log: Callable[[str], None],
) -> TileSet:
    """Sample the images of the condition table, or part (k, N) of them, and write their tile set.

    Finished chunks lie in a hidden folder beside the output, so that they survive a retry; it is
    removed once the output stands.

    Parameters
    ----------
    about : `manifest.manifest` of the requests
    """
    state = chunks_of(output)
    batch_size = requests.settings.batch_size
    first, end = part_bounds(len(requests), part, batch_size)
    step = max(1, CHUNK // batch_size) * batch_size
    chunks, kept = [], 0
    for start in range(first, end, step):
        stop = min(start + step, end)
        chunk = state / f"{start:06d}-{stop:06d}"
        identity = about | {"rows": [start, stop]}
        if _is_finished(chunk, identity):
            kept += stop - start
        else:
            _write_chunk(generator, requests, identity, chunk)
        chunks.append(chunk)
    if kept:
        log(f"went on: {kept} of {end - first} images were there from before")
    join(chunks, output)
    discard_state(state)
    return TileSet.open(output)


def _write_chunk(
    generator: Generator, requests: Requests, identity: dict[str, Any], folder: Path
) -> None:
    started = time.monotonic()
    positions = np.arange(*identity["rows"])
    images = generator.images(requests, positions)
    provenance = {**identity, "seconds": round(time.monotonic() - started, 2)}
    with TileSetWriter(folder, classes=requests.classes, provenance=provenance) as writer:
        test_rows = requests.targets.rows[positions]
        add_tiles(writer, images, requests.described(positions), requests.test, test_rows)


def _is_finished(chunk: Path, identity: dict[str, Any]) -> bool:
    """Whether the chunk is there, and made of the same."""
    if not (chunk / "tileset.json").is_file():
        return False
    told = {k: v for k, v in read_description(chunk)["provenance"].items() if k != "seconds"}
    return json.dumps(told) == json.dumps(identity)  # the order of guided signals counts, too
