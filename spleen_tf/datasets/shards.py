"""The folder of a conversion: shards of records, and what is known of them.

It holds, for each split, spleen-SPLIT.tfrecord-XXXXX-of-XXXXX, with features.json and
dataset_info.json in the form of TensorFlow Datasets, cases.json (what is known of each case) and
splits.json. All slices of a case stand in one shard, in their order, so that reading the shards
side by side mixes patients.
"""

from __future__ import annotations

import os
import pathlib
import re
from typing import Any

import tensorflow as tf

from spleen_tf.core import files
from spleen_tf.datasets.cases import SPLITS
from spleen_tf.datasets.records import FIELDS, RecordError

NAME = "spleen"
VERSION = "1.0.0"

# What cases.json says of each case, at least.
CASE_KEYS = (
    *("split", "modality", "plane", "num_slices", "spleen_slices", "pixel_mm", "slice_mm"),
    "shape",
    *("source_sha256", "label_sha256", "voxels_sha256", "label_voxels_sha256"),
)


def shard_name(split: str, index: int, count: int) -> str:
    """The file name of a shard, as TensorFlow Datasets has it."""
    return f"{NAME}-{split}.tfrecord-{index:05d}-of-{count:05d}"


def shard_paths(folder: str | os.PathLike, split: str) -> list[str]:
    """The shards of a split, complete and in order; none if the split holds no case.

    Raises:
        RecordError: if shards are missing.
    """
    folder = pathlib.Path(folder)
    pattern = re.compile(rf"{NAME}-{split}\.tfrecord-(\d{{5}})-of-(\d{{5}})")
    found = sorted(
        p.name for p in folder.glob(f"{NAME}-{split}.tfrecord-*") if pattern.fullmatch(p.name)
    )
    if not found:
        return []
    count = int(found[0][-5:])
    expected = [shard_name(split, index, count) for index in range(count)]
    if found != expected:
        odd = sorted(set(found) ^ set(expected))[0]
        raise RecordError(
            f"{folder / odd}: expected the {count} shards of one conversion of {split}, found "
            f"{len(found)}; run make_tfrecords again."
        )
    return [str(folder / name) for name in found]


def check_folder(folder: str | os.PathLike) -> None:
    """Raises RecordError where a folder holds no conversion, or one that did not come to its end.

    dataset_info.json is written last.
    """
    if not all((pathlib.Path(folder) / n).is_file() for n in ("cases.json", "dataset_info.json")):
        raise RecordError(
            f"{folder}: expected a folder of records (cases.json, dataset_info.json and "
            f"{NAME}-*.tfrecord-*), found none or half of one; run make_tfrecords (again)."
        )


def read_cases(folder: str | os.PathLike) -> dict[str, dict[str, Any]]:
    """What cases.json says of each case of a conversion (CASE_KEYS), by name.

    Raises:
        RecordError: if the folder holds no complete conversion, or cases.json says something else.
        InputError: if cases.json is not JSON.
    """
    check_folder(folder)
    path = pathlib.Path(folder) / "cases.json"
    content = files.read_json(path)
    known = content.get("cases") if isinstance(content, dict) else None
    if not isinstance(known, dict):
        raise RecordError(f"{path}: expected an object 'cases', found something else.")
    for name, about in known.items():
        absent = [key for key in CASE_KEYS if not isinstance(about, dict) or key not in about]
        if absent:
            raise RecordError(f"{path}: expected {absent[0]!r} of case {name!r}, found nothing.")
    return known


def read_shard_lengths(folder: str | os.PathLike) -> dict[str, list[int]]:
    """The number of Examples in each shard of each split, as dataset_info.json says.

    Raises:
        RecordError: if it says nothing of the kind.
        InputError: if it is not JSON.
    """
    path = pathlib.Path(folder) / "dataset_info.json"
    content = files.read_json(path)
    try:
        splits = content["splits"]
        return {split["name"]: [int(n) for n in split["shardLengths"]] for split in splits}
    except (KeyError, TypeError, ValueError):
        raise RecordError(f"{path}: expected splits with shardLengths, found others.") from None


def check_features(folder: str | os.PathLike) -> None:
    """Raises InputError unless features.json describes FIELDS."""
    path = pathlib.Path(folder) / "features.json"
    if files.read_json(path) != _features_json():
        raise RecordError(f"{path}: expected the fields of this release, found another schema.")


def write_metadata(
    folder: str | os.PathLike, cases: dict[str, dict[str, Any]], shard_sizes: dict[str, list]
) -> None:
    """Writes cases.json, features.json and, last, dataset_info.json.

    Args:
        folder: of the shards.
        cases: what is known of each case, by name.
        shard_sizes: for each split, (examples, bytes) of each shard.
    """
    folder = pathlib.Path(folder)
    files.write_json(folder / "cases.json", {"cases": cases})
    files.write_json(folder / "features.json", _features_json())
    files.write_json(folder / "dataset_info.json", _dataset_info_json(shard_sizes))


def _features_json() -> dict[str, Any]:
    prefix = "tensorflow_datasets.core.features"
    features = {}
    for name, (dtype, shape) in sorted(FIELDS.items()):
        scalar = not shape and dtype != tf.string
        kind = "scalar.Scalar" if scalar else "tensor_feature.Tensor"
        tensor = {
            "shape": {"dimensions": [str(n) for n in shape]} if shape else {},
            "dtype": dtype.name,
            "encoding": "none",
        }
        features[name] = {"pythonClassName": f"{prefix}.{kind}", "tensor": tensor}
    return {
        "pythonClassName": f"{prefix}.features_dict.FeaturesDict",
        "featuresDict": {"features": features},
    }


def _dataset_info_json(shard_sizes: dict[str, list]) -> dict[str, Any]:
    return {
        "name": NAME,
        "version": VERSION,
        "description": "Slices of abdominal volumes with spleen labels.",
        "fileFormat": "tfrecord",
        "splits": [
            {
                "name": split,
                "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
                "shardLengths": [str(examples) for examples, _ in shard_sizes[split]],
                "numBytes": str(sum(size for _, size in shard_sizes[split])),
            }
            for split in SPLITS
            if shard_sizes.get(split)
        ],
    }
