"""What a conditioning signal is, and the registry of its kinds.

A signal turns tiles into what the network is told of them. It joins the network as *planes*
(channels beside the noisy latent), as one *token* (an index, embedded for cross-attention) or as a
*vector* (projected to a token). It declares what it needs of the study and what it makes possible
in an evaluation. A new kind is one module of this package with a registered class in it, or a
registered class anywhere that is imported before the study is read. Needs neither torch nor pandas.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from histosynth.errors import InputError

if TYPE_CHECKING:
    from histosynth.conditions.targets import Targets, TilePool
    from histosynth.config import Study

Joins = Literal["planes", "token", "vector"]


class SignalOptions(BaseModel):
    """The keys beside `kind` in a condition's signal; a signal with options derives its own."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Signal(ABC):
    """One kind of conditioning signal, with its options in one study.

    Attributes
    ----------
    kind : the name in a study's YAML
    joins : how the network takes it
    needs : what it needs of the tiles, among maps, labels, clusters, images and
        features:<encoder of the study>
    provides : what a synthetic tile carries thanks to it, among maps, labels, clusters
    """

    kind: ClassVar[str]
    joins: ClassVar[Joins]
    needs: frozenset[str] = frozenset()  # of the class, or of an instance after its options
    provides: frozenset[str] = frozenset()
    Options: ClassVar[type[SignalOptions]] = SignalOptions

    def __init__(self, options: Any, study: "Study") -> None:
        self.options = options
        self.study = study

    @property
    @abstractmethod
    def width(self) -> int:
        """Number of planes, of values of the token, or of components of the vector."""

    @abstractmethod
    def encode(self, targets: "Targets") -> np.ndarray:
        """What the network is told of b target tiles.

        Returns
        -------
        planes: float32 (b, width, H, W) in [-1, 1]; token: int64 (b,) in 0..width-1;
        vector: float32 (b, width) or (b, length, width)
        """

    @property
    def paths(self) -> dict[str, str]:
        """Option -> the pretrained model that it names: a folder, or a name of the hub."""
        return {}

    def null(self, pool: "TilePool") -> np.ndarray | None:
        """What stands for a vector where it is withheld, float32 (width,) or (length, width).

        None, the default, leaves it to the network to learn one.
        """
        return None

    def statistics(self, pool: "TilePool") -> tuple[np.ndarray, np.ndarray] | None:
        """Mean and spread by which a network is to standardise a vector, float32 (width,) each.

        Of the tiles to train on. None, the default, gives the network the vector as it is.
        """
        return None

    def fingerprint(self) -> str | None:
        """What names the frozen network whose output `encode` gives; None without one."""
        return None

    def shown_tiles(self, targets: "Targets") -> list[list[str]]:
        """For each target the ids of tiles whose pixels it shows; by default none."""
        return [[] for _ in range(len(targets))]

    def shown_share(self, targets: "Targets") -> np.ndarray:
        """For each target the share of its own pixels that it shows, float64 (b,); by default 0."""
        return np.zeros(len(targets))


_KINDS: dict[str, type[Signal]] = {}


def register_signal(signal: type[Signal]) -> type[Signal]:
    """Class decorator: make `signal` known by its `kind`.

    Raises
    ------
    ValueError
        Another class already has that kind.
    """
    known = _KINDS.get(signal.kind)
    if known is not None and known.__qualname__ != signal.__qualname__:
        raise ValueError(f"signal kind {signal.kind!r} is already taken by {known.__qualname__}")
    _KINDS[signal.kind] = signal
    return signal


def signal_kinds() -> list[str]:
    """The registered kinds, sorted."""
    return sorted(_KINDS)


def get_signal(
    kind: str, options: Mapping[str, Any], study: "Study", *, key: str = "signal"
) -> Signal:
    """The signal `kind` with its options checked; `key` names the place in error messages.

    Raises
    ------
    InputError
        Unknown kind (the known ones are listed), or options that the kind refuses.
    """
    if kind not in _KINDS:
        raise InputError(
            f"{key}: unknown signal {kind!r}; known signals: {', '.join(signal_kinds())}"
        )
    cls = _KINDS[kind]
    try:
        checked = cls.Options.model_validate(dict(options))
    except ValidationError as error:
        lines = [_explain(item, cls, key) for item in error.errors()]
        raise InputError("\n".join(lines)) from None
    return cls(checked, study)


def _explain(item: Any, cls: type[Signal], key: str) -> str:
    place = ".".join([key, *(str(part) for part in item["loc"])])
    if item["type"] == "extra_forbidden":
        known = ", ".join(cls.Options.model_fields) or "none"
        return f"{place}: signal {cls.kind!r} has no such option; its options: {known}"
    described = _describe(item, cls)
    if item["type"] == "missing":
        return f"{place}: is missing{described}"
    message = item["msg"].removeprefix("Value error, ")
    return f"{place}: found {item['input']!r}; {message[0].lower() + message[1:]}{described}"


def _describe(item: Any, cls: type[Signal]) -> str:
    field = cls.Options.model_fields.get(str(item["loc"][0])) if item["loc"] else None
    return f" ({field.description})" if field is not None and field.description else ""
