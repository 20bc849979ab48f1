"""All rows of the table, measured one after the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from spleen_tf.benchmark import conversion, prediction, rows
from spleen_tf.benchmark.bench import Bench, Measure
from spleen_tf.benchmark.goals import GOALS, Goal
from spleen_tf.benchmark.measure import Skipped
from spleen_tf.benchmark.rows import Row
from spleen_tf.core.files import InputError
from spleen_tf.core.process import CommandFailed


def chosen(names: Sequence[str], is_quick: bool) -> list[Goal]:
    """The rows to measure, in the order of the table.

    Args:
        names: of rows; () for all.
        is_quick: without names, only those that take seconds.

    Raises:
        InputError: if there is no row of a name.
    """
    by_name = {goal.name: goal for goal in GOALS}
    for name in names:
        if name not in by_name:
            raise InputError(f"--row: expected one of {', '.join(by_name)}, found {name!r}.")
    return [
        goal for goal in GOALS if (goal.name in names if names else goal.is_quick or not is_quick)
    ]


def measure_all(goals: Sequence[Goal], bench: Bench) -> Iterator[Row]:
    """Measures row by row; one that cannot be measured says why, and the others go on."""
    for goal in goals:
        try:
            yield rows.measured(goal, _measure_of(goal.name)(bench))
        except (Skipped, CommandFailed, InputError) as reason:
            yield rows.not_measured(goal, f"not measured: {' '.join(str(reason).split())}")


def _measure_of(name: str) -> Measure:
    """What measures a row."""
    without_tensorflow = prediction.ROWS | conversion.ROWS
    if name in without_tensorflow:
        return without_tensorflow[name]
    # Imports TensorFlow, which the other rows are measured without.
    from spleen_tf.benchmark import training

    return training.ROWS[name]
