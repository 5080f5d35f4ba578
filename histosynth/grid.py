"""What a study asks for: its cells, its sets, and the settings that each stage depends on.

The rules read everything they need from here, so that planning stays cheap (nothing heavy is
imported) and a job reruns exactly when the settings of its own stage change.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from histosynth.conditions.embedding import conditioning_encoders
from histosynth.conditions.spec import ConditionSpec
from histosynth.config import OTHER_SITE, REFERENCE_SETS, Study
from histosynth.files import atomic_file
from histosynth.preflight import check_study
from histosynth.settings import Condition
from histosynth.sweeps import condition_of, is_point

GROUPS = ("fidelity", "adherence", "utility", "memorization", "tissue", "legacy")

# Raised by hand when a stage's code changes what it computes: then, and only then, it reruns.
STAGE_VERSIONS = {
    "phantom": 1,
    "cohort": 2,
    "tile": 4,
    "split": 2,
    "duplicates": 1,
    "embed": 1,
    "cluster": 1,
    "autoencoder": 2,
    "latents": 2,
    "condition": 1,
    "condition_table": 2,
    "train": 3,
    "sample": 3,
    "external": 4,
    "roundtrip": 2,
    "reference": 1,
    "judge": 1,
    "fidelity": 5,
    "adherence": 3,
    "utility": 2,
    "legacy": 2,
    "memorization": 4,
    "tissue": 1,
    "comparison": 2,
    "selftest": 2,
    "report": 5,
}

# The parts of a study that a stage reads itself; what comes before it reaches it through files.
STAGE_SETTINGS = {
    "phantom": ["cohort"],
    "cohort": ["cohort", "split", "label"],
    "tile": ["tiling", "classes", "label", "cohort"],
    "split": ["label", "classes", "tiling.max_tiles_per_patient"],
    "duplicates": [],
    "embed": [],
    "cluster": ["clusters"],
    "autoencoder": ["autoencoder"],
    "latents": [],
    "condition_table": ["sampling.n", "sampling.seed", "clusters", "label"],
    "train": ["generator", "label", "classes", "clusters"],
    "sample": ["label", "classes"],
    "external": ["tiling.size"],
    "roundtrip": [],
    "reference": [],
    "judge": ["judges", "label", "classes"],
    "fidelity": ["evaluation", "sampling.n", "label"],
    "adherence": ["evaluation.encoders", "evaluation.seed", "clusters", "label", "classes"],
    "legacy": ["evaluation", "sampling.n"],
    "utility": ["downstream", "evaluation.seed", "sampling.n", "label", "classes"],
    "memorization": [
        "evaluation.encoders",
        "evaluation.min_tiles",
        "evaluation.seed",
        "sampling.n",
        "classes",
    ],
    "tissue": ["evaluation.min_tiles", "evaluation.seed", "sampling.n"],
    "comparison": [],
    "selftest": ["evaluation.seed", "sampling.n"],
    "report": [],
}


class Cell(NamedTuple):
    """One file of metric rows."""

    condition: str
    seed: int
    group: str


@dataclass(frozen=True)
class Grid:
    """The study's grid of conditions, seeds and evaluation groups."""

    study: Study

    @classmethod
    def from_config(cls, settings: dict[str, Any]) -> "Grid":
        """Check the settings, and what they name against what exists."""
        study = Study.parse(settings)
        check_study(study)
        return cls(study)

    @cached_property
    def trained(self) -> list[str]:
        """Conditions that our generator is trained for."""
        return [name for name, c in self.study.conditions.items() if c.external is None]

    @cached_property
    def swept(self) -> list[str]:
        """Further sets of the conditions' guidance sweeps: sampled, and scored for fidelity."""
        return [point for name in self.trained for point in self.study.sweep_of(name)]

    @property
    def external(self) -> list[str]:
        return [name for name, c in self.study.conditions.items() if c.external is not None]

    @property
    def trained_pattern(self) -> str:
        """Matches the trained conditions' names and nothing else."""
        return _any_of(self.trained)

    @property
    def sampled_pattern(self) -> str:
        """Matches what our generator samples: trained conditions and points of their sweeps."""
        return _any_of([re.escape(name) for name in (*self.trained, *self.swept)])

    @property
    def external_pattern(self) -> str:
        return _any_of(self.external)

    @property
    def reference_pattern(self) -> str:
        return _any_of(list(REFERENCE_SETS))

    def condition(self, name: str) -> Condition:
        return self.study.conditions[name]

    @property
    def judges(self) -> list[str]:
        """The judges that the study's maps and labels make possible."""
        return ["segmenter"] * bool(self.study.classes) + ["classifier"] * bool(self.study.label)

    @property
    def cluster_judge(self) -> str | None:
        """The first encoder for evaluation that the clusters were not found with."""
        clusters, encoders = self.study.clusters, self.study.encoders
        others = (
            name
            for name in self.study.evaluation.encoders
            if clusters is not None and encoders[name] != encoders[clusters.encoder]
        )
        return next(others, None)

    @property
    def embedding_judge(self) -> str | None:
        """The encoder that judges embeddings: the first that no generator is told of, where there
        is one; None where none is told of any."""
        encoders = self.study.encoders
        told = [encoders[n] for name in self.trained for n in self.conditioning_encoders(name)]
        others = (n for n in self.study.evaluation.encoders if encoders[n] not in told)
        return next(others, self.study.evaluation.encoders[0]) if told else None

    def cells(self) -> Iterator[Cell]:
        """Every metric file of the study, reference rows first."""
        first = self.study.seeds[0]
        groups = [g for g in GROUPS if self.has_group(g)]
        for group in groups:
            yield Cell("real", first, group)
            if group != "utility" and self.trained:
                yield Cell("autoencoder", first, group)
            if group == "fidelity":
                for name in (*REFERENCE_SETS, OTHER_SITE):
                    yield Cell(name, first, group)
        for name in self.study.conditions:
            for seed in self.study.seeds if name in self.trained else [first]:
                for group in groups:
                    yield Cell(name, seed, group)
        for point in self.swept:
            for seed in self.study.seeds:
                yield Cell(point, seed, "fidelity")

    def has_group(self, group: str) -> bool:
        if group == "adherence":
            return bool(self.judges or self.study.clusters or self.embedding_judge)
        if group == "legacy":
            return bool(self.study.evaluation.legacy)
        if group == "utility":
            return self.study.downstream is not None and bool(self.judges)
        return True

    def tileset(self, condition: str, seed: int | str) -> str:
        """The set that a condition is scored on, below `tilesets/`."""
        if condition in ("real", OTHER_SITE):
            return "real/train"
        return f"synthetic/{condition}/seed{seed}"

    def _spec(self, name: str) -> ConditionSpec:
        return ConditionSpec.of(self.study, condition_of(name))

    def needs_clusters(self, condition: str) -> bool:
        """Whether it is trained with them; a balanced study chooses its train tiles by them."""
        if self.study.clusters is not None and self.study.clusters.balance is not None:
            return True
        return "clusters" in self._spec(condition).needs

    def conditioning_encoders(self, condition: str) -> list[str]:
        """The encoders whose features its generator is told of."""
        return conditioning_encoders(self._spec(condition).needs)

    def told_of(self, encoder: str) -> set[str]:
        """The conditions whose generators are told of the very features that this encoder gives.

        It is no independent judge of them.
        """
        known = self.study.encoders
        return {
            name
            for name in self.trained
            if encoder in known
            and known[encoder] in [known[told] for told in self.conditioning_encoders(name)]
        }

    def by_cluster(self, condition: str) -> bool:
        """Whether its tiles are scored cluster by cluster."""
        scored = condition != OTHER_SITE and not is_point(condition)
        return self.study.clusters is not None and scored

    def shows_target(self, condition: str) -> bool:
        """Whether its crops are pixels of the very tile to be made."""
        crops = self.crop_options(condition) if self.shows_crops(condition) else None
        return crops is not None and crops.get("source") == "same_image"

    def shows_crops(self, condition: str) -> bool:
        """Whether it is made from crops, of whatever tile."""
        return condition in self.trained and self.crop_options(condition) is not None

    def crop_options(self, condition: str) -> dict[str, Any] | None:
        """The options of its crops, None without; for real tiles of the study's first crops."""
        names = self.study.conditions if condition == "real" else [condition]
        named = [c for name in names if (c := self.study.conditions.get(name))]
        signals = [signal for c in named for signal in c.signals or []]
        return next((s.options for s in signals if s.kind == "crop"), None)

    @property
    def parts(self) -> int:
        """Jobs that share the sampling of one set: no more than it has batches."""
        sampling = self.study.sampling
        return min(sampling.shards, -(-sampling.n // sampling.batch_size))

    @property
    def asks_for_maps(self) -> bool:
        """Whether any generator reads a map."""
        return any("maps" in ConditionSpec.of(self.study, name).needs for name in self.trained)

    @property
    def cluster_folder(self) -> str | None:
        clusters = self.study.clusters
        return f"clusters/{clusters.encoder}-k{clusters.k}" if clusters else None

    def settings(self, stage: str, **extra: Any) -> str:
        """The stage's own settings and version as JSON: a rule's `params`, so its rerun trigger."""
        chosen = {key: self._section(key) for key in STAGE_SETTINGS[stage]}
        return json.dumps({"version": STAGE_VERSIONS[stage], **chosen, **extra}, sort_keys=True)

    def _section(self, key: str) -> Any:
        value: Any = self.study
        for part in key.split("."):
            value = getattr(value, part)
        if key == "classes":  # their colours are for the report
            return [v.model_dump(mode="json", exclude={"color"}) for v in value]
        if key == "autoencoder":  # what is cached of it is the latents' affair, the rest is cost
            cost = {"cached_flips", "micro_batch", "save_every_seconds"}
            return value.model_dump(mode="json", exclude=cost)
        return value.model_dump(mode="json") if hasattr(value, "model_dump") else value

    @property
    def latents_settings(self) -> str:
        return self.settings("latents", flips=self.study.cached_flips)

    def encoder_settings(self, name: str) -> str:
        encoder = self.study.encoders.get(name)
        return self.settings("embed", encoder=encoder and encoder.model_dump(mode="json"))

    def adherence_settings(self, condition: str) -> str:
        # A condition's own crops are told by its set; those that real tiles are held against, here.
        crops = {"crop": self.crop_options("real")} if condition == "real" else {}
        return self.settings("adherence", **crops)

    @property
    def legacy_settings(self) -> str:
        used = {name: self.study.encoders[name] for name in self.study.evaluation.encoders}
        return self.settings(
            "legacy", encoders={name: e.model_dump(mode="json") for name, e in used.items()}
        )

    @property
    def selftest_settings(self) -> str:
        encoder = self.study.encoders[self.study.evaluation.encoders[0]]
        return self.settings("selftest", encoder=encoder.model_dump(mode="json"))

    def train_settings(self, name: str) -> str:
        study, chosen = self.study, self.study.selection_encoder
        # what a run costs and tells, which decides no weights
        cost = {"processes", "save_every_seconds", "micro_batch", "validate_every"}
        needs = ConditionSpec.of(study, name).needs
        # What a condition does not read is no reason to train it anew.
        unread = {} if self.needs_clusters(name) else {"clusters": None}
        unread |= {} if "labels" in needs else {"label": None}
        return self.settings(
            "train",
            **unread,
            generator=study.generator_of(name).model_dump(mode="json", exclude=cost),
            selection={chosen: study.encoders[chosen].model_dump(mode="json")},
        )

    @property
    def generator_memory_mb(self) -> int:
        """Main memory of a job that holds a generator; Stable Diffusion's weights are 3.4 GB."""
        return 32_000 if self.study.generator.architecture == "pretrained" else 8000

    def sample_settings(self, name: str) -> str:
        sampling = self.study.sampling_of(name).model_dump(exclude={"shards"})
        if isinstance(sampling["guidance_scale"], dict):  # whose order counts, here sorted away
            sampling["guidance_scale"] = list(sampling["guidance_scale"].items())
        return self.settings("sample", sampling=sampling)

    def condition_yaml(self, name: str) -> str:
        """The variant, fully resolved: an input of its training."""
        import yaml

        return yaml.safe_dump(ConditionSpec.of(self.study, name).resolved(), sort_keys=False)

    def write_config(self, path: str) -> None:
        """Write the resolved study, which every script reads."""
        with atomic_file(path) as partial:
            partial.write_text(self.study.dump(), encoding="utf-8")

    @property
    def partial_report_command(self) -> str:
        study = self.study.study
        return (
            f"python scripts/report.py --results results/{study} "
            f"--output reports/{study}/index.html --partial"
        )


def _any_of(names: list[str]) -> str:
    return "|".join(names) or "(?!)"  # no name at all: a pattern that nothing matches
