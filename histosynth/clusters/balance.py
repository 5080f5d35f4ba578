"""A subset with as many tiles of every prompt (label and cluster), after Osorio et al.

arXiv 2312.09792 balances all images and splits them afterwards, image by image, so that tiles of
one patient end up on both sides. Here the split by patient stands, and only the train split is
balanced.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from histosynth.errors import InputError

if TYPE_CHECKING:
    from histosynth.settings import Clusters
    from histosynth.tilesets import TileSet


@dataclass(frozen=True)
class PromptSubset:
    """A prompt-balanced subset.

    Attributes
    ----------
    rows : int64 (m,), sorted; m is `size`, or a little more where that cannot be divided evenly
    size : the N that was aimed at, a multiple of the step
    prompts : how many of its most populated clusters every label keeps
    by_prompt : (label, cluster) -> tiles taken of it, the same number everywhere
    """

    rows: np.ndarray
    size: int
    prompts: int
    by_prompt: dict[tuple[str, int], int]

    def facts(self) -> dict[str, Any]:
        """What a summary says of it, fit for JSON."""
        labels: dict[str, list[int]] = {}
        for label, cluster in self.by_prompt:
            labels.setdefault(label, []).append(cluster)
        return {
            "size": self.size,
            "tiles": len(self.rows),
            "prompts": self.prompts,
            "tiles_a_prompt": next(iter(self.by_prompt.values())),
            "clusters": labels,
        }


def select_train_tiles(
    train: "TileSet", clusters: np.ndarray, settings: "Clusters"
) -> PromptSubset | None:
    """The train tiles that a study's generators may see; None for all of them.

    Parameters
    ----------
    clusters : int64 (tiles,), of the train tiles
    settings : `balance` and seed are used

    Raises
    ------
    InputError : the tiles cannot be balanced so; see `prompt_balanced_subset`.
    """
    if settings.balance is None:
        return None
    return prompt_balanced_subset(
        train.table["label"].to_numpy(object),
        clusters,
        step=settings.balance.step,
        min_prompts=settings.balance.min_prompts,
        seed=settings.seed,
    )


def prompt_balanced_subset(
    labels: Sequence[str | None] | np.ndarray,
    clusters: np.ndarray,
    *,
    step: int,
    min_prompts: int,
    seed: int,
) -> PromptSubset:
    """The largest subset with equally many tiles in each of n clusters of every label.

    A size N works with n where each of the n most populated clusters of each of the L labels has
    N / (L n) tiles or more. Of the multiples of `step`, the largest N is taken that works with any
    n >= `min_prompts`, and of its n the largest. (The paper's code asks for more than N / (L n)
    tiles and more than 10 prompts, with L = 2 and a step of 5,000.) Of every prompt the same
    number of tiles is drawn, N / (L n) rounded up.

    Parameters
    ----------
    labels : (tiles,), None where a tile has none: it is left out
    clusters : int64 (tiles,)
    step, min_prompts : see `histosynth.settings.PromptBalance`
    seed : of the draw within a prompt; the draw depends on the order of the tiles

    Raises
    ------
    InputError : no N works, with the counts and what to change.
    """
    tiles = pd.DataFrame({"label": pd.Series(labels, dtype=object), "cluster": clusters})
    counts = {
        str(label): part["cluster"].value_counts(sort=False).sort_index()
        for label, part in tiles.groupby("label")
    }
    # From the most populated cluster on; of equally populated ones the lower number.
    counts = {
        label: found.sort_values(ascending=False, kind="stable") for label, found in counts.items()
    }
    deepest = min((len(found) for found in counts.values()), default=0)
    least = [
        min(int(found.iloc[n - 1]) for found in counts.values()) for n in range(1, deepest + 1)
    ]
    # The largest set with n prompts a label has as many tiles of each as the rarest of them.
    largest = {n: len(counts) * n * least[n - 1] for n in range(min_prompts, deepest + 1)}
    size = max(largest.values(), default=0) // step * step
    if size == 0:
        raise _impossible(counts, largest, step=step, min_prompts=min_prompts)
    prompts = max(n for n, most in largest.items() if most >= size)
    each = -(-size // (len(counts) * prompts))
    rng = np.random.default_rng(seed)
    rows = []
    by_prompt = {}
    for label, found in counts.items():
        for cluster in found.index[:prompts]:
            own = np.flatnonzero((tiles["label"] == label) & (tiles["cluster"] == cluster))
            rows.append(rng.choice(own, each, replace=False))
            by_prompt[label, int(cluster)] = each
    return PromptSubset(np.sort(np.concatenate(rows)), size, prompts, by_prompt)


def _impossible(
    counts: dict[str, pd.Series], largest: dict[int, int], *, step: int, min_prompts: int
) -> InputError:
    if not counts:
        return InputError(
            "clusters.balance: no train tile has a label, and prompts are made of labels and "
            "clusters; give the study a `label`, or remove clusters.balance"
        )
    listed = "\n".join(
        f"  {label}: {', '.join(f'{n} in cluster {c}' for c, n in found.items())}"
        for label, found in counts.items()
    )
    if not largest:
        few = min(counts, key=lambda label: len(counts[label]))
        problem = (
            f"label {few} is in {len(counts[few])} cluster(s) only, "
            f"clusters.balance.min_prompts is {min_prompts}; lower it, or raise clusters.k"
        )
    else:
        problem = (
            f"the largest subset with {min_prompts} or more clusters a label has "
            f"{max(largest.values())} tiles, clusters.balance.step is {step}; lower step or "
            "min_prompts, or tile more slides"
        )
    return InputError(f"clusters.balance: {problem}. Train tiles by label:\n{listed}")
