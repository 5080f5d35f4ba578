"""That a study's sampling fits its generator: known before anything is trained."""

from typing import TYPE_CHECKING

from histosynth.diffusion.guidance import check_dropout
from histosynth.errors import InputError
from histosynth.generator_settings import SOLVERS

if TYPE_CHECKING:
    from histosynth.config import Study

MOST_STEPS = 999  # of a diffusion's 1,000


def check_sampling(study: "Study") -> None:
    """Solver and target, guidance and dropout, and the signals that guidance names.

    Raises
    ------
    InputError
        A solver of another process, more steps than a diffusion has, noise that the solver does
        not add, guidance by a signal that no condition gives or by what training never withheld.
    """
    signals = {
        name: [signal.kind for signal in condition.signals]
        for name, condition in study.conditions.items()
        if condition.signals is not None
    }
    if not signals:
        return
    _check_solver(study)
    shared = study.sampling.guidance_scale
    known = sorted({kind for kinds in signals.values() for kind in kinds})
    dropout = study.generator.signal_dropout
    _check_names("generator.signal_dropout", dropout, known, "the study's conditions give")
    if isinstance(shared, dict):
        _check_names("sampling.guidance_scale", shared, known, "the study's conditions give")
    _check_distinct("sampling.guidance_scale", shared)
    for name, kinds in signals.items():
        own = study.conditions[name].guidance_scale
        key = "sampling.guidance_scale" if own is None else f"conditions.{name}.guidance_scale"
        if isinstance(own, dict):
            _check_names(key, own, kinds, f"condition {name} gives")
        _check_distinct(key, own)
        for scale in study.guidance_of(name):
            check_dropout(scale, kinds, study.generator, model=f"condition {name}", key=key)


def _check_solver(study: "Study") -> None:
    sampling, target = study.sampling, study.generator.target
    fitting = SOLVERS[target]
    if sampling.solver not in fitting:
        raise InputError(
            f"sampling.solver: {sampling.solver} does not solve generator.target: {target}; "
            f"choose one of {', '.join(fitting)}, or another target"
        )
    if sampling.eta > 0 and sampling.solver != "ddim":
        raise InputError(
            f"sampling.eta: {sampling.eta:g} is noise that sampling.solver: {sampling.solver} does "
            "not add; it goes with ddim, whose targets are velocity and epsilon"
        )
    if target != "flow" and sampling.steps > MOST_STEPS:
        raise InputError(
            f"sampling.steps: {sampling.steps}, but generator.target: {target} has 1,000 times "
            f"to choose from; give at most {MOST_STEPS}"
        )


def _check_distinct(key: str, scales: object) -> None:
    names = [f"{scale:g}" for scale in scales] if isinstance(scales, list) else []
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise InputError(
            f"{key}: {', '.join(repeated)} is given more than once (six digits count); each scale "
            "of a sweep is a set of its own"
        )


def _check_names(key: str, scales: dict[str, float], known: list[str], whose: str) -> None:
    for name in scales:
        if name not in known:
            raise InputError(
                f"{key}: no signal {name!r}; {whose}: {', '.join(known) or 'none'}; "
                "take it out, or add the signal"
            )
