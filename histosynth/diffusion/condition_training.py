"""From train tiles and a condition to a trained model on disk."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from histosynth.clusters.files import read_assignments, selected_rows
from histosynth.conditions.spec import ConditionSpec
from histosynth.conditions.targets import TilePool
from histosynth.device import versions
from histosynth.diffusion.checks import check_classes_of, check_latents_of
from histosynth.diffusion.conditioning import signals_spec, training_source
from histosynth.diffusion.curves import TENSORBOARD
from histosynth.diffusion.latents import LatentCache
from histosynth.diffusion.processes import Processes
from histosynth.diffusion.state import discard_state
from histosynth.diffusion.train import save_network, train_generator
from histosynth.diffusion.validation import Selection, ValidationTiles
from histosynth.errors import InputError
from histosynth.files import atomic_folder, read_json, sha256_file, short_hash, write_json
from histosynth.tilesets import TileSet

if TYPE_CHECKING:
    from histosynth.config import Study


def train_condition(
    study: "Study",
    *,
    condition: Path,
    train: Path,
    latents: Path,
    clusters: Path | None = None,
    features: Mapping[str, Path] | None = None,
    base: Path | None = None,
    val: Path | None = None,
    val_features: Mapping[str, Path] | None = None,
    autoencoder: Path | None = None,
    seed: int,
    state: Path,
    output: Path,
    processes: Processes,
    log: Callable[[str], None],
) -> dict[str, Any]:
    """Train a condition; write `weights.safetensors`, `train.json` and `tensorboard/`.

    With the study's `clusters.balance`, only the selected train tiles are used, whatever the
    condition: as targets and as donors of crops. (Autoencoder and whitening, which all conditions
    share, are of all train tiles.)

    Parameters
    ----------
    condition : YAML file of the condition
    train : folder of the tile set
    latents : folder of the train tiles' latents
    clusters : folder of the cluster assignments, where the condition uses them or the study
        balances prompts
    features, val_features : encoder -> .npy of the tiles, where the condition uses them
    val : folder of the tiles on which losses are taken and one of the averaged weights is chosen;
        without, there are no such losses, and the first average is taken
    autoencoder : folder of the one that made the latents; goes with `val`
    base : folder of the trained model that `init_from` names, from whose weights training starts
    processes : those that share the training, each of which calls this; the first writes
    state : folder beside the output, of what a killed run goes on from; deleted in the end

    Returns
    -------
    What train.json holds.

    Raises
    ------
    InputError
        The latents are of other tiles, the tiles lack what the condition needs, or the model
        given to start from is not the one that the condition names.
    """
    spec, tiles = ConditionSpec.load(condition, study), TileSet.open(train)
    check_classes_of(tiles, study)
    start = _base_weights(spec, base)
    cache = LatentCache.open(latents)
    check_latents_of(cache, tiles)
    assignments = read_assignments(clusters)
    pool = TilePool.of(
        tiles,
        spec.needs,
        label_names=study.label_names,
        clusters=assignments,
        features=features,
    )
    if study.clusters is not None and study.clusters.balance is not None:
        rows = selected_rows(assignments, tiles)
        cache, pool = cache.take(rows), pool.take(rows)
    # The loop knows a condition by its planes and tokens only; what they mean decides as well.
    meaning = {
        "condition": spec.resolved(),
        "classes": study.class_names,
        "labels": study.label_names,
        "clusters": None if pool.clusters is None else pool.clusters.tolist(),
        "rows": cache.rows.tolist(),
        "base": start and sha256_file(start),
    }
    held_out = None
    if val is not None:
        held_out = ValidationTiles.of(
            spec,
            TileSet.open(val),
            study,
            cache,
            autoencoder,
            clusters=assignments,
            features=val_features,
            device=processes.device,
        )
    selection = Selection.of(held_out, study)
    settings = study.generator_of(spec.name)
    running = state / short_hash(meaning)
    network, record = train_generator(
        cache,
        training_source(spec, pool),
        settings,
        seed=seed,
        spec=signals_spec(spec),
        tile_size=tiles.size[0],
        state_folder=running,
        log=log,
        tile_ids=pool.tile_ids,
        validation=None if held_out is None else held_out.loss(),
        score=selection.score,
        processes=processes,
        base=start,
        statistics=spec.statistics(pool),
    )
    on_gpu = processes.device.type == "cuda"
    record |= {
        "condition": spec.resolved(),
        "seed": seed,
        "init_from": spec.init_from,
        "selection": selection.record,
        "settings": settings.model_dump(mode="json"),
        "tiles": len(cache),
        "gpu_seconds": record["seconds"] * processes.count if on_gpu else 0.0,
        "autoencoder": cache.autoencoder,
        "tiles_fingerprint": cache.tiles,
        "versions": versions("torch", "diffusers", "numpy"),
    }
    if not processes.is_first:
        return record
    with atomic_folder(output) as folder:
        save_network(folder / "weights.safetensors", network, cache)
        write_json(folder / "train.json", record)
        shutil.copytree(running / TENSORBOARD, folder / TENSORBOARD)
    discard_state(state)
    return record


def _base_weights(spec: ConditionSpec, base: Path | None) -> Path | None:
    """The weights to start from, once they are known to be those that the condition names."""
    if spec.init_from is None and base is None:
        return None
    if base is None:
        raise InputError(
            f"conditions.{spec.name}.init_from is {spec.init_from}, but no model was given; pass "
            "the folder of its trained model as --base"
        )
    weights, record = base / "weights.safetensors", base / "train.json"
    for path in (weights, record):
        if not path.is_file():
            raise InputError(f"{path}: no such file; train {spec.init_from} by scripts/train.py")
    found = read_json(record)["condition"]["name"]
    if found != spec.init_from:
        raise InputError(
            f"{base}: a model of condition {found}, but conditions.{spec.name}.init_from is "
            f"{spec.init_from}; pass that one's as --base"
        )
    return weights
