"""That the pieces of a generator belong together: refused before hours are spent, not after."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from histosynth.errors import InputError

if TYPE_CHECKING:
    from histosynth.conditions.spec import ConditionSpec
    from histosynth.config import Study
    from histosynth.diffusion.latents import LatentCache
    from histosynth.tilesets import TileSet


def check_classes_of(tiles: "TileSet", study: "Study") -> None:
    """The study's classes must be those of the tiles' maps, in the same order.

    Raises
    ------
    InputError
        They differ, so that a map's values would mean something else.
    """
    if tiles.classes and list(tiles.classes) != study.class_names:
        raise InputError(
            f"{tiles.folder}: its maps have the classes {', '.join(tiles.classes)}, but the "
            f"study's `classes` are {', '.join(study.class_names)}; tile again, or restore them"
        )


def check_latents_of(cache: "LatentCache", tiles: "TileSet") -> None:
    """Row i of the latents must be tile i.

    Raises
    ------
    InputError
        The latents were encoded from another tile set.
    """
    if cache.tiles != tiles.fingerprint or len(cache) != len(tiles):
        raise InputError(
            f"{cache.folder}: latents of tile set {cache.tiles} ({len(cache)} tiles), but "
            f"{tiles.folder} is {tiles.fingerprint} ({len(tiles)} tiles); run scripts/latents.py"
        )


def check_model_of(
    path: Path, record: dict[str, Any], spec: "ConditionSpec", *, autoencoder: str, tile_size: int
) -> None:
    """A model's record must name the condition's planes and tokens, and the autoencoder given.

    Raises
    ------
    InputError
        The weights go with another condition, autoencoder (a fingerprint) or tile size.
    """
    from histosynth.diffusion.conditioning import signals_spec

    for what, found, expected in (
        ("autoencoder", record["autoencoder"], autoencoder),
        ("signals", record["signals"], signals_spec(spec).to_dict()),
        ("tile size", record["tile_size"], tile_size),
    ):
        if found != expected:
            raise InputError(
                f"{path}: was trained with {what} {found}, but condition {spec.name} is to be "
                f"sampled with {expected}; train it again"
            )
