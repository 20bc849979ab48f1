"""All rows of the table, measured one after the other."""

from __future__ import annotations

import importlib
import operator
from collections.abc import Callable, Iterator, Sequence

from spleen_tf.benchmark import rows
from spleen_tf.benchmark.bench import Bench
from spleen_tf.benchmark.goals import GOALS, Goal
from spleen_tf.benchmark.measure import Skipped
from spleen_tf.benchmark.rows import Measurement, Row
from spleen_tf.core.files import InputError
from spleen_tf.core.process import CommandFailed

# By row, the module of this package and the function in it. Modules are imported when their turn
# comes: those of training take TensorFlow along.
_MEASURED_BY = {
    "predict_process": "prediction.predict_process",
    "predict_before": "prediction.predict_before",
    "predict_small": "prediction.predict_small",
    "help": "prediction.help_text",
    "predict_rss": "prediction.predict_rss",
    "predict_folder": "prediction.predict_folder",
    "runtime_openvino": "prediction.runtime_openvino",
    "runtime_tensorflow": "prediction.runtime_tensorflow",
    "train_step": "training.train_step",
    "train_step_released": "training.train_step_released",
    "pipeline": "training.input_pipeline",
    "fit": "training.fit",
    "convert": "conversion.conversion",
    "rss_growth": "conversion.rss_growth",
    "rss_growth_training": "training.rss_growth_training",
    "roofline": "prediction.roofline",
    "roofline_training": "training.roofline_training",
}


def chosen(names: Sequence[str], is_quick: bool) -> list[Goal]:
    """The rows to measure, in the order of the table.

    Args:
        names: of rows; () for all.
        is_quick: those that take seconds alone.

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
            yield rows.measured(goal, _measurement_of(goal.name)(bench))
        except (Skipped, CommandFailed, InputError) as reason:
            yield rows.not_measured(goal, f"not measured: {' '.join(str(reason).split())}")


def _measurement_of(name: str) -> Callable[[Bench], Measurement]:
    module_name, _, function = _MEASURED_BY[name].partition(".")
    module = importlib.import_module(f"spleen_tf.benchmark.{module_name}")
    measurement: Callable[[Bench], Measurement] = operator.attrgetter(function)(module)
    return measurement
