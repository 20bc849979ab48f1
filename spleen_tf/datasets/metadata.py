"""What stands beside the shards of a conversion: cases.json, features.json, dataset_info.json.

The last two have the form of TensorFlow Datasets, whose builder_from_directory reads the folder.
"""

from __future__ import annotations

import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import msgspec

from spleen_tf.core import files
from spleen_tf.datasets.layouts import SPLITS, Split
from spleen_tf.datasets.schema import FIELDS, RecordError
from spleen_tf.imaging.intensity import Modality
from spleen_tf.imaging.planes import Plane

NAME = "spleen"
VERSION = "1.0.0"
CASES, FEATURES, INFO = "cases.json", "features.json", "dataset_info.json"

_REMEDY = "run make_tfrecords again"
_Digits = Annotated[str, msgspec.Meta(pattern="^[0-9]+$")]


class CaseRecord(msgspec.Struct, frozen=True):
    """What cases.json says of a converted case.

    Attributes:
        split: that it was written for.
        modality, plane: of its slices.
        num_slices, spleen_slices: all of them, and those that show spleen.
        pixel_mm: row spacing and column spacing.
        slice_mm: the distance between neighbouring slices.
        shape: of the volume, voxels along i, j, k.
        source_sha256, label_sha256: of the files that were converted.
        voxels_sha256, label_voxels_sha256: of the voxels, the first index fastest.
    """

    split: Split
    modality: Modality
    plane: Plane
    num_slices: int
    spleen_slices: int
    pixel_mm: tuple[float, float]
    slice_mm: float
    shape: tuple[int, int, int]
    source_sha256: str
    label_sha256: str
    voxels_sha256: str
    label_voxels_sha256: str


class SplitInfo(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A split in dataset_info.json, where TensorFlow Datasets has numbers as text."""

    name: str
    filepath_template: str = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
    shard_lengths: tuple[_Digits, ...]
    num_bytes: _Digits

    @property
    def slices_per_shard(self) -> tuple[int, ...]:
        """The number of Examples in each shard."""
        return tuple(int(digits) for digits in self.shard_lengths)


class DatasetInfo(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """dataset_info.json."""

    name: str = NAME
    version: str = VERSION
    description: str = "Slices of abdominal volumes with spleen labels."
    file_format: str = "tfrecord"
    splits: tuple[SplitInfo, ...]


class _Cases(msgspec.Struct, frozen=True):
    cases: dict[str, CaseRecord]


def check_complete(folder: str | os.PathLike[str]) -> None:
    """Raises RecordError where a folder holds no conversion, or one that did not come to its end.

    dataset_info.json is written last.
    """
    if not all((pathlib.Path(folder) / name).is_file() for name in (CASES, INFO)):
        raise RecordError(
            f"{folder}: expected a folder of records ({CASES}, {INFO} and {NAME}-*.tfrecord-*), "
            "found none or half of one; run make_tfrecords (again)."
        )


def read_cases(folder: str | os.PathLike[str]) -> dict[str, CaseRecord]:
    """The cases of a conversion, by name.

    Raises:
        RecordError: if the folder holds no complete conversion.
        InputError: if cases.json holds something else.
    """
    check_complete(folder)
    return files.read_record(pathlib.Path(folder) / CASES, _Cases, _REMEDY).cases


def read_info(folder: str | os.PathLike[str]) -> DatasetInfo:
    """The shards of a conversion, by dataset_info.json.

    Raises:
        InputError: if it is missing or holds something else.
    """
    return files.read_record(pathlib.Path(folder) / INFO, DatasetInfo, _REMEDY)


def check_features(folder: str | os.PathLike[str]) -> None:
    """Raises InputError unless features.json describes FIELDS."""
    path = pathlib.Path(folder) / FEATURES
    if files.read_json(path) != _features_json():
        raise RecordError(
            f"{path}: expected the fields of this release, found another schema; {_REMEDY}."
        )


def write(
    folder: str | os.PathLike[str],
    cases: Mapping[str, CaseRecord],
    shard_sizes: Mapping[Split, Sequence[tuple[int, int]]],
) -> None:
    """Writes cases.json, features.json and, last, dataset_info.json.

    Args:
        folder: of the shards.
        cases: by name.
        shard_sizes: for each split, (examples, bytes) of each shard.
    """
    folder = pathlib.Path(folder)
    files.write_json(folder / CASES, _Cases(dict(cases)))
    files.write_json(folder / FEATURES, _features_json())
    splits = tuple(
        SplitInfo(
            name=split,
            shard_lengths=tuple(str(examples) for examples, _ in shard_sizes[split]),
            num_bytes=str(sum(size for _, size in shard_sizes[split])),
        )
        for split in SPLITS
        if shard_sizes.get(split)
    )
    files.write_json(folder / INFO, DatasetInfo(splits=splits))


def _features_json() -> dict[str, Any]:
    prefix = "tensorflow_datasets.core.features"
    features = {}
    for name, field in sorted(FIELDS.items()):
        scalar = not field.shape and field.dtype != "string"
        kind = "scalar.Scalar" if scalar else "tensor_feature.Tensor"
        tensor = {
            "shape": {"dimensions": [str(n) for n in field.shape]} if field.shape else {},
            "dtype": field.dtype,
            "encoding": "none",
        }
        features[name] = {"pythonClassName": f"{prefix}.{kind}", "tensor": tensor}
    return {
        "pythonClassName": f"{prefix}.features_dict.FeaturesDict",
        "featuresDict": {"features": features},
    }
