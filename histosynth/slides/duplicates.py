"""Near-duplicates between splits: tiles of two splits that are nearly the same picture.

A split by patient keeps patients apart, not pictures: a region may be in a cohort twice under two
ids. Each tile is reduced to 32 x 32 pixels and hashed by the signs of its 8 x 8 lowest cosine
frequencies about their median (the usual perceptual hash). Mirroring a picture only changes the
signs of its odd frequencies, and transposing it swaps them, so one transform gives the hashes of
all eight turns. Pairs of near hashes are candidates; a candidate counts only where the two small
pictures correlate in their detail, since plain or repetitive tissue often agrees in its coarse
shades by chance. A copy that is shifted or cut differently is another picture and is not found.
"""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from histosynth.tilesets import TileSet

SIDE = 32  # pixels of a small picture
TURNS = 8
# Measured on EBHI-Seg, phantom tiles and those of a real slide: copies stored as JPEG of quality 60
# differ by 4 bits at most and correlate by 0.9; of 1.6 million pairs of other tiles, six of nearly
# empty ones come to 0.7 to 0.77.
MAX_DISTANCE = 8  # bits
MIN_CORRELATION = 0.8
MIN_DETAIL = 4.0  # grey levels: a tile with less is too plain to be told from another
MATCHES = 8  # candidates confirmed for each tile, nearest hashes first
LISTED = 1000
LIMIT = 300_000  # tiles of a split: a seeded sample beyond; 3 KiB of memory each
_BACK = (0, 1, 2, 3, 4, 6, 5, 7)  # the turn that undoes each turn
_FREQUENCIES = 8
_BLOCK = 4  # pixels: detail is what is left after the mean of each such block is taken off
_DISTANCES_AT_ONCE = 1 << 18
_PICTURES_AT_ONCE = 512
_GREY = np.array([0.299, 0.587, 0.114], dtype=np.float32)
_COSINES = np.cos(np.pi * (np.arange(SIDE) + 0.5) * np.arange(_FREQUENCIES)[:, None] / SIDE).astype(
    np.float32
)


class Prints(NamedTuple):
    """What is kept of a split's tiles.

    Attributes
    ----------
    rows : int64 (n,), rows of the tile set that are compared
    pictures : uint8 (n, 32, 32, 3)
    hashes : uint64 (n, 8), one a turn
    plain : tiles left out, as they show too little to be told apart
    """

    rows: np.ndarray
    pictures: np.ndarray
    hashes: np.ndarray
    plain: int


class Match(NamedTuple):
    """Picture i of one split, and picture j of another, which looks so after `turn`."""

    i: int
    j: int
    turn: int
    distance: int
    correlation: float


def find_duplicates(
    splits: Mapping[str, TileSet], *, limit: int = LIMIT, seed: int = 0, threads: int = 1
) -> dict[str, Any]:
    """Compare every two splits.

    Parameters
    ----------
    splits : name -> tiles
    limit : compare at most this many tiles of a split, drawn with `seed`

    Returns
    -------
    what duplicates.json holds: pairs (the `LISTED` most alike), counts of all pairs found by two
    splits' names, tiles (of each split: how many there are, were compared, were too plain), method
    """
    prints = {
        name: take_prints(tiles, _sample(len(tiles), limit, seed), threads=threads)
        for name, tiles in splits.items()
    }
    counts, pairs = {}, []
    for a, b in combinations(splits, 2):
        matches = match(prints[a], prints[b], threads=threads)
        counts[f"{a}-{b}"] = len(matches)
        matches = sorted(matches, key=lambda m: -m.correlation)[:LISTED]
        pairs += [_pair(splits, prints, (a, b), found) for found in matches]
    return {
        "pairs": sorted(pairs, key=lambda pair: -pair["correlation"])[:LISTED],
        "counts": counts,
        "tiles": {
            name: {
                "tiles": len(splits[name]),
                "compared": len(taken.rows),
                "plain": taken.plain,
            }
            for name, taken in prints.items()
        },
        "method": {
            "hash": f"{_FREQUENCIES**2}-bit cosine hash of {SIDE} x {SIDE} grey, {TURNS} turns",
            "largest_distance": MAX_DISTANCE,
            "least_correlation": MIN_CORRELATION,
            "least_detail": MIN_DETAIL,
            "matches_per_tile": MATCHES,
            "tiles_per_split": limit,
            "seed": seed,
        },
    }


def _sample(n: int, limit: int, seed: int) -> np.ndarray:
    if n <= limit:
        return np.arange(n)
    return np.sort(np.random.default_rng(seed).choice(n, limit, replace=False))


def _pair(
    splits: Mapping[str, TileSet],
    prints: Mapping[str, Prints],
    names: tuple[str, str],
    found: Match,
) -> dict[str, Any]:
    told: dict[str, Any] = {}
    for key, name, at in zip("ab", names, (found.i, found.j), strict=True):
        row = splits[name].table.iloc[int(prints[name].rows[at])]
        told |= {f"split_{key}": name, f"tile_{key}": str(row["tile_id"])}
        told[f"patient_{key}"] = str(row.get("patient_id", ""))
    told |= {"distance": found.distance, "correlation": round(found.correlation, 4)}
    return told | {"turned": found.turn != 0}


