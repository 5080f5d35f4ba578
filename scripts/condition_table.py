"""Draw the held-out conditions that every variant samples from: image i comes from row i."""

import argparse
from pathlib import Path

from histosynth.scripting import log, parser, run


def build_parser() -> argparse.ArgumentParser:
    made = parser(
        __doc__,
        example="python scripts/condition_table.py --config results/demo/config.yaml "
        "--test results/demo/tilesets/real/test --train results/demo/tilesets/real/train "
        "--clusters results/demo/clusters/texture-k8 --output results/demo/condition_table.parquet",
    )
    made.add_argument("--test", type=Path, required=True, help="the real test tiles")
    made.add_argument("--train", type=Path, help="train tiles: what else is shown, none asks for")
    made.add_argument("--clusters", type=Path, help="folder of scripts/cluster.py")
    made.add_argument("--output", type=Path, required=True, help="Parquet table to write")
    return made


def main(args: argparse.Namespace) -> None:
    from histosynth.clusters import kept_prompts, read_assignments, selected_rows
    from histosynth.conditions.table import condition_table
    from histosynth.conditions.unseen import left_out_words, unseen_classes
    from histosynth.config import Study
    from histosynth.files import atomic_file
    from histosynth.grid import Grid
    from histosynth.tilesets import TileSet

    study = Study.load(args.config)
    test = TileSet.open(args.test)
    assignments = read_assignments(args.clusters)
    unseen = {}
    if args.train and Grid(study).asks_for_maps:
        train = TileSet.open(args.train)
        balanced = study.clusters is not None and study.clusters.balance is not None
        trained_on = selected_rows(assignments, train) if balanced else None
        unseen = unseen_classes(test, train, trained_on)
    table = condition_table(
        test,
        study.sampling,
        clusters=assignments,
        prompts=kept_prompts(args.clusters),
        unseen=unseen,
    )
    with atomic_file(args.output) as partial:
        table.to_parquet(partial, index=False)
    if unseen:
        log(f"such test tiles are left out: {left_out_words(unseen)}")
    without, used = int((table["crop_tile_ids"] == "{}").sum()), table["test_row"].nunique()
    log(f"{len(table)} conditions from {used} of {len(test)} test tiles; {without} without a crop")


if __name__ == "__main__":
    run(main, build_parser())
