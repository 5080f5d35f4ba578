"""Make one synthetic image again from its set's manifest, and say how far it is from the stored."""

import argparse
from pathlib import Path

from histosynth.scripting import log, parser, run


def build_parser() -> argparse.ArgumentParser:
    made = parser(
        __doc__,
        example="python scripts/remake.py --results results/demo --tile map-s0-000017 "
        "--output tile.png",
        study=False,
    )
    made.add_argument("--results", type=Path, required=True, help="results/{study} of a run")
    made.add_argument("--tile", required=True, help="tile id: CONDITION-sSEED-INDEX")
    made.add_argument("--output", type=Path, required=True, help="PNG file to write")
    made.add_argument("--threads", type=int, default=1, help="CPU threads (default: 1)")
    return made


def main(args: argparse.Namespace) -> None:
    import torch

    from histosynth.device import pick_device
    from histosynth.diffusion.remake import remake
    from histosynth.files import atomic_file
    from histosynth.tilesets import encode_png

    torch.set_num_threads(args.threads)
    made = remake(args.results, args.tile, device=pick_device())
    with atomic_file(args.output) as partial:
        partial.write_bytes(encode_png(made.image))
    largest, mean = made.difference
    log(
        f"{args.output}: {args.tile}, at most {largest} grey levels of 255 from the stored image "
        f"(mean {mean:.4f})"
    )


if __name__ == "__main__":
    run(main, build_parser())
