"""Let the judges say whether synthetic tiles show the maps and labels requested of them."""

import argparse
import time
from pathlib import Path

from histosynth.scripting import evaluation_arguments, parser, run


def build_parser() -> argparse.ArgumentParser:
    made = parser(
        __doc__,
        example="python scripts/adherence.py --config results/demo/config.yaml --condition map "
        "--seed 0 --synthetic results/demo/tilesets/synthetic/map/seed0 "
        "--real results/demo/tilesets/real/test --judges results/demo/judges "
        "--output results/demo/metrics/map/seed0/adherence.json",
    )
    made.add_argument("--synthetic", type=Path, required=True, help="tile set to score")
    made.add_argument("--real", type=Path, required=True, help="real test tiles")
    made.add_argument("--judges", type=Path, required=True, help="folder of the trained judges")
    return evaluation_arguments(made)


def main(args: argparse.Namespace) -> None:
    import torch

    from histosynth.config import Study
    from histosynth.device import pick_device
    from histosynth.evaluations import adherence
    from histosynth.evaluations.rows import Scored, set_name, software, write_rows
    from histosynth.judges.judge import load_judge
    from histosynth.tilesets import TileSet

    torch.set_num_threads(args.threads)
    started = time.monotonic()
    study = Study.load(args.config)
    scored = Scored(study.study, args.condition, args.seed, set_name(args.synthetic), "adherence")
    parts = [("segmenter", adherence.MAP_METRICS, adherence.map_rows)] * bool(study.classes)
    parts += [("classifier", adherence.LABEL_METRICS, adherence.label_rows)] * bool(study.label)
    rows = []
    for kind, metrics, score in parts:
        rows += scored.guarded(
            metrics,
            lambda kind=kind, score=score: score(
                scored,
                TileSet.open(args.real),
                TileSet.open(args.synthetic),
                judge=load_judge(args.judges / kind, device=pick_device()),
                seed=study.evaluation.seed,
            ),
        )
    took = time.monotonic() - started
    write_rows(args.output, rows, seconds=took, versions=software(), protocols=scored.protocols)


if __name__ == "__main__":
    run(main, build_parser())
