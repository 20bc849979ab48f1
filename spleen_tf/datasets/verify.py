"""Verification of records: checksums, schema, counts and hashes; and the volumes that they hold."""

from __future__ import annotations

import itertools
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import tqdm

from spleen_tf.core import files
from spleen_tf.core.files import InputError
from spleen_tf.datasets import framing, metadata, shards
from spleen_tf.datasets.encode import voxels_sha256
from spleen_tf.datasets.layouts import SPLITS
from spleen_tf.datasets.metadata import CaseRecord
from spleen_tf.datasets.schema import RecordError, SliceRecord
from spleen_tf.datasets.splits import read_splits
from spleen_tf.imaging import planes, volume
from spleen_tf.imaging.volume import Volume
from spleen_tf.io import nifti

# Fields that all slices of a case have in common.
_SHARED = (
    *("height", "width", "dtype", "modality", "plane", "num_slices", "pixel_mm", "slice_mm"),
    *("affine", "source_shape", "source_sha256", "label_sha256", "intensity_percentiles"),
)
_AS_IN_CASES_JSON = ("source_sha256", "label_sha256", "plane", "modality", "num_slices")


class Verification:
    """The faults of a folder of records, found while they are iterated over.

    Attributes:
        slices_of: the slices that were seen of each case so far.
    """

    def __init__(
        self, folder: str | os.PathLike[str], rebuild_dir: str | os.PathLike[str] | None = None
    ) -> None:
        """Prepares; nothing but the presence of a conversion is looked at.

        Args:
            folder: that a conversion wrote.
            rebuild_dir: receives CASE.nii.gz and CASE_label.nii.gz of every intact case.

        Raises:
            InputError: if there is no conversion, or rebuild_dir cannot be written to.
        """
        metadata.check_complete(folder)
        self._folder = pathlib.Path(folder)
        self._rebuild_dir = files.make_folder(rebuild_dir) if rebuild_dir else None
        self.slices_of: dict[str, int] = {}

    def faults(self) -> Iterator[str]:
        """A line for each fault.

        Raises:
            InputError: if two files of rebuilt volumes would have the same name.
        """
        try:
            cases = metadata.read_cases(self._folder)
            info = metadata.read_info(self._folder)
        except InputError as error:  # Nothing tells what the shards should hold.
            yield str(error)
            return
        if self._rebuild_dir:
            _check_names(cases)
        yield from self._metadata_faults(cases)
        lengths_of = {split.name: split.slices_per_shard for split in info.splits}
        for split, paths in shards.named_paths(self._folder, info).items():
            for path, length in zip(paths, lengths_of[split], strict=True):
                yield from self._shard_faults(path, split, length, cases)
        for path in shards.unnamed_paths(self._folder, info):
            yield f"{path}: expected no file that {metadata.INFO} does not name, found this one."
        for name in sorted(cases.keys() - self.slices_of.keys()):
            yield (
                f"{self._folder}: expected the case {name!r} as {metadata.CASES} says, found no "
                "intact slice."
            )

    def _metadata_faults(self, cases: Mapping[str, CaseRecord]) -> Iterator[str]:
        try:
            metadata.check_features(self._folder)
        except InputError as error:
            yield str(error)
        path = self._folder / "splits.json"
        try:
            splits = read_splits(path)
        except InputError as error:
            yield str(error)
            return
        for split in SPLITS:
            held = {name for name, case in cases.items() if case.split == split}
            if odd := sorted(held ^ set(splits.of(split))):
                yield (
                    f"{path}: expected the cases of {split} that {metadata.CASES} names, found a "
                    f"difference in {odd[0]!r}."
                )

    def _shard_faults(
        self, path: pathlib.Path, split: str, length: int, cases: Mapping[str, CaseRecord]
    ) -> Iterator[str]:
        from spleen_tf.datasets import records  # TensorFlow checks the bytes fast.

        count = 0
        try:
            framing.count_records(path)  # TensorFlow takes memory for any length that is stated.
            groups = _by_case(records.read_examples(path))
            for slices in tqdm.tqdm(groups, desc=path.name, unit="case", disable=None):
                count += len(slices)
                if fault := self._case_fault(path, split, slices, cases):
                    yield fault
        except RecordError as error:
            yield str(error)
            return
        if count != length:
            yield f"{path}: expected {length} records as {metadata.INFO} says, found {count}."

    def _case_fault(
        self,
        path: pathlib.Path,
        split: str,
        slices: Sequence[SliceRecord],
        cases: Mapping[str, CaseRecord],
    ) -> str | None:
        """What is wrong with a case of a shard; an intact one is rebuilt, if there is a folder."""
        name = slices[0].case
        where = f"{path}: case {name!r}"
        is_seen = name in self.slices_of
        self.slices_of[name] = self.slices_of.get(name, 0) + len(slices)
        if is_seen:
            return f"{where}: found for the second time."
        try:
            image, label = _rebuilt(where, split, slices, cases.get(name))
        except InputError as error:
            return str(error)
        if self._rebuild_dir:
            nifti.write(self._rebuild_dir / f"{name}.nii.gz", image)
            nifti.write(self._rebuild_dir / f"{name}_label.nii.gz", label)
        return None


