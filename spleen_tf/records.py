"""Slices to tf.train.Example and back, and the sharded files that hold them.

A conversion's folder holds, for each split, spleen-SPLIT.tfrecord-XXXXX-of-XXXXX, with
features.json and dataset_info.json in the form of TensorFlow Datasets, cases.json (what is known
of each case) and splits.json. All slices of a case stand in one shard, in their order, so that
reading the shards side by side mixes patients.
"""

from __future__ import annotations

import os
import pathlib
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from spleen_tf import files, slices
from spleen_tf.cases import SPLITS
from spleen_tf.files import InputError
from spleen_tf.volume import Volume

NAME = "spleen"
VERSION = "1.0.0"
PERCENTILES = (0.5, 5.0, 50.0, 95.0, 99.5)

# Field: (dtype in the Example, shape).
FIELDS: dict[str, tuple[Any, tuple[int, ...]]] = {
    "image": (tf.string, ()),
    "label": (tf.string, ()),
    "height": (tf.int64, ()),
    "width": (tf.int64, ()),
    "dtype": (tf.string, ()),
    "case": (tf.string, ()),
    "modality": (tf.string, ()),
    "plane": (tf.string, ()),
    "slice_index": (tf.int64, ()),
    "num_slices": (tf.int64, ()),
    "pixel_mm": (tf.float32, (2,)),
    "slice_mm": (tf.float32, ()),
    "affine": (tf.string, ()),
    "source_shape": (tf.int64, (3,)),
    "source_sha256": (tf.string, ()),
    "label_sha256": (tf.string, ()),
    "has_spleen": (tf.int64, ()),
    "intensity_percentiles": (tf.float32, (5,)),
}


class RecordError(InputError):
    """Records that are damaged, incomplete, or not of this schema."""


def percentiles(array: np.ndarray, q=PERCENTILES) -> np.ndarray:
    """(len(q),) float32 percentiles of all voxels, by linear interpolation as numpy has it.

    Integers are counted rather than sorted: exact, in one pass and without a float copy.
    """
    if array.dtype != np.int16:
        return np.percentile(array, q).astype(np.float32)
    counts = np.zeros(65536, np.int64)
    for slab in np.moveaxis(array, int(np.argmax(array.strides)), 0):
        counts += np.bincount(slab.reshape(-1).view(np.uint16), minlength=65536)
    cumulative = np.cumsum(np.roll(counts, 32768))
    rank = np.asarray(q) / 100.0 * (array.size - 1)
    low = np.searchsorted(cumulative, np.floor(rank), side="right") - 32768
    high = np.searchsorted(cumulative, np.ceil(rank), side="right") - 32768
    return (low + (high - low) * (rank - np.floor(rank))).astype(np.float32)


def encode(image: Volume, label: Volume, plane: str, about: dict[str, Any]) -> Iterator[bytes]:
    """Serialized Examples of a volume's slices, at native resolution, in the view's order.

    Args:
        image: int16 or float32.
        label: uint8 on the same grid.
        plane: one of volume.PLANES.
        about: the fields case, modality, source_sha256 and label_sha256.
    """
    images = slices.split(image.array_ijk, image.affine, plane)
    labels = slices.split(label.array_ijk, image.affine, plane)
    count, height, width = images.shape
    shared = {
        **about,
        "height": height,
        "width": width,
        "dtype": images.dtype.name,
        "plane": plane,
        "num_slices": count,
        "pixel_mm": slices.pixel_mm(image.affine, plane),
        "slice_mm": slices.slice_mm(image.affine, plane),
        "affine": image.affine.astype("<f8").tobytes(),
        "source_shape": image.shape,
        "intensity_percentiles": percentiles(image.array_ijk),
    }
    for n in range(count):
        own = {
            "image": images[n].astype(images.dtype.newbyteorder("<"), copy=False).tobytes(),
            "label": labels[n].tobytes(),
            "slice_index": slices.stored_index(n, count, image.affine, plane),
            "has_spleen": int(labels[n].any()),
        }
        yield _serialize({**shared, **own})


def decode(serialized: tf.Tensor) -> dict[str, tf.Tensor]:
    """The inverse of encode, in the graph, for one Example.

    Returns:
        FIELDS by name; image as float32 [height, width] and label as uint8 [height, width].
    """
    example = parse(serialized)
    shape = [example["height"], example["width"]]
    return {
        **example,
        "image": tf.reshape(image_values(example["image"], example["dtype"]), shape),
        "label": tf.reshape(tf.io.decode_raw(example["label"], tf.uint8), shape),
    }


