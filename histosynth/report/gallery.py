"""The same requests side by side: map, real tile, then each condition's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from histosynth.conditions import TilePool, get_signal
from histosynth.conditions.table import read_condition_table, table_targets
from histosynth.conditions.targets import tile_images, tile_maps
from histosynth.errors import InputError
from histosynth.report.collect import Results
from histosynth.report.pictures import Picture, choose, map_uri, sheet_uri, tile_uri
from histosynth.tilesets import UNLABELLED, TileSet

COLUMNS = 8  # requests shown
SHEET = 12  # tiles on a cluster's contact sheet


@dataclass(frozen=True)
class Strip:
    """One row of the gallery: a picture, or none, for each request."""

    title: str
    note: str
    kind: str  # request, real, crops, sample, nearest
    cells: tuple[Picture | None, ...]


@dataclass(frozen=True)
class Gallery:
    seed: int
    heads: tuple[str, ...]  # one a request
    strips: tuple[Strip, ...]
    remarks: tuple[str, ...]  # what could not be shown, and why


@dataclass(frozen=True)
class ContactSheet:
    """Real train tiles of one cluster."""

    cluster: int
    size: int
    picture: Picture | None


def build(results: Results) -> Gallery:
    """The gallery of the first generator seed, as far as the sets are there."""
    remarks: list[str] = []
    seed = results.study.seeds[0]
    root = results.folder / "tilesets"
    test = _open(root / "real" / "test", remarks)
    train = _open(root / "real" / "train", remarks)
    requests = _requests(results, test, remarks)
    indices = choose(len(requests), COLUMNS)
    shown = requests.iloc[indices]
    strips = _request_strips(results, shown, test)
    for info in results.conditions:
        condition = results.study.conditions[info.name]
        tiles = _open(root / "synthetic" / info.name / f"seed{seed}", remarks)
        if tiles is None:
            continue
        if condition.external is None:
            rows = [i for i in indices if i < len(tiles)] or choose(len(tiles), COLUMNS)
            note = f"told {info.words}"
            strips += _crop_strips(results, info.name, shown, test)
        else:
            rows, note = choose(len(tiles), COLUMNS), f"{info.words}, which answer no request"
        samples = [Picture(tile_uri(tiles.image(i)), f"{info.name}, image {i}") for i in rows]
        strips.append(Strip(info.name, note, "sample", tuple(samples)))
        if train is not None:
            found = _nearest_strip(results, info.name, seed, rows, train)
            strips += [found] if found else []
            if not found:
                remarks.append(
                    f"{info.name}: no nearest train tiles, as features of train tiles and samples "
                    "are not both there"
                )
    heads = tuple(f"request {i}" for i in indices)
    return Gallery(seed, heads, tuple(strips), tuple(dict.fromkeys(remarks)))


def _open(folder: Path, remarks: list[str]) -> TileSet | None:
    """The tile set, or None with a remark that says what is wrong with it."""
    try:
        return TileSet.open(folder)
    except (InputError, OSError) as error:
        remarks.append(str(error).split(";")[0])
        return None


def _requests(results: Results, test: TileSet | None, remarks: list[str]) -> pd.DataFrame:
    """The condition table; empty where it or its test set is not there."""
    if test is not None:
        try:
            return read_condition_table(results.folder / "condition_table.parquet", test)
        except InputError as error:
            remarks.append(str(error).split(";")[0])
    return pd.DataFrame({"test_row": pd.Series(dtype=int)})


def _request_strips(results: Results, shown: pd.DataFrame, test: TileSet | None) -> list[Strip]:
    """Map and real tile of each request."""
    if test is None or shown.empty:
        return []
    colors = [c.color for c in results.study.classes]
    maps, tiles = [], []
    for request in shown.to_dict("records"):
        row = int(request["test_row"])
        map = test.map(row)
        if map is not None:
            maps.append(Picture(map_uri(map, colors), _map_words(map, results.study.class_names)))
        alt = f"real test tile {request['source_tile_id']}"
        tiles.append(Picture(tile_uri(test.image(row)), alt, _request_words(request)))
    strips = [Strip("requested map", "told to the map conditions", "request", tuple(maps))]
    strips += [Strip("real tile", "the test tile the request comes from", "real", tuple(tiles))]
    return [strip for strip in strips if strip.cells]


def _request_words(request: dict) -> str:
    label, cluster = request.get("label"), request.get("cluster", -1)
    words = [] if label is None or pd.isna(label) else [str(label)]
    words += [] if pd.isna(cluster) or int(cluster) < 0 else [f"cluster {int(cluster)}"]
    return ", ".join(words)


def _map_words(map: np.ndarray, names: Sequence[str]) -> str:
    counts = np.bincount(map.ravel(), minlength=256)
    told = [f"{name} {counts[i] / map.size:.0%}" for i, name in enumerate(names) if counts[i]]
    told += [f"unlabelled {counts[UNLABELLED] / map.size:.0%}"] * bool(counts[UNLABELLED])
    return f"requested map: {', '.join(told)}"


def _crop_strips(
    results: Results, name: str, shown: pd.DataFrame, test: TileSet | None
) -> list[Strip]:
    """The crops that a condition's generator was given, where it was given any."""
    signals = results.study.conditions[name].signals or []
    crop = next((signal for signal in signals if signal.kind == "crop"), None)
    if crop is None or test is None or not test.classes or shown.empty:
        return []
    pool = TilePool.of(test, ())
    pool.images, pool.maps = tile_images(test, limit=0), tile_maps(test, limit=0)  # a few are read
    targets = table_targets(shown, pool, test.classes)
    planes = get_signal(crop.kind, crop.options, results.study).encode(targets)
    pictures = tuple(
        Picture(tile_uri(crop_image(p)), f"crops given to {name} for request {i}")
        for p, i in zip(planes, shown["index"], strict=True)
    )
    return [Strip("crops given", f"to {name}", "crops", pictures)]


