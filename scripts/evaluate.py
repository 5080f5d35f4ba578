"""Score folders of synthetic images against a folder of real ones, in one HTML report."""

import argparse
import shlex
import sys
from pathlib import Path

from histosynth.scripting import git_commit, log, parser, run


def build_parser() -> argparse.ArgumentParser:
    made = parser(
        f"{__doc__}\nSubfolders are searched too. It takes no study, no GPU and no weights.",
        example="python scripts/evaluate.py --real cohort/png --synthetic theirs=gan/samples "
        "--patients '^([^_]+)_' --report scores.html",
        study=False,
    )
    add = made.add_argument
    add("--real", type=Path, required=True, help="folder of real images")
    add("--synthetic", action="append", required=True, metavar="NAME=FOLDER", help="or FOLDER")
    add("--report", type=Path, required=True, help="HTML file; a .csv of all scores goes beside")
    add("--patients", metavar="REGEX|TABLE", help="one group on names, or columns image,patient_id")
    add("--labels", action="append", default=[], metavar="folders|NAME=TABLE", help="of each set")
    add("--size", type=int, help="resize all (antialiased) to this side in pixels")
    add("--encoder", action="append", default=[], metavar="KIND[:MODEL][:WEIGHTS]|YAML")
    add("--train", type=Path, help="images the generator was trained on: scores memorization")
    add("--work", type=Path, help="kept features (default: evaluate-work beside the report)")
    add("--skip-broken", action="store_true", help="leave unreadable files out")
    add("--allow-codec-mismatch", action="store_true", help="score JPEG against PNG, and say so")
    add("--threads", type=int, default=1, help="CPU threads (default: 1)")
    return made


def main(args: argparse.Namespace) -> None:
    from histosynth import external_arguments as given
    from histosynth.evaluations.folders import evaluate_folders
    from histosynth.external import Options
    from histosynth.files import atomic_file
    from histosynth.report.folders import render_folders
    from histosynth.report.pages import Provenance

    work, table = args.work or args.report.parent / "evaluate-work", args.report.with_suffix(".csv")
    given.check_writable(args.report, table, work / "trial")
    folders = given.name_folders(args.real, args.synthetic, args.train)
    labels = given.read_labels(args.labels, folders)
    options = Options(args.size, args.patients, labels, args.skip_broken, args.allow_codec_mismatch)
    encoders = given.read_encoders(args.encoder)
    scores, checked = evaluate_folders(folders, encoders, work, options, log=log)
    made_by = Provenance(git_commit() or Provenance.commit, command=shlex.join(sys.argv))
    html = render_folders(scores, checked, made_by, say=log)
    with atomic_file(table) as partial:
        scores.rows.to_csv(partial, index=False)
    with atomic_file(args.report) as partial:
        partial.write_text(html, encoding="utf-8")
    log(f"report: {args.report}, all scores: {table}, features for next time: {work}")


if __name__ == "__main__":
    run(main, build_parser())
