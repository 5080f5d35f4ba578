"""Latents of a tile set, encoded once a study in its flips, whitened, and memory-mapped.

The latent of a flipped image is not the flip of the image's latent, so each flip is encoded. Mean
and standard deviation are stored as float16: a training step draws a latent from the posterior
without running the encoder. A tile of 256 px takes 16 KiB a flip in 4 channels at f8, half of it
where the autoencoder has no posterior and so no standard deviations.
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

CHUNK = 32  # tiles in memory while latents are written
FLIPS = ("identity", "horizontal", "vertical", "both")
# Setting `generator.flips`, `autoencoder.cached_flips` -> how many of FLIPS, from the first.
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
    """A folder of latents: `mean.npy` (f, n, c, h, w) float16, `std.npy` alike, `latents.json`.

    Attributes
    ----------
    std : None where the autoencoder has no posterior
    rows : int64 (m,), the tiles in use, of n; all of them but for `take`
    """

    folder: Path
    mean: np.ndarray
    std: np.ndarray | None
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
            std = np.load(folder / "std.npy", mmap_mode="r") if record["posterior"] else None
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

    @property
    def bytes_per_tile(self) -> int:
        """What a tile takes on disk, in all its flips."""
        parts = [self.mean] if self.std is None else [self.mean, self.std]
        return sum(part.nbytes // part.shape[1] for part in parts)

    def sample(self, rows: np.ndarray, flips: np.ndarray, random: Random) -> np.ndarray:
        """Whitened latents drawn from the posterior of tile rows[i] in flip flips[i].

        Returns
        -------
        float32 (len(rows), c, h, w)

        Raises
        ------
        InputError
            A flip that is not cached.
        """
        if len(flips) and flips.max() >= len(self.mean):
            raise InputError(
                f"{self.folder}: has {', '.join(FLIPS[: len(self.mean)])} of each tile, not "
                f"{FLIPS[flips.max()]}; encode again with the autoencoder.cached_flips that "
                "generator.flips asks for"
            )
        tiles = self.rows[rows]
        latents = self.mean[flips, tiles].astype(np.float32)
        if self.std is not None:
            noise = random.standard_normal(latents.shape, dtype=np.float32)
            latents += self.std[flips, tiles].astype(np.float32) * noise
        return self.whitening.apply(latents)


def write_latents(
    folder: Path,
    autoencoder: Autoencoder,
    images: Sequence[np.ndarray] | np.ndarray,
    *,
    tiles_fingerprint: str,
    flips: str = "all",
) -> LatentCache:
    """Encode images in their flips and write the cache, with the whitening fitted on them.

    Parameters
    ----------
    images
        Tiles of the train split: n arrays (H, W, 3) uint8, or one array (n, H, W, 3), read by
        index.
    tiles_fingerprint
        Names the tile set, kept in `latents.json`.
    flips
        `none`, `horizontal` or `all`.

    Raises
    ------
    InputError
        No images, or a latent that float16 cannot hold.
    """
    if len(images) == 0:
        raise InputError(f"{folder}: no images to encode; the train split is empty")
    first, _ = encode(autoencoder, images[:1], batch_size=1)
    shape = (FLIP_COUNTS[flips], len(images), *first.shape[1:])
    names = ("mean", "std") if autoencoder.has_posterior else ("mean",)
    total, squares = np.zeros(shape[2]), np.zeros(shape[2])
    with atomic_folder(folder) as partial:
        arrays = {
            name: np.lib.format.open_memmap(partial / f"{name}.npy", "w+", np.float16, shape)
            for name in names
        }
        for start in tqdm(range(0, len(images), CHUNK), desc="latents"):
            rows = range(start, min(start + CHUNK, len(images)))
            chunk = np.stack([images[i] for i in rows])
            for index in range(shape[0]):
                mean, std = encode(autoencoder, flip(chunk, index, axes=(1, 2)))
                if not np.abs(mean).max() < np.finfo(np.float16).max:
                    raise InputError(
                        f"{folder}: a latent of tile rows {rows.start}-{rows.stop - 1} does not "
                        "fit float16 or is not finite; look at those tiles and at the autoencoder"
                    )
                for name, part in zip(names, (mean, std), strict=False):
                    arrays[name][index, rows.start : rows.stop] = part
                total += mean.sum((0, 2, 3), dtype=np.float64)
                squares += np.sum(
                    np.square(mean, dtype=np.float64) + np.square(std, dtype=np.float64), (0, 2, 3)
                )
        count = shape[0] * shape[1] * shape[3] * shape[4]
        channel_mean = total / count
        channel_std = np.sqrt(np.maximum(squares / count - channel_mean**2, 1e-12))
        for array in arrays.values():
            array.flush()
        config = autoencoder.network.config
        record = {
            "autoencoder": autoencoder_fingerprint(autoencoder),
            "tiles": tiles_fingerprint,
            "flips": list(FLIPS[: shape[0]]),
            "shape": list(shape),
            "posterior": autoencoder.has_posterior,
            "whitening_mean": channel_mean.tolist(),
            "whitening_std": channel_std.tolist(),
            # what the autoencoder's own config calls its latents' scale
            "scaling_factor": config.get("scaling_factor"),
            "shift_factor": config.get("shift_factor"),
        }
        (partial / "latents.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return LatentCache.open(folder, autoencoder=record["autoencoder"])
