"""Score folders of synthetic images against a folder of real ones, in one HTML report."""

import argparse
import shlex
import sys

from histosynth.external_parser import build_parser
from histosynth.scripting import git_commit, log, run


def main(args: argparse.Namespace) -> None:
    from histosynth import external_arguments as given
    from histosynth.evaluations.folders import evaluate_folders
    from histosynth.external import Options
    from histosynth.files import atomic_file
    from histosynth.image_files import WORK_FOLDER
    from histosynth.report.folders import render_folders
    from histosynth.report.pages import Provenance

    work, table = args.work or args.report.parent / WORK_FOLDER, args.report.with_suffix(".csv")
    given.check_writable(args.report, table, work / "trial")
    folders = given.name_folders(args.real, args.synthetic, args.train)
    labels = given.read_labels(args.labels, folders)
    masks = given.read_masks(args.masks, args.classes, folders, labels)
    flags = (args.skip_broken, args.allow_codec_mismatch)
    options = Options(args.size, args.patients, labels, *masks, *flags, tuple(args.legacy))
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
