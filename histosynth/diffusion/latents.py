"""Latents of a tile set, encoded once a study in four flips, whitened, and memory-mapped.

The latent of a flipped image is not the flip of the image's latent, so each flip is encoded. Mean
and standard deviation are stored as float16: a training step draws a latent from the posterior
without running the encoder.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from histosynth.diffusion.autoencoder import Autoencoder, autoencoder_fingerprint, encode
from histosynth.diffusion.randomness import Random
from histosynth.errors import InputError
from histosynth.files import atomic_folder

FLIPS = ("identity", "horizontal", "vertical", "both")
# Setting `generator.flips` -> how many of FLIPS, from the first, a tile is trained in.
FLIP_COUNTS = {"none": 1, "horizontal": 2, "all": 4}


def flip(array: np.ndarray, index: int, *, axes: tuple[int, int] = (0, 1)) -> np.ndarray:
    """Flip `array` as flip number `index` of FLIPS does; `axes` are those of height and width.

    Planes (P, H, W) take axes=(1, 2).
    """
    if index & 1:
        array = np.flip(array, axes[1])
    if index & 2:
        array = np.flip(array, axes[0])
    return array


@dataclass(frozen=True)
class Whitening:
    """Per-channel mean and standard deviation of the train latents."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def apply(self, latents: np.ndarray) -> np.ndarray:
        """Latents (..., c, h, w) -> zero mean and unit variance a channel, float32."""
        mean, std = self._arrays()
        return (latents.astype(np.float32) - mean) / std

    def invert(self, whitened: np.ndarray) -> np.ndarray:
        """The inverse of `apply`, float32."""
        mean, std = self._arrays()
        return whitened.astype(np.float32) * std + mean

    def _arrays(self) -> tuple[np.ndarray, np.ndarray]:
        shape = (len(self.mean), 1, 1)
        return (
            np.asarray(self.mean, np.float32).reshape(shape),
            np.asarray(self.std, np.float32).reshape(shape),
        )


@dataclass(frozen=True)
class LatentCache:
    """A folder of latents: `mean.npy` and `std.npy` (4, n, c, h, w) float16, and `latents.json`.

    `rows` int64 (m,) are the tiles in use, of n; all of them but for `take`.
    """

    folder: Path
    mean: np.ndarray
    std: np.ndarray
    whitening: Whitening
    autoencoder: str
    tiles: str
    rows: np.ndarray

    @classmethod
    def open(cls, folder: Path, *, autoencoder: str | None = None) -> "LatentCache":
        """Open a cache; with `autoencoder` (a fingerprint) refuse the latents of another one.

        Raises
        ------
        InputError
            No complete cache is there, or it belongs to another autoencoder.
        """
        folder = Path(folder)
        try:
            record = json.loads((folder / "latents.json").read_text(encoding="utf-8"))
            mean = np.load(folder / "mean.npy", mmap_mode="r")
            std = np.load(folder / "std.npy", mmap_mode="r")
        except FileNotFoundError as error:
            raise InputError(
                f"{folder}: not a complete latent cache: {error.filename} is missing; encode again"
            ) from None
        if autoencoder is not None and record["autoencoder"] != autoencoder:
            raise InputError(
                f"{folder}: these are latents of autoencoder {record['autoencoder']}, but the "
                f"autoencoder given is {autoencoder}; delete the folder and encode again"
            )
        whitening = Whitening(tuple(record["whitening_mean"]), tuple(record["whitening_std"]))
        rows = np.arange(mean.shape[1])
        return cls(folder, mean, std, whitening, record["autoencoder"], record["tiles"], rows)

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, rows: np.ndarray) -> "LatentCache":
        """The cache of some tiles only, renumbered from 0; nothing is copied."""
        return replace(self, rows=self.rows[rows])

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of one latent."""
        return self.mean.shape[2:]

    def sample(
        self, rows: np.ndarray, flips: np.ndarray, random: Random
    ) -> np.ndarray:
        """Whitened latents drawn from the posterior of tile rows[i] in flip flips[i].

        Returns
        -------
        float32 (len(rows), c, h, w)
        """
        tiles = self.rows[rows]
        mean = self.mean[flips, tiles].astype(np.float32)
        noise = random.standard_normal(mean.shape, dtype=np.float32)
        return self.whitening.apply(mean + self.std[flips, tiles].astype(np.float32) * noise)


def write_latents(
    folder: Path,
    autoencoder: Autoencoder,
    images: Sequence[np.ndarray],
    *,
    tiles_fingerprint: str,
    batch_size: int = 32,
) -> LatentCache:
    """Encode train images in all four flips, fit the whitening on them, and write the cache.

    Parameters
    ----------
    images
        The train split: n arrays (H, W, 3) uint8, or one array (n, H, W, 3), read by index.
    tiles_fingerprint
        Names the tile set, kept in `latents.json`.

    Raises
    ------
    InputError
        No images, or a latent that float16 cannot hold.
    """
    if len(images) == 0:
        raise InputError(f"{folder}: no images to encode; the train split is empty")
    first, _ = encode(autoencoder, images[:1], batch_size=1)
    shape = (len(FLIPS), len(images), *first.shape[1:])
    total, squares = np.zeros(shape[2]), np.zeros(shape[2])
    with atomic_folder(folder) as partial:
        arrays = [
            np.lib.format.open_memmap(partial / f"{name}.npy", "w+", np.float16, shape)
            for name in ("mean", "std")
        ]
        for start in tqdm(range(0, len(images), batch_size), desc="latents"):
            rows = range(start, min(start + batch_size, len(images)))
            chunk = np.stack([images[i] for i in rows])
            for index in range(len(FLIPS)):
                mean, std = encode(
                    autoencoder, flip(chunk, index, axes=(1, 2)), batch_size=batch_size
                )
                if not np.abs(mean).max() < np.finfo(np.float16).max:
                    raise InputError(
                        f"{folder}: a latent of tile rows {rows.start}-{rows.stop - 1} does not "
                        "fit float16 or is not finite; look at those tiles and at the autoencoder"
                    )
                arrays[0][index, rows.start : rows.stop] = mean
                arrays[1][index, rows.start : rows.stop] = std
                total += mean.sum((0, 2, 3), dtype=np.float64)
                squares += np.sum(
                    np.square(mean, dtype=np.float64) + np.square(std, dtype=np.float64), (0, 2, 3)
                )
        count = shape[0] * shape[1] * shape[3] * shape[4]
        channel_mean = total / count
        channel_std = np.sqrt(np.maximum(squares / count - channel_mean**2, 1e-12))
        for array in arrays:
            array.flush()
        record = {
            "autoencoder": autoencoder_fingerprint(autoencoder),
            "tiles": tiles_fingerprint,
            "flips": list(FLIPS),
            "shape": list(shape),
            "whitening_mean": channel_mean.tolist(),
            "whitening_std": channel_std.tolist(),
        }
        (partial / "latents.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return LatentCache.open(folder, autoencoder=record["autoencoder"])
