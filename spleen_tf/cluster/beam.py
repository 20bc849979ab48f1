"""Work on many items by Apache Beam, on whichever runner."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TypeVar

from spleen_tf.core.files import InputError
from spleen_tf.core.process import CommandFailed
from spleen_tf.core.runners import Runner

Item = TypeVar("Item")

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
        from apache_beam.options.pipeline_options import PipelineOptions
    except ImportError:
        raise InputError(
            "--runner: expected Apache Beam, found it not installed; pip install 'spleen_tf[beam]'."
        ) from None
    arguments = [f"--{option.lstrip('-')}" for option in options]
    try:
        parsed = PipelineOptions([*_defaults(runner, arguments, len(items)), *arguments])
        pipeline = beam.Pipeline(options=parsed)
    except (SystemExit, ValueError) as error:  # Beam's options are argparse's, which exits.
        raise InputError(
            f"--runner_option: expected options of {runner}, found {' '.join(options)!r}: {error}."
        ) from None
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


def _defaults(runner: Runner, arguments: Sequence[str], num_items: int) -> list[str]:
    """Options that the user may override: they stand before the user's."""
    logging.getLogger("apache_beam").setLevel(logging.ERROR)
    defaults = [f"--runner={_FULL_NAMES.get(runner, runner)}"]
    if not any("log_level" in argument for argument in arguments):
        defaults.append("--default_sdk_harness_log_level=ERROR")
    if runner == "DaskRunner" and not any("--dask_npart" in argument for argument in arguments):
        defaults.append(f"--dask_npartitions={num_items}")
    return defaults
