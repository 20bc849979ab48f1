"""Slices to records and back: encoding, files, and how a tf.data pipeline parses them."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from spleen_tf.core.files import InputError
from spleen_tf.datasets import schema
from spleen_tf.datasets.schema import DTYPES, FIELDS, RecordError, SliceRecord
from spleen_tf.imaging import planes
from spleen_tf.imaging.intensity import Modality
from spleen_tf.imaging.planes import Plane
from spleen_tf.imaging.volume import Volume, VolumeError

_SLICES_PER_COPY = 32


@dataclasses.dataclass(frozen=True)
class Identity:
    """What a record says of the case that its slice is from.

    Attributes:
        case, modality: of the case.
        source_sha256, label_sha256: of its files.
        intensity_percentiles: intensity.PERCENTILES of its whole volume, of which the slices may
            show a part.
    """

    case: str
    modality: Modality
    source_sha256: str
    label_sha256: str
    intensity_percentiles: tuple[float, ...]


def encode(image: Volume, label: Volume, plane: Plane, identity: Identity) -> Iterator[bytes]:
    """Serialized Examples of a volume's slices, at native resolution, in the view's order.

    `schema.from_bytes` gives a slice back; in the graph, `parse` and `image_values` do.

    Args:
        image: int16 or float32.
        label: uint8 on the same grid.
        plane: of the slices.
        identity: of the case.

    Raises:
        VolumeError: if the image has another dtype.
    """
    dtype = image.array_ijk.dtype
    if dtype.name not in DTYPES:
        raise VolumeError(
            f"{image.source}: expected voxels of {' or '.join(DTYPES)}, found {dtype.name}."
        )
    images = planes.split(image.array_ijk, image.affine, plane)
    labels = planes.split(label.array_ijk, image.affine, plane)
    count = len(images)
    backwards = planes.stored_index(0, count, image.affine, plane) > 0
    stored_indices = range(count)[::-1] if backwards else range(count)
    blank = _blank_record(image, plane, identity)
    little_endian = dtype.newbyteorder("<")
    in_turn = zip(stored_indices, _contiguous(images), _contiguous(labels), strict=True)
    for stored_index, image_hw, label_hw in in_turn:
        record = dataclasses.replace(
            blank,
            image=image_hw.astype(little_endian, copy=False).tobytes(),
            label=label_hw.tobytes(),
            slice_index=stored_index,
            has_spleen=int(label_hw.max() > 0),
        )
        yield schema.to_bytes(record)


def _blank_record(image: Volume, plane: Plane, identity: Identity) -> SliceRecord:
    """What the records of all slices of a volume have in common."""
    count, height, width = planes.split(image.array_ijk, image.affine, plane).shape
    return SliceRecord(
        image=b"",
        label=b"",
        height=height,
        width=width,
        dtype=image.array_ijk.dtype.name,
        plane=plane,
        slice_index=0,
        num_slices=count,
        pixel_mm=tuple(planes.pixel_mm(image.affine, plane).tolist()),
        slice_mm=planes.slice_mm(image.affine, plane),
        affine=image.affine.astype("<f8").tobytes(),
        source_shape=image.shape,
        has_spleen=0,
        **dataclasses.asdict(identity),
    )


def parse(serialized: tf.Tensor) -> dict[str, tf.Tensor]:
    """FIELDS of one Example, in the graph, with image and label as raw bytes."""
    spec = {
        name: tf.io.FixedLenFeature(field.shape, tf.as_dtype(field.dtype))
        for name, field in FIELDS.items()
    }
    fields: dict[str, tf.Tensor] = tf.io.parse_single_example(serialized, spec)
    return fields


def image_values(raw: tf.Tensor, dtype: tf.Tensor) -> tf.Tensor:
    """Raw little-endian image bytes as float32; `dtype` names how they were stored."""
    return tf.cond(
        tf.equal(dtype, "int16"),
        lambda: tf.cast(tf.io.decode_raw(raw, tf.int16), tf.float32),
        lambda: tf.io.decode_raw(raw, tf.float32),
    )


@contextlib.contextmanager
def writer(path: str | os.PathLike[str]) -> Iterator[tf.io.TFRecordWriter]:
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


def read_examples(path: str | os.PathLike[str]) -> Iterator[SliceRecord]:
    """The records of one file, in their order.

    Raises:
        RecordError: if the file is truncated, fails its checksums, or has another schema.
        InputError: if it may not be read.
    """
    try:
        serialized_examples = tf.data.TFRecordDataset(str(path)).with_options(options())
        for serialized in serialized_examples.as_numpy_iterator():
            yield schema.from_bytes(serialized, str(path))
    except (tf.errors.DataLossError, tf.errors.OutOfRangeError):
        raise RecordError(
            f"{path}: expected an intact TFRecord file, found damage (cut short, or a checksum "
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


def _contiguous(slices_nhw: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """The slices, each contiguous in memory, from copies of some at a time.

    A slice whose pixels lie far apart would fetch each line of memory for one voxel, and its
    neighbours would fetch it again. Row by row, a block takes from it what it needs at once.
    """
    for start in range(0, len(slices_nhw), _SLICES_PER_COPY):
        strided = slices_nhw[start : start + _SLICES_PER_COPY]
        block = np.empty(strided.shape, strided.dtype)
        for row in range(block.shape[1]):
            block[:, row] = strided[:, row]
        yield from block
