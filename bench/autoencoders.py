"""Which latent space is best for a generator: the same network, the same time, on each.

    python bench/autoencoders.py            eight to twelve minutes on one core
    python bench/autoencoders.py --quick    a few tiles and seconds: does it run?
    python bench/autoencoders.py --json     one JSON line a latent space instead of the table
    python bench/autoencoders.py --picture autoencoders.png      tiles, round trips and samples

A round trip alone does not tell how well a latent space can be learnt. EBHI-Seg of the shared data
at 64 px, its lesion maps as the condition: autoencoders see the train patients for a set time, a
small diffusion network then trains for a set time on the latents of each, and samples one image for
each map of the test patients. Both sets are compared with these patients' real tiles by the kernel
distance, once in texture features and once in SqueezeNet's, which is also what the perceptual term
is made of: there it judges its own work. Without the shared data nothing runs.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from histosynth.diffusion.autoencoder import Autoencoder
    from histosynth.diffusion.latents import LatentCache
    from histosynth.diffusion.network import ConditionBatch

SIDE = 64
SHOWN = 7  # columns of the picture
DATA = Path(os.environ.get("HISTOSYNTH_DATA", Path(__file__).parents[2] / "shared" / "data"))
SQUEEZENET = DATA / "weights/squeezenet11/squeezenet1_1_caffe.pth"
TAEF2 = {"path": str(DATA / "weights/taef2")}
SPACES: dict[str, dict[str, Any]] = {
    "ours": {},
    "ours, perceptual": {"perceptual": {"weights": str(SQUEEZENET), "weight": 0.1}},
    "TAEF2 as it is": {"kind": "pretrained", **TAEF2},
    "TAEF2, decoder tuned": {"kind": "finetune", **TAEF2, "crop": None, "batch_size": 8},
}
BASE = {"TAEF2, decoder tuned": "TAEF2 as it is"}  # the same latents, so the same generator


@dataclass(frozen=True)
class Tiles:
    """Images uint8 (n, 64, 64, 3), lesion maps float32 (n, 1, 64, 64) of 0 and 1, cases (n,)."""

    images: np.ndarray
    maps: np.ndarray
    cases: np.ndarray

    def conditions(self, rows: np.ndarray, flips: np.ndarray, _seeds: Any) -> "ConditionBatch":
        import torch

        from histosynth.diffusion.latents import flip
        from histosynth.diffusion.network import ConditionBatch

        pairs = zip(self.maps[rows], flips, strict=True)
        planes = np.stack([flip(own, int(f), axes=(1, 2)) for own, f in pairs])
        return ConditionBatch({"map": torch.from_numpy(planes)})


def read_tiles(split: str, *, every: int) -> Tiles:
    """Every so many-th image of a split, reduced to 64 px."""
    import pandas as pd
    from PIL import Image

    from histosynth.resizing import resize

    table = pd.read_csv(DATA / "ebhi_seg/index.csv").query("split == @split").iloc[::every]
    size = (SIDE, SIDE)
    images, maps = [], []
    for row in table.itertuples():
        image, mask = (Image.open(DATA / "ebhi_seg" / p) for p in (row.image, row.label))
        images.append(resize(np.asarray(image.convert("RGB")), size))
        shrunk = mask.convert("L").resize(size, Image.Resampling.BOX)
        maps.append(np.asarray(shrunk)[None] > 127)
    cases = table["case"].astype(str).to_numpy()
    return Tiles(np.stack(images), np.stack(maps).astype(np.float32), cases)


def steps_in(seconds: float, train: Callable[[int], dict[str, Any]]) -> int:
    """How many steps fit: by the second of two short trainings, as the first warms up."""
    train(3)
    record = train(10)
    return max(10, round(10 * seconds / record["seconds"]))


def fit_autoencoder(name: str, tiles: Tiles, seconds: float) -> tuple["Autoencoder", int]:
    """An autoencoder, and the steps that it trained."""
    from histosynth.diffusion.autoencoder_fitting import train_autoencoder
    from histosynth.diffusion.autoencoder_pretrained import open_pretrained
    from histosynth.generator_settings import AutoencoderSettings

    settings = AutoencoderSettings(**SPACES[name])
    if settings.kind == "pretrained":
        return open_pretrained(settings, tile_size=SIDE), 0

    def train(steps: int) -> tuple["Autoencoder", dict[str, Any]]:
        base = open_pretrained(settings, tile_size=SIDE) if settings.path else None
        with tempfile.TemporaryDirectory() as folder:
            return train_autoencoder(
                tiles.images,
                settings.model_copy(update={"steps": steps}),
                state_folder=Path(folder),
                log=lambda _: None,
                base=base,
                device="cpu",
            )

    steps = steps_in(seconds, lambda steps: train(steps)[1])
    return train(steps)[0], steps


def fit_generator(cache: "LatentCache", tiles: Tiles, seconds: float) -> tuple[Any, int]:
    """A diffusion network on the latents, and the steps that it trained."""
    from histosynth.diffusion.network import SignalsSpec
    from histosynth.diffusion.train import train_generator
    from histosynth.generator_settings import GeneratorSettings

    def train(steps: int) -> tuple[Any, dict[str, Any]]:
        with tempfile.TemporaryDirectory() as folder:
            return train_generator(
                cache,
                tiles.conditions,
                GeneratorSettings(steps=steps),
                seed=0,
                spec=SignalsSpec(planes={"map": 1}),
                tile_size=SIDE,
                state_folder=Path(folder),
                log=lambda _: None,
                device="cpu",
            )

    steps = steps_in(seconds, lambda steps: train(steps)[1])
    return train(steps)[0], steps


class Judge:
    """Kernel distance to the test tiles, with its interval over patients, in both encoders."""

    def __init__(self, test: Tiles) -> None:
        from histosynth.encoders import load_encoder
        from histosynth.settings import EncoderSettings

        deep = EncoderSettings(
            kind="torchvision",
            model="squeezenet1_1",
            weights=str(SQUEEZENET),
            normalization="caffe_bgr",
            input_size=224,
        )
        self.cases = test.cases
        self.encoders = {
            "texture": load_encoder("texture", EncoderSettings(kind="texture")),
            "squeezenet": load_encoder("squeezenet", deep),
        }
        self.real = {name: encode(test.images) for name, encode in self.encoders.items()}

    def distances(self, images: np.ndarray, cases: np.ndarray) -> dict[str, list[float]]:
        """Encoder -> value, low and high end."""
        from histosynth.metrics import KernelStatistic, jackknife_interval

        found = {}
        for name, encode in self.encoders.items():
            made = jackknife_interval(
                self.real[name],
                encode(images),
                real_groups=self.cases,
                synthetic_groups=cases,
                statistic=KernelStatistic(),
            )
            found[name] = [float(made.value), float(made.ci_low), float(made.ci_high)]
        return found


def compare(args: argparse.Namespace) -> tuple[list[dict[str, Any]], list[np.ndarray]]:
    """One row a latent space, after that of real train tiles; and the picture's lines."""
    import torch

    from histosynth.diffusion.autoencoder import round_trip
    from histosynth.diffusion.latents import write_latents
    from histosynth.diffusion.sample import sample_images
    from histosynth.encoders.perceptual import PerceptualDistance
    from histosynth.generator_settings import SamplingSettings

    torch.set_num_threads(args.threads)
    share, every = (0.02, 8) if args.quick else (1.0, 1)
    train, test = read_tiles("train", every=every), read_tiles("test", every=every)
    judge = Judge(test)
    look = PerceptualDistance(str(SQUEEZENET), key="weights")
    as_they_are = np.zeros(len(test.images), np.int64)
    rows = [{"space": "real train tiles", "samples": judge.distances(train.images, train.cases)}]
    lines = [test.maps[:, 0, ..., None].repeat(3, 3) * 255, test.images]
    generators: dict[str, Any] = {}
    for name in SPACES:
        started = time.monotonic()
        model, fitted = fit_autoencoder(name, train, share * args.autoencoder_seconds)
        passed = round_trip(model, test.images)
        with tempfile.TemporaryDirectory() as folder:
            cache = write_latents(
                Path(folder) / "a", model, train.images, tiles_fingerprint="train"
            )
            if name not in BASE:
                generators[name] = fit_generator(cache, train, share * args.seconds)
            network, steps = generators[BASE.get(name, name)]
            made = sample_images(
                network,
                model,
                cache.whitening,
                lambda rows: test.conditions(rows, as_they_are[rows], None),
                seeds=np.arange(len(test.images)),
                settings=SamplingSettings(n=len(test.images), steps=20, guidance_scale=1.5),
                device="cpu",
            )
            bytes_per_tile = cache.bytes_per_tile
        squared = np.square(passed.astype(float) - test.images).mean()
        pair = [torch.from_numpy(x).permute(0, 3, 1, 2) / 127.5 - 1 for x in (passed, test.images)]
        with torch.inference_mode():
            seen = float(look(*pair).mean())
        rows.append(
            {
                "space": name,
                "latent": list(cache.latent_shape),
                "bytes_per_tile": bytes_per_tile,
                "autoencoder_steps": fitted,
                "psnr": float(10 * np.log10(255**2 / squared)),
                "perceptual": seen,
                "round_trip": judge.distances(passed, test.cases),
                "generator_steps": steps,
                "samples": judge.distances(made, test.cases),
                "seconds": round(time.monotonic() - started, 1),
            }
        )
        lines += [passed, made]
        print(f"{name}: {rows[-1]['seconds']:.0f} s", file=sys.stderr)
    return rows, lines


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown; kernel distances with 95 % intervals."""

    def cell(value: list[float], digits: int) -> str:
        middle, low, high = (f"{v:.{digits}f}" for v in value)
        return f"{middle} [{low}, {high}]"

    heads = (
        "latent space | latents | KiB a tile | trained, steps | round trip, dB | perceptual | "
        "round trip, texture | round trip, squeezenet | generator, steps | "
        "**samples, texture** | **samples, squeezenet**"
    )
    text = [f"| {heads} |", "|---|---" + "|---:" * (heads.count("|") - 1) + "|"]
    for row in rows:
        samples = [cell(row["samples"]["texture"], 2), cell(row["samples"]["squeezenet"], 0)]
        if "psnr" not in row:
            text.append(f"| {row['space']} |" + " |" * 8 + f" {samples[0]} | {samples[1]} |")
            continue
        passed = [cell(row["round_trip"]["texture"], 2), cell(row["round_trip"]["squeezenet"], 0)]
        shape = " x ".join(map(str, row["latent"]))
        cells = [row["space"], shape, f"{row['bytes_per_tile'] / 1024:g}"]
        cells += [str(row["autoencoder_steps"]), f"{row['psnr']:.1f}", f"{row['perceptual']:.2f}"]
        text.append(f"| {' | '.join([*cells, *passed, str(row['generator_steps']), *samples])} |")
    return "\n".join(text)


def save_picture(lines: list[np.ndarray], path: Path) -> None:
    """A column a test tile: its map, the tile, then round trip and sample of each space."""
    from PIL import Image

    chosen = np.linspace(0, len(lines[1]) - 1, SHOWN).round().astype(int)
    grid = np.concatenate([np.concatenate(list(line[chosen]), 1) for line in lines])
    picture = Image.fromarray(grid.astype(np.uint8))
    picture.quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)


def main() -> None:
    made = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--seconds", type=float, default=120, help="of a generator's training")
    made.add_argument("--autoencoder-seconds", type=float, default=60, help="of an autoencoder's")
    made.add_argument("--threads", type=int, default=1)
    made.add_argument("--quick", action="store_true", help="a few tiles and seconds")
    made.add_argument("--json", action="store_true", help="one JSON line a latent space")
    made.add_argument("--picture", type=Path, help="PNG to write")
    args = made.parse_args()
    if not SQUEEZENET.is_file():
        print(f"skipped: no shared data at {DATA} (set HISTOSYNTH_DATA)")
        return
    rows, lines = compare(args)
    if args.picture:
        save_picture(lines, args.picture)
    for row in rows if args.json else []:
        print(json.dumps({"bench": "autoencoders", **row}))
    if not args.json:
        print(table(rows))


if __name__ == "__main__":
    main()
