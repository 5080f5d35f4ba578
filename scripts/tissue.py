"""Compare the stain, nuclei and classes of a tile set with those of real test tiles."""

import argparse
import time
from pathlib import Path

from histosynth.scripting import evaluation_arguments, parser, run


def build_parser() -> argparse.ArgumentParser:
    made = parser(
        __doc__,
        example="python scripts/tissue.py --config results/demo/config.yaml --condition map "
        "--seed 0 --synthetic results/demo/tilesets/synthetic/map/seed0 "
        "--real results/demo/tilesets/real/test --judge results/demo/judges/segmenter "
        "--output results/demo/metrics/map/seed0/tissue.json",
    )
    made.add_argument("--synthetic", type=Path, required=True, help="tile set to score")
    made.add_argument("--real", type=Path, required=True, help="real test tiles")
    made.add_argument("--judge", type=Path, help="folder of the segmenter, where there are classes")
    return evaluation_arguments(made)


def main(args: argparse.Namespace) -> None:
    from histosynth.config import Study
    from histosynth.evaluations.rows import Scored, set_name, software, write_rows
    from histosynth.evaluations.tissue import tissue_of_files

    started = time.monotonic()
    study = Study.load(args.config)
    scored = Scored(study.study, args.condition, args.seed, set_name(args.synthetic), "tissue")
    judge = None
    if args.judge is not None:  # a study without classes needs no torch
        import torch

        from histosynth.device import pick_device
        from histosynth.judges.judge import load_judge

        torch.set_num_threads(args.threads)
        judge = load_judge(args.judge, device=pick_device())
    rows, facts = tissue_of_files(scored, study, real=args.real, made=args.synthetic, judge=judge)
    took = time.monotonic() - started
    of_rows = {"versions": software(), "protocols": scored.protocols, "facts": facts}
    write_rows(args.output, rows, seconds=took, **of_rows)


if __name__ == "__main__":
    run(main, build_parser())
