"""Plant faults in the study's real tiles, and write the page that says what each score sees."""

import argparse
import shlex
import sys
from pathlib import Path

from histosynth.scripting import git_commit, log, parser, run


def build_parser() -> argparse.ArgumentParser:
    made = parser(
        f"{__doc__}\nWithout a study: histosynth-selftest.",
        example="python scripts/selftest.py --config results/demo/config.yaml "
        "--real results/demo/tilesets/real/test --train results/demo/tilesets/real/train "
        "--output reports/demo/selftest.html",
    )
    made.add_argument("--real", type=Path, required=True, help="real test tiles: the reference")
    made.add_argument("--train", type=Path, required=True, help="real train tiles: all other roles")
    made.add_argument("--output", type=Path, required=True, help="the HTML file")
    return made


def main(args: argparse.Namespace) -> None:
    from histosynth.config import Study
    from histosynth.encoders import load_encoder
    from histosynth.errors import InputError
    from histosynth.files import atomic_file
    from histosynth.report.pages import Provenance
    from histosynth.report.selftest import render_selftest, render_untested
    from histosynth.selftest import self_test
    from histosynth.selftest.sources import MOST, scene_of_sets
    from histosynth.tilesets import TileSet

    study = Study.load(args.config)
    name, seed = study.evaluation.encoders[0], study.evaluation.seed
    made_by = Provenance(git_commit() or Provenance.commit, command=shlex.join(sys.argv))
    try:
        encoder = load_encoder(name, study.encoders[name])
        sets = (TileSet.open(args.real), TileSet.open(args.train))
        n = min(study.sampling.n, MOST)
        result = self_test(scene_of_sets(*sets, encoder, n=n, seed=seed), seed=seed)
    except InputError as error:  # the page says so; the study's report does not wait for it
        log(f"selftest: {error}")
        html = render_untested(str(error), provenance=made_by)
    else:
        about = f"the real tiles of study {study.study}"
        failures = result.failures(certain_only=True)
        html = render_selftest(
            result, about=about, encoder=name, failures=failures, provenance=made_by
        )
    with atomic_file(args.output) as partial:
        partial.write_text(html, encoding="utf-8")


if __name__ == "__main__":
    run(main, build_parser())
