"""The downstream exam: networks learn from some tiles and answer for the real test tiles."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from histosynth.evaluations.auc import label_auc, macro_auc
from histosynth.evaluations.counts import Score, iou_of, patients
from histosynth.judges.networks import Network, Task
from histosynth.judges.predict import predict_labels, predict_maps
from histosynth.judges.targets import targets_of
from histosynth.judges.training import train_network
from histosynth.metrics import Interval, cluster_bootstrap, mean_iou, sum_by_group, tile_confusions

if TYPE_CHECKING:
    from histosynth.settings import NetworkTraining
    from histosynth.tilesets import TileSet

Marks = dict[str, Callable[[np.ndarray], np.ndarray]]
"""By subset: from rows, drawn with replacement, to one score a downstream seed."""


class Exam:
    """The real test tiles of a task, and how an answer to them is marked."""

    def __init__(self, task: Task, test: "TileSet", names: list[str], seed: int) -> None:
        rows, self.targets = targets_of(task, test, names)
        self.task, self.names, self.seed = task, names, seed
        self.images, self.patients = test.images(rows), patients(test)[rows]

    def sit(
        self,
        images: np.ndarray,
        targets: np.ndarray,
        *,
        training: "NetworkTraining",
        seeds: list[int],
        device: Any = "cpu",
    ) -> tuple[dict[str, Interval], str]:
        """Train on tiles with every seed and mark the answers.

        Returns
        -------
        intervals by subset (`all`, `class=...`, `label=...`), and a remark on the single seeds
        """
        networks = [
            train_network(
                self.task,
                images,
                targets,
                n_classes=len(self.names),
                settings=training,
                seed=seed,
                device=device,
            )
            for seed in seeds
        ]
        mark = self._maps if self.task == "segmentation" else self._labels
        marks, groups = mark(networks)
        intervals = {
            subset: cluster_bootstrap(partial(_mean, by_seed), groups, seed=self.seed)
            for subset, by_seed in marks.items()
        }
        each = [f"{value:.3f}" for value in marks["all"](np.arange(len(groups)))]
        return intervals, f"downstream seeds: {', '.join(each)}" if len(each) > 1 else ""

    def _maps(self, networks: list[Network]) -> tuple[Marks, np.ndarray]:
        summed = [
            sum_by_group(
                tile_confusions(
                    self.targets, predict_maps(network, self.images), n_classes=len(self.names)
                ),
                self.patients,
            )
            for network in networks
        ]
        sums = np.stack([by_patient for _, by_patient in summed])  # (seeds, patients, C, C)

        def by_seed(score: Score, index: np.ndarray) -> np.ndarray:
            return np.array([score(confusion) for confusion in sums[:, index].sum(axis=1)])

        marks: Marks = {"all": partial(by_seed, mean_iou)}
        for c, name in enumerate(self.names):
            marks[f"class={name}"] = partial(by_seed, iou_of(c))
        return marks, summed[0][0]

    def _labels(self, networks: list[Network]) -> tuple[Marks, np.ndarray]:
        answers = np.stack([predict_labels(network, self.images) for network in networks])

        def macro(index: np.ndarray) -> np.ndarray:
            return np.array([macro_auc(self.targets[index], a) for a in answers[:, index]])

        def one(c: int, index: np.ndarray) -> np.ndarray:
            positive = self.targets[index] == c
            return np.array([label_auc(positive, a) for a in answers[:, index, c]])

        marks: Marks = {"all": macro}
        if len(self.names) > 2:  # the two AUCs of two labels are one
            marks |= {f"label={name}": partial(one, c) for c, name in enumerate(self.names)}
        return marks, self.patients


def _mean(by_seed: Callable[[np.ndarray], np.ndarray], index: np.ndarray) -> float:
    return float(by_seed(index).mean())
