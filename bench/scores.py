"""Scores from ready features: ours against torch-fidelity and prdc, time and memory, in one run.

    python bench/scores.py            n = 2,000 and 10,000, some ten minutes on two cores
    python bench/scores.py --quick    n = 1,000, within a minute
    python bench/scores.py --json     one JSON line a case instead of the table

Every measurement runs in a process of its own, so that peak memory is its alone; both sides get
the same float32 features and the same number of threads. "peak MB" is what the call added to the
process, features not counted. The values are compared too, and a disagreement ends the run.
"""

import argparse
import json
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

# Largest difference as a share of the value. torch-fidelity's Fréchet distance takes square roots
# of rounding errors where n < d; its kernel sums float32; its default kernel distance is a mean
# over random subsets, so it is another number with the same expectation.
TOLERANCE = {
    "frechet": 1e-5,
    "kernel": 0.05,
    "kernel, one subset": 1e-3,
    "prdc": 1e-6,
    "precision, recall": 1e-6,
}


def make_features(n: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Real and synthetic features with a spectrum that falls off, as those of encoders do."""
    rng = np.random.default_rng(0)
    scales = (1 + np.arange(width)) ** -0.5
    mixing = np.linalg.qr(rng.normal(size=(width, width)))[0]
    real, synthetic = ((rng.normal(size=(n, width)) * scales) @ mixing for _ in range(2))
    synthetic = synthetic * 1.1 + 0.02
    return real.astype(np.float32), synthetic.astype(np.float32)


def ours_frechet(real: np.ndarray, synthetic: np.ndarray) -> list[float]:
    from histosynth.metrics import frechet_distance

    return [frechet_distance(real, synthetic)]


def ours_kernel(real: np.ndarray, synthetic: np.ndarray) -> list[float]:
    from histosynth.metrics import kernel_distance

    return [kernel_distance(real, synthetic)]


def ours_prdc(real: np.ndarray, synthetic: np.ndarray) -> list[float]:
    from histosynth.metrics import prdc

    return list(prdc(real, synthetic, k=5).values())


def ours_precision_recall(real: np.ndarray, synthetic: np.ndarray) -> list[float]:
    from histosynth.metrics import prdc

    scores = prdc(real, synthetic, k=3, inclusive=True)
    return [scores["precision"], scores["recall"]]


def peer_frechet(real: np.ndarray, synthetic: np.ndarray) -> list[float]:
    import torch
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

    both = [fid_features_to_statistics(torch.from_numpy(x)) for x in (real, synthetic)]
    both = [{key: value.astype(np.float64) for key, value in one.items()} for one in both]
    return list(fid_statistics_to_metric(*both, verbose=False).values())


def peer_kernel(real: np.ndarray, synthetic: np.ndarray) -> list[float]:
    """At its defaults: the mean over 100 random subsets of 1,000."""
    return _kernel_by_subsets(real, synthetic, subsets=100, size=1000)


def peer_kernel_one_subset(real: np.ndarray, synthetic: np.ndarray) -> list[float]:
    """One subset of all rows: the very statistic that ours is, with n x n matrices in memory."""
    return _kernel_by_subsets(real, synthetic, subsets=1, size=len(real))


def _kernel_by_subsets(
    real: np.ndarray, synthetic: np.ndarray, *, subsets: int, size: int
) -> list[float]:
    import torch
    from torch_fidelity.metric_kid import kid_features_to_metric

    scores = kid_features_to_metric(
        torch.from_numpy(real),
        torch.from_numpy(synthetic),
        kid_subsets=subsets,
        kid_subset_size=min(size, len(real)),
        verbose=False,
    )
    return [scores["kernel_inception_distance_mean"]]


def peer_prdc(real: np.ndarray, synthetic: np.ndarray) -> list[float]:
    import contextlib
    import io

    from prdc import compute_prdc

    with contextlib.redirect_stdout(io.StringIO()):
        return [float(score) for score in compute_prdc(real, synthetic, nearest_k=5).values()]


def peer_precision_recall(real: np.ndarray, synthetic: np.ndarray) -> list[float]:
    import torch
    from torch_fidelity.metric_prc import prc_features_to_metric

    scores = prc_features_to_metric(
        torch.from_numpy(synthetic),
        torch.from_numpy(real),
        prc_neighborhood=3,
        prc_batch_size=10000,
        save_cpu_ram=False,
        verbose=False,
    )
    return [scores["precision"], scores["recall"]]


Score = Callable[[np.ndarray, np.ndarray], list[float]]
SCORES: dict[str, tuple[Score, Score, str]] = {
    "frechet": (ours_frechet, peer_frechet, "torch-fidelity"),
    "kernel": (ours_kernel, peer_kernel, "torch-fidelity, 100 subsets"),
    "kernel, one subset": (ours_kernel, peer_kernel_one_subset, "torch-fidelity"),
    "prdc": (ours_prdc, peer_prdc, "prdc"),
    "precision, recall": (ours_precision_recall, peer_precision_recall, "torch-fidelity"),
}


def peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(score: Score, folder: Path, threads: int) -> tuple[list[float], float, float]:
    """Values, seconds and added peak MB of one call; runs in a process of its own."""
    import torch
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(threads)
    with threadpool_limits(threads):
        score(*make_features(1000, 16))  # imports and thread pools are not what is measured
        # Read, not made here: what making them takes would raise the peak to compare with.
        features = np.load(folder / "real.npy"), np.load(folder / "synthetic.npy")
        before, seconds = peak_megabytes(), float("inf")
        for _ in range(3):  # the best of three, where that is cheap: other work only slows down
            start = time.perf_counter()
            values = score(*features)
            last = time.perf_counter() - start
            seconds = min(seconds, last)
            if last > 3:
                break
        return values, seconds, peak_megabytes() - before


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="n = 1,000 only: within a minute")
    parser.add_argument("--json", action="store_true", help="print JSON lines")
    parser.add_argument("--threads", type=int, default=2, help="for both sides (default: 2)")
    args = parser.parse_args()
    sizes = [(1000, 2048)] if args.quick else [(2000, 2048), (10000, 1536)]
    if not args.json:
        print(
            f"{'case':36}{'ours s':>9}{'peer s':>9}{'ratio':>8}{'ours MB':>9}{'peer MB':>9}  peer"
        )
    # A spawned process starts small, so its peak is not that of this one.
    context = multiprocessing.get_context("spawn")
    with (
        ProcessPoolExecutor(1, mp_context=context, max_tasks_per_child=1) as pool,
        tempfile.TemporaryDirectory() as folder,
    ):
        for n, width in sizes:
            for name, features in zip(("real", "synthetic"), make_features(n, width), strict=True):
                np.save(Path(folder) / f"{name}.npy", features)
            for name, (ours, peer, peer_name) in SCORES.items():
                mine = pool.submit(measure, ours, Path(folder), args.threads).result()
                theirs = pool.submit(measure, peer, Path(folder), args.threads).result()
                np.testing.assert_allclose(mine[0], theirs[0], rtol=TOLERANCE[name], atol=1e-9)
                line = {
                    "bench": "scores",
                    "case": f"{name} n={n} d={width}",
                    "ours": round(mine[1], 4),
                    "peer": round(theirs[1], 4),
                    "peer_name": peer_name,
                    "ratio": round(theirs[1] / mine[1], 2),
                    "unit": "s",
                    "peak_mb": round(mine[2], 1),
                    "peer_peak_mb": round(theirs[2], 1),
                }
                print(json.dumps(line) if args.json else as_row(line), flush=True)


def as_row(line: dict) -> str:
    return (
        f"{line['case']:36}{line['ours']:9.3f}{line['peer']:9.3f}{line['ratio']:8.1f}"
        f"{line['peak_mb']:9.0f}{line['peer_peak_mb']:9.0f}  {line['peer_name']}"
    )


if __name__ == "__main__":
    main()
