"""Prediction of many cases on a cluster: the same masks as one process makes."""

from __future__ import annotations

import dataclasses
import functools
import pathlib
import tempfile
import time
from collections.abc import Mapping, Sequence
from typing import Any

from spleen_tf.cluster import beam, dead_letters, notes, storage
from spleen_tf.cluster.dead_letters import DeadLetter
from spleen_tf.core import files
from spleen_tf.core.files import InputError
from spleen_tf.core.runners import is_url
from spleen_tf.inference import prediction
from spleen_tf.inference.prediction import PredictionRecord
from spleen_tf.jobs import manifest, plan
from spleen_tf.jobs.config import PredictConfig
from spleen_tf.jobs.job import Job
from spleen_tf.jobs.segmenter import Segmenter
from spleen_tf.reporting import outputs

# Flags whose values are places.
_INPUTS = ("input", "dataset", "splits")
_OUTPUTS = ("output", *outputs.SUFFIXES)
# The folder of the notes with entries of the manifest.
_ENTRIES = ".manifest"


@dataclasses.dataclass(frozen=True)
class Task:
    """One case.

    Attributes:
        job: whose paths are local ones, or stand-ins of remote places.
        place_of: the remote places of stand-ins, by path.
        output: the folder of the masks.
    """

    job: Job
    place_of: Mapping[pathlib.Path, str]
    output: str

    @property
    def source(self) -> str:
        """The place of the volume."""
        return self.place_of.get(self.job.source, str(self.job.source))


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a run came to: cases in all, those that had a result before, and those that failed."""

    cases: int
    earlier: int
    failed: Sequence[DeadLetter]

    def __str__(self) -> str:
        """In one line, for a screen."""
        done = self.cases - len(self.failed)
        failed = f"; {len(self.failed)} failed: {dead_letters.LIST}" if self.failed else ""
        return f"{done} of {self.cases} cases done, {self.earlier} of them before{failed}"


def predict(config: PredictConfig) -> Outcome:
    """Segments the cases that a configuration names and that have no result yet.

    Args:
        config: with a runner, and places that may be remote.

    Raises:
        InputError: as a local run does for what is wrong with the whole batch.
        CommandFailed: if the job fails.
    """
    assert config.runner is not None
    start = time.monotonic()
    _check_models(config)
    on = config.runner, config.runner_option
    with storage.scratch() as root:
        tasks = _tasks(config, storage.Outline(root))
        missing = _missing(tasks)
        dead_letters.clear(config.output)
        notes.clear(config.output, _ENTRIES)
        beam.for_each(missing, functools.partial(segment, config=config), *on)
        failed = dead_letters.collect(
            config.output, {task.job.case: task.source for task in _missing(missing)}
        )
        error_of = {letter.case: letter.error for letter in failed}
        done = [task for task in tasks if task.job.case not in error_of]
        has_entry = notes.cases(config.output, _ENTRIES)
        beam.for_each([task for task in done if task.job.case not in has_entry], describe, *on)
        if config.table:
            _write_table(config.table, done)
    _write_manifest(config.output, tasks, error_of, time.monotonic() - start)
    return Outcome(len(tasks), len(tasks) - len(missing), failed)


def segment(task: Task, config: PredictConfig) -> None:
    """Segments one case, in a worker; what goes wrong is a dead letter."""
    try:
        with beam.one_at_a_time, storage.scratch() as folder:
            job = _staged(task, folder)
            if task.job.source in task.place_of:
                storage.fetch(task.place_of[task.job.source], job.source)
            record = _segmenter(config).segment(job)
            for path, staged in zip(_in_order(task.job), _in_order(job), strict=True):
                if path in task.place_of and staged.is_file():  # Of no spleen, there is no mesh.
                    storage.send(staged, task.place_of[path])
            _note_entry(task, job, record)
    except Exception as error:  # Whatever is wrong with one case, the others go on.
        dead_letters.write(task.output, task.job.case, task.source, error)


def describe(task: Task) -> None:
    """Makes the manifest's entry of a case that an earlier run segmented, in a worker."""
    with beam.one_at_a_time, storage.scratch() as folder:
        job = _staged(task, folder)
        for path, staged in ((task.job.source, job.source), (task.job.mask, job.mask)):
            if path in task.place_of:
                storage.fetch(task.place_of[path], staged)
        _note_entry(task, job, _record(task, job.json))


def _check_models(config: PredictConfig) -> None:
    """Raises InputError for models that a worker could not load."""
    for model in filter(is_url, config.model):
        if not storage.sizes(model):
            raise InputError(f"{model}: expected a SavedModel folder, found nothing.")
    if not any(map(is_url, config.model)):
        Segmenter(config)


