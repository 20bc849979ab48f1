"""Work on many items by Apache Beam, on whichever runner."""

from __future__ import annotations

import contextlib
import io
import logging
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from spleen_tf.core.files import InputError
from spleen_tf.core.process import CommandFailed
from spleen_tf.core.runners import Runner

if TYPE_CHECKING:
    from apache_beam.options.pipeline_options import PipelineOptions

Item = TypeVar("Item")

# A worker with several threads keeps to one case at a time: that bounds its memory.
one_at_a_time = threading.Lock()

# Beam finds the others by their name.
_FULL_NAMES: dict[Runner, str] = {"DaskRunner": "apache_beam.runners.dask.dask_runner.DaskRunner"}


def for_each(
    items: Sequence[Item],
    work: Callable[[Item], None],
    runner: Runner,
    options: Sequence[str] = (),
) -> None:
    """Calls `work` on every item, on the runner's workers; it comes back when all are done.

    A runner may call it twice on an item, after a worker was lost.

    Args:
        items: picklable.
        work: a function of a module, or a partial one with picklable arguments. It handles what
            may go wrong with one item: what it raises ends the job.
        runner: one of Beam's.
        options: of the runner, as NAME=VALUE or NAME.

    Raises:
        InputError: if Beam is not installed, or rejects an option.
        CommandFailed: if the job fails.
    """
    if not items:
        return
    try:
        import apache_beam as beam
    except ImportError:
        raise InputError(
            "--runner: expected Apache Beam, found it not installed; pip install 'spleen_tf[beam]'."
        ) from None
    pipeline = beam.Pipeline(options=_parsed(runner, options, len(items)))
    # One bundle per item where the runner lets us choose, so that no item waits for another.
    _ = pipeline | beam.Create(items) | beam.Reshuffle() | beam.Map(work)
    try:
        pipeline.run().wait_until_finish()
    except Exception as error:  # Whatever a runner raises for its workers, its service, its network
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = lines[-1] if lines else type(error).__name__
        raise CommandFailed(
            f"{runner}: expected the job to finish, found: {reason}; what is done stays, run again."
        ) from error


def _parsed(runner: Runner, options: Sequence[str], num_items: int) -> PipelineOptions:
    """Beam's options: those that suit this project, overridden by the user's."""
    from apache_beam.options.pipeline_options import PipelineOptions

    logging.getLogger("apache_beam").setLevel(logging.ERROR)
    defaults = {"runner": _FULL_NAMES.get(runner, runner)}
    if not any("log_level" in option for option in options):
        defaults["default_sdk_harness_log_level"] = "ERROR"
    if runner == "DaskRunner" and not any("dask_npart" in option for option in options):
        defaults["dask_npartitions"] = str(num_items)
    given = [f"--{option.lstrip('-')}" for option in options]
    parsed = PipelineOptions([*(f"--{name}={text}" for name, text in defaults.items()), *given])
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):  # They are argparse's, which prints and exits.
            parsed.get_all_options()
    except SystemExit:
        reason = complaint.getvalue().strip().rpartition("error: ")[2]
        raise InputError(
            f"--runner_option: expected options of {runner}, found: {reason}."
        ) from None
    return parsed
