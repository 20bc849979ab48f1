"""Frames of DICOM images: where each lies in the patient, and what its numbers mean.

A classic file holds one frame. An enhanced multi-frame object (PS3.3 A.36, A.38) holds many, whose
places stand in its functional groups.
"""

from __future__ import annotations

import dataclasses
import math
import os

import pydicom
from pydicom import uid
from pydicom.dataset import Dataset

from spleen_tf.imaging.volume import VolumeError
from spleen_tf.io.dicom.headers import Header, damage_in_words

# Before the first fragment stand tag, value representation and length of the whole (PS3.5 A.4).
_PIXEL_HEADER_BYTES = 12
_ITEM = b"\xfe\xff\x00\xe0"
_END_OF_ITEMS = b"\xfe\xff\xdd\xe0"


@dataclasses.dataclass(frozen=True)
class Frame:
    """One slice of one file.

    Attributes:
        path: the file.
        index: of the frame within the file.
        shape: rows, columns.
        position_mm: of the first pixel's centre, in LPS (PS3.3 C.7.6.2.1.1).
        directions: cosines in LPS, of a row (along which the column index grows), then of a column.
        pixel_mm: distance between rows, between columns (PS3.3 10.7.1.3).
        bits: bits stored, highest bit, and 1 where values are signed.
        slope, intercept: physical value = slope * stored + intercept (PS3.3 C.11.1.1.2).
        transfer_syntax: how pixels are encoded.
    """

    path: str
    index: int
    shape: tuple[int, int]
    position_mm: tuple[float, ...]
    directions: tuple[float, ...]
    pixel_mm: tuple[float, ...]
    bits: tuple[int, int, int]
    slope: float
    intercept: float
    transfer_syntax: uid.UID


def frames_of(header: Header) -> list[Frame]:
    """The frames of an image.

    Raises:
        VolumeError: if it says too little, colours, or more pixels than the file can hold.
    """
    path, dataset, count = header.path, header.dataset, header.num_frames
    with damage_in_words(path):
        shape = _integer(dataset, "Rows", path), _integer(dataset, "Columns", path)
        samples = _integer(dataset, "SamplesPerPixel", path, default=1)
        if samples != 1:
            raise VolumeError(f"{path}: expected one value a pixel, found {samples}: colours.")
        if "ModalityLUTSequence" in dataset:
            raise VolumeError(
                f"{path}: expected RescaleSlope and RescaleIntercept, found a ModalityLUTSequence."
            )
        if "PerFrameFunctionalGroupsSequence" in dataset:
            if (listed := len(dataset.PerFrameFunctionalGroupsSequence)) != count:
                raise VolumeError(f"{path}: expected places of {count} frames, found {listed}.")
        elif count != 1:
            raise VolumeError(
                f"{path}: expected one frame, or functional groups that place each, found "
                f"{count} frames without."
            )
        syntax = _transfer_syntax(dataset)
        _check_room(dataset, math.prod(shape) * count, syntax, path)
        return [_frame(dataset, index, shape, syntax, path) for index in range(count)]


def _frame(dataset, index, shape, syntax, path) -> Frame:
    position = _macro(dataset, index, "PlanePositionSequence")
    orientation = _macro(dataset, index, "PlaneOrientationSequence")
    measures = _macro(dataset, index, "PixelMeasuresSequence")
    scaling = _macro(dataset, index, "PixelValueTransformationSequence")
    stored = _integer(dataset, "BitsStored", path)
    frame = Frame(
        path,
        index,
        shape,
        _numbers(position, "ImagePositionPatient", 3, path),
        _numbers(orientation, "ImageOrientationPatient", 6, path),
        _numbers(measures, "PixelSpacing", 2, path),
        (
            stored,
            _integer(dataset, "HighBit", path, default=stored - 1),
            _integer(dataset, "PixelRepresentation", path, default=0),
        ),
        _numbers(scaling, "RescaleSlope", 1, path, default=1.0)[0],
        _numbers(scaling, "RescaleIntercept", 1, path, default=0.0)[0],
        syntax,
    )
    stored, high_bit, is_signed = frame.bits
    for name, is_sound in (
        ("PixelSpacing above 0", min(frame.pixel_mm) > 0),
        ("a RescaleSlope other than 0", frame.slope != 0),
        (
            "BitsStored, HighBit and PixelRepresentation that fit together",
            1 <= stored <= high_bit + 1 <= 32 and is_signed in (0, 1),
        ),
    ):
        if not is_sound:
            raise VolumeError(f"{path}: expected {name}, found other values.")
    return frame


def _macro(dataset: Dataset, index: int, name: str) -> Dataset:
    """Where the elements of a functional group stand (PS3.3 C.7.6.16): of the frame, of all frames,
    or, in a classic image, in the dataset itself."""
    if "PerFrameFunctionalGroupsSequence" not in dataset:
        return dataset
    groups = [dataset.PerFrameFunctionalGroupsSequence[index]]
    groups += dataset.get("SharedFunctionalGroupsSequence") or []
    return next((group[name][0] for group in groups if group.get(name)), Dataset())


def _numbers(dataset, keyword, count, path, default=None) -> tuple[float, ...]:
    try:
        value = dataset.get(keyword)
        if value is None or value == "":
            if default is not None:
                return (default,)
            raise VolumeError(f"{path}: expected {keyword}, found none.")
        parts = [value] if isinstance(value, float | int | str) else list(value)
        numbers = tuple(float(part) for part in parts)
    except (TypeError, ValueError, OverflowError) as error:
        if isinstance(error, VolumeError):
            raise
        numbers = ()
    if len(numbers) != count or not all(map(math.isfinite, numbers)):
        raise VolumeError(
            f"{path}: expected {keyword} of {count} finite numbers, found something else."
        )
    return numbers


def _integer(dataset, keyword, path, default=None) -> int:
    return int(_numbers(dataset, keyword, 1, path, default)[0])


def _transfer_syntax(dataset: Dataset) -> uid.UID:
    """As the file says, else as it was parsed: files without preamble do not say."""
    if said := dataset.file_meta.get("TransferSyntaxUID"):
        return said
    implicit, _ = dataset.original_encoding
    return uid.ImplicitVRLittleEndian if implicit else uid.ExplicitVRLittleEndian


def _check_room(dataset, num_pixels, syntax, path) -> None:
    if syntax.is_deflated:
        return  # How many bytes it takes shows itself when it is read.
    if syntax.is_compressed:
        _check_fragments(path)
        return
    num_bytes = num_pixels * _integer(dataset, "BitsAllocated", path) // 8
    size = os.path.getsize(path)
    if num_bytes > size:
        raise VolumeError(
            f"{path}: expected {num_bytes:,} bytes of pixels as its header says, found a file of "
            f"{size:,}: without pixels, or cut short; copy it again."
        )


def _check_fragments(path) -> None:
    """Follows the fragments of compressed pixels to their end (PS3.5 A.4).

    Not every decoder notices that the last one is cut short.
    """
    with open(path, "rb") as stream:
        pydicom.dcmread(stream, stop_before_pixels=True, force=True, specific_tags=[])
        stream.seek(_PIXEL_HEADER_BYTES, os.SEEK_CUR)
        while (item := stream.read(8))[:4] == _ITEM and len(item) == 8:
            stream.seek(int.from_bytes(item[4:], "little"), os.SEEK_CUR)
    if item[:4] != _END_OF_ITEMS:
        raise VolumeError(
            f"{path}: expected compressed pixels with a mark at their end, found none: without "
            "pixels, or cut short; copy it again."
        )