def _tasks(config: PredictConfig, outline: storage.Outline) -> list[Task]:
    """The cases, planned on stand-ins of what is remote."""
    stand_ins: dict[str, Any] = {
        name: outline.of(place, is_input=name in _INPUTS)
        for name in (*_INPUTS, *_OUTPUTS)
        if (place := getattr(config, name))
    }
    local = dataclasses.replace(config, **stand_ins)
    if local.input and not plan.is_batch(local.input):
        raise InputError(f"{config.input}: expected a folder of volumes for --runner, found one.")
    jobs = plan.of(local)
    manifest.place(pathlib.Path(local.output), jobs)
    tasks = []
    for job in jobs:
        places = {path: outline.place_of(path) for path in (job.source, *job.outputs)}
        remote = {path: place for path, place in places.items() if is_url(place)}
        tasks.append(Task(job, remote, config.output))
    return tasks


def _missing(tasks: Sequence[Task]) -> list[Task]:
    """The cases of which an output is missing."""
    names_in = functools.cache(storage.sizes)

    def is_there(task: Task, path: pathlib.Path) -> bool:
        if path not in task.place_of:
            return path.is_file()
        folder, _, name = task.place_of[path].rpartition("/")
        return name in names_in(folder)

    def is_done(task: Task) -> bool:
        absent = [path for path in task.job.outputs if not is_there(task, path)]
        if absent and absent == [task.job.others.get("mesh")]:
            return not _record(task, task.job.json).voxels
        return not absent

    return [task for task in tasks if not is_done(task)]


def _staged(task: Task, folder: pathlib.Path) -> Job:
    """The job with local paths in place of stand-ins, in folders of their own."""

    def path_in(kind: str, path: pathlib.Path) -> pathlib.Path:
        return folder / kind / path.name if path in task.place_of else path

    job = task.job
    return dataclasses.replace(
        job,
        source=path_in("source", job.source),
        mask=path_in("mask", job.mask),
        others={kind: path_in(kind, path) for kind, path in job.others.items()},
    )


def _in_order(job: Job) -> list[pathlib.Path]:
    """The outputs, the JSON last: it marks a case as done."""
    return [job.mask, *job.others.values(), job.json]


@functools.cache
def _segmenter(config: PredictConfig) -> Segmenter:
    """The models, loaded once per process; those at a remote place are fetched before."""
    folders = [_local_model(model, number) for number, model in enumerate(config.model)]
    segmenter = Segmenter(dataclasses.replace(config, model=tuple(folders)))
    segmenter.start()
    return segmenter


def _local_model(model: str, number: int) -> str:
    if not is_url(model):
        return model
    # A family is named after its folder, and a member after the one above its SavedModel.
    parent, name = model.rstrip("/").split("/")[-2:]
    folder = pathlib.Path(_models_root().name, str(number), parent, name)
    storage.fetch(model, folder)
    return str(folder)


@functools.cache
def _models_root() -> tempfile.TemporaryDirectory[str]:
    """A folder that goes when the process ends."""
    return tempfile.TemporaryDirectory(prefix="spleen_tf-models-", ignore_cleanup_errors=True)


def _record(task: Task, path: pathlib.Path) -> PredictionRecord:
    """The content of a case's JSON, which is fetched to a path if its place is remote."""
    if task.job.json in task.place_of:
        storage.fetch(task.place_of[task.job.json], path)
    record = prediction.read(path)
    if record is None:
        raise InputError(f"{path}: expected the JSON of a prediction, found another.")
    return record


def _write_table(table: str, done: Sequence[Task]) -> None:
    if not done:
        return
    rows = [outputs.row(task.job.case, _record(task, task.job.json)) for task in done]
    with storage.scratch() as folder:
        files.write_csv(folder / "table.csv", rows)
        storage.send(folder / "table.csv", table)


def _note_entry(task: Task, job: Job, record: PredictionRecord) -> None:
    """Leaves a case's entry of the manifest; `job` has the local paths of what is hashed."""
    entry = manifest.entry(job, record, job.mask.parent)
    notes.write(task.output, _ENTRIES, job.case, entry)


def _write_manifest(
    output: str, tasks: Sequence[Task], error_of: Mapping[str, str], seconds: float
) -> None:
    entry_of = notes.read(output, _ENTRIES, manifest.Entry)
    names = [task.job.case for task in tasks]
    entries = [entry_of[name] for name in names if name not in error_of]
    failed = {name: error_of[name] for name in names if name in error_of}
    with storage.scratch() as folder:
        content = manifest.of(len(tasks), entries, failed, seconds)
        files.write_json(folder / manifest.FILE_NAME, content)
        storage.send(folder / manifest.FILE_NAME, storage.joined(output, manifest.FILE_NAME))
    notes.clear(output, _ENTRIES)
