"""The files of an evaluation: cases.csv, summary.json, results.md and decision.json."""

from __future__ import annotations

import csv
import math
import os
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

import msgspec

from spleen_tf.core import files
from spleen_tf.core.files import InputError
from spleen_tf.evaluation import summary as summaries
from spleen_tf.evaluation import tables
from spleen_tf.evaluation.decision import Decision
from spleen_tf.evaluation.metrics import CaseMetrics
from spleen_tf.evaluation.summary import Summary
from spleen_tf.io import nifti

CASES_NAME = "cases.csv"
SUMMARY_NAME = "summary.json"
DECISION_NAME = "decision.json"
PAGE_NAME = "results.md"

Row = TypeVar("Row", bound=msgspec.Struct)


class Model(NamedTuple):
    """The model that made a prediction: cells of the table of results."""

    name: str
    image_size: str
    learning_rate: str


def model_of(prediction: pathlib.Path) -> Model:
    """Reads from CASE.json beside CASE.nii.gz which model made it; '–' for what it does not say.

    Raises:
        InputError: if the file exists but is not JSON.
    """
    path = prediction.with_name(nifti.stem(prediction) + ".json")
    content = files.read_json(path) if path.is_file() else {}
    if not isinstance(content, dict):  # Any program may have left a file of that name.
        content = {}
    size = content.get("image_size")
    return Model(
        _cell(content.get("model")),
        f"{size}x{size}" if isinstance(size, int) else _cell(size),
        _cell(content.get("learning_rate")),
    )


def write(
    folder: pathlib.Path,
    models: Sequence[Model],
    rows: Sequence[CaseMetrics],
    summary: Summary,
    decision: Decision | None = None,
) -> None:
    """Writes cases.csv, summary.json and results.md, and decision.json where there is one.

    Args:
        folder: it exists.
        models: (N,) what made each prediction.
        rows: (N,) the cases.
        summary: of all of them.
        decision: how a decision by their volumes agrees with the truth.

    Raises:
        InputError: if a file cannot be written.
    """
    write_cases(folder / CASES_NAME, rows)
    summaries.write(folder / SUMMARY_NAME, summary)
    text = page(models, rows, summary)
    if decision:
        files.write_json(folder / DECISION_NAME, decision)
        text += f"\n## Decision\n\n{tables.decision_section(decision)}\n"
    else:  # An earlier one would be taken for these cases'.
        (folder / DECISION_NAME).unlink(missing_ok=True)
    files.write_text(folder / PAGE_NAME, text)


def write_cases(path: str | os.PathLike[str], rows: Sequence[CaseMetrics]) -> None:
    """Writes a row per case, with all digits, and `nan` where a measure is undefined."""
    files.write_csv(path, [msgspec.structs.asdict(row) for row in rows])


def read_cases(path: str | os.PathLike[str]) -> list[CaseMetrics]:
    """Reads what `write_cases` wrote; further columns are ignored.

    Raises:
        InputError: if the file is missing, or a column is, or holds no number.
    """
    return read_table(path, CaseMetrics, "spleen_tf.evaluate")


def read_table(path: str | os.PathLike[str], row_type: type[Row], writer: str) -> list[Row]:
    """Reads a table of cases; columns that are no field of a row are ignored.

    Args:
        path: a CSV with a line of names.
        row_type: a record.
        writer: the program that writes such tables.

    Raises:
        InputError: if the file is missing, is no table in UTF-8, or lacks a column, or one of
            numbers holds something else.
    """
    try:
        return msgspec.convert(_rows(path, writer), list[row_type], strict=False)  # type: ignore[valid-type]
    except msgspec.ValidationError as error:
        columns = files.listed(row_type.__struct_fields__, 4)
        raise InputError(
            f"{path}: expected the columns {columns}, as {writer} writes them, found others "
            f"({error}); run it again."
        ) from None


def _rows(path: str | os.PathLike[str], writer: str) -> list[dict[str, str]]:
    """The lines of a table as text; a row may lack columns, or have more."""
    try:
        files.check_text(path)
        with open(path, newline="", encoding="utf-8-sig") as stream:
            return list(csv.DictReader(stream))
    except FileNotFoundError:
        raise InputError(f"{path}: expected what {writer} wrote, found no such file.") from None
    except OSError as error:
        raise InputError(f"{path}: expected a table of cases, found: {error.strerror}.") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: expected a table of cases, found no CSV: {error}.") from None


def page(models: Sequence[Model], rows: Sequence[CaseMetrics], summary: Summary) -> str:
    """results.md: the table of results, the means, then the cases, the worst Dice first.

    A case that is empty in truth and prediction has no Dice; it comes last.
    """
    header = ["case", "dice", "hd95 (mm)", "volume error (mL)", "volume error (%)"]
    lines = [
        [
            tables.cell(row.case),
            tables.number(row.dice, 4),
            tables.number(row.hd95_mm, 2),
            tables.number(row.volume_error_mm3 / 1000, 2),
            tables.number(row.volume_error_percent, 1),
        ]
        for row in worst_first(rows)
    ]
    note = (
        f"Means over {tables.counted(len(rows))}, each measured over its whole volume on its own "
        f"grid. {tables.INTERVAL_NOTE} {tables.left_out(summary)}"
    ).rstrip()
    means = tables.means({str(len(rows)): summary})
    parts = ["# Results", model_table(models, rows), means, note, "## Cases, the worst first"]
    return "\n\n".join([*parts, tables.markdown(header, lines)]) + "\n"


def model_table(models: Sequence[Model], rows: Sequence[CaseMetrics]) -> str:
    """The table of results in Markdown: for each model the mean over its cases."""
    lines = []
    for model in dict.fromkeys(models):
        of_model = [row for row, made_by in zip(rows, models, strict=True) if made_by == model]
        dice, jaccard = _mean([r.dice for r in of_model]), _mean([r.jaccard for r in of_model])
        lines.append([*model, tables.number(dice, 4), tables.number(jaccard, 4)])
    return tables.markdown(["model", "image-size", "learning rate", "dice", "jaccard"], lines)


def worst_first(rows: Sequence[CaseMetrics]) -> list[CaseMetrics]:
    """Cases by their Dice, the lowest first; those without one last."""
    return sorted(rows, key=badness)


def badness(row: CaseMetrics) -> tuple[bool, float, str]:
    """Sorts cases by their Dice, the lowest first, and those without one last."""
    is_undefined = math.isnan(row.dice)
    return is_undefined, 0.0 if is_undefined else row.dice, row.case


def _mean(values: Sequence[float]) -> float:
    defined = [value for value in values if not math.isnan(value)]
    return math.fsum(defined) / len(defined) if defined else math.nan


def _cell(value: Any) -> str:
    """A JSON value as a cell of a Markdown table: a list is spelt out, None is '–'."""
    if isinstance(value, list):
        value = ", ".join(map(str, value))
    return tables.cell("" if value is None else str(value))
