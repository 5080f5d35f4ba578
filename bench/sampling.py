"""Sampling 1,000 images: our solvers against DDIM with 200 steps, seconds and kernel distance.

    python bench/sampling.py                    half an hour on two cores
    python bench/sampling.py --work FOLDER      keeps what is made; the next run goes on from there
    python bench/sampling.py --results FOLDER   takes a finished study's tiles, autoencoder and flow
    python bench/sampling.py --quick            small numbers, within a minute
    python bench/sampling.py --json             one JSON line a case instead of the table

An autoencoder and two generators of preset tiny, conditioned on tissue maps, are trained on phantom
tiles of 64 px: `flow`, as the preset is, and `diffusion`, alike but for the target (epsilon) and
its times (uniform), since DDIM belongs to such models. Both are guided alike. The peers are DDIM
with 200 steps on the diffusion, and its like on the flow, where deterministic DDIM is Euler's
method: 200 steps of that.

Images are asked for by the maps of held-out patients and compared with the real tiles of these
patients, texture features, kernel distance. Intervals leave out one patient at a time; the
differences to the peers are paired, as all cases have the same maps and noise. "to 200" is the mean
distance in grey levels to the images that 200 steps of the same model make of the same noise.
"cpu" is seconds of all threads, the fairer column where other work shares the cores.
"""

import argparse
import json
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from histosynth.diffusion.autoencoder import Autoencoder
    from histosynth.diffusion.latents import LatentCache
    from histosynth.diffusion.network import ConditionBatch, ConditionedNetwork
    from histosynth.generator_settings import GeneratorSettings
    from histosynth.metrics.contributions import Interval
    from histosynth.metrics.paired import Difference

SIDE, MPP = 64, 1.5
CHUNK = 250  # images after which a killed run goes on


@dataclass(frozen=True)
class Scale:
    """How much of everything; `slide` is the side of a patient's square slide in pixels."""

    train_patients: int
    test_patients: int
    slide: int
    autoencoder_steps: int
    generator_steps: int
    images: int


FULL = Scale(12, 10, 1024, 800, 1200, 1000)
QUICK = Scale(2, 2, 320, 40, 40, 12)


@dataclass(frozen=True)
class Case:
    model: str
    solver: str
    steps: int
    eta: float = 0.0

    @property
    def name(self) -> str:
        noisy = f", eta {self.eta:g}" if self.eta else ""
        return f"{self.model}, {self.solver} {self.steps}{noisy}"


PEERS = [Case("diffusion", "ddim", 200), Case("flow", "euler", 200)]
OURS = [
    Case("flow", "euler", 20),
    Case("flow", "heun", 10),
    Case("flow", "dpmpp", 10),
    Case("flow", "unipc", 10),
    Case("flow", "unipc", 20),
    Case("diffusion", "ddim", 20),
    Case("diffusion", "dpmpp", 20),
    Case("diffusion", "unipc", 20),
]


@dataclass(frozen=True)
class Tiles:
    """Images uint8 (n, 64, 64, 3), maps uint8 (n, 64, 64), patients (n,)."""

    images: np.ndarray
    maps: np.ndarray
    patients: np.ndarray

    def take(self, rows: np.ndarray) -> "Tiles":
        return Tiles(self.images[rows], self.maps[rows], self.patients[rows])

    def conditions(self, rows: np.ndarray, flips: np.ndarray | None = None) -> "ConditionBatch":
        import torch

        from histosynth.conditions.map import one_hot_planes
        from histosynth.diffusion.latents import flip
        from histosynth.diffusion.network import ConditionBatch
        from histosynth.slides.phantom import PHANTOM_CLASSES

        planes = one_hot_planes(self.maps[rows], len(PHANTOM_CLASSES))
        if flips is not None:
            pairs = zip(planes, flips, strict=True)
            planes = np.stack([flip(own, int(f), axes=(1, 2)) for own, f in pairs])
        return ConditionBatch({"map": torch.from_numpy(planes)})


def draw_tiles(patients: range, side: int) -> Tiles:
    """All tiles of a phantom slide a patient that are at least a third tissue."""
    from histosynth.slides.phantom import PHANTOM_CLASSES, render_slide

    images, maps, names = [], [], []
    for patient in patients:
        image, mask = render_slide(
            side, side, mpp=MPP, seed=0, site=patient % 2, patient=patient, difficulty=0.3
        )
        for top in range(0, side - SIDE + 1, SIDE):
            for left in range(0, side - SIDE + 1, SIDE):
                place = slice(top, top + SIDE), slice(left, left + SIDE)
                if np.mean(mask[place] != PHANTOM_CLASSES.index("background")) > 1 / 3:
                    images.append(image[place])
                    maps.append(mask[place])
                    names.append(f"patient{patient}")
    return Tiles(np.stack(images), np.stack(maps), np.array(names))


def read_tiles(folder: Path) -> Tiles:
    from histosynth.tilesets import TileSet

    found = TileSet.open(folder)
    images, maps = (
        np.stack([np.asarray(of(i)) for i in range(len(found))]) for of in (found.image, found.map)
    )
    return Tiles(images, maps, found.table["patient_id"].astype(str).to_numpy())