def _check_names(cases: Mapping[str, CaseRecord]) -> None:
    for name in sorted({f"{name}_label" for name in cases} & cases.keys()):
        raise InputError(f"--rebuild_dir: expected {name}.nii.gz for one file, found it for two.")


def _by_case(slices: Iterator[SliceRecord]) -> Iterator[list[SliceRecord]]:
    """Groups the consecutive slices of a case."""
    for _, group in itertools.groupby(slices, key=lambda record: record.case):
        yield list(group)


def _rebuilt(
    where: str, split: str, slices: Sequence[SliceRecord], case: CaseRecord | None
) -> tuple[Volume, Volume]:
    """Image and label of a case, from its slices; RecordError unless cases.json says the same."""
    if case is None or case.split != split:
        raise RecordError(f"{where}: expected a case of {split} in cases.json, found another.")
    first = slices[0]
    for key in _SHARED:
        if any(getattr(record, key) != getattr(first, key) for record in slices):
            raise RecordError(f"{where}: expected one {key} in all slices, found several.")
    for key in _AS_IN_CASES_JSON:
        if getattr(first, key) != getattr(case, key):
            raise RecordError(
                f"{where}: expected {key} {getattr(case, key)} as in cases.json, found "
                f"{getattr(first, key)}."
            )
    indices = sorted(record.slice_index for record in slices)
    if indices != list(range(first.num_slices)):
        raise RecordError(
            f"{where}: expected each of {first.num_slices} slices once, found "
            f"{len(set(indices))} different ones."
        )
    affine = first.affine_matrix()
    volume.check_affine(affine, where)
    in_view = sorted(slices, key=lambda record: record.slice_index)
    if planes.stored_index(0, len(in_view), affine, first.plane) > 0:
        in_view.reverse()
    images_nhw = np.stack([record.image_hw() for record in in_view])
    labels_nhw = np.stack([record.label_hw() for record in in_view])
    image, label = (
        Volume(planes.stack(slices_nhw, affine, first.plane), affine, first.case)
        for slices_nhw in (images_nhw, labels_nhw)
    )
    _check_voxels(where, "image", image, case.shape, case.voxels_sha256)
    _check_voxels(where, "label", label, case.shape, case.label_voxels_sha256)
    return image, label


def _check_voxels(
    where: str, what: str, rebuilt: Volume, shape: Sequence[int], sha256: str
) -> None:
    if rebuilt.shape != tuple(shape):
        raise RecordError(f"{where}: expected shape {list(shape)}, found {list(rebuilt.shape)}.")
    digest = voxels_sha256(rebuilt.array_ijk)
    if digest != sha256:
        raise RecordError(f"{where}: expected {what} voxels with SHA-256 {sha256}, found {digest}.")
