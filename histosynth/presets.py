"""Named recipes of a generator: ordinary settings, which a study may override key by key."""

from typing import Any, Literal

PresetName = Literal["tiny"]

PRESETS: dict[str, dict[str, Any]] = {
    # Minutes on two CPU cores: the defaults as they are.
    "tiny": {},
}
