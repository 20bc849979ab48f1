"""The table of speed and memory: what each row says, and whether it reaches its target."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Sequence

import msgspec

from spleen_tf.benchmark.goals import GOALS, Goal
from spleen_tf.benchmark.machine import Machine


@dataclasses.dataclass(frozen=True)
class Measurement:
    """What was measured of a row: values and references in turn, and what to know of them."""

    values: tuple[float, ...]
    references: tuple[float, ...] = ()
    note: str = ""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A row of the table.

    Attributes:
        name, work, unit, target: as in Goal.
        value, reference: medians; None: not measured.
        ratio: value / reference.
        ok: whether the target is reached; None: there is none, or it was not measured.
        spread, reference_spread: the smallest and the largest of what was measured.
        note: what to know; why a row was not measured.
    """

    name: str
    work: str
    value: float | None = None
    reference: float | None = None
    unit: str
    ratio: float | None = None
    target: float | None
    ok: bool | None = None
    spread: tuple[float, float] | None = None
    reference_spread: tuple[float, float] | None = None
    note: str = ""


class Report(msgspec.Struct, frozen=True):
    """The JSON of tools/benchmark.py.

    Attributes:
        machine: that ran the rows.
        versions: of Python, this project and the libraries that do the work.
        rows: in the order of GOALS.
    """

    machine: Machine
    versions: dict[str, str]
    rows: tuple[Row, ...]


def measured(goal: Goal, measurement: Measurement) -> Row:
    """The row of what was measured."""
    value = statistics.median(measurement.values)
    references = measurement.references
    reference = statistics.median(references) if references else None
    ratio = value / reference if reference else None
    compared = value if ratio is None else ratio
    ok = None
    if goal.target is not None:
        ok = compared >= goal.target if goal.is_minimum else compared <= goal.target
        if goal.reference and ratio is None:
            ok = None
    return Row(
        name=goal.name,
        work=goal.work,
        value=value,
        reference=reference,
        unit=goal.unit,
        ratio=ratio,
        target=goal.target,
        ok=ok,
        spread=_spread(measurement.values),
        reference_spread=_spread(references) if references else None,
        note=measurement.note,
    )


def not_measured(goal: Goal, reason: str) -> Row:
    """The row of what was skipped, which says why."""
    return Row(name=goal.name, work=goal.work, unit=goal.unit, target=goal.target, note=reason)


def markdown(report: Report) -> str:
    """The report as a table in Markdown, with the machine above and the notes below it."""
    goal_of = {goal.name: goal for goal in GOALS}
    lines = [
        f"{report.machine}.",
        "",
        "| row | measured | beside | median (spread) | reference (spread) | ratio | target | |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in report.rows:
        goal = goal_of[row.name]
        cells = (
            f"`{row.name}`",
            row.work,
            goal.reference or "–",
            _cell(row.value, row.spread, row.unit),
            _cell(row.reference, row.reference_spread, row.unit),
            "–" if row.ratio is None else f"{row.ratio:.3g}",
            goal.target_text,
            {True: "reached", False: "**missed**", None: ""}[row.ok],
        )
        lines.append(f"| {' | '.join(cells)} |")
    notes = [f"- `{row.name}`: {row.note}" for row in report.rows if row.note]
    return "\n".join([*lines, *(["", *notes] if notes else [])]) + "\n"


def _spread(numbers: Sequence[float]) -> tuple[float, float]:
    return min(numbers), max(numbers)


def _cell(median: float | None, spread: tuple[float, float] | None, unit: str) -> str:
    if median is None or spread is None:
        return "–"
    low, high = spread
    return f"{median:.3g} {unit} ({low:.3g}–{high:.3g})"
