"""Training steps of the generator: ours against a loop as diffusers' examples write it, in one run.

    python bench/training.py            64 and 128 px, some minutes on two cores; with a CUDA
                                        device also preset base at 256 px
    python bench/training.py --quick    64 px, a few steps, within a minute
    python bench/training.py --json     one JSON line a case instead of the table

Both train the same network from the same weights on the same phantom tiles and maps, with the same
flow target, times, dropout of conditions, batch, clipping, AdamW and threads, in float32.
The plain loop decodes the batch's tiles and maps from the tile set, encodes the images by the
autoencoder (the study's default, f4) in every step, and uses `torch.optim.AdamW` and diffusers'
`EMAModel` as they come. Ours is `train_generator` as a study runs it: cached latents, channels
last, fused AdamW, two averages of the weights, draws a sample, curves, state. "SD-sized": the
autoencoder is of Stable Diffusion's shape (84 M, f8). The cache is made once a study, for all its
conditions and seeds; its seconds are told beside.

Rounds of both alternate. Told are the median images a second and their range over the rounds, the
ratio of the medians; as "cpu" the ratio of the CPU time of all threads, which other work on the
cores changes less; and where the plain loop's time goes. On CUDA the plain loop runs in float32 and
under bf16 autocast, and ours tells its share of the card's bf16 peak.
"""

import argparse
import json
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch

    from histosynth.diffusion.autoencoder import Autoencoder
    from histosynth.diffusion.network import ConditionedNetwork
    from histosynth.generator_settings import GeneratorSettings
    from histosynth.tilesets import TileSet

MPP = 1.5
# The autoencoder of Stable Diffusion's shape (84 M, f8), but for its one attention layer.
LARGE: dict[str, Any] = {
    "channels": [128, 256, 512, 512],
    "layers_per_block": 2,
    "latent_channels": 4,
}


@dataclass(frozen=True)
class Case:
    """`steps` of each side a round; `tiles` a side of a square slide are cut."""

    side: int
    batch_size: int
    steps: int
    rounds: int
    tiles: int = 12
    preset: str = "tiny"
    large_autoencoder: bool = False


def write_tiles(folder: Path, case: Case) -> "TileSet":
    """Tiles of one phantom slide and their maps, as a study stores them."""
    from histosynth.slides.phantom import PHANTOM_CLASSES, render_slide
    from histosynth.tileset_writer import TileSetWriter
    from histosynth.tilesets import TileSet

    size = case.tiles * case.side
    image, mask = render_slide(size, size, mpp=MPP, seed=0, site=0, patient=0, difficulty=0.3)
    classes = [{"name": name, "color": "#000000"} for name in PHANTOM_CLASSES]
    with TileSetWriter(folder, classes=classes) as writer:
        for top in range(0, size, case.side):
            for left in range(0, size, case.side):
                place = slice(top, top + case.side), slice(left, left + case.side)
                row = {"tile_id": f"x{left}_y{top}", "slide_id": "s", "patient_id": "p"}
                writer.add(image[place], row, mask[place])
    return TileSet.open(folder)


class PlainLoop:
    """The loop of diffusers' examples: all that a step needs is made in the step."""

    def __init__(
        self,
        network: "ConditionedNetwork",
        autoencoder: "Autoencoder",
        tiles: "TileSet",
        settings: "GeneratorSettings",
        device: "torch.device",
        *,
        bf16: bool,
    ) -> None:
        import torch
        from diffusers.training_utils import EMAModel

        self.network = network.to(device, memory_format=torch.contiguous_format).train()
        self.autoencoder, self.tiles = autoencoder, tiles
        self.settings, self.device, self.bf16 = settings, device, bf16
        self.loader = self._batches()
        parameters = list(network.parameters())
        self.optimizer = torch.optim.AdamW(
            parameters,
            lr=settings.learning_rate,
            betas=(0.9, settings.beta2),
            weight_decay=settings.weight_decay,
        )
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, lambda step: 1.0)
        self.ema = EMAModel(parameters, decay=0.9999, use_ema_warmup=True)
        self.seconds: dict[str, float] = defaultdict(float)

    def _batches(self) -> "Iterator[tuple[torch.Tensor, torch.Tensor]]":
        from torch.utils.data import DataLoader

        loader = DataLoader(
            _Decoded(self.tiles), batch_size=self.settings.batch_size, shuffle=True, drop_last=True
        )
        while True:
            yield from loader

    @contextmanager
    def _timed(self, part: str) -> "Iterator[None]":
        start = time.perf_counter()
        yield
        synchronize(self.device)
        self.seconds[part] += time.perf_counter() - start

    def run(self, steps: int) -> None:
        for _ in range(steps):
            self._step()

    def _step(self) -> None:
        import torch

        from histosynth.diffusion.network import ConditionBatch

        network, process = self.network, self.network.process
        with self._timed("decode"):
            images, planes = (part.to(self.device) for part in next(self.loader))
        with self._timed("encode"), torch.no_grad():
            latents = self.autoencoder.network.encode(images).latent_dist.sample()
        n = len(latents)
        noise = torch.randn_like(latents)
        times = torch.sigmoid(torch.randn(n, device=self.device))
        drop = torch.rand(n, 1, device=self.device) < self.settings.condition_dropout
        with self._timed("network"):
            noisy = process.noisy(latents, noise, times)
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
                predicted = network(noisy, times, ConditionBatch({"map": planes}), drop)
            target = process.target(latents, noise, times)
            loss = torch.nn.functional.mse_loss(predicted.float(), target)
            loss.backward()
        with self._timed("optimizer"):
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            self.optimizer.step()
            self.schedule.step()
            self.optimizer.zero_grad()
        with self._timed("ema"):
            self.ema.step(network.parameters())
        loss.item()  # as the examples do for their logs

    def shares(self) -> dict[str, float]:
        whole = sum(self.seconds.values())
        return {part: round(seconds / whole, 2) for part, seconds in self.seconds.items()}


