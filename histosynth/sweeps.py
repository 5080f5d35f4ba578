"""Guidance sweeps: one model sampled at several scales, each a set of its own.

The first scale of a list is the condition's own set. Every further one is the set
`<condition>~g<scale>`, which is scored for fidelity and compared with nothing but its sweep.
"""

PATTERN = r"[A-Za-z0-9_]+(~g[0-9.e+-]+)?"  # a condition, or a point of its sweep
_MARK = "~g"


def point_name(condition: str, scale: float) -> str:
    """The name of the set of a further scale; it becomes a path."""
    return f"{condition}{_MARK}{scale:g}"


def condition_of(name: str) -> str:
    """The condition that a set belongs to, which may be a point of its sweep."""
    return name.partition(_MARK)[0] if is_point(name) else name


def is_point(name: str) -> bool:
    """Whether the set is a further point of a sweep."""
    return _MARK in name
