"""What every script shares: the parser's look, threads, and errors without a traceback."""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from histosynth.errors import InputError


def parser(description: str, *, example: str, study: bool = True) -> argparse.ArgumentParser:
    """A parser whose help ends with a command to copy; `study` adds --config and --threads."""
    made = argparse.ArgumentParser(
        description=description,
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    if study:
        made.add_argument("--config", type=Path, required=True, help="the study's YAML file")
        made.add_argument("--threads", type=int, default=1, help="CPU threads (default: 1)")
    return made


def evaluation_arguments(made: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """What every evaluation is told: the condition, its generator seed, where its rows go."""
    made.add_argument("--condition", required=True, help="name of the condition, or `real`")
    made.add_argument("--seed", type=int, default=0, help="generator seed (default: 0)")
    made.add_argument("--output", type=Path, required=True, help="metric rows (JSON)")
    return made


def features_argument(
    made: argparse.ArgumentParser, tiles: str, *, option: str = "--features"
) -> None:
    """Add an option for features that a condition may need; `conditioning_features` reads it."""
    made.add_argument(
        option,
        nargs="*",
        default=[],
        metavar="ENCODER=FILE.npy",
        help=f"features of the {tiles} tiles, where the condition is told of them",
    )


def conditioning_features(
    args: argparse.Namespace, *, option: str = "--features"
) -> dict[str, Path]:
    """Encoder -> its file, from the option of `features_argument`.

    Raises
    ------
    InputError
        Not ENCODER=FILE.npy, or an encoder given twice.
    """
    found: dict[str, Path] = {}
    for text in getattr(args, option.strip("-").replace("-", "_")):
        name, sign, path = text.partition("=")
        if not (name and sign and path) or name in found:
            raise InputError(
                f"{option} {text}: expected ENCODER=FILE.npy, each encoder once; the files are "
                "made by scripts/embed.py"
            )
        found[name] = Path(path)
    return found


def features_of_sets(given: Iterable[str] | None) -> dict[str, list[str]]:
    """ENCODER=A.npy,B.npy,...: the files of each encoder, in the order of the sets."""
    pairs = (text.partition("=") for text in given or ())
    return {encoder: files.split(",") for encoder, _, files in pairs}


def run(main: Callable[[argparse.Namespace], None], arguments: argparse.ArgumentParser) -> None:
    """Parse, run, and end with one line; bad input ends with its message and status 2."""
    args = arguments.parse_args()
    threads = getattr(args, "threads", None)
    if threads:  # before numpy and torch are imported by `main`
        for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
            os.environ[name] = str(threads)
    started = time.monotonic()
    name = Path(sys.argv[0]).stem
    try:
        main(args)
    except InputError as error:
        sys.exit(_fail(name, error))
    log(f"{name}: done in {time.monotonic() - started:.0f} s")


def _fail(name: str, error: InputError) -> int:
    log(f"{name}: {error}")
    return 2


def log(message: str) -> None:
    """One line of progress on standard error."""
    print(message, file=sys.stderr, flush=True)


def git_commit() -> str | None:
    """The checkout's commit, with a word where files differ from it; None without git."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always"]
    command += ["--dirty=, modified", "--abbrev=40", "--exclude=*"]
    try:
        told = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return told.stdout.strip()
