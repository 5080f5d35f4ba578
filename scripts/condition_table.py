"""Draw the held-out conditions that every variant samples from: image i comes from row i."""

import argparse
from pathlib import Path

from histosynth.scripting import log, parser, run


def build_parser() -> argparse.ArgumentParser:
    made = parser(
        __doc__,
        example="python scripts/condition_table.py --config results/demo/config.yaml "
        "--test results/demo/tilesets/real/test --clusters results/demo/clusters/texture-k8 "
        "--output results/demo/condition_table.parquet",
    )
    made.add_argument("--test", type=Path, required=True, help="the real test tiles")
    made.add_argument("--clusters", type=Path, help="folder of scripts/cluster.py")
    made.add_argument("--output", type=Path, required=True, help="Parquet table to write")
    return made


def main(args: argparse.Namespace) -> None:
    from histosynth.clusters import kept_prompts, read_assignments
    from histosynth.conditions.table import condition_table
    from histosynth.config import Study
    from histosynth.files import atomic_file
    from histosynth.tilesets import TileSet

    settings = Study.load(args.config).sampling
    test = TileSet.open(args.test)
    table = condition_table(
        test,
        settings,
        clusters=read_assignments(args.clusters),
        prompts=kept_prompts(args.clusters),
    )
    with atomic_file(args.output) as partial:
        table.to_parquet(partial, index=False)
    without = int((table["crop_tile_ids"] == "{}").sum())
    log(
        f"{len(table)} conditions from {table['test_row'].nunique()} of {len(test)} test tiles; "
        f"{without} without a crop of another slide"
    )


if __name__ == "__main__":
    run(main, build_parser())
