"""What the autoencoder leaves of held-out tiles: the floor of all that sample in its latents.

The round trip's Fréchet and kernel distances are ordinary fidelity scores of the set `autoencoder`;
here is what takes pairs: each test tile against its own round trip.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from histosynth.errors import InputError
from histosynth.evaluations.protocol import check_comparable, round_trip_protocol
from histosynth.evaluations.rows import MetricRow, Scored
from histosynth.metrics import cluster_bootstrap
from histosynth.tilesets import TileSet

if TYPE_CHECKING:
    from histosynth.config import Study

AUTOENCODER = "autoencoder"
ROUND_TRIP_METRICS = ("round_trip_psnr", "round_trip_perceptual")
BATCH = 64


def round_trip_of_files(
    scored: Scored, real: str | Path, synthetic: str | Path, *, study: "Study"
) -> list[MetricRow]:
    """`round_trip_rows` of two tile sets on disk."""
    weights = perceptual_weights(study)
    sets = TileSet.open(real), TileSet.open(synthetic)
    return round_trip_rows(scored, *sets, weights=weights, seed=study.evaluation.seed)


def perceptual_weights(study: "Study") -> tuple[str, str] | None:
    """Key and file of the SqueezeNet weights that a study names, if it does.

    Those of `autoencoder.perceptual`, or of an encoder that is this network.
    """
    told = study.autoencoder.perceptual
    if told is not None:
        return "autoencoder.perceptual.weights", told.weights
    for name, encoder in study.encoders.items():
        of_caffe = encoder.normalization == "caffe_bgr" and encoder.weights is not None
        if encoder.model == "squeezenet1_1" and of_caffe:
            return f"encoders.{name}.weights", str(encoder.weights)
    return None


def round_trip_rows(
    scored: Scored,
    real: TileSet,
    synthetic: TileSet,
    *,
    weights: tuple[str, str] | None,
    seed: int = 0,
) -> list[MetricRow]:
    """PSNR in dB of the error over all tiles; and the mean perceptual distance, with weights.

    Parameters
    ----------
    real : the real test tiles
    synthetic : their round trips, which name them in `source_tile_id`
    weights : config key and file of a SqueezeNet 1.1
    seed : of the intervals' draws

    Raises
    ------
    InputError
        A round trip of a tile that is not among the real ones.
    """
    check_comparable(real, synthetic)
    row_of = {tile: row for row, tile in enumerate(real.table["tile_id"])}
    sources = [row_of.get(tile) for tile in synthetic.table["source_tile_id"]]
    if None in sources:
        raise InputError(
            f"{synthetic.folder}: holds round trips of tiles that {real.folder} does not; "
            "run scripts/roundtrip.py again"
        )
    squared, distances, fingerprint = _errors(real, synthetic, np.array(sources), weights)
    patients = synthetic.table["patient_id"].astype(str).to_numpy()

    def psnr(rows: np.ndarray) -> float:
        return float(10 * np.log10(255**2 / max(squared[rows].mean(), 1e-12)))

    counts: dict[str, Any] = {"n_real": len(real), "n_synthetic": len(synthetic)}
    rows = [
        scored.row(
            "round_trip_psnr",
            cluster_bootstrap(psnr, patients, seed=seed),
            protocol=round_trip_protocol(real),
            **counts,
        )
    ]
    if distances is not None:
        protocol = round_trip_protocol(real, network=fingerprint)
        interval = cluster_bootstrap(distances, patients, seed=seed)
        rows.append(scored.row("round_trip_perceptual", interval, protocol=protocol, **counts))
    return rows


def _errors(
    real: TileSet, synthetic: TileSet, sources: np.ndarray, weights: tuple[str, str] | None
) -> tuple[np.ndarray, np.ndarray | None, str | None]:
    """Mean squared errors in grey levels, perceptual distances and their network, tile by tile."""
    import torch

    from histosynth.encoders.perceptual import PerceptualDistance

    network = PerceptualDistance(weights[1], key=weights[0]) if weights else None
    squared, distances = [], []
    for start in range(0, len(synthetic), BATCH):
        rows = np.arange(start, min(start + BATCH, len(synthetic)))
        pair = [synthetic.images(rows), real.images(sources[rows])]
        ours, theirs = (np.asarray(images, np.float32) for images in pair)
        squared.append(np.square(ours - theirs, dtype=np.float64).mean((1, 2, 3)))
        if network is not None:
            first, second = (
                torch.from_numpy(images).permute(0, 3, 1, 2) / 127.5 - 1
                for images in (ours, theirs)
            )
            with torch.inference_mode():
                distances.append(network(first, second).double().numpy())
    if network is None:
        return np.concatenate(squared), None, None
    return np.concatenate(squared), np.concatenate(distances), network.fingerprint
