"""What the settings' models share: strictness, names, shares, paths."""

import os
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from histosynth.config_errors import NAME_PATTERN

Name = Annotated[
    str,
    Field(pattern=NAME_PATTERN, description="Letters, digits and underscores: it becomes a path."),
]
Fraction = Annotated[float, Field(ge=0, le=1)]
# Of all signals together, or signal -> scale.
GuidanceScale = Annotated[float, Field(ge=0)] | dict[str, Annotated[float, Field(ge=0)]]
# Further scales of a list are sampled and scored beside: a sweep.
Guidance = GuidanceScale | Annotated[list[Annotated[float, Field(ge=0)]], Field(min_length=1)]


def _expand_path(value: Any) -> Any:
    """Expand `~` and `${NAME}`; HISTOSYNTH_DATA defaults to the shared data beside the checkout."""
    if not isinstance(value, str):
        return value
    os.environ.setdefault("HISTOSYNTH_DATA", "../shared/data")
    expanded = os.path.expanduser(os.path.expandvars(value))
    if "${" in expanded:
        raise ValueError(f"{value!r} names an environment variable that is not set")
    return expanded


DataPath = Annotated[str, BeforeValidator(_expand_path)]


class Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
