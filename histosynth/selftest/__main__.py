"""The command `histosynth-selftest`."""

import argparse
import shlex
import sys
import tempfile
from pathlib import Path

from histosynth.scripting import git_commit, log, parser, run
from histosynth.selftest.sources import LEAST_IMAGES

_PROGRAM = "histosynth-selftest"


def build_parser() -> argparse.ArgumentParser:
    made = parser(
        "Plant faults in real tiles, and show which score moves and by how much.\n"
        "Without --images it takes phantom tiles, and needs no data, no weights and no GPU; it\n"
        "ends with status 1 where a score does not do what it was measured to do on them.",
        example=f"{_PROGRAM} --images cohort/png --patients '^([^_]+)_' --output selftest.html",
        study=False,
    )
    made.prog = _PROGRAM
    add = made.add_argument
    add(
        "--images",
        type=Path,
        metavar="FOLDER",
        help=f"your own real images, {LEAST_IMAGES} or more, subfolders included",
    )
    add("--patients", metavar="REGEX|TABLE", help="one group on names, or columns image,patient_id")
    add("--labels", action="store_true", help="labels are the names of the folder's subfolders")
    add("--size", type=int, help="resize all images (antialiased) to this side in pixels")
    add("--encoder", default="texture", metavar="KIND[:MODEL][:WEIGHTS]", help="default: texture")
    add("--fault", action="append", metavar="NAME", help="plant only this (may be given again)")
    add("--output", type=Path, metavar="PAGE.html", help="the same as a page")
    add("--csv", type=Path, metavar="FILE.csv", help="every reaction, one a row")
    add("--seed", type=int, default=0, help="of groups and faults (default: 0)")
    add("--threads", type=int, default=1, help="CPU threads (default: 1)")
    return made


def main(args: argparse.Namespace) -> None:
    from histosynth.encoders import load_encoder
    from histosynth.errors import InputError
    from histosynth.external_arguments import check_writable, read_encoders
    from histosynth.files import atomic_file
    from histosynth.report.pages import Provenance
    from histosynth.report.selftest import render_selftest
    from histosynth.selftest.sources import phantom_scene
    from histosynth.selftest.table import self_test
    from histosynth.selftest.words import (
        LEGEND,
        blind_words,
        summary_words,
        text_reasons,
        text_tables,
    )

    if args.images is None and (args.patients or args.labels or args.size):
        raise InputError("--patients, --labels and --size describe images: name them by --images")
    check_writable(*(path for path in (args.output, args.csv) if path))
    name, settings = list(read_encoders([args.encoder]).items())[-1]
    encoder = load_encoder(name, settings)
    if args.images is None:
        log("drawing phantom tiles")
        scene, about = phantom_scene(encoder, seed=args.seed), "phantom tiles"
    else:
        scene, about = _scene_of_images(args, encoder), str(args.images)
    log("planting faults")
    result = self_test(scene, faults=args.fault, seed=args.seed)
    print(text_tables(result))
    print(f"\nChanges are in half widths of the 95 % interval without a fault. {LEGEND}.")
    told = (blind_words(result), summary_words(result), text_reasons(result))
    print("\n".join(words for words in told if words))
    failures = result.failures(certain_only=args.images is not None)
    if args.csv:
        with atomic_file(args.csv) as partial:
            result.frame().to_csv(partial, index=False)
    if args.output:
        made_by = Provenance(git_commit() or Provenance.commit, command=shlex.join(sys.argv))
        page = render_selftest(
            result, about=about, encoder=name, failures=failures, provenance=made_by
        )
        with atomic_file(args.output) as partial:
            partial.write_text(page, encoding="utf-8")
        log(f"page: {args.output}")
    for r in failures:
        log(f"{_PROGRAM}: {r.score} {r.verdict} at {r.fault} {r.dose}: expected it {r.claim}")
    if failures:
        sys.exit(1)


def _scene_of_images(args: argparse.Namespace, encoder):
    from histosynth.external import FOLDERS, REAL, Options, check_folders, import_external
    from histosynth.selftest.sources import scene_of_sets

    labels = FOLDERS if args.labels else None
    options = Options(size=args.size, patients=args.patients, labels=labels)
    external = check_folders({REAL: args.images}, options, least={"": LEAST_IMAGES})[REAL]
    with tempfile.TemporaryDirectory() as work:
        tiles = import_external(external, Path(work), options, codec=external.codec, log=log)
        return scene_of_sets(tiles, None, encoder, seed=args.seed)


def command() -> None:
    """Entry point; `python -m histosynth.selftest` comes here, too."""
    sys.argv[0] = _PROGRAM
    run(main, build_parser())


if __name__ == "__main__":
    command()
