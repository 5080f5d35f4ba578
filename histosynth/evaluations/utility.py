"""Utility: do synthetic tiles train a model that works on real patients?

A small network is trained on each arm for the same number of optimizer steps and tested on the
real test tiles, whose patients no arm has seen:

    real        the real train tiles (the condition `real` only)
    synthetic   the synthetic set alone
    mixed       all real train tiles and `mixed_ratio` synthetic ones for each (or all there are)

A value is the mean over the downstream seeds; its interval resamples test patients, with the mean
over seeds taken inside each resample. n_real and n_synthetic count the tiles trained on.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from histosynth.errors import InputError
from histosynth.evaluations.exam import Exam
from histosynth.evaluations.protocol import check_comparable, utility_protocol
from histosynth.evaluations.rows import MetricRow, Scored
from histosynth.files import sha256_file
from histosynth.judges.networks import Task
from histosynth.judges.targets import targets_of
from histosynth.tilesets import TileSet

if TYPE_CHECKING:
    from histosynth.config import Study
    from histosynth.settings import Downstream, NetworkTraining

METRICS: dict[Task, str] = {
    "segmentation": "downstream_iou",
    "classification": "downstream_auc",
}
_WHAT = {"segmentation": "maps", "classification": "labels"}


@dataclass(frozen=True)
class Pool:
    """Tiles to learn from: images (n, H, W, 3) with targets (n, H, W) or (n,)."""

    images: np.ndarray
    targets: np.ndarray
    n_real: int
    n_synthetic: int


def mix(real: Pool, synthetic: Pool, *, ratio: float, seed: int) -> Pool:
    """All real tiles and `ratio` synthetic ones for each: a seeded subset, or all there are."""
    wanted = min(round(ratio * len(real.images)), len(synthetic.images))
    chosen = np.random.default_rng(seed).permutation(len(synthetic.images))[:wanted]
    return Pool(
        np.concatenate([real.images, synthetic.images[chosen]]),
        np.concatenate([real.targets, synthetic.targets[chosen]]),
        len(real.images),
        wanted,
    )


def utility_of_files(
    scored: Scored,
    task: Task,
    *,
    train: Path,
    test: Path,
    synthetic: Path | None,
    study: "Study",
    device: Any = "cpu",
) -> list[MetricRow]:
    """`utility_rows` of tile sets on disk.

    No rows where the study has no such task.
    """
    names = study.class_names if task == "segmentation" else study.label_names
    if not names or study.downstream is None or getattr(study.downstream, task) is None:
        return []
    return utility_rows(
        scored,
        task,
        train=TileSet.open(train),
        test=TileSet.open(test),
        synthetic=None if synthetic is None else TileSet.open(synthetic),
        names=names,
        settings=study.downstream,
        n=study.sampling.n,
        seed=study.evaluation.seed,
        device=device,
    )


def utility_rows(
    scored: Scored,
    task: Task,
    *,
    train: TileSet,
    test: TileSet,
    synthetic: TileSet | None,
    names: list[str],
    settings: "Downstream",
    n: int,
    seed: int,
    device: Any = "cpu",
) -> list[MetricRow]:
    """Train and test the arms of one task.

    Parameters
    ----------
    train, test : real tiles, of different patients
    synthetic : the set to learn from; None for the real arm
    names : classes (segmentation) or labels (classification), by index
    n : tiles that the study samples
    seed : of the mixed arm's choice and the bootstrap; the trainings have `settings.seeds`
    """
    training: NetworkTraining | None = getattr(settings, task)
    assert training is not None
    metric = METRICS[task]
    arms = ["real"] if synthetic is None else ["synthetic", "mixed"]
    if synthetic is not None:
        check_comparable(test, synthetic)
        if not _offers(task, synthetic):
            reason = f"the set has no {_WHAT[task]}: the condition does not request any"
            return [scored.absent(metric, reason, arm=arm) for arm in arms]
    protocol = utility_protocol(
        train,
        test,
        training=_identity(training),
        seeds=settings.seeds,
        mixed_ratio=settings.mixed_ratio,
        n_synthetic=n if synthetic is None else len(synthetic),
    )
    real = _pool(task, train, names, real=True)
    ours = None if synthetic is None else _pool(task, synthetic, names, real=False)
    exam = Exam(task, test, names, seed)

    def rows_of(arm: str) -> list[MetricRow]:
        pool = real
        if ours is not None:
            ratio = settings.mixed_ratio
            pool = ours if arm == "synthetic" else mix(real, ours, ratio=ratio, seed=seed)
        if task == "classification" and len(np.unique(pool.targets)) < 2:
            raise InputError(
                f"arm {arm}: all {len(pool.targets)} tiles to learn from have the label "
                f"{names[pool.targets[0]]!r}; a classifier needs two labels at least"
            )
        estimates, remark = exam.sit(
            pool.images, pool.targets, training=training, seeds=settings.seeds, device=device
        )
        counts: dict[str, Any] = {"n_real": pool.n_real, "n_synthetic": pool.n_synthetic}
        rows = []
        for subset, interval in estimates.items():
            if np.isnan(interval.value):
                reason = "it occurs in no real test tile and no prediction"
                rows.append(scored.absent(metric, reason, subset=subset, arm=arm))
                continue
            said = remark if subset == "all" else ""
            place: dict[str, Any] = {"subset": subset, "arm": arm, "reason": said}
            rows.append(scored.row(metric, interval, protocol=protocol, **place, **counts))
        return rows

    rows = []
    for arm in arms:
        rows += scored.guarded([metric], partial(rows_of, arm), arm=arm)
    return rows


def _offers(task: Task, tiles: TileSet) -> bool:
    if task == "segmentation":
        return bool(tiles.classes)
    return "label" in tiles.table and any(isinstance(v, str) for v in tiles.table["label"])


def _pool(task: Task, tiles: TileSet, names: list[str], *, real: bool) -> Pool:
    rows, targets = targets_of(task, tiles, names)
    counts = (len(rows), 0) if real else (0, len(rows))
    return Pool(tiles.images(rows), targets, *counts)


def _identity(training: "NetworkTraining") -> dict[str, Any]:
    """Its settings, with the weights by content and not by path."""
    settings = training.model_dump(mode="json")
    if settings["weights"] and Path(settings["weights"]).is_file():
        settings["weights"] = sha256_file(settings["weights"])
    return settings
