"""How image files were compressed is read from their headers, and told where it differs."""

import io

import numpy as np
import pytest
from PIL import Image

from histosynth.image_codecs import Compression, codec_of, compression


def saved(mode="RGB", kind="JPEG", **options):
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(buffer, kind, **options)
    return Image.open(buffer)


@pytest.mark.parametrize("sampling", ["4:4:4", "4:2:2", "4:2:0"])
def test_the_quality_of_a_jpeg_of_the_usual_tables_is_found_at_every_quality(sampling):
    """The tables are those of libjpeg, which writes them."""
    for quality in range(1, 101):
        found = compression(saved(quality=quality, subsampling=sampling))
        assert found == Compression("jpeg", quality, sampling)


def test_tables_of_ones_own_get_the_quality_that_lies_nearest():
    usual = saved(quality=60).quantization
    tables = [[round(1.1 * v) for v in table] for table in usual.values()]
    image = saved(qtables=tables)
    assert compression(image).quality in range(54, 60)  # a tenth coarser than 60


def test_files_that_tell_less_are_named_so():
    assert compression(saved("L", quality=80)) == Compression("jpeg", 80)  # grey has no chroma
    assert compression(saved(kind="TIFF", compression="jpeg")) == Compression("jpeg")
    assert compression(saved(kind="TIFF")) == compression(saved(kind="PNG")) == Compression("png")
    assert compression(saved(kind="WEBP")) == Compression("webp")


def test_nothing_of_the_pixels_is_read():
    with io.BytesIO() as buffer:
        saved(quality=90).save(buffer, "JPEG", quality=90)
        data = buffer.getvalue()
    head = data[: data.index(b"\xff\xda") + 14]  # up to the scan
    assert compression(Image.open(io.BytesIO(head))) == Compression("jpeg", 90, "4:2:0")


def jpegs(*qualities, sampling="4:2:0"):
    return codec_of(Compression("jpeg", q, sampling) for q in qualities)


def test_a_set_is_told_by_its_codecs_qualities_and_sampling():
    assert str(codec_of([Compression("png")] * 3)) == "png"
    assert str(jpegs(90, 90)) == "jpeg, about q90, 4:2:0"
    assert str(jpegs(*range(70, 91))) == "jpeg, about q80 (mostly q72 to q88), 4:2:0"
    both = codec_of([Compression("png"), Compression("jpeg", 75, "4:2:0")])
    assert str(both) == "jpeg, about q75, 4:2:0 and png"
    assert str(codec_of([Compression("jpeg")])) == "jpeg, quality unknown"


def test_sets_are_alike_within_two_steps_of_quality_and_not_beyond():
    assert jpegs(90).is_like(jpegs(92)) and not jpegs(90).is_like(jpegs(93))
    assert not jpegs(90).is_like(jpegs(90, sampling="4:4:4"))
    assert not jpegs(90).is_like(codec_of([Compression("png")]))
    assert not jpegs(90).is_like(codec_of([Compression("jpeg")]))
    # A tenth of the images may differ; a half may not, though the median stays.
    assert jpegs(*[90] * 95, *[40] * 5).is_like(jpegs(90))
    assert not jpegs(*[90] * 51, *[40] * 49).is_like(jpegs(90))
