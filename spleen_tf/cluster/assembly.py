"""From fragments to shards, and to a whole conversion in its place."""

from __future__ import annotations

import dataclasses
import pathlib
import shutil
from collections.abc import Mapping, Sequence

import msgspec

from spleen_tf.cluster import storage
from spleen_tf.cluster.fragments import Fragment, Task
from spleen_tf.core import files
from spleen_tf.datasets import metadata, shards
from spleen_tf.datasets.encode import Options
from spleen_tf.datasets.layouts import SPLITS, Split
from spleen_tf.datasets.metadata import CaseRecord
from spleen_tf.datasets.splits import Splits

_PUBLISHED = ".published.json"


@dataclasses.dataclass(frozen=True)
class Shard:
    """A shard, and the fragments that it is joined from."""

    place: str
    fragments: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Plan:
    """Shards, and what is said of them: cases by name, (slices, bytes) of the shards by split."""

    record_of: dict[str, CaseRecord]
    sizes_of: dict[Split, list[tuple[int, int]]]
    shards: list[Shard]


class _Published(msgspec.Struct, frozen=True):
    """What the records in the output folder are of: the request, and their metadata's hashes."""

    request: str
    metadata_sha256: tuple[str, ...]


def plan(
    done: Mapping[str, Task], said_of: Mapping[str, Fragment], splits: Splits, options: Options
) -> Plan:
    """The shards as a local run deals the cases to them."""
    planned = Plan({}, {}, [])
    for split in SPLITS:
        names = splits.of(split)
        for name in names:
            record = msgspec.structs.replace(said_of[name].record, split=split)
            planned.record_of[name] = record
        num_shards = min(options.num_shards, len(names))
        planned.sizes_of[split] = []
        for index in range(num_shards):
            part = names[index::num_shards]
            num_slices = sum(planned.record_of[name].num_slices for name in part)
            num_bytes = sum(said_of[name].num_bytes for name in part)
            planned.sizes_of[split].append((num_slices, num_bytes))
            place = storage.joined(
                done[part[0]].fragments, shards.shard_name(split, index, num_shards)
            )
            planned.shards.append(Shard(place, tuple(done[name].records for name in part)))
    return planned


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


def publish(joined: Sequence[Shard], folder: pathlib.Path, output: str) -> None:
    """Moves a whole conversion to its place; dataset_info.json goes last and marks it complete."""
    for name in storage.sizes(output):
        if name == metadata.INFO or name.startswith(f"{metadata.NAME}-"):
            storage.remove(storage.joined(output, name))
    for shard in joined:
        storage.move(shard.place, storage.joined(output, shard.place.rpartition("/")[2]))
    for path in sorted(folder.iterdir(), key=lambda path: path.name == metadata.INFO):
        storage.send(path, storage.joined(output, path.name))


def is_published(output: str, request: str) -> bool:
    """Whether the output folder holds what is asked for, from an earlier run."""
    if not {_PUBLISHED, metadata.CASES, metadata.INFO} <= storage.sizes(output).keys():
        return False
    with storage.scratch() as folder:
        storage.fetch(storage.joined(output, _PUBLISHED), folder / _PUBLISHED)
        published = files.read_record(folder / _PUBLISHED, _Published)
        # Another run may have replaced the records since.
        return published == _Published(request, _metadata_sha256(output, folder))


def mark_published(output: str, request: str) -> None:
    """Says that the output folder holds what was asked for."""
    with storage.scratch() as folder:
        mark = _Published(request, _metadata_sha256(output, folder))
        files.write_json(folder / _PUBLISHED, mark)
        storage.send(folder / _PUBLISHED, storage.joined(output, _PUBLISHED))


def _metadata_sha256(output: str, folder: pathlib.Path) -> tuple[str, ...]:
    names = (metadata.CASES, metadata.INFO)
    for name in names:
        storage.fetch(storage.joined(output, name), folder / name)
    return tuple(files.sha256(folder / name) for name in names)