def take_over(results: Path, work: Path) -> None:
    """What a finished study has made already: its autoencoder, latents, and generator of maps."""
    models = results / "models"
    for source, name in (
        (models / "autoencoder", "autoencoder"),
        (results / "latents", "latents"),
        (models / "map" / "seed0" / "weights.safetensors", "flow.safetensors"),
    ):
        if not (work / name).exists():
            (work / name).symlink_to(source.resolve())


def make_autoencoder(train: Tiles, scale: Scale, work: Path) -> "Autoencoder":
    from histosynth.diffusion.autoencoder import load_autoencoder, save_autoencoder
    from histosynth.diffusion.autoencoder_fitting import train_autoencoder
    from histosynth.generator_settings import AutoencoderSettings

    folder = work / "autoencoder"
    if not folder.is_dir():
        settings = AutoencoderSettings(steps=scale.autoencoder_steps)
        state = work / "autoencoder_state"
        made, _ = train_autoencoder(list(train.images), settings, state_folder=state, log=quiet)
        save_autoencoder(made, folder)
    return load_autoencoder(folder)


def make_generator(
    model: str, train: Tiles, cache: "LatentCache", settings: "GeneratorSettings", work: Path
) -> "ConditionedNetwork":
    from histosynth.diffusion.network import SignalsSpec
    from histosynth.diffusion.train import load_network, save_network, train_generator
    from histosynth.slides.phantom import PHANTOM_CLASSES

    path = work / f"{model}.safetensors"
    if not path.is_file():
        network, _ = train_generator(
            cache,
            lambda rows, flips, _seeds: train.conditions(rows, flips),
            settings,
            seed=0,
            spec=SignalsSpec(planes={"map": len(PHANTOM_CLASSES)}),
            tile_size=SIDE,
            state_folder=work / f"{model}_state",
            log=quiet,
        )
        save_network(path, network, cache)
    return load_network(path)[0]


def quiet(_: str) -> None:
    """Training's own log is not what is shown here."""


@dataclass(frozen=True)
class Made:
    """Images of a case (n, 64, 64, 3) and what they took, decoding included."""

    images: np.ndarray
    seconds: float
    cpu: float


def sample(
    case: Case,
    network: "ConditionedNetwork",
    autoencoder: "Autoencoder",
    cache: "LatentCache",
    asked: Tiles,
    guidance: float,
    work: Path,
) -> Made:
    """Sample a case in chunks, each of which is kept."""
    from histosynth.diffusion.sample import sample_images
    from histosynth.generator_settings import SamplingSettings

    settings = SamplingSettings(
        solver=case.solver, steps=case.steps, eta=case.eta, guidance_scale=guidance
    )
    images, seconds, cpu = [], 0.0, 0.0
    for start in range(0, len(asked.maps), CHUNK):
        seeds = np.arange(start, min(start + CHUNK, len(asked.maps)))
        name = case.name.replace(", ", "-").replace(" ", "")
        path = work / f"{name}-guided{guidance:g}-{seeds[0]}-{seeds[-1]}.npz"
        if not path.is_file():
            began, used = time.perf_counter(), time.process_time()
            made = sample_images(
                network,
                autoencoder,
                cache.whitening,
                asked.take(seeds).conditions,
                seeds=seeds,
                settings=settings,
            )
            took = time.perf_counter() - began, time.process_time() - used
            np.savez(path, images=made, took=took)
        with np.load(path) as kept:
            images.append(kept["images"])
            seconds, cpu = seconds + float(kept["took"][0]), cpu + float(kept["took"][1])
    return Made(np.concatenate(images), seconds, cpu)


class Judge:
    """Kernel distance of images asked of some patients to the real tiles of these patients."""

    def __init__(self, real: Tiles, asked: Tiles) -> None:
        from histosynth.encoders import load_encoder
        from histosynth.settings import EncoderSettings

        self.encoder = load_encoder("texture", EncoderSettings())
        self.real, self.asked = real, asked
        self.features = self.encoder(real.images)

    def __call__(self, images: np.ndarray) -> "Interval":
        from histosynth.metrics.kernel import kernel_distance
        from histosynth.metrics.uncertainty import jackknife_interval

        interval = jackknife_interval(
            self.features,
            self.encoder(images),
            real_groups=self.real.patients,
            synthetic_groups=self.asked.patients,
            statistic=kernel_distance,
        )
        assert not isinstance(interval, dict)
        return interval


