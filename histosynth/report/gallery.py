"""The same requests side by side: map, crops, real tile, every condition's sample, its nearest.

Images travel inside the page. Small tiles are stored as they are and enlarged by the browser
without smoothing; larger ones are reduced to `SHOWN` pixels so that the page stays light.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from histosynth.errors import InputError
from histosynth.report.collect import Results
from histosynth.tilesets import UNLABELLED, TileSet

SHOWN = 128  # pixels; a larger tile is reduced to this side
COLUMNS = 8  # requests shown
SHEET = 12  # tiles on a cluster's contact sheet
BACKGROUND = (128, 128, 128)


@dataclass(frozen=True)
class Picture:
    """An image inside the page; `note` is printed under it."""

    source: str  # data: address
    alt: str
    note: str = ""


@dataclass(frozen=True)
class Strip:
    """One row of the gallery: a picture, several (crops), or nothing, for each request."""

    title: str
    note: str
    kind: str  # request, real, sample, nearest
    cells: tuple[tuple[Picture, ...], ...]


@dataclass(frozen=True)
class Gallery:
    seed: int
    heads: tuple[str, ...]  # one a request
    strips: tuple[Strip, ...]
    remarks: tuple[str, ...]  # what could not be shown, and why
    side: int  # pixels of a stored tile


def data_uri(array: np.ndarray) -> str:
    """A uint8 image (H, W, 3) as a data: address; lossless up to `SHOWN` pixels."""
    image = Image.fromarray(array)
    buffer = io.BytesIO()
    if max(array.shape[:2]) > SHOWN:
        image.thumbnail((SHOWN, SHOWN), Image.Resampling.LANCZOS)
        image.save(buffer, format="JPEG", quality=88)
        kind = "jpeg"
    else:
        image.save(buffer, format="PNG", optimize=True)
        kind = "png"
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def map_uri(map: np.ndarray, colors: Sequence[str]) -> str:
    """A map of class indices (H, W) in the classes' colours; unlabelled pixels are grey."""
    palette = np.full((256, 3), BACKGROUND, dtype=np.uint8)
    for i, color in enumerate(colors):
        palette[i] = [int(color[at : at + 2], 16) for at in (1, 3, 5)]
    image = Image.fromarray(map, mode="P")
    image.putpalette(palette.tobytes())
    if max(map.shape) > SHOWN:
        image.thumbnail((SHOWN, SHOWN), Image.Resampling.NEAREST)
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def choose(n: int, count: int = COLUMNS) -> list[int]:
    """Indices spread evenly over the table, the same for every condition and every run."""
    return sorted({int(i) for i in np.linspace(0, n - 1, min(count, n)).round()}) if n else []


def nearest_train(results: Results, condition: str, seed: int, indices: list[int]) -> tuple:
    """Row of the nearest real train tile for each synthetic row, and the encoder used.

    Nearest by Euclidean distance of features standardised over the train tiles, in the first
    evaluation encoder that has features of both sets. Returns (None, reason) where none has.
    """
    folder = results.folder / "features"
    for encoder in results.study.evaluation.encoders:
        train = folder / "real" / "train" / f"{encoder}.npy"
        synthetic = folder / "synthetic" / condition / f"seed{seed}" / f"{encoder}.npy"
        if train.is_file() and synthetic.is_file():
            real = np.load(train).astype(np.float64)
            mean, scale = real.mean(0), real.std(0)
            scale[scale == 0] = 1
            real = (real - mean) / scale
            chosen = (np.load(synthetic, mmap_mode="r")[indices].astype(np.float64) - mean) / scale
            squared = (chosen**2).sum(1)[:, None] - 2 * chosen @ real.T + (real**2).sum(1)
            return squared.argmin(1).tolist(), encoder
    return None, f"no features of both train tiles and {condition}, seed {seed}"


def open_set(folder: Path, remarks: list[str]) -> TileSet | None:
    """The tile set, or None with a remark that says what is wrong with it."""
    try:
        return TileSet.open(folder)
    except (InputError, OSError) as error:
        remarks.append(str(error).split(";")[0])
        return None


def build(results: Results) -> Gallery:
    """The gallery of the first generator seed, as far as the sets are there."""
    remarks: list[str] = []
    seed = results.study.seeds[0]
    root = results.folder / "tilesets"
    sets = {}
    for name in results.study.conditions:
        tiles = open_set(root / "synthetic" / name / f"seed{seed}", remarks)
        if tiles is not None:
            sets[name] = tiles
    train = open_set(root / "real" / "train", remarks)
    test = open_set(root / "real" / "test", remarks)
    requests = _requests(results, sets)
    indices = choose(len(requests))
    strips = _request_strips(results, requests.iloc[indices], sets, (test, train))
    for name, tiles in sets.items():
        external = results.study.conditions[name].external is not None
        rows = choose(len(tiles), len(indices) or COLUMNS) if external else indices
        rows = [i for i in rows if i < len(tiles)]
        words = next(c.words for c in results.conditions if c.name == name)
        note = f"from {words}" if not external else f"{words}; they answer no request"
        cells = [(Picture(data_uri(tiles.image(i)), f"{name}, image {i}"),) for i in rows]
        strips.append(Strip(name, note, "sample", tuple(cells)))
        if train is not None:
            nearest, told = nearest_train(results, name, seed, rows)
            if nearest is None:
                remarks.append(f"nearest real train tiles: {told}")
                continue
            ids = train.table["tile_id"]
            cells = [
                (Picture(data_uri(train.image(i)), f"real train tile {ids.iloc[i]}"),)
                for i in nearest
            ]
            strips.append(Strip("nearest real", f"train tile, {told}", "nearest", tuple(cells)))
    some = next((s for s in (test, train, *sets.values()) if s is not None), None)
    side = min(max(some.size), SHOWN) if some else 0
    heads = tuple(f"request {i}" for i in indices)
    return Gallery(seed, heads, tuple(strips), tuple(dict.fromkeys(remarks)), side)


