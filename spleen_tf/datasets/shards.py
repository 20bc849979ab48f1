"""The shards of a conversion: their names, and whether they are what they should be.

A folder of records holds, for each split, spleen-SPLIT.tfrecord-XXXXX-of-XXXXX, splits.json, and
what `metadata` describes. All slices of a case stand in one shard, in their order, so that reading
the shards side by side mixes patients.
"""

from __future__ import annotations

import os
import pathlib
from collections.abc import Mapping

from spleen_tf.datasets import framing, metadata, schema
from spleen_tf.datasets.metadata import NAME, CaseRecord, DatasetInfo
from spleen_tf.datasets.schema import RecordError

_REMEDY = "run make_tfrecords again"


def shard_name(split: str, index: int, count: int) -> str:
    """The file name of a shard, as TensorFlow Datasets has it."""
    return f"{NAME}-{split}.tfrecord-{index:05d}-of-{count:05d}"


def named_paths(folder: str | os.PathLike[str], info: DatasetInfo) -> dict[str, list[pathlib.Path]]:
    """The shards that dataset_info.json names, by split, in order; they may be missing."""
    return {
        split.name: [
            pathlib.Path(folder) / shard_name(split.name, index, len(split.shard_lengths))
            for index in range(len(split.shard_lengths))
        ]
        for split in info.splits
    }


def unnamed_paths(folder: str | os.PathLike[str], info: DatasetInfo) -> list[pathlib.Path]:
    """Shards in a folder that dataset_info.json does not name, sorted."""
    named = {path for paths in named_paths(folder, info).values() for path in paths}
    return sorted(set(pathlib.Path(folder).glob(f"{NAME}-*.tfrecord-*")) - named)


def check(folder: str | os.PathLike[str]) -> tuple[str, ...]:
    """Checks in a moment, and without TensorFlow, that records are what they claim to be.

    Looks at names, sizes and counts, and at the first and last record of every shard. What it
    cannot see is damage between these that leaves a shard's size as it was:
    tools/verify_tfrecords.py finds that.

    Returns:
        The paths of all shards.

    Raises:
        RecordError: if the conversion is incomplete, a shard is missing, is one too many, is empty
            or cut short, or holds no records, no Examples or those of another schema.
        InputError: if cases.json, features.json or dataset_info.json holds something else.
    """
    cases, info = metadata.read_cases(folder), metadata.read_info(folder)
    metadata.check_features(folder)
    _check_counts(folder, cases, info)
    paths_of = named_paths(folder, info)
    for split, paths in paths_of.items():
        for path in paths:
            if not path.is_file():
                raise RecordError(
                    f"{path}: expected this shard, of {len(paths)} of {split} that "
                    f"{metadata.INFO} names, found none; {_REMEDY}."
                )
    for path in unnamed_paths(folder, info):
        raise RecordError(
            f"{path}: expected no shard that {metadata.INFO} does not name, found this one; "
            f"remove it, or {_REMEDY}."
        )
    for split, paths in paths_of.items():
        for path in paths:
            _check_first_record(path, split, cases)
    _check_records(folder, info, paths_of)
    return tuple(str(path) for paths in paths_of.values() for path in paths)


def _check_counts(
    folder: str | os.PathLike[str], cases: Mapping[str, CaseRecord], info: DatasetInfo
) -> None:
    path = pathlib.Path(folder) / metadata.INFO
    split_of = {split.name: split for split in info.splits}
    for split in sorted({case.split for case in cases.values()} | split_of.keys()):
        expected = sum(case.num_slices for case in cases.values() if case.split == split)
        counted = sum(split_of[split].slices_per_shard) if split in split_of else 0
        if counted != expected:
            raise RecordError(
                f"{path}: expected {expected} slices of {split}, as {metadata.CASES} says, found "
                f"{counted}; {_REMEDY}."
            )


def _check_first_record(path: pathlib.Path, split: str, cases: Mapping[str, CaseRecord]) -> None:
    record = schema.from_bytes(framing.first_record(path), str(path))
    case = cases.get(record.case)
    if case is None or case.split != split:
        raise RecordError(
            f"{path}: expected slices of the cases of {split} that {metadata.CASES} names, found "
            f"those of {record.case!r}; {_REMEDY}."
        )
    for key in ("plane", "modality", "num_slices", "source_sha256", "label_sha256"):
        if getattr(record, key) != getattr(case, key):
            raise RecordError(
                f"{path}: expected {record.case!r} with {key} {getattr(case, key)}, as "
                f"{metadata.CASES} says, found {getattr(record, key)}; {_REMEDY}."
            )


def _check_records(
    folder: str | os.PathLike[str], info: DatasetInfo, paths_of: Mapping[str, list[pathlib.Path]]
) -> None:
    """The number of records in each file, and the sizes of a split's files."""
    for split in info.splits:
        paths = paths_of[split.name]
        for path, expected in zip(paths, split.slices_per_shard, strict=True):
            counted = framing.count_records(path)
            if counted != expected:
                raise RecordError(
                    f"{path}: expected {expected} records, as {metadata.INFO} says, found "
                    f"{counted}; {_REMEDY}."
                )
        size = sum(path.stat().st_size for path in paths)
        if size != int(split.num_bytes):
            raise RecordError(
                f"{pathlib.Path(folder) / metadata.INFO}: expected shards of {split.name} of "
                f"{split.num_bytes} bytes, found {size}; {_REMEDY}."
            )