def parse(serialized: tf.Tensor) -> dict[str, tf.Tensor]:
    """FIELDS of one Example, or of a vector of them, with image and label as raw bytes."""
    spec = {name: tf.io.FixedLenFeature(shape, dtype) for name, (dtype, shape) in FIELDS.items()}
    if serialized.shape.rank == 0:
        return tf.io.parse_single_example(serialized, spec)
    return tf.io.parse_example(serialized, spec)


def image_values(raw: tf.Tensor, dtype: tf.Tensor) -> tf.Tensor:
    """Raw little-endian image bytes as float32; `dtype` names how they were stored."""
    return tf.cond(
        tf.equal(dtype, "int16"),
        lambda: tf.cast(tf.io.decode_raw(raw, tf.int16), tf.float32),
        lambda: tf.io.decode_raw(raw, tf.float32),
    )


def writer(path: str | os.PathLike) -> tf.io.TFRecordWriter:
    """A context manager with write(serialized)."""
    return tf.io.TFRecordWriter(str(path))


def read_examples(path: str | os.PathLike) -> Iterator[dict[str, Any]]:
    """The Examples of one file as Python values: bytes, str, int, or arrays.

    Raises:
        RecordError: if the file is truncated, fails its checksums, or has another schema.
    """
    try:
        for serialized in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            yield _deserialize(serialized, path)
    except (tf.errors.DataLossError, tf.errors.OutOfRangeError):
        raise RecordError(
            f"{path}: expected an intact TFRecord file, found damage (truncated, or a checksum "
            "fails); run make_tfrecords again."
        ) from None
    except tf.errors.NotFoundError:
        raise RecordError(f"{path}: expected a TFRecord file, found none.") from None


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


def read_cases(folder: str | os.PathLike) -> dict[str, dict[str, Any]]:
    """What cases.json says of each case of a conversion, by name.

    Raises:
        RecordError: if the folder holds no complete conversion.
    """
    path = pathlib.Path(folder) / "cases.json"
    if not path.is_file() or not (path.parent / "dataset_info.json").is_file():
        raise RecordError(
            f"{folder}: expected a folder of records (cases.json, dataset_info.json and "
            f"{NAME}-*.tfrecord-*), found none or half of one; run make_tfrecords (again)."
        )
    content = files.read_json(path)
    if not isinstance(content, dict) or not isinstance(content.get("cases"), dict):
        raise RecordError(f"{path}: expected an object 'cases', found something else.")
    return content["cases"]


def read_shard_lengths(folder: str | os.PathLike) -> dict[str, list[int]]:
    """The number of Examples in each shard of each split, as dataset_info.json says."""
    path = pathlib.Path(folder) / "dataset_info.json"
    try:
        splits = files.read_json(path)["splits"]
        return {split["name"]: [int(n) for n in split["shardLengths"]] for split in splits}
    except (KeyError, TypeError):
        raise RecordError(f"{path}: expected splits with shardLengths, found others.") from None


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


def _serialize(example: dict[str, Any]) -> bytes:
    features = {}
    for name, (dtype, _) in FIELDS.items():
        value = example[name]
        if dtype == tf.string:
            value = value.encode() if isinstance(value, str) else value
            features[name] = tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
        elif dtype == tf.int64:
            numbers = np.ravel(value).astype(np.int64)
            features[name] = tf.train.Feature(int64_list=tf.train.Int64List(value=numbers))
        else:
            numbers = np.ravel(value).astype(np.float32)
            features[name] = tf.train.Feature(float_list=tf.train.FloatList(value=numbers))
    message = tf.train.Example(features=tf.train.Features(feature=features))
    return message.SerializeToString(deterministic=True)


def _deserialize(serialized: bytes, path) -> dict[str, Any]:
    message = tf.train.Example()
    try:
        message.ParseFromString(serialized)
    except Exception:  # protobuf's DecodeError has no stable home across its releases.
        raise RecordError(f"{path}: expected tf.train.Example records, found others.") from None
    example: dict[str, Any] = {}
    for name, (dtype, shape) in FIELDS.items():
        feature = message.features.feature.get(name)
        kind = {tf.string: "bytes_list", tf.int64: "int64_list"}.get(dtype, "float_list")
        values = list(getattr(feature, kind).value) if feature is not None else []
        if len(values) != int(np.prod(shape)):
            raise RecordError(
                f"{path}: expected records of slices with the field {name!r} ({kind}, "
                f"{int(np.prod(shape))} values), found {len(values)}; they follow another schema."
            )
        if shape:
            example[name] = np.array(values)
        elif dtype == tf.string and name not in ("image", "label", "affine"):
            example[name] = values[0].decode()
        else:
            example[name] = values[0]
    return example


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