def _requests(results: Results, sets: dict[str, TileSet]) -> pd.DataFrame:
    """The condition table, or the rows of a synthetic set where the table is not there."""
    path = results.folder / "condition_table.parquet"
    if path.is_file():
        return pd.read_parquet(path)
    ours = [s.table for n, s in sets.items() if results.study.conditions[n].external is None]
    return ours[0] if ours else pd.DataFrame({"source_tile_id": []})


def _request_strips(
    results: Results, requests: pd.DataFrame, sets: dict[str, TileSet], real: tuple
) -> list[Strip]:
    """Map, crops and real tile of each request, as far as they are known."""
    test, _ = real
    classes = results.study.classes
    colors = [c.color for c in classes]
    places = [(s, _places(s)) for s in real if s is not None]
    maps, crops, tiles = [], [], []
    for request in requests.to_dict("records"):
        source = str(request.get("source_tile_id", ""))
        label = request.get("label")
        note = "" if label is None or pd.isna(label) else str(label)
        at = _find(source, places[:1] if test is not None else [])
        tiles.append((Picture(data_uri(at[0].image(at[1])), f"real tile {source}", note),) if at else ())
        map = at[0].map(at[1]) if at else None
        maps.append((Picture(map_uri(map, colors), _map_words(map, results)),) if map is not None else ())
        donors = [(c, _find(tile, places)) for c, tile in _crop_ids(request).items()]
        crops.append(
            tuple(
                Picture(data_uri(d[0].image(d[1])), f"crop donor for {c}", c)
                for c, d in donors
                if d is not None
            )
        )
    strips = [
        Strip("requested map", "given to the map conditions", "request", tuple(maps)),
        Strip("crop donors", "tiles of other slides, one a class", "crops", tuple(crops)),
        Strip("real tile", "test tile that the request comes from", "real", tuple(tiles)),
    ]
    return [strip for strip in strips if any(strip.cells)]


def _places(tiles: TileSet) -> dict[str, int]:
    return {str(tile): i for i, tile in enumerate(tiles.table["tile_id"])}


def _find(tile: str, places: list) -> tuple[TileSet, int] | None:
    return next(((s, at[tile]) for s, at in places if tile in at), None)


def _crop_ids(request: dict) -> dict[str, str]:
    """Class to donor tile; the column holds JSON, and may be empty."""
    text = request.get("crop_tile_ids")
    if not isinstance(text, str) or not text.startswith("{"):
        return {}
    return {str(k): str(v) for k, v in json.loads(text).items() if v}


def _map_words(map: np.ndarray, results: Results) -> str:
    names = results.study.class_names
    counts = np.bincount(map.ravel(), minlength=256)
    shares = {
        (names[i] if i < len(names) else "unlabelled"): counts[i] / map.size
        for i in np.flatnonzero(counts)
        if i < len(names) or i == UNLABELLED
    }
    told = ", ".join(f"{name} {share:.0%}" for name, share in shares.items())
    return f"requested map: {told}"


@dataclass(frozen=True)
class ContactSheet:
    cluster: int
    size: int
    picture: Picture | None


def contact_sheets(results: Results) -> dict[str, list[ContactSheet]]:
    """One sheet of real train tiles a cluster, spread over its members' order in the table."""
    train = open_set(results.folder / "tilesets" / "real" / "train", [])
    places = _places(train) if train is not None else {}
    sheets: dict[str, list[ContactSheet]] = {}
    for clustering in results.clusters:
        sheets[clustering.name] = []
        for cluster, members in sorted(clustering.train_tiles.items()):
            rows = [places[m] for m in members if m in places]
            rows = [rows[i] for i in choose(len(rows), SHEET)]
            picture = None
            if train is not None and rows:
                alt = f"{len(rows)} train tiles of cluster {cluster}"
                picture = Picture(data_uri_sheet(train.images(rows)), alt)
            sheets[clustering.name].append(
                ContactSheet(cluster, clustering.sizes[cluster], picture)
            )
    return sheets


def data_uri_sheet(images: np.ndarray, *, across: int = 6, side: int = 64) -> str:
    """Tiles (n, H, W, 3) side by side in one JPEG, `across` a row, each at most `side` pixels."""
    height, width = images.shape[1:3]
    shrink = min(1.0, side / max(height, width))
    shape = (round(width * shrink), round(height * shrink))
    rows = -(-len(images) // across)
    sheet = Image.new("RGB", (across * (shape[0] + 2) - 2, rows * (shape[1] + 2) - 2), "white")
    for i, array in enumerate(images):
        tile = Image.fromarray(array)
        tile = tile.resize(shape, Image.Resampling.LANCZOS) if shrink < 1 else tile
        sheet.paste(tile, ((i % across) * (shape[0] + 2), (i // across) * (shape[1] + 2)))
    buffer = io.BytesIO()
    sheet.save(buffer, format="JPEG", quality=90)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
