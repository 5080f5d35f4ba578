"""Let judges say whether synthetic tiles show the maps, labels, clusters, crops, ... requested."""

import argparse
import time
from pathlib import Path

from histosynth.scripting import evaluation_arguments, features_of_sets, parser, run


def build_parser() -> argparse.ArgumentParser:
    made = parser(
        __doc__,
        example="python scripts/adherence.py --config results/demo/config.yaml --condition map "
        "--seed 0 --synthetic results/demo/tilesets/synthetic/map/seed0 "
        "--real results/demo/tilesets/real/test --train results/demo/tilesets/real/train "
        "--judges results/demo/judges --tiles adherence_tiles.parquet "
        "--output results/demo/metrics/map/seed0/adherence.json",
    )
    made.add_argument("--synthetic", type=Path, required=True, help="tile set to score")
    made.add_argument("--real", type=Path, required=True, help="real test tiles")
    made.add_argument("--train", type=Path, required=True, help="real train tiles")
    made.add_argument("--judges", type=Path, required=True, help="folder of the trained judges")
    made.add_argument("--clusters", type=Path, help="folder of the clusters, where there are any")
    judged = {"nargs": 1, "metavar": "ENCODER=TRAIN.npy,TEST.npy,SYNTHETIC.npy"}
    words = "features that judge clusters, by another encoder than the clusters were found with"
    made.add_argument("--features", help=words, **judged)
    words = "features that judge conditions which tell the generator features"
    made.add_argument("--told-features", help=words, **judged)
    made.add_argument("--table", type=Path, help="condition table, where crops are shown")
    made.add_argument("--tiles", type=Path, required=True, help="Parquet file: what each tile got")
    return evaluation_arguments(made)


def main(args: argparse.Namespace) -> None:
    import torch

    from histosynth.config import Study
    from histosynth.evaluations.adherence import adherence_of_files
    from histosynth.evaluations.rows import Scored, set_name, software, write_rows
    from histosynth.files import atomic_file

    torch.set_num_threads(args.threads)
    started = time.monotonic()
    study = Study.load(args.config)
    scored = Scored(study.study, args.condition, args.seed, set_name(args.synthetic), "adherence")
    given = {name: getattr(args, name) for name in ("train", "real", "synthetic", "judges")}
    given |= {"clusters": args.clusters, "table": args.table}
    given |= {k: features_of_sets(getattr(args, k)) for k in ("features", "told_features")}
    rows, tiles, facts = adherence_of_files(scored, study, **given)
    with atomic_file(args.tiles) as partial:
        tiles.to_parquet(partial, index=False)
    of_rows = {"versions": software(), "protocols": scored.protocols, "facts": facts}
    write_rows(args.output, rows, seconds=time.monotonic() - started, **of_rows)


if __name__ == "__main__":
    run(main, build_parser())