def compare(
    scale: Scale, guidance: float, work: Path, results: Path | None, *, as_json: bool
) -> None:
    """Make everything that is not in `work`, and print a line a case."""
    from histosynth.diffusion.autoencoder import round_trip
    from histosynth.diffusion.latents import LatentCache, write_latents
    from histosynth.generator_settings import GeneratorSettings
    from histosynth.metrics.paired import paired_difference

    if results is not None:
        take_over(results, work)
        train, real = (read_tiles(results / "tilesets" / "real" / of) for of in ("train", "test"))
    else:
        patients = scale.train_patients + scale.test_patients
        train = draw_tiles(range(scale.train_patients), scale.slide)
        real = draw_tiles(range(scale.train_patients, patients), scale.slide)
    order = np.random.default_rng(0).permutation(len(real.maps))
    asked = real.take(np.resize(order, scale.images))
    autoencoder = make_autoencoder(train, scale, work)
    if not (work / "latents").is_dir():
        write_latents(work / "latents", autoencoder, train.images, tiles_fingerprint="phantom")
    cache = LatentCache.open(work / "latents")
    settings = GeneratorSettings(steps=scale.generator_steps)
    flow = make_generator("flow", train, cache, settings, work)
    networks = {"flow": flow}
    found: dict[Case, Made] = {}
    for case in sorted([*PEERS, *OURS], key=lambda case: case.model, reverse=True):
        if case.model not in networks:
            alike = flow.settings.model_copy(update={"target": "epsilon", "times": "uniform"})
            networks[case.model] = make_generator(case.model, train, cache, alike, work)
        network = networks[case.model]
        found[case] = sample(case, network, autoencoder, cache, asked, guidance, work)
    judge = Judge(real, asked)
    heading(scale, guidance, train, real, as_json)
    show_floor(judge(round_trip(autoencoder, list(asked.images))), as_json)
    peers = {peer: judge(found[peer].images) for peer in PEERS}
    for case in [*PEERS, *OURS]:
        made = found[case]
        score = peers[case] if case in peers else judge(made.images)
        ends = next(found[peer].images for peer in PEERS if peer.model == case.model)
        line = {
            "bench": "sampling",
            "case": case.name,
            "passes": 2 * case.steps - 1 if case.solver == "heun" else case.steps,
            "seconds": round(made.seconds, 2),
            "cpu": round(made.cpu, 2),
            "kernel_distance": rounded(score),
            "to_200": round(float(np.abs(made.images.astype(int) - ends).mean()), 2),
        }
        for peer, theirs in peers.items():
            line |= {
                f"ratio to {peer.name}": round(found[peer].seconds / made.seconds, 1),
                f"cpu ratio to {peer.name}": round(found[peer].cpu / made.cpu, 1),
                f"difference to {peer.name}": rounded(paired_difference({0: score}, {0: theirs})),
            }
        show(line, as_json)


def rounded(score: "Interval | Difference") -> list[float]:
    """Value and interval."""
    return [round(x, 3) for x in (score.value, score.ci_low, score.ci_high)]


def interval_words(found: list[float]) -> str:
    return f"{found[0]:.2f} [{found[1]:.2f}, {found[2]:.2f}]"


def heading(scale: Scale, guidance: float, train: Tiles, real: Tiles, as_json: bool) -> None:
    if as_json:
        return
    print(
        f"{len(train.images)} tiles to train on, {len(real.images)} held out of "
        f"{len(set(real.patients))} patients, {scale.images} images, guidance {guidance:g}"
    )
    names = "".join(f"{f'times {p.name}, cpu: difference':>46}" for p in PEERS)
    print(f"{'case':22}{'s':>8}{'cpu':>8}{'to 200':>8}{'kernel distance':>22}{names}")


def show_floor(score: "Interval", as_json: bool) -> None:
    found = rounded(score)
    if as_json:
        print(json.dumps({"bench": "sampling", "case": "round trip", "kernel_distance": found}))
    else:
        print(f"{'real, round trip':22}{'':24}{interval_words(found):>22}", flush=True)


def show(line: dict, as_json: bool) -> None:
    if as_json:
        print(json.dumps(line), flush=True)
        return
    words = f"{line['case']:22}{line['seconds']:8.1f}{line['cpu']:8.1f}{line['to_200']:8.2f}"
    words += f"{interval_words(line['kernel_distance']):>22}"
    for peer in PEERS:
        ratio = f"{line[f'cpu ratio to {peer.name}']:.1f}"
        words += f"{f'{ratio}: ' + interval_words(line[f'difference to {peer.name}']):>46}"
    print(words, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="small numbers: within a minute")
    parser.add_argument("--work", type=Path, help="folder that keeps models and images")
    parser.add_argument("--results", type=Path, help="folder of a finished study with `map`")
    parser.add_argument("--images", type=int, help="of a case (default: 1000; quick: 12)")
    parser.add_argument("--guidance", type=float, default=1.0, help="of all cases (default: 1)")
    parser.add_argument("--json", action="store_true", help="print JSON lines")
    parser.add_argument("--threads", type=int, default=2, help="default: 2")
    args = parser.parse_args()
    import torch

    torch.set_num_threads(args.threads)
    scale = QUICK if args.quick else FULL
    scale = replace(scale, images=args.images or scale.images)
    with tempfile.TemporaryDirectory() as temporary:
        work = args.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        compare(scale, args.guidance, work, args.results, as_json=args.json)


if __name__ == "__main__":
    main()
