"""Protocols: what must agree for two numbers to be comparable.

A protocol is a plain mapping; a row carries its hash. Nothing in it names a condition, so all
conditions of a study that are scored alike, at equal n, share it; and two studies share it where
they really measured the same thing.
"""

import re
from collections.abc import Iterable
from typing import Any

from histosynth.errors import InputError
from histosynth.evaluations.rows import SPLIT_UNIT
from histosynth.files import short_hash
from histosynth.image_codecs import ANY_CODEC
from histosynth.nuclei import NucleusRule
from histosynth.tilesets import TileSet

# Raised by hand when a score's definition changes, so that old numbers are not ranked with new.
FIDELITY_VERSION = ADHERENCE_VERSION = UTILITY_VERSION = MEMORIZATION_VERSION = 1
TISSUE_VERSION = 1
COPY_THROUGH_VERSION = 2


def codec(tiles: TileSet) -> str:
    """How a set's pixels were once compressed: `png`, unless its provenance says otherwise.

    A folder's import records the codecs of its files; a caller's own word goes before that.
    """
    told = tiles.provenance.get("codec") or tiles.provenance.get("codecs") or "png"
    return str(told).lower()


def split_unit(tiles: TileSet) -> str:
    """What the study's split keeps apart: `patient`, or `slide` or `image` where none are known."""
    return str(tiles.provenance.get("split_unit", "patient"))


def check_comparable(real: TileSet, synthetic: TileSet) -> None:
    """Refuse to compare tiles of another size or codec: either one moves every score.

    Raises
    ------
    InputError
        Names both sets and what differs.
    """
    if real.size != synthetic.size:
        raise _differ("tile size", real, real.size, synthetic, synthetic.size)
    check_codecs(real, synthetic)


def check_codecs(real: TileSet, synthetic: TileSet) -> None:
    """As `check_comparable`, of codecs alone.

    A set whose provenance says `any_codec` may have another codec; the protocol then names both.
    """
    a, b = codec(real), codec(synthetic)
    if a != b and not synthetic.provenance.get(ANY_CODEC):
        raise _differ("codec", real, a, synthetic, b)


def _differ(what: str, real: TileSet, a: Any, synthetic: TileSet, b: Any) -> InputError:
    return InputError(
        f"{what}: {real.folder} has {a}, {synthetic.folder} has {b}; scores of the two "
        "would measure that difference. Bring both to one, from the same kind of source"
    )


def fidelity_protocol(
    real: TileSet,
    *,
    encoder: dict[str, Any],
    width: int,
    n_real: int | None,
    n_synthetic: int | None,
    subset: str | None = None,
    synthetic: TileSet | None = None,
) -> dict[str, Any]:
    """Of scores in an encoder's features, which may have ingredients of their own beside these.

    Parameters
    ----------
    real : the real test tiles
    encoder : the encoder's fingerprint (weights, transform, resize, dtype)
    width : its number of features d
    n_real, n_synthetic : None where the score does not depend on them
    subset : how tiles are sorted into subsets, for the scores of one
    synthetic : the set, where its files may have had another size or codec than the real ones
    """
    told = {
        "group": "fidelity",
        "version": FIDELITY_VERSION,
        **_pixels(real, synthetic),
        "encoder": short_hash(encoder),
        "transform": encoder.get("transform"),
        "features": width,
        "n_real": n_real,
        "n_synthetic": n_synthetic,
    }
    return told if subset is None else told | {"subset": subset}


def round_trip_protocol(real: TileSet, *, network: str | None = None) -> dict[str, Any]:
    """Of errors of single tiles; `network` is the fingerprint of what sees them, if any does."""
    return {
        "group": "fidelity",
        "version": FIDELITY_VERSION,
        **_pixels(real),
        "score": "round trip",
        "network": network,
    }


def adherence_protocol(
    real: TileSet, *, judge: str, synthetic: TileSet | None = None
) -> dict[str, Any]:
    """Of a judge's agreement with the requested maps or labels; `judge` is its fingerprint.

    No n: an IoU or accuracy of few tiles is uncertain, not biased. `synthetic` as of fidelity.
    """
    return {
        "group": "adherence",
        "version": ADHERENCE_VERSION,
        **_pixels(real, synthetic),
        "judge": judge,
    }


