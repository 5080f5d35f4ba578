"""All metric rows of a study in one table."""

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from histosynth.errors import InputError
from histosynth.evaluations.rows import ROW_COLUMNS
from histosynth.files import atomic_file, read_json

_NUMBERS = ["value", "ci_low", "ci_high", "se"]
_COUNTS = ["seed", "n_real", "n_synthetic"]


def summarise(files: Iterable[str | Path]) -> pd.DataFrame:
    """The rows of metrics files, in the order of the files; the columns are `MetricRow`'s.

    Raises
    ------
    InputError
        A file that is no metrics file, or whose rows lack a column.
    """
    rows = []
    for path in files:
        try:
            found = read_json(path)["rows"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{path}: not a metrics file ({type(error).__name__}: {error}); "
                "delete it and score again"
            ) from error
        for row in found:
            if set(row) != set(ROW_COLUMNS):
                differing = sorted(set(row) ^ set(ROW_COLUMNS))
                raise InputError(
                    f"{path}: a row's columns differ in {', '.join(differing)}; "
                    "delete the file and score again"
                )
        rows += found
    table = pd.DataFrame(rows, columns=ROW_COLUMNS)
    # One type a column, also where every value is null or there is no row at all.
    text = [c for c in ROW_COLUMNS if c not in [*_NUMBERS, *_COUNTS, "higher_is_better"]]
    types = dict.fromkeys(_NUMBERS, "float64") | dict.fromkeys(_COUNTS, "int64")
    return table.astype(types | dict.fromkeys(text, "str") | {"higher_is_better": "bool"})


def write_summary(path: str | Path, table: pd.DataFrame) -> None:
    """Write the table as Parquet under `path`, and as CSV beside it."""
    path = Path(path)
    with atomic_file(path.with_suffix(".csv")) as partial:
        table.to_csv(partial, index=False)
    with atomic_file(path) as partial:
        table.to_parquet(partial, index=False)
