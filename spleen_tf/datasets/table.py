"""Data sets as a table: a CSV with a line per case."""

from __future__ import annotations

import codecs
import csv
import io
import pathlib
import re
from typing import cast

from spleen_tf.core import files
from spleen_tf.datasets import naming
from spleen_tf.datasets.layouts import SPLITS, DatasetError, Entry, Split

COLUMNS = "case,image,label[,split][,modality][,series_uid]"

_REQUIRED_COLUMNS = ("case", "image", "label")
# Spreadsheets write others where a comma is the decimal point, or when asked for text.
_DELIMITERS = (",", ";", "\t", "|")
# Of a table with some 100,000 cases.
_MOST_BYTES = 1 << 25
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read(path: pathlib.Path) -> list[Entry]:
    """The cases of a table with the columns COLUMNS, in any order and case.

    Its paths start at its folder.

    Raises:
        DatasetError: if it cannot be read, or lacks a column or a cell.
    """
    entries: list[Entry] = []
    for number, row in _rows(path):
        if not all(row[name] for name in _REQUIRED_COLUMNS):
            empty = ", ".join(name for name in _REQUIRED_COLUMNS if not row[name])
            raise DatasetError(
                f"{path}: expected case, image and label in line {number}, found no {empty}."
            )
        split = row.get("split", "").lower()
        split = "validation" if split in ("val", "valid") else split
        if split not in (*SPLITS, "") or (entries and bool(split) != bool(entries[0].split)):
            raise DatasetError(
                f"{path}: expected the split train or validation in every line or in none, "
                f"found {split!r} in line {number}."
            )
        image, label = (str(naming.located(path.parent, row[name])) for name in ("image", "label"))
        entries.append(
            Entry(
                row["case"],
                image,
                label,
                row.get("modality", ""),
                split=cast("Split", split) if split else None,
                series_uid=row.get("series_uid") or None,
            )
        )
    if not entries:
        raise DatasetError(f"{path}: expected at least one labelled case, found none.")
    return entries


def _rows(path: pathlib.Path) -> list[tuple[int, dict[str, str]]]:
    """Line numbers and cells of a table, without the blanks around them."""
    text = _table_text(path)
    try:
        reader = csv.reader(
            io.StringIO(text, newline=""), delimiter=_delimiter(text), skipinitialspace=True
        )
        lines = [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader if cells]
    except csv.Error as error:
        raise DatasetError(f"{path}: expected a readable CSV, found: {error}.") from None
    columns = [name.lower() for name in lines[0][1]] if lines else []
    missing = [name for name in _REQUIRED_COLUMNS if name not in columns]
    if missing:
        raise DatasetError(
            f"{path}: expected the columns {COLUMNS}, found {','.join(columns) or 'none'}; add "
            f"{', '.join(missing)}."
        )
    for number, cells in lines[1:]:
        if len(cells) > len(columns) and any(cells[len(columns) :]):
            raise DatasetError(
                f"{path}: expected {len(columns)} cells in line {number}, as in the first, found "
                f"{len(cells)}; put quotation marks around a path that holds a comma."
            )
    return [
        (number, dict.fromkeys(columns, "") | dict(zip(columns, cells, strict=False)))
        for number, cells in lines[1:]
        if any(cells)
    ]


def _delimiter(text: str) -> str:
    """What separates the names of the columns; a comma where that cannot be seen."""
    first = text.lstrip().splitlines()[0].lower() if text.strip() else ""
    for delimiter in _DELIMITERS:
        if {name.strip(' "') for name in first.split(delimiter)} >= set(_REQUIRED_COLUMNS):
            return delimiter
    return ","


def _table_text(path: pathlib.Path) -> str:
    try:
        files.check_text(path, _MOST_BYTES)
        content = path.read_bytes()
        if content.startswith(b"PK\3\4"):
            raise DatasetError(
                f"{path}: expected a CSV, found a zip archive, as spreadsheets are; save it as CSV."
            )
        text = content.decode("utf-16" if content.startswith(_UTF16) else "utf-8-sig")
        return re.sub(r"^sep=.\r?\n", "", text)  # Spreadsheets tell each other the separator.
    except OSError as error:
        raise DatasetError(f"{path}: expected a readable CSV, found: {error.strerror}.") from None
    except UnicodeDecodeError as error:
        raise DatasetError(
            f"{path}: expected a readable CSV in UTF-8, found: {error}; save the table as CSV "
            "UTF-8."
        ) from None