class _Decoded:
    """Tiles and maps by index, decoded when asked for, flipped at random."""

    def __init__(self, tiles: "TileSet") -> None:
        self.tiles = tiles

    def __len__(self) -> int:
        return len(self.tiles)

    def __getitem__(self, i: int) -> "tuple[torch.Tensor, torch.Tensor]":
        import torch

        from histosynth.conditions.map import one_hot_planes

        image = torch.from_numpy(self.tiles.image(i)).permute(2, 0, 1).float() / 127.5 - 1
        map_ = self.tiles.map(i)
        assert map_ is not None
        planes = torch.from_numpy(one_hot_planes(map_[None], len(self.tiles.classes))[0])
        axes = [axis for axis in (1, 2) if torch.rand(()) < 0.5]
        return image.flip(axes), planes.flip(axes)


def synchronize(device: "torch.device") -> None:
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize(device)


class Clock:
    """Seconds, and CPU seconds of all threads, of the rounds of one side."""

    def __init__(self, device: "torch.device") -> None:
        self.device = device
        self.seconds: list[float] = []
        self.cpu: list[float] = []
        self.start()

    def start(self) -> None:
        synchronize(self.device)
        self._began = time.perf_counter(), time.process_time()

    def stop(self) -> None:
        synchronize(self.device)
        self.seconds.append(time.perf_counter() - self._began[0])
        self.cpu.append(time.process_time() - self._began[1])


