"""Slices to tf.train.Example and back, one by one and in a file."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from spleen_tf.core.files import InputError
from spleen_tf.imaging import planes
from spleen_tf.imaging.volume import Volume, VolumeError

PERCENTILES = (0.5, 5.0, 50.0, 95.0, 99.5)
DTYPES = ("int16", "float32")

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

_KINDS = {tf.string: "bytes_list", tf.int64: "int64_list", tf.float32: "float_list"}
_KIND_OF = {name: _KINDS[dtype] for name, (dtype, _) in FIELDS.items()}


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
        # Order A: the voxels are counted as they lie in memory.
        counts += np.bincount(slab.reshape(-1, order="A").view(np.uint16), minlength=65536)
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
        plane: one of planes.PLANES.
        about: the fields case, modality, source_sha256 and label_sha256.

    Raises:
        VolumeError: if the image has another dtype.
    """
    if image.array_ijk.dtype.name not in DTYPES:
        raise VolumeError(
            f"{image.source}: expected voxels of {' or '.join(DTYPES)}, found "
            f"{image.array_ijk.dtype.name}."
        )
    images = planes.split(image.array_ijk, image.affine, plane)
    labels = planes.split(label.array_ijk, image.affine, plane)
    count, height, width = images.shape
    backwards = planes.stored_index(0, count, image.affine, plane) > 0
    stored_indices = range(count)[::-1] if backwards else range(count)
    shared = {**about, **_fields_of_volume(image, plane)}
    shared |= {"num_slices": count, "height": height, "width": width}
    little_endian = images.dtype.newbyteorder("<")
    in_turn = zip(stored_indices, _contiguous(images), _contiguous(labels), strict=True)
    for stored_index, image_hw, label_hw in in_turn:
        own = {
            "image": image_hw.astype(little_endian, copy=False).tobytes(),
            "label": label_hw.tobytes(),
            "slice_index": stored_index,
            "has_spleen": int(label_hw.max() > 0),
        }
        yield _serialize({**shared, **own})


def _fields_of_volume(image: Volume, plane: str) -> dict[str, Any]:
    return {
        "dtype": image.array_ijk.dtype.name,
        "plane": plane,
        "pixel_mm": planes.pixel_mm(image.affine, plane),
        "slice_mm": planes.slice_mm(image.affine, plane),
        "affine": image.affine.astype("<f8").tobytes(),
        "source_shape": image.shape,
        "intensity_percentiles": percentiles(image.array_ijk),
    }


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


@contextlib.contextmanager
def writer(path: str | os.PathLike) -> Iterator[tf.io.TFRecordWriter]:
    """Yields an object with write(serialized).

    Raises:
        InputError: if the file cannot be written, or the disk is full.
    """
    try:
        with tf.io.TFRecordWriter(str(path)) as open_writer:
            yield open_writer
    except tf.errors.OpError as error:
        reason = error.message.rpartition("; ")[2]  # "PATH; REASON"
        raise InputError(f"{path}: expected a place to write to, found: {reason}.") from None


def options() -> tf.data.Options:
    """How every pipeline of this project runs: in order, and without tf.data's autotuner.

    That one may sleep on for a minute before it lets go of what was read to the end. Without it,
    AUTOTUNE is the number of cores, at most 16, for what runs side by side.
    """
    chosen = tf.data.Options()
    chosen.deterministic = True
    chosen.autotune.enabled = False
    chosen.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    return chosen


def read_examples(path: str | os.PathLike) -> Iterator[dict[str, Any]]:
    """The Examples of one file as Python values: bytes, str, int, or arrays.

    Raises:
        RecordError: if the file is truncated, fails its checksums, or has another schema.
        InputError: if it may not be read.
    """
    try:
        serialized_examples = tf.data.TFRecordDataset(str(path)).with_options(options())
        for serialized in serialized_examples.as_numpy_iterator():
            yield _deserialize(serialized, path)
    except (tf.errors.DataLossError, tf.errors.OutOfRangeError):
        raise RecordError(
            f"{path}: expected an intact TFRecord file, found damage (truncated, or a checksum "
            "fails); run make_tfrecords again."
        ) from None
    except tf.errors.NotFoundError:
        raise RecordError(f"{path}: expected a TFRecord file, found none.") from None
    except tf.errors.PermissionDeniedError:
        raise InputError(
            f"{path}: expected a file that may be read, found: permission denied; change its "
            "permissions."
        ) from None
    except tf.errors.OpError as error:
        raise RecordError(f"{path}: expected a readable TFRecord file, found: {error}.") from None


def _contiguous(slices_nhw: np.ndarray, count: int = 32) -> Iterator[np.ndarray]:
    """The slices, each contiguous in memory, from copies of `count` at a time.

    A slice whose pixels lie far apart would fetch each line of memory for one voxel, and its
    neighbours would fetch it again. Row by row, a block takes from it what it needs at once.
    """
    for start in range(0, len(slices_nhw), count):
        strided = slices_nhw[start : start + count]
        block = np.empty(strided.shape, strided.dtype)
        for row in range(block.shape[1]):
            block[:, row] = strided[:, row]
        yield from block


def _serialize(example: dict[str, Any]) -> bytes:
    message = tf.train.Example()
    # Filled in place: messages that are given to constructors are copied, pixels and all.
    features = message.features.feature
    for name, kind in _KIND_OF.items():
        value = example[name]
        if isinstance(value, str):
            value = value.encode()
        values = [value] if kind == "bytes_list" else np.ravel(value).tolist()
        getattr(features[name], kind).value.extend(values)
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
        kind = _KIND_OF[name]
        values = list(getattr(feature, kind).value) if feature is not None else []
        if len(values) != int(np.prod(shape)):
            raise RecordError(
                f"{path}: expected records of slices with the field {name!r} ({kind}, "
                f"{int(np.prod(shape))} values), found {len(values)}; they follow another schema."
            )
        if shape:
            example[name] = np.array(values)
        elif dtype == tf.string and name not in ("image", "label", "affine"):
            example[name] = values[0].decode(errors="replace")
        else:
            example[name] = values[0]
    _check_lengths(example, path)
    return example


def _check_lengths(example: dict[str, Any], path) -> None:
    dtype, pixels = example["dtype"], example["height"] * example["width"]
    if dtype not in DTYPES or pixels < 1:
        raise RecordError(
            f"{path}: expected pixels of {' or '.join(DTYPES)}, found {pixels} of {dtype!r}; "
            "they follow another schema."
        )
    lengths = {"image": pixels * np.dtype(dtype).itemsize, "label": pixels, "affine": 16 * 8}
    for name, length in lengths.items():
        if len(example[name]) != length:
            raise RecordError(
                f"{path}: expected {length} bytes in the field {name!r}, found "
                f"{len(example[name])}; they follow another schema."
            )