def take_prints(tiles: TileSet, rows: np.ndarray, *, threads: int = 1) -> Prints:
    """Read, reduce and hash the given rows of a tile set."""

    def take(some: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        pictures = np.stack([small(tiles.image(i)) for i in some.tolist()])
        return pictures, hashes(pictures), detail(pictures).std(1) >= MIN_DETAIL

    parts = [rows[at : at + _PICTURES_AT_ONCE] for at in range(0, len(rows), _PICTURES_AT_ONCE)]
    with ThreadPoolExecutor(threads) as pool:
        taken = list(pool.map(take, parts))
    if not taken:
        nothing = np.zeros((0, SIDE, SIDE, 3), np.uint8)
        return Prints(rows, nothing, np.zeros((0, TURNS), np.uint64), 0)
    shows = np.concatenate([part[2] for part in taken])
    pictures, codes = (np.concatenate([p[k][p[2]] for p in taken]) for k in (0, 1))
    return Prints(rows[shows], pictures, codes, int((~shows).sum()))


def small(image: np.ndarray) -> np.ndarray:
    """uint8 (H, W, 3) as (32, 32, 3), by the mean over the area of each new pixel."""
    reduced = Image.fromarray(image).resize((SIDE, SIDE), Image.Resampling.BOX)
    return np.asarray(reduced)


def turned(pictures: np.ndarray, turn: int) -> np.ndarray:
    """Pictures (..., H, W, channels) in one of their eight turns, 0 to 7: views, no copies."""
    if turn & 4:
        pictures = pictures.swapaxes(-3, -2)
    if turn & 2:
        pictures = pictures[..., ::-1, :, :]
    return pictures[..., ::-1, :] if turn & 1 else pictures


def hashes(pictures: np.ndarray) -> np.ndarray:
    """Perceptual hashes uint64 (n, 8) of pictures (n, 32, 32, 3): of `turned` by 0 to 7."""
    grey = pictures @ _GREY
    waves = _COSINES @ grey @ _COSINES.T
    signs = (-1.0) ** np.arange(_FREQUENCIES, dtype=np.float32)
    made = np.empty((len(pictures), TURNS), dtype=np.uint64)
    for turn in range(TURNS):
        form = waves.swapaxes(1, 2) if turn & 4 else waves
        form = form * signs[:, None] if turn & 2 else form
        form = (form * signs if turn & 1 else form).reshape(len(pictures), -1)
        bits = form > np.median(form[:, 1:], axis=1, keepdims=True)
        bits[:, 0] = False  # the mean brightness tells nothing
        made[:, turn] = np.packbits(bits, axis=1).view(np.uint64)[:, 0]
    return made


def detail(pictures: np.ndarray) -> np.ndarray:
    """float32 (n, 3072): pictures (n, 32, 32, 3) less the mean colour of each 4 x 4 block."""
    blocks = pictures.astype(np.float32)
    blocks = blocks.reshape(len(pictures), SIDE // _BLOCK, _BLOCK, SIDE // _BLOCK, _BLOCK, 3)
    return (blocks - blocks.mean((2, 4), keepdims=True)).reshape(len(pictures), -1)


def correlations(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Correlation (n,) of the detail of pictures (n, 32, 32, 3), pair by pair."""
    a, b = detail(first), detail(second)
    scale = np.sqrt((a * a).sum(1) * (b * b).sum(1))
    return (a * b).sum(1) / np.maximum(scale, np.finfo(np.float32).tiny)


def match(first: Prints, second: Prints, *, threads: int = 1) -> list[Match]:
    """Pairs of pictures of two splits that are nearly the same."""
    if len(first.rows) < len(second.rows):  # candidates are limited for each of the fewer
        return [
            m._replace(i=m.j, j=m.i, turn=_BACK[m.turn])
            for m in match(second, first, threads=threads)
        ]
    if not len(second.rows):
        return []
    found = []
    for i, j, turn, distance in _candidates(first.hashes[:, 0], second.hashes, threads):
        for at in range(0, len(i), _PICTURES_AT_ONCE):
            part = slice(at, at + _PICTURES_AT_ONCE)
            ours = first.pictures[i[part]]
            theirs = np.stack(
                [turned(second.pictures[k], t) for k, t in zip(j[part], turn[part], strict=True)]
            )
            alike = correlations(ours, theirs)
            columns = (i[part], j[part], turn[part], distance[part], alike)
            found += [
                Match(int(a), int(b), int(t), int(d), float(c))
                for a, b, t, d, c in zip(*columns, strict=True)
                if c >= MIN_CORRELATION
            ]
    return found


def _candidates(first: np.ndarray, second: np.ndarray, threads: int) -> Iterator[tuple]:
    """Arrays (i, j, turn, distance) of near hashes: `first` (n,) as it is, `second` (m, 8)."""
    step = max(1, _DISTANCES_AT_ONCE // len(first))

    def search(at: int) -> tuple[np.ndarray, ...]:
        codes = second[at : at + step]
        least = np.full((len(codes), len(first)), 255, dtype=np.uint8)
        apart = np.empty(least.shape, dtype=np.uint64)
        for turn in range(TURNS):
            np.bitwise_xor(codes[:, turn, None], first, out=apart)
            np.minimum(least, np.bitwise_count(apart), out=least)
        j, i = np.nonzero(least <= MAX_DISTANCE)
        order = np.lexsort((least[j, i], j))  # each tile's nearest first
        j, i = j[order], i[order]
        place = np.arange(len(j)) - np.searchsorted(j, j)
        j, i = j[place < MATCHES], i[place < MATCHES]
        turns = np.bitwise_count(codes[j] ^ first[i, None])
        return i, j + at, turns.argmin(1), turns.min(1)

    with ThreadPoolExecutor(threads) as pool:
        yield from pool.map(search, range(0, len(second), step))
