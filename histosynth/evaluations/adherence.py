"""Adherence: does a synthetic tile show what was requested of it?

Judges trained on real train tiles look at the synthetic tiles: a segmenter at those that were
requested by a map, a classifier at those requested by a label. No judge is perfect, so each value
stands beside the same judge's value on all real test tiles, as a ratio, and beside the value with
the requests dealt out anew among the same images (`<condition>~shuffled`): what a generator that
ignores its condition would get.

IoU comes from one confusion matrix over all pixels of the set. Intervals resample patients; a
synthetic tile belongs to the patient whose map or label it got.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from histosynth.errors import InputError
from histosynth.evaluations.counts import (
    Score,
    accuracy,
    derangement,
    iou_of,
    patients,
    ratio_interval,
    recall_of,
    score_interval,
)
from histosynth.evaluations.protocol import adherence_protocol, check_comparable
from histosynth.evaluations.rows import MetricRow, Scored
from histosynth.judges.targets import label_indices
from histosynth.metrics import iou_from_confusion, mean_iou, tile_confusions

if TYPE_CHECKING:
    from histosynth.judges.judge import Judge
    from histosynth.tilesets import TileSet

MAP_METRICS = ("map_iou", "map_iou_ratio")
LABEL_METRICS = ("label_accuracy", "label_accuracy_ratio")
SHUFFLED = "~shuffled"
REFERENCES = ("real", "autoencoder")  # they request nothing of a generator: no shuffled rows


def map_rows(
    scored: Scored, real: "TileSet", synthetic: "TileSet", *, judge: "Judge", seed: int
) -> list[MetricRow]:
    """Agreement of the segmenter's maps with the requested ones: IoU, overall and by class.

    Parameters
    ----------
    scored : the condition `real` scores the judge itself; `synthetic` is the test set then
    real : the real test tiles with their maps
    synthetic : tiles with the maps requested of the generator
    seed : of the shuffling and the bootstrap

    Raises
    ------
    InputError
        Other classes than the judge's, another size or codec.
    """
    if not synthetic.classes:
        reason = "the set has no maps: the condition does not request any"
        return [scored.absent(metric, reason) for metric in MAP_METRICS]
    check_comparable(real, synthetic)
    for tiles in (real, synthetic):
        if tiles.classes != judge.names:
            raise InputError(
                f"{tiles.folder}: its maps have the classes {list(tiles.classes)}, the segmenter "
                f"learned {list(judge.names)}; train the judge again on this study's tiles"
            )
    scores: dict[str, Score] = {"all": mean_iou}
    scores |= {f"class={name}": iou_of(c) for c, name in enumerate(judge.names)}
    cells = _Cells(
        scored,
        MAP_METRICS,
        scores,
        n_classes=len(judge.names),
        reference=(real.maps(), judge.maps(real.images()), patients(real)),
        protocol=adherence_protocol(real, judge=judge.fingerprint),
        seed=seed,
    )
    requested, predicted = synthetic.maps(), judge.maps(synthetic.images())
    return cells.rows(requested, predicted, patients(synthetic), names=judge.names)


def label_rows(
    scored: Scored, real: "TileSet", synthetic: "TileSet", *, judge: "Judge", seed: int
) -> list[MetricRow]:
    """Agreement of the classifier's labels with the requested ones: accuracy; recall by label.

    Parameters and errors as of `map_rows`. Tiles without a label are left out, and said to be.
    """
    requested = label_indices(synthetic, judge.names)
    kept = np.flatnonzero(requested >= 0)
    if len(kept) == 0:
        reason = "the set has no labels: the condition does not request any"
        return [scored.absent(metric, reason) for metric in LABEL_METRICS]
    check_comparable(real, synthetic)
    real_labels = label_indices(real, judge.names)
    real_kept = np.flatnonzero(real_labels >= 0)
    if len(real_kept) == 0:
        raise InputError(f"{real.folder}: no tile has a label; label adherence needs real labels")
    scores: dict[str, Score] = {"all": accuracy}
    scores |= {f"label={name}": recall_of(c) for c, name in enumerate(judge.names)}
    cells = _Cells(
        scored,
        LABEL_METRICS,
        scores,
        n_classes=len(judge.names),
        reference=(
            real_labels[real_kept],
            judge.labels(real.images(real_kept)).argmax(1),
            patients(real)[real_kept],
        ),
        protocol=adherence_protocol(real, judge=judge.fingerprint),
        seed=seed,
    )
    left_out = len(synthetic) - len(kept)
    return cells.rows(
        requested[kept],
        judge.labels(synthetic.images(kept)).argmax(1),
        patients(synthetic)[kept],
        remark=f"{left_out} tiles without a label are left out" if left_out else "",
    )


class _Cells:
    """Rows of an absolute score and of its ratio to the judge's score on real tiles."""

    def __init__(
        self,
        scored: Scored,
        metrics: tuple[str, str],
        scores: dict[str, Score],
        *,
        n_classes: int,
        reference: tuple[np.ndarray | None, np.ndarray, np.ndarray],
        protocol: dict[str, Any],
        seed: int,
    ) -> None:
        self.scored, self.metrics, self.scores = scored, metrics, scores
        self.n_classes, self.protocol, self.seed = n_classes, protocol, seed
        true, predicted, self.reference_groups = reference
        self.reference = self._count(true, predicted)

    def rows(
        self,
        requested: np.ndarray | None,
        predicted: np.ndarray,
        groups: np.ndarray,
        *,
        names: tuple[str, ...] = (),
        remark: str = "",
    ) -> list[MetricRow]:
        """Rows of the set, and of the same with its requests shuffled.

        `names` : classes, to tell which of them occur on neither side.
        """
        assert requested is not None
        made = self._rows(self._count(requested, predicted), groups, None, names, remark)
        if self.scored.condition not in REFERENCES:
            order = derangement(len(requested), seed=self.seed)
            counts = self._count(requested[order], predicted)
            condition = self.scored.condition + SHUFFLED
            # A request goes with its patient, so these intervals resample requests too.
            made += self._rows(counts, groups[order], condition, names, remark)
        return made

    def _rows(
        self,
        counts: np.ndarray,
        groups: np.ndarray,
        condition: str | None,
        names: tuple[str, ...],
        remark: str,
    ) -> list[MetricRow]:
        n: dict[str, Any] = {"n_real": len(self.reference), "n_synthetic": len(counts)}
        missing = np.flatnonzero(np.isnan(iou_from_confusion(counts.sum(axis=0))))
        if names and missing.size:
            remark = f"no tile requests or shows {', '.join(names[c] for c in missing)}"
        made = []
        for subset, score in self.scores.items():
            absolute = score_interval(counts, groups, score, seed=self.seed)
            ratio = ratio_interval(
                counts, groups, self.reference, self.reference_groups, score, seed=self.seed
            )
            said = remark if subset == "all" else ""
            for metric, interval in zip(self.metrics, (absolute, ratio), strict=True):
                if np.isnan(interval.value):
                    reason = "this occurs in no tile of the set, or in none of the real test set"
                    made.append(
                        self.scored.absent(metric, reason, subset=subset, condition=condition)
                    )
                else:
                    made.append(
                        self.scored.row(
                            metric,
                            interval,
                            protocol=self.protocol,
                            subset=subset,
                            condition=condition,
                            reason=said,
                            **n,
                        )
                    )
        return made

    def _count(self, true: np.ndarray | None, predicted: np.ndarray) -> np.ndarray:
        """One confusion matrix a tile; a label is a map of one pixel."""
        assert true is not None
        n = len(true)
        return tile_confusions(
            true.reshape(n, -1), predicted.reshape(n, -1), n_classes=self.n_classes
        )
