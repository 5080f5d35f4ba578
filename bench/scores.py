"""Scores from ready features: ours against torch-fidelity and prdc, time and memory, in one run.

    python bench/scores.py                      n = 2,000 and 10,000 at d = 2,048 and 1,536, n =
                                                50,000 at d = 2,048; some ten minutes on two cores
    python bench/scores.py --quick              n = 1,000, within a minute
    python bench/scores.py --case 10000 2048    as many of n and d as you like; may be given again
    python bench/scores.py --json               one JSON line a case instead of the table

All of Fréchet distance, kernel distance, precision, recall, density and coverage: ours in one pass
(`Reference`); torch-fidelity for the first two, at its defaults (the kernel distance of 100 random
subsets of 1,000), and prdc for the rest. prdc holds three n x n float64 matrices, 20 GB each at n =
50,000, so it is not run there.

Every measurement runs in a process of its own, so that peak memory is its alone; all get the same
float32 features and the same number of threads. "peak MB" is what the call added to the process,
features not counted; "cpu" is seconds of all threads, the fairer column where other work shares
the cores (with --threads 1: threads that wait for each other count too). The values are compared
as well, and a disagreement ends the run.

Some rows are twelve synthetic sets against one real set, whose own part is computed once;
their peer is twelve times one set with everything computed anew. And one is the jackknife interval
of both distances over 40 patients by sums a group; its peer repeats the distances themselves.
"""

import argparse
import json
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

# Largest difference as a share of the value. torch-fidelity's Fréchet distance takes square roots
# of rounding errors where n < d; its default kernel distance is a mean over random subsets, so it
# is another number with the same expectation.
TOLERANCE = {"frechet": 1e-5, "kernel": 0.05, "prdc": 1e-6}
FULL = [(10_000, 2048), (2000, 2048), (2000, 1536), (10_000, 1536)]
LARGE = [(50_000, 2048)]
MOST_FOR_PRDC = 20_000
CONDITIONS = 12


