"""Conversion of many cases on a cluster: the same bytes as one process writes.

Each case becomes a fragment, a file with its records, in a hidden folder of the output. When all
are there, the fragments of each shard are joined; metadata are written last.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import pathlib
import shutil
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import msgspec

from spleen_tf import __version__
from spleen_tf.cluster import beam, dead_letters, storage
from spleen_tf.cluster.dead_letters import DeadLetter
from spleen_tf.core import files
from spleen_tf.core.files import InputError, InputWarning
from spleen_tf.core.runners import Runner, is_url
from spleen_tf.datasets import cases, convert, encode, gate, metadata, shards
from spleen_tf.datasets.convert import Conversion
from spleen_tf.datasets.encode import Options
from spleen_tf.datasets.layouts import SPLITS, Case, Split
from spleen_tf.datasets.metadata import CaseRecord
from spleen_tf.datasets.splits import Splits
from spleen_tf.imaging.intensity import Modality

_FRAGMENTS = ".fragments"
_PUBLISHED = ".published.json"
_CONCURRENT_LOOKUPS = 16


@dataclasses.dataclass(frozen=True)
class Task:
    """One case.

    Attributes:
        case: with places, which may be remote.
        key: changes with its files and with the options.
        fragments: the folder of the fragments.
        output: of the records.
    """

    case: Case
    key: str
    fragments: str
    output: str

    @property
    def records(self) -> str:
        """The place of the fragment."""
        return storage.joined(self.fragments, f"{self.case.name}.{self.key[:8]}.tfrecord")

    @property
    def json(self) -> str:
        """The place of what is said of it; written last."""
        return storage.joined(self.fragments, f"{self.case.name}.{self.key[:8]}.json")


class Fragment(msgspec.Struct, frozen=True):
    """What is said of a converted case: its row of cases.json, and what the gate saw."""

    record: CaseRecord
    look: gate.Look
    num_bytes: int
    warnings: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Shard:
    """A shard, and the fragments that it is joined from."""

    place: str
    fragments: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class _Plan:
    """Shards, and what is said of them: cases by name, (slices, bytes) of the shards by split."""

    record_of: dict[str, CaseRecord]
    sizes_of: dict[Split, list[tuple[int, int]]]
    shards: list[Shard]


class _Published(msgspec.Struct, frozen=True):
    """What the records in the output folder are of: the request, and their metadata's hashes."""

    request: str
    metadata_sha256: tuple[str, ...]


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
    splits = splits_of(list(listed))
    named = {name for split in SPLITS for name in splits.of(split)}
    tasks = _tasks([case for case in listed if case.name in named], output, options)
    request = _digest([task.key for task in tasks], splits, options.num_shards)
    if _is_published(output, request):
        return Outcome(None, ())
    dead_letters.clear(output)
    work = functools.partial(convert_case, options=options)
    beam.for_each(_missing(tasks), work, runner, runner_options)
    missing = {task.case.name: task.case.image for task in _missing(tasks)}
    failed = dead_letters.collect(output, missing)
    done = {task.case.name: task for task in tasks if task.case.name not in missing}
    if not done:
        raise InputError(f"{output}: expected at least one case that can be read, found none.")
    if failed:
        splits = splits_of([task.case for task in done.values()])
    said_of = _read_fragments(done)
    plan = _plan_shards(done, said_of, splits, options)
    with storage.scratch() as folder:
        looks = [said_of[name].look for name in plan.record_of]
        conversion = convert.finish(folder, splits, plan.record_of, plan.sizes_of, looks, options)
        beam.for_each(plan.shards, join, runner, runner_options)
        _publish(plan.shards, folder, output)
    if not failed:
        storage.remove(tasks[0].fragments)
        _mark_published(output, request)
    return Outcome(conversion, failed)


def convert_case(task: Task, options: Options) -> None:
    """Writes the fragment of one case, in a worker; what goes wrong is a dead letter."""
    try:
        with beam.one_at_a_time, storage.scratch() as folder:
            case = _staged(task.case, folder)
            loaded = encode.load_quietly(case, options)
            path = folder / "case.tfrecord"
            _write_records(path, loaded, options)
            record = encode.case_record("train", loaded, options)
            said = Fragment(record, loaded.look, path.stat().st_size, loaded.warnings)
            files.write_json(folder / "case.json", said)
            storage.send(path, task.records)
            storage.send(folder / "case.json", task.json)
    except Exception as error:  # Whatever is wrong with one case, the others go on.
        dead_letters.write(task.output, task.case.name, task.case.image, error)


def join(shard: Shard) -> None:
    """Writes one shard, in a worker: TFRecord files can be joined end to end."""
    with storage.scratch() as folder:
        joined, part = folder / "shard", folder / "part"
        with joined.open("wb") as stream:
            for fragment in shard.fragments:
                storage.fetch(fragment, part)
                with part.open("rb") as content:
                    shutil.copyfileobj(content, stream)
        storage.send(joined, shard.place)


