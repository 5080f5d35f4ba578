"""Cut a chunk of a cohort's slides into a tile set."""

import argparse
from pathlib import Path

from histosynth.scripting import log, parser, run


def build_parser() -> argparse.ArgumentParser:
    made = parser(
        "Tile every N-th slide of a cohort: train/, val/ and test/ (tiles kept), rejected.parquet\n"
        "(others, with their reasons), slides.json (what became of each slide). What is done lies\n"
        "in OUTPUT.state too: a repeat redoes only slides that failed or changed.",
        example="python scripts/tile.py --config config.yaml --cohort results/demo/cohort.parquet "
        "--chunk 0 --chunks 2 --output results/demo/tiles/chunk0",
    )
    made.add_argument("--cohort", type=Path, required=True, help="from scripts/cohort.py")
    made.add_argument("--chunk", type=int, default=0, help="which chunk, from 0 (default: 0)")
    made.add_argument("--chunks", type=int, default=1, help="number of chunks (default: 1)")
    made.add_argument("--output", type=Path, required=True, help="folder of the chunk")
    return made


def main(args: argparse.Namespace) -> None:
    import pandas as pd

    from histosynth.config import Study
    from histosynth.errors import InputError
    from histosynth.slides.chunks import tile_chunk

    if not 0 <= args.chunk < args.chunks:
        raise InputError(f"--chunk {args.chunk}: expected 0 to {args.chunks - 1} (--chunks less 1)")
    study = Study.load(args.config)
    cohort = pd.read_parquet(args.cohort)
    slides = tile_chunk(cohort, study, args.output, chunk=args.chunk, chunks=args.chunks)
    for slide in slides:
        if slide["reason"]:
            log(f"tile: slide {slide['slide_id']} {slide['status']}: {slide['reason']}")
    kept = sum(slide["counts"].get("accepted", 0) for slide in slides)
    log(f"tile: {kept} tiles kept of {len(slides)} slides")


if __name__ == "__main__":
    run(main, build_parser())
