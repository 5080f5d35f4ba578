"""What tests of metric rows share."""

from collections.abc import Iterable
from typing import Any

from histosynth.evaluations.rows import MetricRow


def only(rows: Iterable[MetricRow], **wanted: Any) -> MetricRow:
    """The one row with these fields."""
    found = [r for r in rows if all(getattr(r, k) == v for k, v in wanted.items())]
    assert len(found) == 1, (wanted, found)
    return found[0]
