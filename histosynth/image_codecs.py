"""How image files were compressed, by their headers alone: nothing is decoded.

A JPEG holds the tables that its coefficients were divided by. Nearly all writers scale the tables
of ITU-T T.81, Annex K, by the rule of the Independent JPEG Group,

    table(q) = clip((base * s + 50) // 100, 1, 255),  s = 5000 // q below q = 50, else 200 - 2 q

so the q whose tables lie nearest tells the quality: exactly for such writers, and about for those
with tables of their own. What was a JPEG once and is stored as PNG now cannot be told from it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image, JpegImagePlugin

ANY_CODEC = "any_codec"  # in a set's provenance: score it whatever its codec, and mark the scores
LITTLE = 2  # steps of quality that two sets may differ by and still count as alike
_SHARES = (0.1, 0.5, 0.9)  # quantiles that stand for the qualities of a set
_SAMPLING = {0: "4:4:4", 1: "4:2:2", 2: "4:2:0"}  # Pillow's numbers
# T.81, tables K.1 (luminance) and K.2 (chrominance), row by row.
_LUMINANCE = """
    16 11 10 16  24  40  51  61    12 12 14 19  26  58  60  55    14 13 16 24  40  57  69  56
    14 17 22 29  51  87  80  62    18 22 37 56  68 109 103  77    24 35 55 64  81 104 113  92
    49 64 78 87 103 121 120 101    72 92 95 98 112 100 103  99
"""
_CHROMINANCE = """
    17 18 24 47 99 99 99 99    18 21 26 66 99 99 99 99    24 26 56 99 99 99 99 99
    47 66 99 99 99 99 99 99    99 99 99 99 99 99 99 99    99 99 99 99 99 99 99 99
    99 99 99 99 99 99 99 99    99 99 99 99 99 99 99 99
"""
_BASES = [np.array(text.split(), dtype=int) for text in (_LUMINANCE, _CHROMINANCE)]
_QUALITIES = np.arange(1, 101)


@dataclass(frozen=True)
class Compression:
    """How one file was compressed.

    Attributes
    ----------
    codec : jpeg, webp, or png for everything that is stored without loss
    quality : of a JPEG, about 1 to 100; None where it is unknown
    sampling : of a colour JPEG, such as 4:2:0 for chroma halved both ways; empty where unknown
    """

    codec: str
    quality: int | None = None
    sampling: str = ""


@dataclass(frozen=True)
class Codec:
    """How the files of a set were compressed; as text it is what protocols and pages say.

    Attributes
    ----------
    names : the codecs that occur, sorted
    qualities : of its JPEGs, the quantiles 10, 50 and 90 %; empty where they are unknown
    sampling : of its JPEGs, all that occur, sorted
    """

    names: tuple[str, ...]
    qualities: tuple[int, ...] = ()
    sampling: tuple[str, ...] = ()

    def __str__(self) -> str:
        return " and ".join(self._jpeg() if name == "jpeg" else name for name in self.names)

    def _jpeg(self) -> str:
        if not self.qualities:
            quality = "quality unknown"
        elif self.qualities[0] == self.qualities[-1]:
            quality = f"about q{self.qualities[0]}"
        else:
            low, middle, high = self.qualities
            quality = f"about q{middle} (mostly q{low} to q{high})"
        return ", ".join(["jpeg", quality, *self.sampling])

    def is_like(self, other: "Codec") -> bool:
        """Whether codecs and chroma sampling agree, and qualities by `LITTLE` steps or better."""
        if (self.names, self.sampling) != (other.names, other.sampling):
            return False
        if len(self.qualities) != len(other.qualities):
            return False
        pairs = zip(self.qualities, other.qualities, strict=True)
        return all(abs(a - b) <= LITTLE for a, b in pairs)


def codec_of(files: Iterable[Compression]) -> Codec:
    """What the files of a set have in common."""
    files = list(files)
    known = [file.quality for file in files if file.quality is not None]
    qualities = np.quantile(known, _SHARES, method="nearest").tolist() if known else []
    return Codec(
        tuple(sorted({file.codec for file in files})),
        tuple(map(int, qualities)),
        tuple(sorted({file.sampling for file in files if file.sampling})),
    )


def compression(image: Image.Image) -> Compression:
    """How an opened file was compressed, from its header."""
    if isinstance(image, JpegImagePlugin.JpegImageFile):
        tables = tuple(tuple(table) for _, table in sorted(image.quantization.items()))
        sampling = _SAMPLING.get(JpegImagePlugin.get_sampling(image), "")
        return Compression("jpeg", _quality(tables), sampling)
    if image.info.get("compression") == "jpeg":  # a TIFF, whose tables Pillow does not read
        return Compression("jpeg")
    return Compression("webp" if image.format == "WEBP" else "png")


@lru_cache(maxsize=1024)
def _quality(tables: Sequence[Sequence[int]]) -> int | None:
    """The quality whose tables lie nearest, by the mean ratio of their entries."""
    if not tables:
        return None
    scale = np.where(_QUALITIES < 50, 5000 // _QUALITIES, 200 - 2 * _QUALITIES)
    off = np.zeros(len(_QUALITIES))
    for table, base in zip(tables, _BASES, strict=False):
        standard = np.clip((base * scale[:, None] + 50) // 100, 1, 255)
        off += np.abs(np.log(np.array(table) / standard)).mean(axis=1)
    return int(_QUALITIES[off.argmin()])
