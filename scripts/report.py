"""Write a study's report: one HTML file, with everything in it, that opens from disk."""

import argparse
import shlex
import sys
from pathlib import Path

from histosynth.scripting import git_commit, log, parser, run


def build_parser() -> argparse.ArgumentParser:
    made = parser(
        __doc__,
        example="python scripts/report.py --results results/demo --output reports/demo/index.html",
        study=False,
    )
    made.add_argument("--results", type=Path, required=True, help="folder results/{study}")
    made.add_argument("--output", type=Path, required=True, help="the HTML file")
    made.add_argument(
        "--partial", action="store_true", help="the study is not finished: show what there is"
    )
    return made


def main(args: argparse.Namespace) -> None:
    from histosynth.files import atomic_file
    from histosynth.report.collect import collect
    from histosynth.report.pages import Provenance, render

    results = collect(args.results, partial=args.partial)
    commit = git_commit()
    known = {"commit": commit} if commit else {}
    selftest = args.output.with_name("selftest.html")
    made_by = Provenance(command=shlex.join(sys.argv), **known)
    html = render(results, made_by, selftest=selftest.name if selftest.is_file() else "")
    with atomic_file(args.output) as partial:
        partial.write_text(html, encoding="utf-8")
    log(f"report: {args.output}, {args.output.stat().st_size / 2**20:.1f} MB")


if __name__ == "__main__":
    run(main, build_parser())
