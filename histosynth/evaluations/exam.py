"""The downstream exam: networks learn from some tiles and answer for the real test tiles."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from histosynth.evaluations.auc import label_auc, macro_auc
from histosynth.evaluations.counts import iou_of, patients
from histosynth.judges.networks import Network, Task
from histosynth.judges.predict import predict_labels, predict_maps
from histosynth.judges.targets import targets_of
from histosynth.judges.training import train_network
from histosynth.metrics import Interval, cluster_bootstrap, mean_iou, sum_by_group, tile_confusions

if TYPE_CHECKING:
    from histosynth.config import NetworkTraining
    from histosynth.tilesets import TileSet

Marks = dict[str, list[Callable[[np.ndarray], float]]]  # subset -> a score of rows for each seed


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
        networks = (
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
        )
        mark = self._maps if self.task == "segmentation" else self._labels
        scores, groups = mark(list(networks))
        intervals = {
            subset: cluster_bootstrap(
                lambda index, of=of: float(np.mean([score(index) for score in of])),
                groups,
                seed=self.seed,
            )
            for subset, of in scores.items()
        }
        everything = np.arange(len(groups))
        each = [f"{score(everything):.3f}" for score in scores["all"]]
        return intervals, f"downstream seeds: {', '.join(each)}" if len(each) > 1 else ""

    def _maps(self, networks: list[Network]) -> tuple[Marks, np.ndarray]:
        n = len(self.names)
        groups, sums = np.array([]), []
        for network in networks:
            counts = tile_confusions(self.targets, predict_maps(network, self.images), n_classes=n)
            groups, by_patient = sum_by_group(counts, self.patients)
            sums.append(by_patient)
        scores = {"all": mean_iou} | {f"class={c}": iou_of(i) for i, c in enumerate(self.names)}
        marks = {
            subset: [lambda index, s=s, score=score: score(s[index].sum(axis=0)) for s in sums]
            for subset, score in scores.items()
        }
        return marks, groups

    def _labels(self, networks: list[Network]) -> tuple[Marks, np.ndarray]:
        answers = [predict_labels(network, self.images) for network in networks]
        marks = {"all": [lambda i, a=a: macro_auc(self.targets[i], a[i]) for a in answers]}
        if len(self.names) > 2:
            for c, name in enumerate(self.names):
                marks[f"label={name}"] = [
                    lambda i, a=a, c=c: label_auc(self.targets[i] == c, a[i, c]) for a in answers
                ]
        return marks, self.patients