def compare(case: Case, device: "torch.device", *, bf16_peer: bool) -> dict[str, Any]:
    """Alternate rounds of ours and the plain loop; the first of each is a warm-up."""
    import torch

    from histosynth.conditions.map import one_hot_planes
    from histosynth.diffusion.autoencoder import build_autoencoder
    from histosynth.diffusion.latents import flip, write_latents
    from histosynth.diffusion.loop import Validation
    from histosynth.diffusion.network import ConditionBatch, SignalsSpec, build_network
    from histosynth.diffusion.train import train_generator
    from histosynth.generator_settings import AutoencoderSettings, GeneratorSettings

    settings = GeneratorSettings(
        preset=case.preset,
        batch_size=case.batch_size,
        steps=case.steps * (case.rounds + 1),
        save_every_seconds=1e9,
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tiles = write_tiles(folder / "tiles", case)
        changes = LARGE if case.large_autoencoder else {}
        autoencoder = build_autoencoder(AutoencoderSettings(**changes), tile_size=case.side)
        autoencoder = autoencoder.to(device).eval()
        start = time.perf_counter()
        cache = write_latents(
            folder / "latents", autoencoder, tiles.images(), tiles_fingerprint=tiles.fingerprint
        )
        cache_seconds = time.perf_counter() - start
        maps = tiles.maps()
        assert maps is not None
        spec = SignalsSpec(planes={"map": len(tiles.classes)})
        shape = {"latent_shape": cache.latent_shape, "tile_size": case.side}
        plain = PlainLoop(
            build_network(settings, spec, **shape, seed=0),
            autoencoder,
            tiles,
            settings,
            device,
            bf16=bf16_peer,
        )

        def conditions(rows: np.ndarray, flips: np.ndarray, _seeds: Any) -> ConditionBatch:
            planes = one_hot_planes(maps[rows], len(tiles.classes))
            pairs = zip(planes, flips, strict=True)
            planes = np.stack([flip(own, int(f), axes=(1, 2)) for own, f in pairs])
            return ConditionBatch({"map": torch.from_numpy(planes)})

        ours, theirs = Clock(device), Clock(device)

        def other_round(_network: torch.nn.Module) -> dict[str, float]:
            ours.stop()
            theirs.start()
            with torch.enable_grad():  # a validation is without
                plain.run(case.steps)
            theirs.stop()
            if len(theirs.seconds) == 1:
                plain.seconds.clear()  # of the warm-up
            ours.start()
            return {}

        ours.start()
        _, record = train_generator(
            cache,
            conditions,
            settings,
            seed=0,
            spec=spec,
            tile_size=case.side,
            state_folder=folder / "state",
            log=lambda _: None,
            device=device,
            validation=Validation(every=case.steps, score=other_round),
        )
    images = case.steps * case.batch_size
    rates = {
        side: [images / seconds for seconds in clock.seconds[1:]]
        for side, clock in (("ours", ours), ("peer", theirs))
    }
    peer = "plain loop" + ", bf16 autocast" * bf16_peer
    flops = record["flops_per_step"] * median(rates["ours"]) / case.batch_size
    return {
        "bench": "training",
        "case": f"{case.side} px, {case.preset} ({record['parameters'] / 1e6:.1f} M), "
        f"batch {case.batch_size}, {record['device']}" + ", SD-sized f8" * case.large_autoencoder,
        "ours": round(median(rates["ours"]), 1),
        "ours_range": [round(f(rates["ours"]), 1) for f in (min, max)],
        "peer": round(median(rates["peer"]), 1),
        "peer_range": [round(f(rates["peer"]), 1) for f in (min, max)],
        "peer_name": peer,
        "ratio": round(median(rates["ours"]) / median(rates["peer"]), 2),
        "cpu_ratio": round(median(theirs.cpu[1:]) / median(ours.cpu[1:]), 2),
        "unit": "images/s",
        "peer_shares": plain.shares(),
        "cache_seconds": round(cache_seconds, 1),
        "cached_tiles": len(tiles),
        "gflops": round(flops / 1e9, 1),
        "share_of_peak": share(flops, device),
    }


def share(flops_per_second: float, device: "torch.device") -> float | None:
    from histosynth.diffusion.throughput import share_of_peak

    return share_of_peak(flops_per_second, device)


def show(line: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(line), flush=True)
        return
    ranges = [
        f"{line[side]:.0f} ({low:.0f}-{high:.0f})"
        for side in ("ours", "peer")
        for low, high in [line[f"{side}_range"]]
    ]
    shares = ", ".join(f"{part} {value:.0%}" for part, value in line["peer_shares"].items())
    peak = "" if line["share_of_peak"] is None else f"; {line['share_of_peak']:.0%} of bf16 peak"
    print(
        f"{line['case']:46}{ranges[0]:>18}{ranges[1]:>18}{line['ratio']:7.2f}"
        f"{line['cpu_ratio']:7.2f}{line['gflops']:10.0f}{peak}  {line['peer_name']}: {shares}; "
        f"cache of {line['cached_tiles']} tiles {line['cache_seconds']:.0f} s",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="64 px, within a minute")
    parser.add_argument("--json", action="store_true", help="print JSON lines")
    parser.add_argument("--threads", type=int, default=2, help="of both sides (default: 2)")
    args = parser.parse_args()

    import torch

    torch.set_num_threads(args.threads)
    cpu = torch.device("cpu")
    cases: list[tuple[Case, torch.device, bool]] = [
        (Case(side=64, batch_size=16, steps=4, rounds=3, tiles=6), cpu, False)
    ]
    if not args.quick:
        cases = [
            (Case(side=64, batch_size=16, steps=10, rounds=7), cpu, False),
            (Case(side=128, batch_size=16, steps=6, rounds=5, tiles=8), cpu, False),
            (
                Case(side=64, batch_size=4, steps=3, rounds=3, tiles=3, large_autoencoder=True),
                cpu,
                False,
            ),
        ]
        if torch.cuda.is_available():
            large = Case(side=256, batch_size=128, steps=20, rounds=5, preset="base")
            cases += [(large, torch.device("cuda"), bf16) for bf16 in (False, True)]
    if not args.json:
        heads = f"{'ours images/s':>18}{'plain images/s':>18}{'ratio':>7}{'cpu':>7}{'GFLOP/s':>10}"
        print(f"{'case':46}{heads}  where the plain loop's time goes")
    for case, device, bf16_peer in cases:
        show(compare(case, device, bf16_peer=bf16_peer), args.json)


if __name__ == "__main__":
    main()
