"""Tables as people have them: any separator, byte-order marks, Parquet."""

import io
from pathlib import Path

import pandas as pd

from histosynth.errors import InputError

_SEPARATORS = (",", ";", "\t", "|")


def read_table(path: str | Path) -> pd.DataFrame:
    """A CSV, TSV or Parquet table as text, "" for empty cells.

    The separator is whichever of `, ; tab |` the header line has most of; a byte-order mark and
    blanks around names and values are dropped. Ids such as 007 and NA stay what they are.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such table")
    try:
        if path.suffix.lower() in (".parquet", ".pq"):
            table = pd.read_parquet(path)
            table = table.astype(object).where(table.notna(), "").astype(str)
        else:
            text = path.read_bytes().decode("utf-8-sig")
            header = text.lstrip().split("\n", 1)[0]
            separator = max(_SEPARATORS, key=header.count)
            table = pd.read_csv(
                io.StringIO(text), sep=separator, dtype=str, keep_default_na=False, index_col=False
            )
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text ({error}); save it as CSV UTF-8") from None
    except Exception as error:  # pandas and pyarrow each have their own
        raise InputError(f"{path}: cannot be read as a table: {error}") from None
    table.columns = [str(name).strip() for name in table.columns]
    if table.empty:
        raise InputError(f"{path}: the table has no rows")
    return table.apply(lambda column: column.str.strip())


def rooted(rows: pd.DataFrame, table: Path) -> pd.DataFrame:
    """Paths of a table start at the table's folder."""
    for column in ("image", "annotation"):
        if column in rows:
            paths = rows[column].map(lambda p: str(table.parent / Path(p).expanduser()) if p else p)
            rows = rows.assign(**{column: paths})
    rows.attrs["source"] = str(table)
    return rows