def make_features(n: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Real and synthetic features with a spectrum that falls off, as those of encoders do."""
    rng = np.random.default_rng(0)
    scales = (1 + np.arange(width)) ** -0.5
    mixing = np.linalg.qr(rng.normal(size=(width, width)))[0]
    real, synthetic = ((rng.normal(size=(n, width)) * scales) @ mixing for _ in range(2))
    synthetic = synthetic * 1.1 + 0.02
    return real.astype(np.float32), synthetic.astype(np.float32)


def ours_all(real: np.ndarray, synthetic: np.ndarray) -> list[float]:
    from histosynth.metrics import Reference

    found = Reference(real, k=5).scores(synthetic)
    names = ("frechet_distance", "kernel_distance", "precision", "recall", "density", "coverage")
    return [found[name] for name in names]


def ours_many(real: np.ndarray, synthetic: np.ndarray) -> list[float]:
    """One synthetic set under twelve shifts, as twelve conditions."""
    from histosynth.metrics import Reference

    reference = Reference(real, k=5)
    found = [reference.scores(synthetic + np.float32(0.001 * i)) for i in range(CONDITIONS)]
    return [scores["kernel_distance"] for scores in found]


def intervals(quick: bool, real: np.ndarray, synthetic: np.ndarray) -> list[float]:
    """Standard errors of both distances."""
    from histosynth import metrics

    statistics = (
        (metrics.FrechetStatistic(), metrics.KernelStatistic())
        if quick
        else (metrics.frechet_distance, metrics.kernel_distance)
    )
    patients = np.arange(len(real)) % 40
    found = [
        metrics.jackknife_interval(real, synthetic, real_groups=patients, statistic=statistic)
        for statistic in statistics
    ]
    return [interval.se for interval in found]


def peer_frechet(real: np.ndarray, synthetic: np.ndarray) -> list[float]:
    import torch
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

    both = [fid_features_to_statistics(torch.from_numpy(x)) for x in (real, synthetic)]
    both = [{key: value.astype(np.float64) for key, value in one.items()} for one in both]
    return list(fid_statistics_to_metric(*both, verbose=False).values())


def peer_kernel(real: np.ndarray, synthetic: np.ndarray) -> list[float]:
    import torch
    from torch_fidelity.metric_kid import kid_features_to_metric

    scores = kid_features_to_metric(
        torch.from_numpy(real),
        torch.from_numpy(synthetic),
        kid_subsets=100,
        kid_subset_size=min(1000, len(real)),
        verbose=False,
    )
    return [scores["kernel_inception_distance_mean"]]


def peer_prdc(real: np.ndarray, synthetic: np.ndarray) -> list[float]:
    import contextlib
    import io

    from prdc import compute_prdc

    with contextlib.redirect_stdout(io.StringIO()):
        return [float(score) for score in compute_prdc(real, synthetic, nearest_k=5).values()]


Score = Callable[[np.ndarray, np.ndarray], list[float]]
PEERS: dict[str, tuple[Score, slice]] = {
    "frechet": (peer_frechet, slice(0, 1)),
    "kernel": (peer_kernel, slice(1, 2)),
    "prdc": (peer_prdc, slice(2, 6)),
}


def peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@dataclass(frozen=True)
class Run:
    """What one call gave and took; `cpu` is seconds of all its threads, `peak` what it added."""

    values: list[float]
    seconds: float
    cpu: float
    peak: float


def measure(score: Score, folder: Path, threads: int) -> Run:
    """One call, in a process of its own."""
    import torch
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(threads)
    with threadpool_limits(threads):
        score(*make_features(1000, 16))  # imports and thread pools are not what is measured
        # Read, not made here: what making them takes would raise the peak to compare with.
        features = np.load(folder / "real.npy"), np.load(folder / "synthetic.npy")
        before, seconds, cpu = peak_megabytes(), float("inf"), float("inf")
        for again in range(3):  # the best of two or three: other work only slows down
            start, used = time.perf_counter(), time.process_time()
            values = score(*features)
            cpu = min(cpu, time.process_time() - used)
            last = time.perf_counter() - start
            seconds = min(seconds, last)
            if last > 60 or (again and last > 3):
                break
        return Run(values, seconds, cpu, peak_megabytes() - before)


def case(n: int, width: int, run: Callable[[Score], Run]) -> dict:
    """Ours and all peers on two sets of n rows."""
    ours = run(ours_all)
    theirs = {}
    for name, (peer, which) in PEERS.items():
        if name == "prdc" and n > MOST_FOR_PRDC:
            continue
        theirs[name] = run(peer)
        np.testing.assert_allclose(
            ours.values[which], theirs[name].values, rtol=TOLERANCE[name], atol=1e-9
        )
    seconds, cpu = (sum(getattr(r, kind) for r in theirs.values()) for kind in ("seconds", "cpu"))
    return {
        "bench": "scores",
        "case": f"all scores n={n} d={width}",
        "ours": round(ours.seconds, 3),
        "peer": round(seconds, 3),
        "peer_name": ", ".join(f"{name} {r.seconds:.1f}" for name, r in theirs.items())
        + " (prdc not run: 20 GB a matrix)" * ("prdc" not in theirs),
        "ratio": round(seconds / ours.seconds, 2),
        "unit": "s",
        "ours_cpu": round(ours.cpu, 3),
        "peer_cpu": round(cpu, 3),
        "peak_mb": round(ours.peak, 1),
        "peer_peak_mb": round(max(r.peak for r in theirs.values()), 1),
    }


def reuse_case(n: int, m: int, width: int, run: Callable[[Score], Run]) -> dict:
    """Twelve synthetic sets of m rows against one real set of n, and twelve times one."""
    one, many = run(ours_all), run(ours_many)
    return {
        "bench": "scores",
        "case": f"{CONDITIONS} sets of {m}, real n={n} d={width}",
        "ours": round(many.seconds, 3),
        "peer": round(CONDITIONS * one.seconds, 3),
        "peer_name": f"{CONDITIONS} x one alone; {many.cpu / one.cpu:.1f} times the CPU of one",
        "ratio": round(CONDITIONS * one.seconds / many.seconds, 2),
        "unit": "s",
        "ours_cpu": round(many.cpu, 3),
        "peer_cpu": round(CONDITIONS * one.cpu, 3),
        "peak_mb": round(many.peak, 1),
        "peer_peak_mb": None,
    }


def interval_case(n: int, width: int, run: Callable[[Score], Run]) -> dict:
    """Intervals of the distances of two sets of n rows."""
    ours, theirs = (run(partial(intervals, quick)) for quick in (True, False))
    np.testing.assert_allclose(ours.values, theirs.values, rtol=1e-5)
    return {
        "bench": "scores",
        "case": f"intervals of distances n={n} d={width}",
        "ours": round(ours.seconds, 3),
        "peer": round(theirs.seconds, 3),
        "peer_name": "the distances repeated",
        "ratio": round(theirs.seconds / ours.seconds, 2),
        "unit": "s",
        "ours_cpu": round(ours.cpu, 3),
        "peer_cpu": round(theirs.cpu, 3),
        "peak_mb": round(ours.peak, 1),
        "peer_peak_mb": round(theirs.peak, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="n = 1,000 only: within a minute")
    parser.add_argument("--case", nargs=2, type=int, action="append", metavar=("N", "D"))
    parser.add_argument("--json", action="store_true", help="print JSON lines")
    parser.add_argument("--threads", type=int, default=2, help="for both sides (default: 2)")
    args = parser.parse_args()
    cases = args.case or ([(1000, 2048)] if args.quick else FULL)
    reuse = [(1000, 1000)] if args.quick else [(2000, 2000), (10_000, 2000)]
    if not args.json:
        heads = ("ours s", "peer s", "ratio", "ours cpu", "peer cpu", "ours MB", "peer MB")
        print(f"{'case':36}" + "".join(f"{head:>9}" for head in heads) + "  peer, seconds")
    # A spawned process starts small, so its peak is not that of this one.
    context = multiprocessing.get_context("spawn")
    with (
        ProcessPoolExecutor(1, mp_context=context, max_tasks_per_child=1) as pool,
        tempfile.TemporaryDirectory() as name,
    ):
        folder = Path(name)

        def run(score: Score) -> Run:
            return pool.submit(measure, score, folder, args.threads).result()

        def prepare(n: int, m: int, width: int) -> None:
            real, synthetic = make_features(n, width)
            np.save(folder / "real.npy", real)
            np.save(folder / "synthetic.npy", synthetic[:m])

        def compare(sizes: list[tuple[int, int]]) -> None:
            for n, width in sizes:
                prepare(n, n, width)
                show(case(n, width, run), args.json)

        compare(cases)
        if args.case:
            return
        for n, m in reuse:
            prepare(n, m, 2048)
            show(reuse_case(n, m, 2048, run), args.json)
        n, width = (500, 256) if args.quick else (5000, 768)
        prepare(n, n, width)
        show(interval_case(n, width, run), args.json)
        if not args.quick:
            compare(LARGE)


def show(line: dict, as_json: bool) -> None:
    if as_json:
        print(json.dumps(line), flush=True)
        return
    theirs = "-" if line["peer_peak_mb"] is None else f"{line['peer_peak_mb']:.0f}"
    print(
        f"{line['case']:36}{line['ours']:9.2f}{line['peer']:9.2f}{line['ratio']:9.1f}"
        f"{line['ours_cpu']:9.2f}{line['peer_cpu']:9.2f}{line['peak_mb']:9.0f}{theirs:>9}"
        f"  {line['peer_name']}",
        flush=True,
    )


if __name__ == "__main__":
    main()
