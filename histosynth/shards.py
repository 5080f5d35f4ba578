"""Shards of a tile set: PNG files in plain tar files, and the place of every file's bytes.

A shard streams through WebDataset and unpacks with `tar`; the index beside the shards, int64
(n, 3) of shard, byte offset and length, makes it readable at random by `pread`.
"""

import contextlib
import os
import tarfile
from io import BufferedWriter
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

SHARD_BYTES = 256 * 2**20
OPEN_SHARDS = 128  # a process may hold about a thousand open files in all
_BLOCK = tarfile.BLOCKSIZE


def shard_name(kind: str, shard: int) -> str:
    """File name of a shard; `kind` is "images" or "maps"."""
    return f"{kind}-{shard:06d}.tar"


def index_name(kind: str) -> str:
    """File name of the index of one kind of shards."""
    return f"{kind}.index.npy"


class ShardWriter:
    """Appends files to shards of about `SHARD_BYTES`.

    `close` ends the last shard and writes the index; leaving the `with` without it only lets go
    of the open file.
    """

    def __init__(self, folder: Path, kind: str) -> None:
        self._folder, self._kind = folder, kind
        self._stream: BufferedWriter | None = None
        self._shard = -1
        self._end = 0
        self._index = bytearray()  # a list of tuples would take ten times the memory

    def add(self, name: str, data: bytes) -> None:
        """Append a file."""
        if self._stream is None or self._end > SHARD_BYTES:
            self._next()
        assert self._stream is not None
        member = tarfile.TarInfo(name)
        member.size = len(data)
        header = member.tobuf(tarfile.PAX_FORMAT)  # more than one block where the name is long
        self._stream.write(header + data + bytes(-len(data) % _BLOCK))
        place = (self._shard, self._end + len(header), len(data))
        self._index += np.array(place, dtype=np.int64).tobytes()
        self._end += len(header) + len(data) + -len(data) % _BLOCK

    def _next(self) -> None:
        self._end_shard()
        self._shard += 1
        self._end = 0
        self._stream = open(self._folder / shard_name(self._kind, self._shard), "wb")

    def _end_shard(self) -> None:
        if self._stream is not None:
            self._stream.write(bytes(2 * _BLOCK))  # how a tar file ends
            self._stream.close()
            self._stream = None

    def close(self) -> None:
        self._end_shard()
        index = np.frombuffer(self._index, dtype=np.int64).reshape(-1, 3)
        np.save(self._folder / index_name(self._kind), index)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._stream is not None:
            with contextlib.suppress(OSError):  # on a full disk, what is buffered cannot go out
                self._stream.close()


class ShardReader:
    """Reads files from shards by their place in the index; picklable, and safe after a fork."""

    def __init__(self, folder: Path, kind: str) -> None:
        self._folder, self._kind = folder, kind
        self.index: np.ndarray = np.load(folder / index_name(kind))
        self._handles: dict[tuple[int, int], int] = {}

    def read(self, i: int) -> bytes:
        """The bytes of file i."""
        shard, offset, length = (int(v) for v in self.index[i])
        return os.pread(self._handle(shard), length, offset)

    def place(self, i: int) -> str:
        """Where file i lies, in words."""
        shard, offset, _ = (int(v) for v in self.index[i])
        return f"{shard_name(self._kind, shard)} at byte {offset}"

    def _handle(self, shard: int) -> int:
        key = (os.getpid(), shard)  # a forked worker opens its own
        if key in self._handles:
            self._handles[key] = self._handles.pop(key)  # last used, last to be closed
        else:
            if len(self._handles) >= OPEN_SHARDS:
                self._close(next(iter(self._handles)))
            path = self._folder / shard_name(self._kind, shard)
            self._handles[key] = os.open(path, os.O_RDONLY)
        return self._handles[key]

    def _close(self, key: tuple[int, int]) -> None:
        handle = self._handles.pop(key)
        if key[0] == os.getpid():
            os.close(handle)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_handles": {}}  # file descriptors do not travel to workers

    def __del__(self) -> None:
        for key in list(getattr(self, "_handles", {})):
            self._close(key)
