"""Memorization: are generated images nearer to their training images than new tissue would be?

Everything here compares two samples of distances to the nearest training image: those of the
generated images, and those of held-out real images, which no generator has seen. Where nothing was
memorized, the generated images lie no nearer. Following Meehan, Chaudhuri & Dasgupta (2020), "A
Non-Parametric Test to Detect Data-Copying in Generative Models", the comparison needs no model of
either; unlike them it is given with an interval over patients, as tiles of one patient are not
independent.

The mean hides a few copies among many honest images, so there are two scores: the AUC for the
distances as a whole, and the share beyond a quantile of the held-out distances for the near tail.
Blurred or plain images can lie near everything without being copies of anything: read both beside
the autoencoder's round trip of held-out tiles, and look at the pairs.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from histosynth.errors import InputError
from histosynth.metrics.contributions import effective_groups
from histosynth.metrics.inputs import as_features, check_count, check_widths
from histosynth.metrics.uncertainty import Interval, cluster_bootstrap

_REFERENCES_AT_ONCE = 16_384


def nearest_distances(
    queries: Any, references: Any, *, chunk: int = 2048, leave_out: Any = None
) -> tuple[np.ndarray, np.ndarray]:
    """Euclidean distance from each query to its nearest reference.

    The search is in float32 about the references' mean, in blocks; the distance itself is then
    taken from the difference of the two rows in float64, so a copy is at exactly 0.

    Parameters
    ----------
    queries, references
        Feature arrays (m, d) and (n, d), numpy (a memory map, too) or torch.
    chunk
        Queries compared at a time: memory is O(chunk * min(n, 16384)); no influence on the values.
    leave_out
        (m,) row of `references` that a query must not find, such as itself; none by default.

    Returns
    -------
    distance : float64 (m,)
    index : int64 (m,), row of `references`

    Raises
    ------
    InputError
        NaN or infinite values, different widths, or no reference left to find.
    """
    chunk = check_count(chunk, "chunk", usual=2048)
    references = as_features(references, name="reference", minimum_rows=1)
    queries = as_features(queries, name="query", minimum_rows=1)
    check_widths(references.shape[1], queries.shape[1])
    if leave_out is not None and len(references) < 2:
        raise InputError("1 reference, which is left out; expected at least 2: add training tiles")
    origin = references.mean(axis=0, dtype=np.float64)
    distance = np.empty(len(queries))
    index = np.empty(len(queries), dtype=np.int64)
    for start in range(0, len(queries), chunk):
        rows = slice(start, start + chunk)
        some = (queries[rows] - origin).astype(np.float32)
        skipped = None if leave_out is None else np.asarray(leave_out)[rows]
        index[rows] = _search(some, references, origin, skipped)
        apart = queries[rows].astype(np.float64) - references[index[rows]]
        distance[rows] = np.sqrt(np.einsum("ij,ij->i", apart, apart))
    return distance, index


def _search(
    queries: np.ndarray, references: np.ndarray, origin: np.ndarray, skipped: np.ndarray | None
) -> np.ndarray:
    """Row of the nearest reference to each of a chunk of centred queries."""
    least = np.full(len(queries), np.inf, dtype=np.float32)
    nearest = np.zeros(len(queries), dtype=np.int64)
    own = np.arange(len(queries))
    for start in range(0, len(references), _REFERENCES_AT_ONCE):
        block = (references[start : start + _REFERENCES_AT_ONCE] - origin).astype(np.float32)
        # |q|^2 is the same for all references of a query, so it is left out.
        apart = queries @ block.T
        apart *= -2
        apart += np.einsum("ij,ij->i", block, block)
        if skipped is not None:
            here = (skipped >= start) & (skipped < start + len(block))
            apart[own[here], skipped[here] - start] = np.inf
        best = apart.argmin(axis=1)
        value = apart[own, best]
        nearer = value < least
        least[nearer], nearest[nearer] = value[nearer], best[nearer] + start
    return nearest


def heldout_quantile(heldout_to_train: Any, quantile: float) -> float:
    """The distance that a share `quantile` of held-out images undercuts.

    It is the order statistic of rank quantile * (h + 1) (Weibull's plotting position), so that a
    further held-out image lies below it with probability `quantile`, whatever the distribution;
    nearly so where the rank is not whole and it is interpolated.

    Raises
    ------
    InputError
        Fewer than 1 / quantile - 1 held-out images: then no image can stand for that quantile.
    """
    distances = np.asarray(heldout_to_train, dtype=float)
    if quantile * (len(distances) + 1) < 1 - 1e-9:
        raise InputError(
            f"{len(distances)} held-out tiles cannot tell their {quantile:.1%} quantile; it takes "
            f"{int(np.ceil(1 / quantile - 1e-9)) - 1}"
        )
    return float(np.quantile(distances, quantile, method="weibull"))


def memorized_share(
    generated_to_train: Any,
    heldout_to_train: Any,
    *,
    quantile: float,
    generated_groups: Any = None,
    heldout_groups: Any = None,
    seed: int = 0,
) -> Interval:
    """Share of generated images nearer to training images than a quantile of held-out ones.

        share = #{i : d_i < Q_q(h)} / m

    with distances d of m generated and h of held-out images. Without memorization it is about the
    quantile q itself; share / q says how many times more close pairs there are than new tissue
    gives.

    Parameters
    ----------
    generated_to_train, heldout_to_train
        Distances (m,) and (h,) to the nearest training image.
    quantile
        q, such as 0.01.
    generated_groups, heldout_groups
        Patient behind each request, and of each held-out image. A patient drawn by the bootstrap
        counts on both sides. Default: every image stands for itself.
    seed
        Of the bootstrap.

    Returns
    -------
    Interval
        By the bootstrap over patients. Of a share of exactly 0 or 1, where resampling shows no
        spread, by what so many patients can tell at all: of g patients whose images all lie near,

            low = 0.025^(1 / g),  high = 1

        (of 0: 0 and 1 - 0.025^(1 / g)), the limits of Clopper & Pearson (1934) for g out of g. They
        hold for independent patients of one distribution, however alike the images of each; g is
        what the patients of the side with fewer are worth (`effective_groups`), and the limit
        Q_q(h) counts as known. Without bounds where a side has one patient only.

    Raises
    ------
    InputError
        No distances, too few held-out images for the quantile, or a quantile of 0 (then even
        held-out images are copies of training images, and nothing can be nearer).
    """
    generated, heldout, groups = _two_samples(
        generated_to_train, heldout_to_train, generated_groups, heldout_groups
    )
    if heldout_quantile(heldout, quantile) == 0:
        raise InputError(
            f"at least {quantile:.1%} of the held-out tiles are exact copies of training tiles, so "
            "no generated tile can be nearer; look at the pictures that the splits share"
        )
    both, m = np.concatenate([generated, heldout]), len(generated)

    def share(index: np.ndarray) -> float:
        ours, theirs = both[index[index < m]], both[index[index >= m]]
        if not len(ours) or not len(theirs):
            return float("nan")
        # a resample may hold fewer held-out tiles: its quantile is then the smallest distance
        return float((ours < np.quantile(theirs, quantile, method="weibull")).mean())

    interval = cluster_bootstrap(share, groups, seed=seed)
    if _one_group(groups, m):
        return Interval(interval.value)
    return _unanimous(interval, groups[:m], groups[m:])


def nearest_train_auc(
    generated_to_train: Any,
    heldout_to_train: Any,
    *,
    generated_groups: Any = None,
    heldout_groups: Any = None,
    seed: int = 0,
) -> Interval:
    """Probability that a generated image lies nearer to training than a held-out image does.

        AUC = P(d < h) + P(d = h) / 2

    0.5 where the two are alike, 1 where every generated image lies nearer. Meehan et al. (2020)
    test 1 - AUC. Parameters and errors as :func:`memorized_share`; no bounds where a side has one
    patient only.
    """
    generated, heldout, groups = _two_samples(
        generated_to_train, heldout_to_train, generated_groups, heldout_groups
    )
    m = len(generated)
    # Ranked once: each resample then only counts, where sorting it anew would take the time.
    ranks = np.unique(np.concatenate([generated, heldout]), return_inverse=True)[1]
    interval = cluster_bootstrap(
        lambda index: _auc(ranks[index[index < m]], ranks[index[index >= m]]), groups, seed=seed
    )
    return Interval(interval.value) if _one_group(groups, m) else interval


def _unanimous(interval: Interval, *sides: np.ndarray, confidence: float = 0.95) -> Interval:
    """The interval of a share; of exactly 0 or 1 its one-sided bound, by patients.

    With independent X_j in [0, 1], the shares of g patients, that are all 1:

        P(all X_j = 1) = P(X = 1)^g <= E[X]^g,  so  E[X] >= a^(1 / g)  with confidence 1 - a

    and a = (1 - confidence) / 2, as in the lower limit of any other interval.

    Parameters
    ----------
    sides : patient behind each image, of the generated ones and of others that the share needs
    """
    if interval.value not in (0, 1):
        return interval
    sizes = (np.unique(names, return_counts=True)[1] for names in sides)
    worth = min(effective_groups(size / size.sum()) for size in sizes)
    low = ((1 - confidence) / 2) ** (1 / worth)
    bounds = (low, 1.0) if interval.value == 1 else (0.0, 1 - low)
    return Interval(interval.value, *bounds)


def _one_group(groups: np.ndarray, m: int) -> bool:
    """Whether the m generated images, or the held-out ones, are all of one patient.

    Every resample that has both sides then has the very same ones, and shows no spread.
    """
    return min(len(np.unique(groups[:m])), len(np.unique(groups[m:]))) < 2


def _auc(generated: np.ndarray, heldout: np.ndarray) -> float:
    """P(generated < held-out) + P(equal) / 2 of ranks 0, 1, ...; NaN where either is empty."""
    if not len(generated) or not len(heldout):
        return float("nan")
    size = 1 + max(int(generated.max()), int(heldout.max()))
    ours = np.bincount(generated, minlength=size)
    theirs = np.bincount(heldout, minlength=size)
    farther = theirs.sum() - np.cumsum(theirs)
    return float(ours @ (farther + theirs / 2) / (len(generated) * len(heldout)))


def copying_z(generated_to_train: Any, heldout_to_train: Any) -> float:
    """Z of the Mann-Whitney test of the distances: C_T of Meehan et al. (2020) in a single cell.

        U = #{(i, j) : d_i > h_j} (ties half),  Z = (U - m h / 2) / sqrt(m h (m + h + 1) / 12)

    Strongly negative means copying. Their C_T is a mean of Z over cells of feature space; with
    one cell it is the AUC again, scaled by the numbers of images, as if tiles were independent.
    It is given for comparison with papers alone.
    """
    generated, heldout, _ = _two_samples(generated_to_train, heldout_to_train, None, None)
    m, h = len(generated), len(heldout)
    ranks = np.unique(np.concatenate([generated, heldout]), return_inverse=True)[1]
    return (0.5 - _auc(ranks[:m], ranks[m:])) * m * h / float(np.sqrt(m * h * (m + h + 1) / 12))


def authenticity(
    generated_to_train: Any, train_to_train: Any, *, groups: Any = None, seed: int = 0
) -> Interval:
    """Share of authentic images (Alaa et al. 2022, "How Faithful is your Synthetic Data?").

    AuthPct is 100 times it. An image is authentic where it lies farther from its nearest training
    image than that training image lies from its own nearest other one. Given for comparison with
    papers alone: it has no expected value without memorization (score real held-out tiles to see
    one), and a copy of a tile that has near duplicates in the training set passes as authentic.

    Parameters
    ----------
    generated_to_train : (m,) distance to the nearest training image
    train_to_train : (m,) distance from that training image to the nearest other one
    groups : (m,) patient behind each generated image; default: every image stands for itself

    Returns
    -------
    Interval
        As that of :func:`memorized_share`.
    """
    authentic = np.asarray(generated_to_train) > np.asarray(train_to_train)
    names = np.arange(len(authentic)) if groups is None else np.asarray(groups)
    interval = cluster_bootstrap(authentic, names, seed=seed)
    return interval if len(np.unique(names)) < 2 else _unanimous(interval, names)


def _two_samples(
    generated: Any, heldout: Any, generated_groups: Any, heldout_groups: Any
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Checked distances, and the group names of both together."""
    samples, names = [], []
    for who, distances, groups in (
        ("generated", generated, generated_groups),
        ("held-out", heldout, heldout_groups),
    ):
        distances = np.asarray(distances, dtype=float)
        if distances.ndim != 1 or not len(distances) or not np.isfinite(distances).all():
            raise InputError(
                f"distances of {who} images: found shape {distances.shape}; expected (n,) finite "
                "numbers, at least one"
            )
        if groups is None:
            groups = [f"{who} image {i}" for i in range(len(distances))]
        if len(groups) != len(distances):
            raise InputError(f"{len(groups)} groups for {len(distances)} {who} images")
        samples.append(distances)
        names.append(np.asarray(groups).astype(str))
    return samples[0], samples[1], np.concatenate(names)
