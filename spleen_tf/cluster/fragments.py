"""Fragments: each case of a conversion as a file with its records, and what is said of it."""

from __future__ import annotations

import dataclasses
import hashlib
import pathlib
import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import msgspec

from spleen_tf import __version__
from spleen_tf.cluster import beam, dead_letters, storage
from spleen_tf.core import files
from spleen_tf.core.files import InputError, InputWarning
from spleen_tf.core.runners import is_url
from spleen_tf.datasets import encode, gate
from spleen_tf.datasets.encode import Options
from spleen_tf.datasets.layouts import Case
from spleen_tf.datasets.metadata import CaseRecord

_FOLDER = ".fragments"
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


def tasks_of(listed: Sequence[Case], output: str, options: Options) -> list[Task]:
    """A task per case, whose key is that of its files as they are now."""
    how = dataclasses.replace(options, workers=1, num_shards=1, strict=False)
    fragments = storage.joined(output, _FOLDER)

    def task(case: Case) -> Task:
        try:
            marks = [storage.fingerprint(place) for place in (case.image, case.label)]
        except InputError:
            marks = []  # Its worker says what is missing.
        return Task(case, digest(__version__, case, how, marks), fragments, output)

    with ThreadPoolExecutor(_CONCURRENT_LOOKUPS) as pool:
        return list(pool.map(task, listed))


def missing(tasks: Sequence[Task]) -> list[Task]:
    """The cases that have no fragment yet."""
    if not tasks:
        return []
    names = storage.sizes(tasks[0].fragments)
    return [task for task in tasks if task.json.rpartition("/")[2] not in names]


def read(done: Mapping[str, Task]) -> dict[str, Fragment]:
    """What is said of each case; warnings are given as a local run gives them."""
    with storage.scratch() as folder:

        def read_one(numbered: tuple[int, Task]) -> Fragment:
            path = folder / f"{numbered[0]}.json"
            storage.fetch(numbered[1].json, path)
            return files.read_record(path, Fragment)

        with ThreadPoolExecutor(_CONCURRENT_LOOKUPS) as pool:
            said = list(pool.map(read_one, enumerate(done.values())))
    for fragment in said:
        for message in fragment.warnings:
            warnings.warn(message, InputWarning, stacklevel=2)
    return dict(zip(done, said, strict=True))


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


def digest(*parts: object) -> str:
    """A text that is another one for other parts."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()


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