def crop_image(planes: np.ndarray) -> np.ndarray:
    """Crop planes, float (3 classes, H, W) in [-1, 1], as one image (H, W, 4), uint8.

    A plane is exactly 0 where nothing is given, which no 8-bit pixel becomes; there the image is
    transparent.
    """
    by_class = planes.reshape(-1, 3, *planes.shape[1:])
    image = np.zeros((*planes.shape[1:], 4), dtype=np.uint8)
    for crop in by_class:
        given = (crop != 0).any(0)
        pixels = np.round((crop + 1) * 127.5).clip(0, 255).astype(np.uint8).transpose(1, 2, 0)
        image[given, :3], image[given, 3] = pixels[given], 255
    return image


def nearest_rows(train: np.ndarray, chosen: np.ndarray) -> list[int]:
    """Row of `train` (n, d) nearest to each row of `chosen` (b, d).

    Nearest by Euclidean distance after each feature is scaled to unit variance over `train`, so
    that no feature counts for its unit.
    """
    train, chosen = np.asarray(train, dtype=np.float64), np.asarray(chosen, dtype=np.float64)
    mean, scale = train.mean(0), train.std(0)
    scale[scale == 0] = 1
    train, chosen = (train - mean) / scale, (chosen - mean) / scale
    squared = (chosen**2).sum(1)[:, None] - 2 * chosen @ train.T + (train**2).sum(1)
    return squared.argmin(1).tolist()


def _nearest_strip(
    results: Results, condition: str, seed: int, rows: list[int], train: TileSet
) -> Strip | None:
    """The nearest real train tiles, in the first evaluation encoder with features of both sets."""
    for encoder in results.study.evaluation.encoders:
        real = results.folder / f"features/real/train/{encoder}.npy"
        made = results.folder / f"features/synthetic/{condition}/seed{seed}/{encoder}.npy"
        if real.is_file() and made.is_file():
            found = nearest_rows(np.load(real), np.load(made, mmap_mode="r")[rows])
            ids = train.table["tile_id"]
            pictures = [
                Picture(tile_uri(train.image(i)), f"nearest real train tile, {ids.iloc[i]}")
                for i in found
            ]
            return Strip("nearest real", f"train tile, {encoder}", "nearest", tuple(pictures))
    return None


def contact_sheets(results: Results) -> dict[str, list[ContactSheet]]:
    """One sheet of real train tiles a cluster, spread over the members' order in the table."""
    train = _open(results.folder / "tilesets" / "real" / "train", []) if results.clusters else None
    ids = [] if train is None else train.table["tile_id"].astype(str)
    places = {tile: i for i, tile in enumerate(ids)}
    sheets: dict[str, list[ContactSheet]] = {}
    for clustering in results.clusters:
        sheets[clustering.name] = []
        for cluster, members in sorted(clustering.train_tiles.items()):
            rows = [places[m] for m in members if m in places]
            rows = [rows[i] for i in choose(len(rows), SHEET)]
            picture = None
            if train is not None and rows:
                alt = f"{len(rows)} train tiles of cluster {cluster}"
                picture = Picture(sheet_uri(train.images(rows)), alt)
            sheets[clustering.name].append(ContactSheet(cluster, len(members), picture))
    return sheets
