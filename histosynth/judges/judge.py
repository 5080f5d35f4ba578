"""A judge: a network trained on real tissue, with the names of what it tells apart.

On disk: a folder with weights.safetensors and train.json, as scripts/judge.py writes it.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from histosynth.device import versions
from histosynth.errors import InputError
from histosynth.files import atomic_folder, read_json, sha256_file, short_hash, write_json
from histosynth.judges.networks import Network, build_network
from histosynth.judges.predict import predict_labels, predict_maps
from histosynth.judges.targets import targets_of
from histosynth.judges.training import train_network
from histosynth.metrics import confusion_matrix, mean_iou
from histosynth.scripting import log
from histosynth.settings import NetworkTraining

if TYPE_CHECKING:
    from histosynth.config import Study
    from histosynth.judges.networks import Task
    from histosynth.tilesets import TileSet

TASKS: "dict[str, Task]" = {"segmenter": "segmentation", "classifier": "classification"}


@dataclass(frozen=True)
class Judge:
    """A trained judge.

    Attributes
    ----------
    names : classes (segmenter) or labels (classifier), by index
    fingerprint : hash of its weights and names; part of the protocol of what it scores
    """

    kind: str
    names: tuple[str, ...]
    network: Network
    fingerprint: str

    def maps(self, images: np.ndarray) -> np.ndarray:
        """Segmenter: the most likely class of every pixel, uint8 (n, H, W)."""
        return predict_maps(self.network, images)

    def labels(self, images: np.ndarray) -> np.ndarray:
        """Classifier: the probability of every label, float64 (n, labels)."""
        return predict_labels(self.network, images)


def make_judge(
    kind: str,
    train: "TileSet",
    val: "TileSet",
    study: "Study",
    *,
    output: str | Path,
    device: torch.device | str = "cpu",
) -> dict[str, Any]:
    """Train a judge on real train tiles and write it with its score on val tiles.

    Returns
    -------
    What train.json says beyond the settings: val score, tiles, seconds.

    Raises
    ------
    InputError
        The study has no classes (labels), or the tiles have no maps (labels) of them.
    """
    task = TASKS[kind]
    names = study.class_names if task == "segmentation" else study.label_names
    if not names:
        key = "classes" if task == "segmentation" else "label"
        raise InputError(f"{kind}: the study has no `{key}`, so there is nothing to judge by")
    started = time.monotonic()
    settings = getattr(study.judges, kind)
    rows, targets = targets_of(task, train, names)
    network = train_network(
        task,
        train.images(rows),
        targets,
        n_classes=len(names),
        settings=settings,
        seed=study.judges.seed,
        device=device,
    )
    metric, score = _score(task, network, val, names)
    record = {
        "val": {metric: score},
        "val_tiles": len(val),
        "train_tiles": len(rows),
        "train_set": train.fingerprint,
        "seed": study.judges.seed,
        "device": str(device),
        "seconds": round(time.monotonic() - started, 1),
        "versions": versions("torch", "timm", "segmentation-models-pytorch"),
    }
    save_judge(
        output,
        network,
        kind=kind,
        names=names,
        size=min(train.size),
        settings=settings,
        record=record,
    )
    return record


def _score(
    task: "Task", network: Network, val: "TileSet", names: list[str]
) -> tuple[str, float | None]:
    """IoU or accuracy on val tiles; None where val has nothing to tell."""
    metric = "map_iou" if task == "segmentation" else "label_accuracy"
    try:
        rows, targets = targets_of(task, val, names)
    except InputError as error:
        log(f"no val score: {error}")
        return metric, None
    images = val.images(rows)
    if task == "segmentation":
        predicted = predict_maps(network, images)
        return metric, mean_iou(confusion_matrix(targets, predicted, n_classes=len(names)))
    return metric, float((predict_labels(network, images).argmax(1) == targets).mean())


def save_judge(
    folder: str | Path,
    network: Network,
    *,
    kind: str,
    names: list[str] | tuple[str, ...],
    size: int,
    settings: NetworkTraining,
    record: dict[str, Any],
) -> None:
    """Write a judge, atomically.

    Parameters
    ----------
    kind : segmenter or classifier
    size : the shorter side of the tiles it was trained on, in pixels
    record : what else to say in train.json: scores, seconds, sets
    """
    from safetensors.torch import save_file

    description = {"kind": kind, "names": list(names), "size": size}
    description["settings"] = settings.model_dump(mode="json")
    with atomic_folder(folder) as partial:
        weights = {k: v.detach().cpu().contiguous() for k, v in network.state_dict().items()}
        save_file(weights, partial / "weights.safetensors")
        description["weights"] = sha256_file(partial / "weights.safetensors")
        write_json(partial / "train.json", {**description, **record})


def load_judge(folder: str | Path, *, device: torch.device | str = "cpu") -> Judge:
    """Read a judge.

    Raises
    ------
    InputError
        The folder holds none, or its weights are not those that train.json tells of.
    """
    from safetensors.torch import load_file

    folder = Path(folder)
    for name in ("train.json", "weights.safetensors"):
        if not (folder / name).is_file():
            raise InputError(f"{folder / name}: no such file; train the judge by scripts/judge.py")
    described = read_json(folder / "train.json")
    if sha256_file(folder / "weights.safetensors") != described["weights"]:
        raise InputError(f"{folder}: train.json tells of other weights; train the judge again")
    settings = NetworkTraining(**described["settings"])
    network = build_network(
        TASKS[described["kind"]],
        settings.model_copy(update={"weights": None}),  # its own follow
        n_classes=len(described["names"]),
        size=described["size"],
    )
    network.load_state_dict(load_file(folder / "weights.safetensors"))
    network = network.to(device).to(memory_format=torch.channels_last).eval()
    identity = {key: described[key] for key in ("kind", "names", "weights")}
    return Judge(described["kind"], tuple(described["names"]), network, short_hash(identity))
