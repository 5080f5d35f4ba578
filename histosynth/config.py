"""A study's settings: the single source of the schema, the defaults and the checks between keys.

`Study.load("config.yaml")` is how everything reads a study. `schemas/config.schema.json` is written
from these models (`python -m histosynth.config`), and a test fails when the two drift apart.
Knows nothing of Snakemake and imports nothing heavy, since every job reads it.
"""

import json
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from histosynth.cohort_settings import Cohort, Label, Split, Tiling, TissueClass
from histosynth.config_errors import explain
from histosynth.errors import InputError
from histosynth.generator_settings import AutoencoderSettings, GeneratorSettings, SamplingSettings
from histosynth.presets import SAMPLING, with_preset
from histosynth.sampling_checks import check_sampling
from histosynth.settings import (
    Clusters,
    Condition,
    Downstream,
    EncoderSettings,
    Evaluation,
    Judges,
)
from histosynth.settings_base import GuidanceScale, Name, Settings
from histosynth.sweeps import condition_of, point_name

# Reference rows of every report; those of the first two are made of real test tiles.
REFERENCE_SETS = ("jpeg90", "noise")
OTHER_SITE = "other_site"  # real tiles of one site against those of the others
RESERVED_CONDITIONS = ("real", "autoencoder", *REFERENCE_SETS, OTHER_SITE, "planted_copies")


