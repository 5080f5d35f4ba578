"""Collect every metric row of a study in one table, as Parquet and CSV."""

import argparse
from pathlib import Path

from histosynth.scripting import log, parser, run


def build_parser() -> argparse.ArgumentParser:
    made = parser(
        __doc__,
        example="python scripts/summary.py --config results/demo/config.yaml "
        "--metrics results/demo/metrics/*/seed*/*.json --output results/demo/summary.parquet",
    )
    made.add_argument("--metrics", type=Path, nargs="+", required=True, help="files of rows")
    made.add_argument("--output", type=Path, required=True, help=".parquet; a .csv goes beside it")
    return made


def main(args: argparse.Namespace) -> None:
    from histosynth.evaluations.summary import summarise, write_summary

    table = summarise(args.metrics)
    write_summary(args.output, table)
    counts = table["status"].value_counts()
    log(f"{len(table)} rows: {', '.join(f'{n} {status}' for status, n in counts.items())}")


if __name__ == "__main__":
    run(main, build_parser())