def _write_records(path: pathlib.Path, loaded: encode.Loaded, options: Options) -> None:
    from spleen_tf.datasets import records  # TensorFlow: on workers only.

    with records.writer(path) as writer:
        for serialized in encode.slices(loaded, options):
            writer.write(serialized)


def _staged(case: Case, folder: pathlib.Path) -> Case:
    """The case with local paths; of remote files, the names stay, as messages have them."""

    def path_of(kind: str, place: str) -> str:
        if not is_url(place):
            return place
        path = folder / kind / place.rstrip("/").rpartition("/")[2]
        storage.fetch(place, path)
        return str(path)

    return dataclasses.replace(
        case, image=path_of("image", case.image), label=path_of("label", case.label)
    )


def _tasks(listed: Sequence[Case], output: str, options: Options) -> list[Task]:
    how = dataclasses.replace(options, workers=1, num_shards=1, strict=False)
    fragments = storage.joined(output, _FRAGMENTS)

    def task(case: Case) -> Task:
        try:
            marks = [storage.fingerprint(place) for place in (case.image, case.label)]
        except InputError:
            marks = []  # Its worker says what is missing.
        return Task(case, _digest(__version__, case, how, marks), fragments, output)

    with ThreadPoolExecutor(_CONCURRENT_LOOKUPS) as pool:
        return list(pool.map(task, listed))


def _digest(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _missing(tasks: Sequence[Task]) -> list[Task]:
    """The cases that have no fragment yet."""
    if not tasks:
        return []
    names = storage.sizes(tasks[0].fragments)
    return [task for task in tasks if task.json.rpartition("/")[2] not in names]


def _read_fragments(done: Mapping[str, Task]) -> dict[str, Fragment]:
    """What is said of each case; warnings are given as a local run gives them."""
    with storage.scratch() as folder:

        def read(numbered: tuple[int, Task]) -> Fragment:
            path = folder / f"{numbered[0]}.json"
            storage.fetch(numbered[1].json, path)
            return files.read_record(path, Fragment)

        with ThreadPoolExecutor(_CONCURRENT_LOOKUPS) as pool:
            said = list(pool.map(read, enumerate(done.values())))
    for fragment in said:
        for message in fragment.warnings:
            warnings.warn(message, InputWarning, stacklevel=2)
    return dict(zip(done, said, strict=True))


def _plan_shards(
    done: Mapping[str, Task], said_of: Mapping[str, Fragment], splits: Splits, options: Options
) -> _Plan:
    """The shards as a local run deals the cases to them."""
    plan = _Plan({}, {}, [])
    for split in SPLITS:
        names = splits.of(split)
        for name in names:
            record = msgspec.structs.replace(said_of[name].record, split=split)
            plan.record_of[name] = record
        num_shards = min(options.num_shards, len(names))
        plan.sizes_of[split] = []
        for index in range(num_shards):
            part = names[index::num_shards]
            num_slices = sum(plan.record_of[name].num_slices for name in part)
            num_bytes = sum(said_of[name].num_bytes for name in part)
            plan.sizes_of[split].append((num_slices, num_bytes))
            place = storage.joined(
                done[part[0]].fragments, shards.shard_name(split, index, num_shards)
            )
            plan.shards.append(Shard(place, tuple(done[name].records for name in part)))
    return plan


def _publish(joined: Sequence[Shard], folder: pathlib.Path, output: str) -> None:
    """Moves a whole conversion to its place; dataset_info.json goes last and marks it complete."""
    for name in storage.sizes(output):
        if name == metadata.INFO or name.startswith(f"{metadata.NAME}-"):
            storage.remove(storage.joined(output, name))
    for shard in joined:
        storage.move(shard.place, storage.joined(output, shard.place.rpartition("/")[2]))
    for path in sorted(folder.iterdir(), key=lambda path: path.name == metadata.INFO):
        storage.send(path, storage.joined(output, path.name))


def _is_published(output: str, request: str) -> bool:
    """Whether the output folder holds what is asked for, from an earlier run."""
    if not {_PUBLISHED, metadata.CASES, metadata.INFO} <= storage.sizes(output).keys():
        return False
    with storage.scratch() as folder:
        storage.fetch(storage.joined(output, _PUBLISHED), folder / _PUBLISHED)
        published = files.read_record(folder / _PUBLISHED, _Published)
        # Another run may have replaced the records since.
        return published == _Published(request, _metadata_sha256(output, folder))


def _mark_published(output: str, request: str) -> None:
    with storage.scratch() as folder:
        mark = _Published(request, _metadata_sha256(output, folder))
        files.write_json(folder / _PUBLISHED, mark)
        storage.send(folder / _PUBLISHED, storage.joined(output, _PUBLISHED))


def _metadata_sha256(output: str, folder: pathlib.Path) -> tuple[str, ...]:
    names = (metadata.CASES, metadata.INFO)
    for name in names:
        storage.fetch(storage.joined(output, name), folder / name)
    return tuple(files.sha256(folder / name) for name in names)
