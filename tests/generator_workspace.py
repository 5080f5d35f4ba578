"""A small study on disk and its scripts run as they are typed, for the tests of the generator."""

import contextlib
import io
import json
import runpy
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from histosynth.conditions import ConditionSpec
from histosynth.config import Study
from histosynth.encoders.features import save_features
from histosynth.tilesets import TileSet, TileSetWriter

ROOT = Path(__file__).parent.parent
SIZE = 32
CLASSES = ["stroma", "tumour"]
STUDY = {
    "study": "tiny",
    "cohort": {"kind": "phantom"},
    "classes": [{"name": name, "values": [i]} for i, name in enumerate(CLASSES)],
    "label": {
        "source": "class_fraction",
        "names": ["healthy", "cancer"],
        "classes": ["tumour"],
        "threshold": 0.4,
    },
    "encoders": {"texture": {}},
    "clusters": {"encoder": "texture", "k": 3},
    "conditions": {
        "unconditional": {"signals": []},
        "label_cluster": {"signals": ["label", "cluster"]},
        "map_crop": {"signals": ["map", {"kind": "crop", "source": "other_slide"}]},
        "map_crop_same": {"signals": ["map", {"kind": "crop", "source": "same_image"}]},
    },
    "autoencoder": {"channels": [8, 8, 8], "steps": 6, "batch_size": 2, "crop": 16},
    "generator": {
        "channels": [8, 16],
        "token_width": 8,
        "plane_width": 4,
        "steps": 4,
        "batch_size": 4,
        "warmup_steps": 1,
    },
    "sampling": {"n": 10, "steps": 2, "batch_size": 4, "seed": 7},
    "evaluation": {"encoders": ["texture"]},
}


def write_tiles(folder: Path, *, first_slide: int, slides: int, split: str) -> TileSet:
    random = np.random.default_rng(first_slide)
    with TileSetWriter(folder, classes=CLASSES) as writer:
        for slide in range(first_slide, first_slide + slides):
            for i in range(4):
                map = np.zeros((SIZE, SIZE), np.uint8)
                map[:, : 10 + 4 * i] = 1
                image = np.where(map[..., None] == 1, [120, 60, 140], [230, 170, 190])
                image = image + random.integers(-20, 20, image.shape) + 2 * slide
                row = {
                    "tile_id": f"s{slide}_x{i}_y0",
                    "slide_id": f"s{slide}",
                    "patient_id": f"p{slide}",
                    "site": "ab"[slide % 2],
                    "split": split,
                    "label": "cancer" if map.mean() >= 0.4 else "healthy",
                    "x": 64 * i,
                    "y": 0,
                    "size": SIZE,
                    "mpp": 2.0,
                    "tissue": 1.0,
                    "class_stroma": 1 - map.mean(),
                    "class_tumour": map.mean(),
                    "entropy": 0.6,
                    "accepted": True,
                    "reason": "",
                }
                writer.add(np.clip(image, 0, 255).astype(np.uint8), row, map)
    return TileSet.open(folder)


class Workspace:
    """A folder with tile sets, features and the config; scripts run in it as a user types them."""

    def __init__(self, folder: Path, study: dict[str, Any] = STUDY) -> None:
        self.folder = folder
        self.config = folder / "config.yaml"
        self.config.write_text(yaml.safe_dump(study))
        self.study = Study.load(self.config)
        self.train = write_tiles(folder / "real/train", first_slide=0, slides=4, split="train")
        self.val = write_tiles(folder / "real/val", first_slide=4, slides=1, split="val")
        self.test = write_tiles(folder / "real/test", first_slide=5, slides=3, split="test")
        for name, tiles in (("train", self.train), ("test", self.test)):
            features = tiles.images().reshape(len(tiles), -1, 3).astype(np.float32)
            self.save_features(f"{name}.npy", np.hstack([features.mean(1), features.std(1)]), tiles)
        (folder / "conditions").mkdir()
        for name in study["conditions"]:
            resolved = ConditionSpec.of(self.study, name).resolved()
            (folder / f"conditions/{name}.yaml").write_text(yaml.safe_dump(resolved))

    def prepare(self) -> None:
        """Make what all conditions share: clusters, autoencoder, latents, condition table."""
        self.cluster("clusters", "test.npy")
        self.script(
            "autoencoder", "--train", "real/train", "--val", "real/val",
            "--state", "models/.autoencoder.state", "--output", "models/autoencoder",
        )  # fmt: skip
        self.script(
            "latents", "--autoencoder", "models/autoencoder", "--tileset", "real/train",
            "--output", "latents",
        )  # fmt: skip
        self.script(
            "condition_table", "--test", "real/test", "--clusters", "clusters",
            "--output", "table.parquet",
        )  # fmt: skip

    def save_features(self, name: str, features: np.ndarray, tiles: TileSet) -> None:
        fingerprint = {"tile_set": tiles.fingerprint}
        save_features(self.folder / name, features, fingerprint=fingerprint)

    def script(self, name: str, *arguments: str, fails: bool = False, study: bool = True) -> str:
        """Run a script as `python scripts/NAME.py` does, in this process: importing torch is slow.

        With `study` it is given config.yaml, unless the arguments name another.

        Returns
        -------
        What it wrote to standard error.
        """
        path, said, status, argv = str(ROOT / "scripts" / f"{name}.py"), io.StringIO(), 0, sys.argv
        threads = torch.get_num_threads()
        sys.argv = [path, *(["--config", "config.yaml"] * study), *arguments]
        try:
            with contextlib.chdir(self.folder), contextlib.redirect_stderr(said):
                runpy.run_path(path, run_name="__main__")
        except SystemExit as stop:
            status = stop.code
        finally:
            sys.argv = argv
            torch.set_num_threads(threads)
        assert bool(status) == fails, said.getvalue()
        return said.getvalue()

    def cluster(self, output: str, test_features: str) -> str:
        return self.script(
            "cluster", "--train", "real/train", "--features", "train.npy",
            "--assign", f"real/test={test_features}", "--output", output,
        )  # fmt: skip

    def train_and_sample(self, condition: str, *, seed: int = 0) -> TileSet:
        model, output = f"models/{condition}/seed{seed}", f"synthetic/{condition}/seed{seed}"
        shared = ["--condition", f"conditions/{condition}.yaml", "--latents", "latents"]
        shared += ["--clusters", "clusters", "--seed", str(seed)]
        self.script(
            "train", *shared, "--train", "real/train", "--output", model,
            "--state", f"models/{condition}/.seed{seed}.state",
        )  # fmt: skip
        self.sample(condition, model, output, seed=seed)
        return TileSet.open(self.folder / output)

    def sample(
        self, condition: str, model: str, output: str, *, seed: int = 0, fails: bool = False
    ) -> str:
        return self.script(
            "sample", "--condition", f"conditions/{condition}.yaml", "--latents", "latents",
            "--clusters", "clusters", "--seed", str(seed), "--model", model, "--table",
            "table.parquet", "--autoencoder", "models/autoencoder", "--test", "real/test",
            "--output", output, fails=fails,
        )  # fmt: skip

    def json(self, path: str):
        return json.loads((self.folder / path).read_text())
