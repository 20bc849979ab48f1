"""Frames of DICOM images: where each lies in the patient, and what its numbers mean.

A classic file holds one frame. An enhanced multi-frame object (PS3.3 A.36, A.38) holds many, whose
places stand in its functional groups.
"""

from __future__ import annotations

import dataclasses

from pydicom.dataset import Dataset

from spleen_tf.io.dicom import elements
from spleen_tf.io.dicom.headers import Header, PixelPlace


@dataclasses.dataclass(frozen=True)
class ImageFile:
    """What all frames of a file share.

    Attributes:
        path: the file.
        sop_class, instance_uid: what other objects refer to it by.
        num_frames: in the file.
        shape: rows, columns.
        bits_allocated: per pixel; 8, 16 or 32.
        bits: bits stored, highest bit, and 1 where values are signed.
        transfer_syntax: how pixels are encoded.
        pixels: where they are; None in a file that was deflated as a whole.
    """

    path: str
    sop_class: str
    instance_uid: str
    num_frames: int
    shape: tuple[int, int]
    bits_allocated: int
    bits: tuple[int, int, int]
    transfer_syntax: str
    pixels: PixelPlace | None


@dataclasses.dataclass(frozen=True)
class Frame:
    """One slice of one file.

    Attributes:
        file: the file.
        index: of the frame within the file.
        position_mm: of the first pixel's centre, in LPS (PS3.3 C.7.6.2.1.1).
        directions: cosines in LPS, of a row (along which the column index grows), then of a column.
        pixel_mm: distance between rows, between columns (PS3.3 10.7.1.3).
        slope, intercept: physical value = slope * stored + intercept (PS3.3 C.11.1.1.2).
    """

    file: ImageFile
    index: int
    position_mm: tuple[float, ...]
    directions: tuple[float, ...]
    pixel_mm: tuple[float, ...]
    slope: float
    intercept: float

    @property
    def path(self) -> str:
        """Its file's path."""
        return self.file.path

    @property
    def shape(self) -> tuple[int, int]:
        """Rows, columns."""
        return self.file.shape

    @property
    def bits(self) -> tuple[int, int, int]:
        """Bits stored, highest bit, and 1 where values are signed."""
        return self.file.bits


def frames_of(header: Header) -> list[Frame]:
    """The frames of an image.

    Raises:
        VolumeError: if an element that says where they lie or what their numbers mean is missing or
            wrong.
    """
    file = _image_file(header)
    groups = _functional_groups(header)
    return [_frame(header.dataset, file, index, groups) for index in range(file.num_frames)]


def _image_file(header: Header) -> ImageFile:
    path, dataset = header.path, header.dataset
    samples = elements.whole(dataset, "SamplesPerPixel", path, default=1)
    palette = elements.text(dataset, "PhotometricInterpretation", path) == "PALETTE COLOR"
    if samples != 1 or palette:
        keyword = "PhotometricInterpretation" if palette else "SamplesPerPixel"
        raise elements.refusal(
            path,
            f"one value per pixel by {elements.name(keyword)}",
            f"{'a palette' if palette else samples}: colors",
            "choose the series of original images",
        )
    if "ModalityLUTSequence" in dataset:
        raise elements.refusal(
            path,
            f"{elements.name('RescaleSlope')} and {elements.name('RescaleIntercept')}",
            f"{elements.name('ModalityLUTSequence')}",
            "export the series with these",
        )
    shape = elements.whole(dataset, "Rows", path), elements.whole(dataset, "Columns", path)
    if min(shape) < 1:
        raise elements.refusal(
            path,
            f"{elements.name('Rows')} and {elements.name('Columns')} above 0",
            f"{shape[0]} and {shape[1]}",
        )
    allocated, bits = _bits(dataset, path)
    return ImageFile(
        path=path,
        sop_class=header.sop_class,
        instance_uid=header.instance_uid,
        num_frames=header.num_frames,
        shape=shape,
        bits_allocated=allocated,
        bits=bits,
        transfer_syntax=header.transfer_syntax,
        pixels=header.pixels,
    )


def _bits(dataset: Dataset, path: str) -> tuple[int, tuple[int, int, int]]:
    allocated = elements.whole(dataset, "BitsAllocated", path)
    if allocated not in (8, 16, 32):
        raise elements.refusal(
            path, f"{elements.name('BitsAllocated')} of 8, 16 or 32", f"{allocated}"
        )
    stored = elements.whole(dataset, "BitsStored", path)
    high_bit = elements.whole(dataset, "HighBit", path, default=stored - 1)
    if not 1 <= stored <= high_bit + 1 <= allocated:
        raise elements.refusal(
            path,
            f"{elements.name('BitsStored')} and {elements.name('HighBit')} within the {allocated} "
            f"bits of {elements.name('BitsAllocated')}",
            f"{stored} and {high_bit}",
        )
    is_signed = elements.whole(dataset, "PixelRepresentation", path, default=0)
    if is_signed not in (0, 1):
        raise elements.refusal(
            path, f"{elements.name('PixelRepresentation')} of 0 or 1", f"{is_signed}"
        )
    return allocated, (stored, high_bit, is_signed)


def _functional_groups(header: Header) -> list[list[Dataset]]:
    """Of each frame, the datasets that hold its functional groups (PS3.3 C.7.6.16), its own before
    those of all frames; in a classic image none."""
    path, dataset, count = header.path, header.dataset, header.num_frames
    own = elements.values(dataset, "PerFrameFunctionalGroupsSequence", path)
    shared = elements.values(dataset, "SharedFunctionalGroupsSequence", path)
    if own and len(own) != count:
        raise elements.refusal(
            path,
            f"{elements.name('PerFrameFunctionalGroupsSequence')} of {count} items, as "
            f"{elements.name('NumberOfFrames')} says",
            f"{len(own)}",
        )
    if not own and count != 1:
        raise elements.refusal(
            path,
            f"{elements.name('NumberOfFrames')} of 1, or "
            f"{elements.name('PerFrameFunctionalGroupsSequence')} that places each frame",
            f"{count} frames without",
        )
    return [[item for item in (group, *shared) if isinstance(item, Dataset)] for group in own] or [
        []
    ]


def _frame(dataset: Dataset, file: ImageFile, index: int, groups: list[list[Dataset]]) -> Frame:
    path = file.path

    def holder(sequence: str) -> Dataset:
        """The dataset that holds the elements of a functional group for this frame."""
        if not groups[index]:
            return dataset
        for group in groups[index]:
            items = elements.values(group, sequence, path)
            if items and isinstance(items[0], Dataset):
                return items[0]
        return Dataset()

    measures = holder("PixelMeasuresSequence")
    scaling = holder("PixelValueTransformationSequence")
    pixel_mm = elements.required_numbers(measures, "PixelSpacing", 2, path)
    if min(pixel_mm) <= 0:
        raise elements.refusal(
            path, f"{elements.name('PixelSpacing')} above 0", f"{pixel_mm[0]:g}\\{pixel_mm[1]:g}"
        )
    (slope,) = elements.numbers(scaling, "RescaleSlope", 1, path) or (1.0,)
    (intercept,) = elements.numbers(scaling, "RescaleIntercept", 1, path) or (0.0,)
    if slope == 0:
        raise elements.refusal(path, f"{elements.name('RescaleSlope')} other than 0", "0")
    return Frame(
        file,
        index,
        elements.required_numbers(holder("PlanePositionSequence"), "ImagePositionPatient", 3, path),
        elements.required_numbers(
            holder("PlaneOrientationSequence"), "ImageOrientationPatient", 6, path
        ),
        pixel_mm,
        slope,
        intercept,
    )
