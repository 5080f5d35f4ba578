"""A condition: signals composed, what they need, what the network gets, what they make possible."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

from histosynth.conditions.embedding import conditioning_encoders
from histosynth.conditions.signal import Joins, Signal, get_signal
from histosynth.errors import InputError
from histosynth.settings import SignalSettings

if TYPE_CHECKING:
    from histosynth.conditions.targets import Targets, TilePool
    from histosynth.config import Study


@dataclass(frozen=True)
class ConditionSpec:
    """A condition of a study; make it with `of` or `load`.

    Attributes
    ----------
    name : the condition's name
    signals : in the study's order, which is the order of planes and tokens
    label_follows_map : labels are class fractions of the map, so that a map implies its label
    init_from : the condition from whose weights training starts, if it does
    added : signals other than planes that came after the first of those it starts from
    """

    name: str
    signals: tuple[Signal, ...]
    label_follows_map: bool
    init_from: str | None = None
    added: tuple[str, ...] = ()

    @classmethod
    def of(cls, study: "Study", name: str) -> "ConditionSpec":
        """The condition `name` of a study.

        Raises
        ------
        InputError
            No such condition, an external one (it has no signals), or a bad signal.
        """
        if name not in study.conditions:
            known = ", ".join(study.conditions)
            raise InputError(f"conditions.{name}: no such condition; the study has: {known}")
        signals = study.conditions[name].signals
        if signals is None:
            raise InputError(
                f"conditions.{name}: an external set of images is scored, never trained or sampled"
            )
        return cls.compose(study, name, signals)

    @classmethod
    def compose(
        cls, study: "Study", name: str, signals: Sequence[SignalSettings]
    ) -> "ConditionSpec":
        """Compose signals as settings give them, each checked against the study."""
        made: list[Signal] = []
        for i, settings in enumerate(signals):
            key = f"conditions.{name}.signals[{i}]"
            signal = get_signal(settings.kind, settings.options, study, key=key)
            if signal.kind in [other.kind for other in made]:
                raise InputError(
                    f"{key}: signal {signal.kind!r} is given twice; a condition takes each kind "
                    "once, so make two conditions of it"
                )
            _check_needs(signal, study, key)
            _check_architecture(signal, study, key)
            made.append(signal)
        if study.generator.architecture == "pretrained" and not made:
            raise InputError(
                f"conditions.{name}.signals: there are none, but generator.architecture: "
                f"pretrained (preset {study.generator.preset}) always reads a prompt; give one "
                "whose template is a constant sentence"
            )
        follows = study.label is not None and study.label.source == "class_fraction"
        bases = study.bases_of(name) if name in study.conditions else []
        return cls(name, tuple(made), follows, next(iter(bases), None), _added(study, made, bases))

    @classmethod
    def load(cls, path: str | Path, study: "Study") -> "ConditionSpec":
        """Read results/{study}/conditions/{condition}.yaml, as `resolved` gives it."""
        try:
            settings = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise InputError(f"{path}: no such condition file") from None
        if not isinstance(settings, dict) or not {"name", "signals"} <= settings.keys():
            raise InputError(f"{path}: expected `name` and `signals` (a list), found {settings!r}")
        signals = [
            SignalSettings(**({"kind": signal} if isinstance(signal, str) else signal))
            for signal in settings["signals"]
        ]
        return cls.compose(study, settings["name"], signals)

    def resolved(self) -> dict[str, Any]:
        """Name and signals with every option filled in, for YAML."""
        signals = [
            {"kind": signal.kind, **signal.options.model_dump(mode="json")}
            for signal in self.signals
        ]
        base = {} if self.init_from is None else {"init_from": self.init_from}
        return {"name": self.name, "signals": signals, **base}

    @property
    def needs(self) -> set[str]:
        """What the signals need of the tiles, as `Signal.needs`."""
        return set().union(*(signal.needs for signal in self.signals))

    @property
    def provides(self) -> set[str]:
        """What a sample carries because it was requested: among maps, labels, clusters."""
        provided = set().union(*(signal.provides for signal in self.signals))
        if self.label_follows_map and "maps" in provided:
            provided.add("labels")
        return provided

    def widths(self, joins: Joins) -> dict[str, int]:
        """Signal -> width of those that join as `joins`: planes, values, or vector components."""
        return {signal.kind: signal.width for signal in self.signals if signal.joins == joins}

    def fingerprints(self) -> dict[str, str]:
        """Signal -> what names the frozen network it encodes with, for those that use one."""
        named = {signal.kind: signal.fingerprint() for signal in self.signals}
        return {kind: name for kind, name in named.items() if name is not None}

    def nulls(self, pool: "TilePool") -> dict[str, np.ndarray]:
        """Signal -> what stands for it where it is withheld, for those that name it."""
        named = {signal.kind: signal.null(pool) for signal in self.signals}
        return {kind: null for kind, null in named.items() if null is not None}

    def encode(self, targets: "Targets") -> dict[str, np.ndarray]:
        """What each signal tells the network of b targets, by its kind, as `Signal.encode`."""
        return {signal.kind: signal.encode(targets) for signal in self.signals}

    def statistics(self, pool: "TilePool") -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Mean and spread of the vectors that are to be standardised, as `Signal.statistics`."""
        named = {signal.kind: signal.statistics(pool) for signal in self.signals}
        return {kind: found for kind, found in named.items() if found is not None}

    def shown_tiles(self, targets: "Targets") -> list[list[str]]:
        """For each target the ids of the tiles whose pixels the signals show, without repeats."""
        by_signal = [signal.shown_tiles(targets) for signal in self.signals]
        return [
            list(dict.fromkeys(tile for shown in by_signal for tile in shown[i]))
            for i in range(len(targets))
        ]

    def shown_share(self, targets: "Targets") -> np.ndarray:
        """For each target the share of its own pixels that a signal shows, float64 (b,)."""
        return np.max([np.zeros(len(targets)), *(s.shown_share(targets) for s in self.signals)], 0)


