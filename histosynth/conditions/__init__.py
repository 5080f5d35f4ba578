"""Conditions: named compositions of signals, and what they need and make possible.

Every module of this package is imported here, so a file with a registered signal in it is enough
to add a kind. Nothing here needs torch: a study is checked in the planning of a workflow.
"""

import importlib
import pkgutil

from histosynth.conditions.signal import (
    Signal,
    SignalOptions,
    get_signal,
    register_signal,
    signal_kinds,
)

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

from histosynth.conditions.check import check_conditions  # noqa: E402
from histosynth.conditions.spec import ConditionSpec, why_not  # noqa: E402
from histosynth.conditions.targets import Targets, TilePool  # noqa: E402

__all__ = [
    "ConditionSpec",
    "Signal",
    "SignalOptions",
    "Targets",
    "TilePool",
    "check_conditions",
    "get_signal",
    "register_signal",
    "signal_kinds",
    "why_not",
]