class Study(Settings):
    """Everything one study says."""

    study: Name
    seeds: list[int] = Field([0], min_length=1, description="Generator seeds.")
    classes: list[TissueClass] = Field(default_factory=list)
    label: Label | None = None
    cohort: Cohort
    tiling: Tiling = Tiling()
    split: Split = Split()
    encoders: dict[Name, EncoderSettings]
    clusters: Clusters | None = None
    conditions: dict[Name, Condition] = Field(min_length=1)
    autoencoder: AutoencoderSettings = AutoencoderSettings()
    generator: GeneratorSettings = GeneratorSettings()
    sampling: SamplingSettings = SamplingSettings()
    judges: Judges = Judges()
    downstream: Downstream | None = Downstream()
    evaluation: Evaluation
    threads: int = Field(1, ge=1, description="CPU threads of a training or scoring job.")

    @field_validator("classes")
    @classmethod
    def _distinct_classes(cls, classes: list[TissueClass]) -> list[TissueClass]:
        found = {"name": [c.name for c in classes]}
        sites = {site for c in classes if isinstance(c.values, dict) for site in c.values}
        for site in sorted(sites) or [""]:
            kind = f"mask value (site {site})" if site else "mask value"
            found[kind] = [str(v) for c in classes for v in c.values_at(site)]
        for kind, items in found.items():
            repeated = sorted({i for i in items if items.count(i) > 1})
            if repeated:
                raise ValueError(f"{kind} {', '.join(repeated)} is given more than once")
        return classes

    @model_validator(mode="before")
    @classmethod
    def _sample_as_preset(cls, given: Any) -> Any:
        """A generator's preset says how it is sampled too."""
        generator = given.get("generator") if isinstance(given, dict) else None
        if not isinstance(generator, dict):
            return given
        sampling = with_preset(given.get("sampling", {}), SAMPLING, generator.get("preset"))
        return {**given, "sampling": sampling}

    @model_validator(mode="after")
    def _references(self) -> "Study":
        known = ", ".join(self.encoders)
        named = [("evaluation.encoders", name) for name in self.evaluation.encoders]
        if self.clusters:
            named.append(("clusters.encoder", self.clusters.encoder))
        if self.generator.selection_encoder:
            named.append(("generator.selection_encoder", self.generator.selection_encoder))
        for key, name in named:
            if name not in self.encoders:
                raise ValueError(f"{key}: unknown encoder {name!r}; `encoders` has: {known}")
        for name in RESERVED_CONDITIONS:
            if name in self.conditions:
                raise ValueError(f"conditions.{name}: the name is kept for a reference row")
        for name in self.conditions:
            self.bases_of(name)
        class_names = [c.name for c in self.classes]
        if self.label and self.label.source == "class_fraction":
            if not self.label.classes or not set(self.label.classes) <= set(class_names):
                raise ValueError(
                    f"label.classes: {self.label.classes} must be among `classes`: {class_names}"
                )
            if len(self.label.names) != 2:
                raise ValueError("label.names: source class_fraction gives exactly two labels")
        return self

    @model_validator(mode="after")
    def _sampling_fits(self) -> "Study":
        check_sampling(self)
        return self

    @model_validator(mode="after")
    def _flips_are_cached(self) -> "Study":
        kinds = ["none", "horizontal", "all"]  # each holds those before it
        if kinds.index(self.generator.flips) > kinds.index(self.cached_flips):
            raise ValueError(
                f"generator.flips: {self.generator.flips}, but autoencoder.cached_flips is "
                f"{self.cached_flips}; the latents of a flip have to be cached to train on them"
            )
        return self

    @property
    def cached_flips(self) -> str:
        """The flips whose latents are cached: those that the generator asks for, if not told."""
        return self.autoencoder.cached_flips or self.generator.flips

    @property
    def class_names(self) -> list[str]:
        return [c.name for c in self.classes]

    @property
    def label_names(self) -> list[str]:
        return list(self.label.names) if self.label else []

    @property
    def selection_encoder(self) -> str:
        """The encoder by which a training chooses among its averaged weights."""
        return self.generator.selection_encoder or next(iter(self.encoders))

    def bases_of(self, condition: str) -> list[str]:
        """The conditions from whose weights its training starts, the nearest first.

        Raises
        ------
        ValueError
            One that is unknown, external, or starts from this one again.
        """
        chain: list[str] = []
        name = condition
        while (base := self.conditions[name].init_from) is not None:
            key = f"conditions.{name}.init_from"
            trained = [n for n, c in self.conditions.items() if c.external is None and n != name]
            if base in self.conditions and self.conditions[base].external is not None:
                raise ValueError(f"{key}: {base!r} is a folder of images, which has no weights")
            if base not in trained and base != name:
                raise ValueError(
                    f"{key}: unknown condition {base!r}; known: {', '.join(trained) or 'none'}"
                )
            if base in (condition, *chain):
                around = " <- ".join([condition, *chain, base])
                raise ValueError(f"{key}: goes in a circle ({around}); one must start from nothing")
            chain.append(base)
            name = base
        return chain

    def generator_of(self, condition: str) -> GeneratorSettings:
        """How a condition is trained: as the study says, but for its own number of steps."""
        own = self.conditions[condition].steps
        return self.generator if own is None else self.generator.model_copy(update={"steps": own})

    def guidance_of(self, condition: str) -> list[GuidanceScale]:
        """Its scales of guidance: that of its own set, then those of a sweep."""
        own = self.conditions[condition].guidance_scale
        scale = self.sampling.guidance_scale if own is None else own
        return list(scale) if isinstance(scale, list) else [scale]

    def sweep_of(self, condition: str) -> dict[str, GuidanceScale]:
        """Name -> scale of the further sets of its guidance sweep; none without a signal."""
        if not self.conditions[condition].signals:
            return {}
        further = self.guidance_of(condition)[1:]
        return {point_name(condition, s): s for s in further if not isinstance(s, dict)}

    def sampling_of(self, name: str) -> SamplingSettings:
        """How a set is sampled: as the study says, but with the guidance of its condition.

        Parameters
        ----------
        name : a condition, or a point of its sweep
        """
        condition = condition_of(name)
        scale = self.guidance_of(condition)[0] if name == condition else self._point(name)
        return self.sampling.model_copy(update={"guidance_scale": scale})

    def _point(self, name: str) -> GuidanceScale:
        known = self.sweep_of(condition_of(name))
        if name not in known:
            raise InputError(
                f"{name}: no such point of a guidance sweep; the study has: "
                f"{', '.join(known) or 'none'}"
            )
        return known[name]

    @classmethod
    def parse(cls, settings: dict[str, Any], *, source: str = "config") -> "Study":
        """Check a mapping as read from YAML; an `InputError` lists every bad key with its cure."""
        try:
            return cls.model_validate(settings)
        except ValidationError as error:
            lines = explain(error, cls)
            raise InputError(
                f"{source}: {len(lines)} bad setting(s)\n" + "\n".join(lines)
            ) from None

    @classmethod
    def load(cls, path: str | Path) -> "Study":
        """Read and check a study's YAML file."""
        try:
            settings = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise InputError(f"{path}: no such config file") from None
        except yaml.YAMLError as error:
            raise InputError(f"{path}: not valid YAML: {error}") from None
        if not isinstance(settings, dict):
            raise InputError(f"{path}: expected a mapping of settings, found {type(settings)}")
        return cls.parse(settings, source=str(path))

    def dump(self) -> str:
        """The fully resolved study as YAML, defaults filled in."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)


def schema_text() -> str:
    """The JSON schema of a study, as committed under schemas/."""
    return json.dumps(Study.model_json_schema(), indent=2) + "\n"


if __name__ == "__main__":
    target = Path(__file__).parent.parent / "schemas" / "config.schema.json"
    target.write_text(schema_text(), encoding="utf-8")
    print(f"wrote {target}")
