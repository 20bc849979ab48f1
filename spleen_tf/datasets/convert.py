"""Conversion of cases to a folder of records: the same cases give the same bytes."""

from __future__ import annotations

import collections
import concurrent.futures
import contextlib
import dataclasses
import hashlib
import multiprocessing
import os
import pathlib
import shutil
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import tqdm
from numpy.typing import NDArray

from spleen_tf.core import files, parallel
from spleen_tf.core.files import InputWarning
from spleen_tf.datasets import cases, metadata, shards
from spleen_tf.datasets.layouts import SPLITS, Case, Split
from spleen_tf.datasets.metadata import CaseRecord
from spleen_tf.datasets.splits import Splits, write_splits
from spleen_tf.imaging import intensity, masks, planes, regions
from spleen_tf.imaging.planes import Plane
from spleen_tf.imaging.volume import Volume
from spleen_tf.io import readers


@dataclasses.dataclass(frozen=True)
class Options:
    """How cases are converted.

    Attributes:
        plane: of the slices.
        array_axis: a stored axis to cut along in place of the plane.
        num_shards: files per split; a split of fewer cases gets one per case.
        workers: processes that read volumes, each of which holds one or two in memory.
        label_value: the label's value that means spleen; 0 for any value above 0.
        around_organ: only the region around the organ is kept; a case without spleen stays whole.
    """

    plane: Plane = "coronal"
    array_axis: int | None = None
    num_shards: int = 8
    workers: int = 1
    label_value: int = 0
    around_organ: bool = False


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


