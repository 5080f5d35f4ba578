"""Score whether a tile set lies nearer to the training tiles than tissue of new patients does."""

import argparse
import time
from pathlib import Path

from histosynth.scripting import evaluation_arguments, features_of_sets, parser, run


def build_parser() -> argparse.ArgumentParser:
    made = parser(
        __doc__,
        example="python scripts/memorization.py --config results/demo/config.yaml "
        "--condition map --seed 0 --train results/demo/tilesets/real/train "
        "--test results/demo/tilesets/real/test "
        "--synthetic results/demo/tilesets/synthetic/map/seed0 "
        "--features texture=results/demo/features/real/train/texture.npy,"
        "results/demo/features/real/test/texture.npy,"
        "results/demo/features/synthetic/map/seed0/texture.npy "
        "--output results/demo/metrics/map/seed0/memorization.json",
    )
    made.add_argument("--train", type=Path, required=True, help="tiles the generator learnt from")
    made.add_argument("--test", type=Path, required=True, help="real tiles of held-out patients")
    made.add_argument("--synthetic", type=Path, help="set to score (default: half of the test)")
    made.add_argument(
        "--features",
        nargs="+",
        required=True,
        metavar="ENCODER=TRAIN.npy,TEST.npy[,SYNTHETIC.npy]",
        help="features of these sets, one entry an encoder",
    )
    made.add_argument("--table", type=Path, help="condition table, where crops were shown")
    return evaluation_arguments(made)


def main(args: argparse.Namespace) -> None:
    from histosynth.config import Study
    from histosynth.evaluations.memorization import memorization_of_files
    from histosynth.evaluations.rows import Scored, set_name, software, write_rows

    started = time.monotonic()
    study = Study.load(args.config)
    of = set_name(args.synthetic or args.test)
    scored = Scored(study.study, args.condition, args.seed, of, "memorization")
    given = {name: getattr(args, name) for name in "train test synthetic table threads".split()}
    features = features_of_sets(args.features)
    rows, facts = memorization_of_files(scored, study, **given, features=features)
    took = time.monotonic() - started
    of_rows = {"versions": software(), "protocols": scored.protocols, "facts": facts}
    write_rows(args.output, rows, seconds=took, **of_rows)


if __name__ == "__main__":
    run(main, build_parser())