def utility_protocol(
    train: TileSet,
    test: TileSet,
    *,
    training: dict[str, Any],
    seeds: list[int],
    mixed_ratio: float,
    n_synthetic: int,
) -> dict[str, Any]:
    """Of downstream training; the arms differ by design and share it.

    Parameters
    ----------
    training : the downstream network's settings
    n_synthetic : tiles in the synthetic set on offer
    """
    return {
        "group": "utility",
        "version": UTILITY_VERSION,
        **_pixels(test),
        "train": train.fingerprint,
        "training": training,
        "seeds": seeds,
        "mixed_ratio": mixed_ratio,
        "n_synthetic": n_synthetic,
    }


def memorization_protocol(
    test: TileSet,
    train: TileSet,
    *,
    n_train: int,
    space: dict[str, Any],
    synthetic: TileSet | None = None,
) -> dict[str, Any]:
    """Of distances to training tiles, against those of held-out tiles.

    No n of the generated or held-out tiles: the scores are shares and probabilities, which few
    tiles leave uncertain, not biased.

    Parameters
    ----------
    n_train : training tiles that neighbours are looked for among
    space : the encoder's fingerprint, or how pixels are compared
    synthetic : as of fidelity
    """
    told = {
        "group": "memorization",
        "version": MEMORIZATION_VERSION,
        **_pixels(test, synthetic),
        "train": train.fingerprint,
        "n_train": n_train,
        "space": short_hash(space),
    }
    of_test, of_train = ((codec(tiles), native_sizes(tiles)) for tiles in (test, train))
    return told if of_train == of_test else told | {"train_files": list(of_train)}


def copy_through_protocol(test: TileSet, *, crop: dict[str, Any]) -> dict[str, Any]:
    """Of crops shown to the generator that come out again; `crop` is the signal's options."""
    return {
        "group": "memorization",
        "version": COPY_THROUGH_VERSION,
        **_pixels(test),
        "crop": crop,
    }


def tissue_protocol(
    test: TileSet,
    *,
    rule: NucleusRule | None,
    judge: str | None = None,
    synthetic: TileSet | None = None,
) -> dict[str, Any]:
    """Of tissue statistics against those of real test tiles.

    Parameters
    ----------
    rule : what counts as a nucleus, where nuclei are looked for
    judge : fingerprint of the segmenter that reads the classes, for the scores of classes
    synthetic : as of fidelity
    """
    return {
        "group": "tissue",
        "version": TISSUE_VERSION,
        **_pixels(test, synthetic),
        "nuclei": rule and {"threshold": round(rule.threshold, 6), "mpp": rule.mpp},
        "judge": judge,
    }


def native_sizes(tiles: TileSet) -> str:
    """Width x height in pixels of a set's files, before anything resized them."""
    height, width = tiles.size
    return str(tiles.provenance.get("native_sizes", f"{width} x {height}"))


def resized_remark(real: TileSet, synthetic: TileSet) -> str:
    """What to say of scores of a set whose files had another size than the real ones, if they had.

    Of a set of one size that was enlarged it says so; missing detail is in its scores.
    """
    sizes, side = native_sizes(synthetic), synthetic.size[1]
    if sizes == native_sizes(real):
        return ""
    smallest = min(int(width) for width in re.findall(r"(\d+) x", sizes))
    how = "enlarged, so missing detail is scored" if smallest < side else "reduced"
    return f"its images had {sizes} pixels and were {how}"


def _pixels(test: TileSet, synthetic: TileSet | None = None) -> dict[str, Any]:
    sets = [test] if synthetic is None else [test, synthetic]
    told = {"codec": _against(map(codec, sets)), "size": list(test.size), "test": test.fingerprint}
    filters = {str(t.provenance.get("resize")) for t in sets if "native_sizes" in t.provenance}
    if filters:  # not named where nothing was resized, so that those hashes stay as they are
        height, width = test.size
        sizes = _against(map(native_sizes, sets))
        told["resized"] = f"{sizes} to {width} x {height}, {', '.join(sorted(filters))}"
    # Named only where it is not the rule, so that hashes of patient-level studies stay as they are.
    return told if split_unit(test) == "patient" else told | {SPLIT_UNIT: split_unit(test)}


def _against(of_sets: Iterable[str]) -> str:
    return " against ".join(dict.fromkeys(of_sets))
