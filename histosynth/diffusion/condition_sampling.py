"""From a trained model and the condition table to a synthetic tile set."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from histosynth.clusters.files import read_assignments
from histosynth.conditions.spec import ConditionSpec
from histosynth.conditions.table import noise_seeds, read_condition_table, table_targets
from histosynth.conditions.targets import TilePool
from histosynth.diffusion.autoencoder import Autoencoder, autoencoder_fingerprint, load_autoencoder
from histosynth.diffusion.checks import check_classes_of, check_model_of
from histosynth.diffusion.conditioning import sampling_source
from histosynth.diffusion.latents import LatentCache, Whitening
from histosynth.diffusion.network import ConditionedNetwork
from histosynth.diffusion.sample import sample_images
from histosynth.diffusion.synthetic import add_tiles, synthetic_row
from histosynth.diffusion.train import load_network
from histosynth.files import sha256_file
from histosynth.tilesets import TileSet, TileSetWriter

if TYPE_CHECKING:
    import torch

    from histosynth.config import Study

SHARD = 1024  # images in memory at once; what comes out does not depend on it


@dataclass(frozen=True)
class Generator:
    """A trained network with the autoencoder and whitening of its latents."""

    network: ConditionedNetwork
    autoencoder: Autoencoder
    whitening: Whitening
    device: "torch.device"
    provenance: dict[str, Any]

    @classmethod
    def load(
        cls,
        spec: ConditionSpec,
        test: TileSet,
        model: Path,
        autoencoder: Path,
        latents: Path,
        *,
        device: "torch.device",
    ) -> "Generator":
        """Load the pieces, and refuse those that do not belong together.

        Raises
        ------
        InputError
            Weights of another condition, autoencoder or tile size, or latents of another one.
        """
        network, record = load_network(model / "weights.safetensors", device=device)
        decoder = load_autoencoder(autoencoder, device=device)
        fingerprint = autoencoder_fingerprint(decoder)
        check_model_of(model, record, spec, autoencoder=fingerprint, tile_size=test.size[0])
        cache = LatentCache.open(latents, autoencoder=fingerprint)
        provenance = {
            "weights": sha256_file(model / "weights.safetensors"),
            "autoencoder": fingerprint,
        }
        return cls(network, decoder, cache.whitening, device, provenance)


def sample_condition(
    generator: Generator,
    spec: ConditionSpec,
    test: TileSet,
    study: "Study",
    table: Path,
    clusters: Path | None,
    *,
    seed: int,
    output: Path,
) -> TileSet:
    """Sample every row of the condition table and write the synthetic tile set.

    Parameters
    ----------
    table : Parquet file of the condition table
    clusters : folder of the cluster assignments, where the condition uses them
    seed : the generator's seed, which also chooses the noise
    """
    check_classes_of(test, study)
    rows = read_condition_table(table, test)
    pool = TilePool.of(
        test, spec.needs, label_names=study.label_names, clusters=read_assignments(clusters)
    )
    targets = table_targets(rows, pool, test.classes)
    seeds = noise_seeds(rows, seed)
    shown = spec.shown_tiles(targets)
    provenance = generator.provenance | {
        "condition": spec.resolved(),
        "seed": seed,
        "sampling": study.sampling_of(spec.name).model_dump(mode="json"),
        "test": test.fingerprint,
    }
    classes = test.classes if "maps" in spec.provides else ()
    started = time.monotonic()
    with TileSetWriter(output, classes=classes, provenance=provenance) as writer:
        for start in range(0, len(rows), SHARD):
            shard = np.arange(start, min(start + SHARD, len(rows)))
            images = sample_images(
                generator.network,
                generator.autoencoder,
                generator.whitening,
                sampling_source(spec, targets.take(shard)),
                seeds=seeds[shard],
                settings=study.sampling_of(spec.name),
                device=generator.device,
            )
            described = [
                synthetic_row(
                    test.table.iloc[int(rows["test_row"].iloc[i])],
                    tile_id=f"{spec.name}-s{seed}-{i:06d}",
                    condition=spec.name,
                    seed=seed,
                    provides=spec.provides,
                    cluster=int(rows["cluster"].iloc[i]),
                    crop_tile_ids=shown[i],
                )
                for i in shard
            ]
            add_tiles(writer, images, described, test, targets.rows[shard])
        writer.provenance["seconds"] = round(time.monotonic() - started, 2)
    return TileSet.open(output)