def _added(study: "Study", signals: Sequence[Signal], bases: Sequence[str]) -> tuple[str, ...]:
    """Tokens and vectors among the signals that some condition among the bases had not yet."""
    kinds = [{signal.kind for signal in study.conditions[base].signals or []} for base in bases]
    return tuple(
        signal.kind
        for signal in signals
        if signal.joins != "planes" and not all(signal.kind in had for had in kinds)
    )


def why_not(spec: ConditionSpec, wanted: str) -> str:
    """Why samples of a condition have no `wanted` (maps, labels, clusters); "" where they have.

    The reason is what a cell of the report says that reads not_applicable.
    """
    if wanted in spec.provides:
        return ""
    kinds = ", ".join(signal.kind for signal in spec.signals) or "none"
    return (
        f"condition {spec.name} requests no {wanted} of the generator (its signals: {kinds}), "
        "so its images have none to be scored against or trained on"
    )


def _check_needs(signal: Signal, study: "Study", key: str) -> None:
    missing = {
        "labels": (study.label is None, "`label` is not configured; add it with its names"),
        "clusters": (
            study.clusters is None,
            "`clusters` is not configured; add it with an encoder and k",
        ),
        "maps": (not study.classes, "`classes` is empty; list the tissue classes and mask values"),
    }
    for name in conditioning_encoders(signal.needs):
        missing[f"features:{name}"] = (
            name not in study.encoders,
            f"`encoders` has no such entry (it has: {', '.join(study.encoders) or 'none'}); add it",
        )
    for need in sorted(signal.needs & missing.keys()):
        lacking, cure = missing[need]
        if lacking:
            raise InputError(
                f"{key}: signal {signal.kind!r} needs {need}, but {cure}, or drop the signal"
            )


def _check_architecture(signal: Signal, study: "Study", key: str) -> None:
    generator = study.generator
    if generator.architecture == "plain" and signal.joins != "planes":
        raise InputError(
            f"{key}: signal {signal.kind!r} joins as a {signal.joins}, but generator.architecture: "
            f"plain (preset {generator.preset}) takes planes only, such as map and crop; drop the "
            "signal, or set generator.architecture: conditioned"
        )
    if generator.architecture == "pretrained" and signal.joins != "vector":
        raise InputError(
            f"{key}: signal {signal.kind!r} joins as {signal.joins}, but generator.architecture: "
            f"pretrained (preset {generator.preset}) takes vectors only; say it in the words of a "
            "prompt, or set generator.architecture: conditioned"
        )
