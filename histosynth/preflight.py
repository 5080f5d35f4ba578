"""What can be known to fail before any job starts: unknown kinds, and files that are not there."""

from contextlib import suppress
from pathlib import Path

from histosynth.conditions import ConditionSpec, check_conditions
from histosynth.config import Study
from histosynth.encoders import known_encoders
from histosynth.errors import InputError
from histosynth.hub import is_hub_name
from histosynth.settings import NetworkTraining


def check_study(study: Study) -> None:
    """Check a study against what exists: signals, encoders, and every path it names.

    Cheap (a few file look-ups, nothing heavy imported), since every planning run does it.

    Raises
    ------
    InputError
        One line a problem, with the key, what was found and what to do.
    """
    problems = []
    try:
        check_conditions(study)
    except InputError as error:
        problems.append(str(error))
    for name, encoder in study.encoders.items():
        if encoder.kind not in known_encoders():
            problems.append(
                f"encoders.{name}.kind: unknown encoder {encoder.kind!r}; "
                f"known are {', '.join(known_encoders())}"
            )
    for key, path in _paths(study).items():
        if not Path(path).exists():
            problems.append(f"{key}: {path} does not exist (relative paths start at {Path.cwd()})")
    for key, name in _models(study).items():
        if not Path(name).exists() and not is_hub_name(name):
            problems.append(
                f"{key}: {name} is neither a folder (relative paths start at {Path.cwd()}) nor a "
                "name of the hub, owner/name"
            )
    if problems:
        raise InputError("\n".join(problems))


def _models(study: Study) -> dict[str, str]:
    """Key -> folder or name of the hub, for the pretrained models that a study names."""
    named = {"autoencoder.path": study.autoencoder.path, "generator.base": study.generator.base}
    models = {key: name for key, name in named.items() if name is not None}
    for name, condition in study.conditions.items():
        with suppress(InputError):  # reported by `check_conditions`
            signals = ConditionSpec.of(study, name).signals if condition.signals else ()
            for i, signal in enumerate(signals):
                for option, path in signal.paths.items():
                    models[f"conditions.{name}.signals[{i}].{option}"] = path
    return models


def _paths(study: Study) -> dict[str, str]:
    """Key -> path, for every path that a study names."""
    cohort = study.cohort
    paths = {
        "cohort.table": getattr(cohort, "table", None),
        "cohort.index": getattr(cohort, "index", None),
        "cohort.root": getattr(cohort, "root", None),
        "cohort.sheet": getattr(cohort, "sheet_path", None),
    }
    if study.autoencoder.perceptual:
        paths["autoencoder.perceptual.weights"] = study.autoencoder.perceptual.weights
    for name, encoder in study.encoders.items():
        paths[f"encoders.{name}.weights"] = encoder.weights
    for name, condition in study.conditions.items():
        paths[f"conditions.{name}.external"] = condition.external
    networks: dict[str, NetworkTraining | None] = {
        "judges.segmenter": study.judges.segmenter,
        "judges.classifier": study.judges.classifier,
    }
    if study.downstream:
        networks["downstream.segmentation"] = study.downstream.segmentation
        networks["downstream.classification"] = study.downstream.classification
    for key, network in networks.items():
        paths[f"{key}.weights"] = network.weights if network else None
    words = (None, "random", "pretrained")
    return {key: path for key, path in paths.items() if path not in words}
