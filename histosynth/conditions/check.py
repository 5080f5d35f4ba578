"""Checks every condition of a study before anything runs."""

from typing import TYPE_CHECKING

from histosynth.conditions.spec import ConditionSpec
from histosynth.errors import InputError

if TYPE_CHECKING:
    from histosynth.config import Study


def check_conditions(study: "Study") -> None:
    """Compose every condition of a study, and report all that cannot be in one error.

    Raises
    ------
    InputError
        One line a condition: an unknown signal, a bad option, a signal that needs clusters,
        labels or classes that the study has not. Each begins with `conditions.<name>.signals[i]`.
    """
    problems = []
    for name, condition in study.conditions.items():
        if condition.signals is None:
            continue
        try:
            ConditionSpec.of(study, name)
        except InputError as error:
            problems.append(str(error))
    if problems:
        raise InputError("\n".join(problems))