@dataclasses.dataclass(frozen=True)
class _Loaded:
    """A case that was read, and the warnings that it caused in another process."""

    case: Case
    image: Volume
    label: Volume
    source_sha256: str
    label_sha256: str
    percentiles: tuple[float, ...]
    warnings: tuple[str, ...] = ()


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
        InputError: if a case cannot be read, no label holds options.label_value, or the folder
            cannot be written.
        CommandFailed: if a worker was killed.
    """
    output = files.make_folder(output_dir)
    staging = output / ".partial"
    shutil.rmtree(staging, ignore_errors=True)  # Of a run that was killed.
    files.make_folder(staging)
    by_name = {case.name: case for case in listed}
    members_of = {split: [by_name[name] for name in splits.of(split)] for split in SPLITS}
    try:
        conversion = _write(members_of, staging, options)
        write_splits(staging / "splits.json", splits)
        _publish(staging, output)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return conversion


def _write(
    members_of: Mapping[Split, Sequence[Case]], folder: pathlib.Path, options: Options
) -> Conversion:
    """Writes all shards and their metadata."""
    record_of: dict[str, CaseRecord] = {}
    sizes_of: dict[Split, list[tuple[int, int]]] = {}
    for split, members in members_of.items():
        records_of_split, sizes_of[split] = _write_shards(split, members, folder, options)
        record_of |= records_of_split
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
    metadata.write(folder, record_of, sizes_of)
    return Conversion(
        sum(record.num_slices for record in record_of.values()),
        found_planes,
        {split: len(members) for split, members in members_of.items()},
    )


def _write_shards(
    split: Split, members: Sequence[Case], folder: pathlib.Path, options: Options
) -> tuple[dict[str, CaseRecord], list[tuple[int, int]]]:
    """Writes the shards of a split; its cases, and (slices, bytes) of each shard."""
    from spleen_tf.datasets import records  # TensorFlow: seconds that a wrong flag should not cost.

    num_shards = min(options.num_shards, len(members))
    paths = [folder / shards.shard_name(split, i, num_shards) for i in range(num_shards)]
    slices_in = [0] * num_shards
    record_of: dict[str, CaseRecord] = {}
    with contextlib.ExitStack() as stack:
        writers = [stack.enter_context(records.writer(path)) for path in paths]
        loaded_cases = _load_all(members, options)
        progress = tqdm.tqdm(
            loaded_cases, desc=split, total=len(members), unit="case", disable=None
        )
        for position, loaded in enumerate(progress):
            plane, shard = _plane(loaded.image, options), position % num_shards
            identity = records.Identity(
                loaded.case.name,
                loaded.case.modality,
                loaded.source_sha256,
                loaded.label_sha256,
                loaded.percentiles,
            )
            for serialized in records.encode(loaded.image, loaded.label, plane, identity):
                writers[shard].write(serialized)
            record = record_of[loaded.case.name] = _case_record(split, loaded, plane)
            slices_in[shard] += record.num_slices
    sizes = [(n, path.stat().st_size) for n, path in zip(slices_in, paths, strict=True)]
    return record_of, sizes


def _plane(image: Volume, options: Options) -> Plane:
    if options.array_axis is None:
        return options.plane
    return planes.plane_of_axis(image.affine, options.array_axis)


def _case_record(split: Split, loaded: _Loaded, plane: Plane) -> CaseRecord:
    image, label = loaded.image, loaded.label
    labels_nhw = planes.split(label.array_ijk, image.affine, plane)
    row_mm, column_mm = planes.pixel_mm(image.affine, plane).tolist()
    i, j, k = image.shape
    return CaseRecord(
        split=split,
        modality=loaded.case.modality,
        plane=plane,
        num_slices=len(labels_nhw),
        spleen_slices=int(labels_nhw.any(axis=(1, 2)).sum()),
        pixel_mm=(row_mm, column_mm),
        slice_mm=planes.slice_mm(image.affine, plane),
        shape=(i, j, k),
        source_sha256=loaded.source_sha256,
        label_sha256=loaded.label_sha256,
        voxels_sha256=voxels_sha256(image.array_ijk),
        label_voxels_sha256=voxels_sha256(label.array_ijk),
    )


def voxels_sha256(array_ijk: NDArray[Any]) -> str:
    """The SHA-256 of voxels in the order of a NIfTI file, the first index fastest."""
    # Of an array that lies in memory in that order, nothing is copied.
    return hashlib.sha256(array_ijk.ravel(order="F").data).hexdigest()


def _load_all(members: Sequence[Case], options: Options) -> Iterator[_Loaded]:
    """Loads cases in order; with several workers, a few of them ahead in other processes."""
    if options.workers == 1 or len(members) < 2:
        for case in members:
            yield _load(case, options)
        return
    # "spawn", because a fork of a process that runs TensorFlow's threads may hang.
    context = multiprocessing.get_context("spawn")
    with (
        parallel.watching_workers(),
        concurrent.futures.ProcessPoolExecutor(options.workers, mp_context=context) as pool,
    ):
        waiting = collections.deque(members)
        ahead: collections.deque[concurrent.futures.Future[_Loaded]] = collections.deque()
        try:
            while waiting or ahead:
                while waiting and len(ahead) <= options.workers:  # Bounds the memory.
                    ahead.append(pool.submit(_load_quietly, waiting.popleft(), options))
                loaded = ahead.popleft().result()
                for message in loaded.warnings:
                    warnings.warn(message, InputWarning, stacklevel=2)
                yield loaded
        finally:
            pool.shutdown(cancel_futures=True)


def _load_quietly(case: Case, options: Options) -> _Loaded:
    """_load in another process, which hands its warnings over to be shown in order."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        loaded = _load(case, options)
    messages = (str(w.message) for w in caught if issubclass(w.category, InputWarning))
    return dataclasses.replace(loaded, warnings=tuple(messages))


def _load(case: Case, options: Options) -> _Loaded:
    image, label = cases.read(case, options.label_value)
    image_sha256, percentiles = readers.sha256(image), intensity.percentiles(image.array_ijk)
    if options.around_organ and (box := masks.bounding_box(label.array_ijk)):
        region = regions.around(box, image.grid)
        image, label = region.crop(image), region.crop(label)
    label_sha256 = files.sha256(case.label)
    return _Loaded(case, image, label, image_sha256, label_sha256, tuple(percentiles.tolist()))


def _publish(staging: pathlib.Path, output: pathlib.Path) -> None:
    """Moves a whole conversion to its place; dataset_info.json goes last and marks it complete."""
    marker = output / metadata.INFO
    marker.unlink(missing_ok=True)
    for stale in output.glob(f"{metadata.NAME}-*.tfrecord-*"):
        stale.unlink()
    for path in sorted(staging.iterdir(), key=lambda p: p.name == marker.name):
        os.replace(path, output / path.name)
