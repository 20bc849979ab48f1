"""The schema of records: one slice as the bytes of a tf.train.Example, and back.

Needs only protobuf, so that records can be checked before TensorFlow is imported.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal, NamedTuple

import numpy as np
from google.protobuf import message
from numpy.typing import NDArray

from spleen_tf.core.files import InputError
from spleen_tf.datasets.example import Example

DTYPES = ("int16", "float32")
_AFFINE_BYTES = 16 * 8


class RecordError(InputError):
    """Records that are damaged, incomplete, or not of this schema."""


class Field(NamedTuple):
    """How a field stands in an Example: its dtype in TensorFlow, and its shape."""

    dtype: Literal["string", "int64", "float32"]
    shape: tuple[int, ...] = ()

    @property
    def size(self) -> int:
        """The number of values."""
        return int(np.prod(self.shape))


@dataclasses.dataclass(frozen=True)
class SliceRecord:
    """One slice at native resolution, and where it comes from.

    Attributes:
        image: (height, width) pixels of `dtype`, little-endian bytes.
        label: (height, width) uint8 bytes, 1 inside the spleen.
        dtype: 'int16' or 'float32'.
        case, modality, plane: names.
        slice_index: the voxel index along the stored axis that was cut.
        num_slices: of the volume.
        pixel_mm: row spacing and column spacing.
        slice_mm: the distance between neighbouring slices.
        affine: (4, 4) float64 of the volume, row-major little-endian bytes.
        source_shape: the volume's voxels along i, j, k.
        source_sha256, label_sha256: of the files that were converted.
        has_spleen: 1 where the label is not empty, else 0.
        intensity_percentiles: (5,) of the volume, see `intensity.PERCENTILES`.
    """

    image: bytes
    label: bytes
    height: int
    width: int
    dtype: str
    case: str
    modality: str
    plane: str
    slice_index: int
    num_slices: int
    pixel_mm: tuple[float, ...]
    slice_mm: float
    affine: bytes
    source_shape: tuple[int, ...]
    source_sha256: str
    label_sha256: str
    has_spleen: int
    intensity_percentiles: tuple[float, ...]

    def affine_matrix(self) -> NDArray[Any]:
        """(4, 4) float64, from voxel indices ijk to RAS+ mm."""
        return np.frombuffer(self.affine, "<f8").reshape(4, 4)

    def image_hw(self) -> NDArray[Any]:
        """(height, width), little-endian `dtype`."""
        dtype = np.dtype(self.dtype).newbyteorder("<")
        return np.frombuffer(self.image, dtype).reshape(self.height, self.width)

    def label_hw(self) -> NDArray[Any]:
        """(height, width) uint8."""
        return np.frombuffer(self.label, np.uint8).reshape(self.height, self.width)


FIELDS = {
    "image": Field("string"),
    "label": Field("string"),
    "height": Field("int64"),
    "width": Field("int64"),
    "dtype": Field("string"),
    "case": Field("string"),
    "modality": Field("string"),
    "plane": Field("string"),
    "slice_index": Field("int64"),
    "num_slices": Field("int64"),
    "pixel_mm": Field("float32", (2,)),
    "slice_mm": Field("float32"),
    "affine": Field("string"),
    "source_shape": Field("int64", (3,)),
    "source_sha256": Field("string"),
    "label_sha256": Field("string"),
    "has_spleen": Field("int64"),
    "intensity_percentiles": Field("float32", (5,)),
}
_RAW = ("image", "label", "affine")
_LIST_OF_DTYPE = {"string": "bytes_list", "int64": "int64_list", "float32": "float_list"}


def to_bytes(record: SliceRecord) -> bytes:
    """A serialized tf.train.Example; the same record gives the same bytes."""
    example = Example()
    # Filled in place: messages that are given to constructors are copied, pixels and all.
    features = example.features.feature
    for name, field in FIELDS.items():
        value = getattr(record, name)
        if isinstance(value, str):
            value = value.encode()
        values = value if field.shape else [value]
        getattr(features[name], _LIST_OF_DTYPE[field.dtype]).value.extend(values)
    serialized: bytes = example.SerializeToString(deterministic=True)
    return serialized


def from_bytes(serialized: bytes, source: str) -> SliceRecord:
    """The inverse of to_bytes.

    Args:
        serialized: one Example.
        source: the file, for messages.

    Raises:
        RecordError: if it is no Example, or follows another schema.
    """
    example = Example()
    try:
        example.ParseFromString(serialized)
    except message.DecodeError:
        raise RecordError(f"{source}: expected tf.train.Example records, found others.") from None
    features = example.features.feature
    values: dict[str, Any] = {}
    for name, field in FIELDS.items():
        kind = _LIST_OF_DTYPE[field.dtype]
        held = tuple(getattr(features[name], kind).value) if name in features else ()
        if len(held) != field.size:
            raise RecordError(
                f"{source}: expected records of slices with the field {name!r} ({kind}, "
                f"{field.size} values), found {len(held)}; they follow another schema."
            )
        if field.shape:
            values[name] = held
        elif field.dtype == "string" and name not in _RAW:
            values[name] = held[0].decode(errors="replace")
        else:
            values[name] = held[0]
    record = SliceRecord(**values)
    _check_lengths(record, source)
    return record


def _check_lengths(record: SliceRecord, source: str) -> None:
    pixels = record.height * record.width
    if record.dtype not in DTYPES or pixels < 1:
        raise RecordError(
            f"{source}: expected pixels of {' or '.join(DTYPES)}, found {pixels} of "
            f"{record.dtype!r}; they follow another schema."
        )
    lengths = {
        "image": pixels * np.dtype(record.dtype).itemsize,
        "label": pixels,
        "affine": _AFFINE_BYTES,
    }
    for name, length in lengths.items():
        if len(getattr(record, name)) != length:
            raise RecordError(
                f"{source}: expected {length} bytes in the field {name!r}, found "
                f"{len(getattr(record, name))}; they follow another schema."
            )
