"""Conversion of cases to a folder of records: the same cases give the same bytes."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import pathlib
import shutil
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import tqdm

from spleen_tf.core import events, files, locks, parallel
from spleen_tf.core.files import InputWarning
from spleen_tf.datasets import cases, gate, metadata, shards
from spleen_tf.datasets.encode import Loaded, case_record, load_quietly, slices
from spleen_tf.datasets.encode import Options as Options
from spleen_tf.datasets.layouts import SPLITS, Case, Split
from spleen_tf.datasets.metadata import CaseRecord
from spleen_tf.datasets.splits import Splits, write_splits
from spleen_tf.imaging.planes import Plane


@dataclasses.dataclass(frozen=True)
class Conversion:
    """What was written: slices, their planes, and the cases of each split."""

    slices: int
    planes: tuple[Plane, ...]
    cases_per_split: dict[Split, int]

    def __str__(self) -> str:
        """In one line, for a screen."""
        parts = [f"{count} cases for {split}" for split, count in self.cases_per_split.items()]
        return f"{self.slices} {'/'.join(self.planes)} slices, {', '.join(parts)}"


def convert(
    listed: Sequence[Case], splits: Splits, output_dir: str | os.PathLike[str], options: Options
) -> Conversion:
    """Writes the records of some cases; an earlier conversion stays until this one is whole.

    Args:
        listed: cases, of which those are taken that the splits name.
        splits: which of them train and which validate.
        output_dir: receives shards, cases.json, features.json, splits.json and dataset_info.json.
        options: how.

    Raises:
        InputError: if a case cannot be read, no label holds options.label_value, the same image
            trains and validates, options.strict and the gate finds doubtful cases, or the folder
            cannot be written.
        CommandFailed: if a worker was killed.
    """
    is_new = not os.path.lexists(output_dir)
    output = files.make_folder(output_dir)
    try:
        with locks.folder(output):
            return _convert(listed, splits, output, options)
    finally:
        if is_new:
            with contextlib.suppress(OSError):  # It holds a conversion, as it should.
                output.rmdir()


def _convert(
    listed: Sequence[Case], splits: Splits, output: pathlib.Path, options: Options
) -> Conversion:
    staging = output / ".partial"
    shutil.rmtree(staging, ignore_errors=True)  # Of a run that was killed.
    files.make_folder(staging)
    by_name = {case.name: case for case in listed}
    members_of = {split: [by_name[name] for name in splits.of(split)] for split in SPLITS}
    try:
        conversion = _write(members_of, splits, staging, options)
        _publish(staging, output)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return conversion


def _write(
    members_of: Mapping[Split, Sequence[Case]],
    splits: Splits,
    folder: pathlib.Path,
    options: Options,
) -> Conversion:
    """Writes all shards and their metadata."""
    written = {
        split: _write_shards(split, members, folder, options)
        for split, members in members_of.items()
    }
    record_of = {
        name: record for part in written.values() for name, record in part.record_of.items()
    }
    sizes_of = {split: part.sizes for split, part in written.items()}
    looks = [look for part in written.values() for look in part.looks]
    return finish(folder, splits, record_of, sizes_of, looks, options)


def finish(
    folder: pathlib.Path,
    splits: Splits,
    record_of: Mapping[str, CaseRecord],
    sizes_of: Mapping[Split, Sequence[tuple[int, int]]],
    looks: Sequence[gate.Look],
    options: Options,
) -> Conversion:
    """Checks converted cases beside one another, and writes what stands beside their shards.

    Args:
        folder: for cases.json, features.json, splits.json and dataset_info.json.
        splits: of the cases.
        record_of: the cases by name.
        sizes_of: (slices, bytes) of each shard.
        looks: at the cases.
        options: how they were converted.

    Raises:
        InputError: as `convert`.
    """
    if options.label_value and not any(record.spleen_slices for record in record_of.values()):
        raise cases.no_such_label_value(options.label_value, len(record_of))
    found_planes = tuple(sorted({record.plane for record in record_of.values()}))
    if len(found_planes) > 1:
        warnings.warn(
            f"axis {options.array_axis} is {' and '.join(found_planes)} in different cases; a "
            "model is trained on one plane",
            InputWarning,
            stacklevel=2,
        )
    gate.check_splits(looks, splits)
    gate.report(gate.findings(looks), options.strict)
    metadata.write(folder, record_of, sizes_of)
    write_splits(folder / "splits.json", splits)
    return Conversion(
        sum(record.num_slices for record in record_of.values()),
        found_planes,
        {split: len(splits.of(split)) for split in SPLITS},
    )


class _Shards(NamedTuple):
    """What was written of a split.

    Attributes:
        record_of: its cases by name.
        sizes: (slices, bytes) of each shard.
        looks: at the cases.
    """

    record_of: dict[str, CaseRecord]
    sizes: list[tuple[int, int]]
    looks: list[gate.Look]


def _write_shards(
    split: Split, members: Sequence[Case], folder: pathlib.Path, options: Options
) -> _Shards:
    """Writes the shards of a split."""
    from spleen_tf.datasets import records  # TensorFlow: seconds that a wrong flag should not cost.

    num_shards = min(options.num_shards, len(members))
    paths = [folder / shards.shard_name(split, i, num_shards) for i in range(num_shards)]
    slices_in = [0] * num_shards
    record_of: dict[str, CaseRecord] = {}
    looks: list[gate.Look] = []
    with contextlib.ExitStack() as stack:
        writers = [stack.enter_context(records.writer(path)) for path in paths]
        loaded_cases = _load_all(members, options)
        progress = tqdm.tqdm(
            loaded_cases, desc=split, total=len(members), unit="case", disable=None
        )
        start = time.monotonic()
        for position, loaded in enumerate(progress):
            shard = position % num_shards
            for serialized in slices(loaded, options):
                writers[shard].write(serialized)
            record = record_of[loaded.case.name] = case_record(split, loaded, options)
            slices_in[shard] += record.num_slices
            looks.append(loaded.look)
            seconds, start = time.monotonic() - start, time.monotonic()
            events.emit("convert", case=loaded.case.name, seconds=seconds)
    sizes = [(n, path.stat().st_size) for n, path in zip(slices_in, paths, strict=True)]
    return _Shards(record_of, sizes, looks)


def _load_all(members: Sequence[Case], options: Options) -> Iterator[Loaded]:
    """Loads cases in order; with several workers, a few of them ahead in other processes."""
    quietly = functools.partial(load_quietly, options=options)
    for loaded in parallel.in_processes(quietly, members, options.workers):
        for message in loaded.warnings:
            warnings.warn(message, InputWarning, stacklevel=2)
        yield loaded


def _publish(staging: pathlib.Path, output: pathlib.Path) -> None:
    """Moves a whole conversion to its place; dataset_info.json goes last and marks it complete."""
    marker = output / metadata.INFO
    marker.unlink(missing_ok=True)
    for stale in output.glob(f"{metadata.NAME}-*.tfrecord-*"):
        stale.unlink()
    for path in sorted(staging.iterdir(), key=lambda p: p.name == marker.name):
        os.replace(path, output / path.name)
