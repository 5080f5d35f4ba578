"""Tables as people have them: any separator, byte-order marks, Excel's exports, Parquet.

Nothing is guessed: a table that could be read in two ways is an error that names the line.
"""

import csv
import io
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from histosynth.errors import InputError
from histosynth.slides.annotations import UNIFORM

_SEPARATORS = (",", ";", "\t", "|")
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")  # Excel's "Unicode text"
_DRIVE = re.compile(r"[A-Za-z]:[\\/]|\\\\")  # C:\slides, \\server\slides


def read_table(path: str | Path) -> pd.DataFrame:
    r"""A CSV, TSV or Parquet table as text, "" for empty cells.

    The separator is whichever of `, ; tab |` parts the header into most names. Text is UTF-8, or
    UTF-16 with its mark. Blanks around names and values, blank lines and columns without a name
    are dropped. Ids such as 007 and NA stay what they are.

    Returns
    -------
    DataFrame of str, indexed so that `where` finds a row's line again

    Raises
    ------
    InputError : no such file, unreadable, not text, a line of too few or too many cells, a column
        named twice, no rows.
    """
    path = Path(path)
    data = _read(path)
    if path.suffix.lower() in (".parquet", ".pq"):
        table = _from_parquet(path, data)
    else:
        table = _from_text(path, _decode(path, data))
    table.columns = pd.Index([str(name).strip() for name in table.columns])
    table = table.loc[:, table.columns != ""]
    double = table.columns[table.columns.duplicated()]
    if len(double):
        raise InputError(f"{path}: column {double[0]!r} is there more than once; rename or drop it")
    if table.empty:
        raise InputError(f"{path}: the table has no rows")
    return table.apply(lambda column: column.str.strip())


def where(index: object) -> str:
    """Where a row stands, for errors: the line of its table, or what a folder's row is called."""
    return f"line {int(index) + 2}" if isinstance(index, int | np.integer) else str(index)


def rooted(rows: pd.DataFrame, table: Path) -> pd.DataFrame:
    r"""Paths of a table start at the table's folder; `slides\a.svs` is read as `slides/a.svs`.

    Raises
    ------
    InputError : a path with a Windows drive, or one that leaves the table's folder by `..`.
    """
    for column in ("image", "annotation"):
        if column in rows:
            paths = [_root(cell, table, where(i)) for i, cell in rows[column].items()]
            rows = rows.assign(**{column: paths})
    rows.attrs["source"] = str(table)
    return rows


def _root(cell: str, table: Path, place: str) -> str:
    if not cell or cell.startswith(UNIFORM):
        return cell
    if _DRIVE.match(cell):
        raise InputError(
            f"{table}: {place}: {cell} is a path of a Windows computer; give where the file lies "
            "on this one: best relative to the table's folder"
        )
    path = os.path.expanduser(cell)
    if os.path.isabs(path):
        return path
    if "\\" in path and not os.path.exists(table.parent / path):
        path = path.replace("\\", "/")
    if os.path.normpath(path).split(os.sep)[0] == os.pardir:
        raise InputError(
            f"{table}: {place}: {cell} leaves the table's folder; give the absolute path, or move "
            "the table to the folder that holds all files"
        )
    return str(table.parent / path)


def _read(path: Path) -> bytes:
    try:
        if path.is_dir():
            raise InputError(f"{path}: a folder, expected a table (CSV, TSV or Parquet)")
        return path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path}: no such table") from None
    except OSError as error:
        raise InputError(
            f"{path}: the table cannot be read ({error.strerror}); check its permissions and disk"
        ) from None


def _decode(path: Path, data: bytes) -> str:
    encoding = "UTF-16" if data.startswith(_UTF16_MARKS) else "UTF-8"
    try:
        text = data.decode(encoding).removeprefix("\ufeff")  # the mark
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not {encoding} text ({error}); save it as CSV UTF-8") from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise InputError(
            f"{path}: line {line} holds a NUL character, so the file is damaged or no text; save "
            "it as CSV UTF-8"
        )
    return text


def _from_parquet(path: Path, data: bytes) -> pd.DataFrame:
    try:
        table = pd.read_parquet(io.BytesIO(data)).reset_index(drop=True)
        return table.astype(object).where(table.notna(), "").astype(str)
    except Exception as error:  # pyarrow's own, of many kinds
        raise InputError(f"{path}: cannot be read as a table: {error}") from None


def _from_text(path: Path, text: str) -> pd.DataFrame:
    header: list[str] = []
    cells, lines = [], []
    reader = _rows(text, _separator(text))
    end = 0
    try:
        for row in reader:
            line, end = end + 1, reader.line_num  # a quoted cell may go over several lines
            if not any(cell.strip() for cell in row):
                continue
            if not header:
                named = max(place for place, name in enumerate(row) if name.strip())
                header = row[: named + 1]
                continue
            if any(cell.strip() for cell in row[len(header) :]) or len(row) < len(header):
                raise InputError(
                    f"{path}: line {line} has {len(row)} cells, the header {len(header)}; quote "
                    "cells that hold the separator, and give every line all cells"
                )
            cells.append(row[: len(header)])
            lines.append(line - 2)
    except csv.Error as error:
        raise InputError(
            f"{path}: cannot be read as a table: line {reader.line_num}: {error}"
        ) from None
    if not header:
        raise InputError(f"{path}: the table is empty; expected a line of column names first")
    return pd.DataFrame(cells, columns=header, index=lines, dtype=str)


def _rows(text: str, separator: str) -> Any:
    return csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)


def _separator(text: str) -> str:
    def columns(separator: str) -> int:
        try:
            filled = (row for row in _rows(text, separator) if any(cell.strip() for cell in row))
            return len(next(filled, []))
        except csv.Error:  # as "a","b" reads with a wrong separator
            return 0

    return max(_SEPARATORS, key=columns)
