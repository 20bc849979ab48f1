"""Conversion of many cases on a cluster: the same bytes as one process writes.

Each case becomes a fragment, a file with its records, in a hidden folder of the output. When all
are there, the fragments of each shard are joined; metadata are written last.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence

from spleen_tf.cluster import assembly, beam, dead_letters, fragments, storage
from spleen_tf.cluster.dead_letters import DeadLetter
from spleen_tf.core import files, locks
from spleen_tf.core.files import InputError
from spleen_tf.core.runners import Runner, is_url
from spleen_tf.datasets import cases, convert
from spleen_tf.datasets.convert import Conversion
from spleen_tf.datasets.encode import Options
from spleen_tf.datasets.layouts import SPLITS, Case
from spleen_tf.datasets.splits import Splits
from spleen_tf.imaging.intensity import Modality


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a run came to: None for the conversion where all was there before."""

    conversion: Conversion | None
    failed: Sequence[DeadLetter]

    def __str__(self) -> str:
        """In one line, for a screen."""
        if self.conversion is None:
            return "converted before, nothing to do"
        failed = f"; {len(self.failed)} failed: {dead_letters.LIST}" if self.failed else ""
        return f"{self.conversion}{failed}"


def load(dataset: str, modality: Modality | None) -> list[Case]:
    """The cases of a data set whose place may be remote.

    Raises:
        InputError: as `cases.load`, but for files that are missing.
    """
    with storage.scratch() as root:
        outline = storage.Outline(root)
        listed = cases.load(outline.of(dataset, is_input=True), modality, missing_ok=True)
        return [
            dataclasses.replace(
                case, image=outline.place_of(case.image), label=outline.place_of(case.label)
            )
            for case in listed
        ]


def convert_cases(
    listed: Sequence[Case],
    splits_of: Callable[[list[Case]], Splits],
    output: str,
    options: Options,
    runner: Runner,
    runner_options: Sequence[str],
) -> Outcome:
    """Writes the records of the cases that can be read; the others become dead letters.

    Args:
        listed: cases of `load`.
        splits_of: from the cases that could be read to their splits.
        output: the folder of the records.
        options: how.
        runner, runner_options: of Beam.

    Raises:
        InputError: as `convert.convert`, but for what is wrong with single cases.
        CommandFailed: if the job fails.
    """
    with _one_run(output):
        return _convert(listed, splits_of, output, options, (runner, runner_options))


def _convert(
    listed: Sequence[Case],
    splits_of: Callable[[list[Case]], Splits],
    output: str,
    options: Options,
    on: tuple[Runner, Sequence[str]],
) -> Outcome:
    splits = splits_of(list(listed))
    named = {name for split in SPLITS for name in splits.of(split)}
    tasks = fragments.tasks_of([case for case in listed if case.name in named], output, options)
    request = fragments.digest(
        [task.key for task in tasks], splits, options.num_shards, options.strict
    )
    if assembly.is_published(output, request):
        return Outcome(None, ())
    dead_letters.clear(output)
    work = functools.partial(fragments.convert_case, options=options)
    beam.for_each(fragments.missing(tasks), work, *on)
    missing = {task.case.name: task.case.image for task in fragments.missing(tasks)}
    failed = dead_letters.collect(output, missing)
    done = {task.case.name: task for task in tasks if task.case.name not in missing}
    if not done:
        raise InputError(f"{output}: expected at least one case that can be read, found none.")
    if failed:
        splits = splits_of([task.case for task in done.values()])
    said_of = fragments.read(done)
    plan = assembly.plan(done, said_of, splits, options)
    with storage.scratch() as folder:
        looks = [said_of[name].look for name in plan.record_of]
        conversion = convert.finish(folder, splits, plan.record_of, plan.sizes_of, looks, options)
        beam.for_each(plan.shards, assembly.join, *on)
        assembly.publish(plan.shards, folder, output)
    if not failed:
        storage.remove(tasks[0].fragments)
        assembly.mark_published(output, request)
    return Outcome(conversion, failed)


@contextlib.contextmanager
def _one_run(output: str) -> Iterator[None]:
    """Keeps other runs out of a local folder; an object store knows no locks."""
    if is_url(output):
        yield
        return
    with locks.folder(files.make_folder(output)):
        yield
