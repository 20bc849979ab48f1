"""The header of a DICOM file: its kind of object, its series, and where its pixels stand."""

from __future__ import annotations

import dataclasses
import os
from typing import BinaryIO, Literal

from pydicom import config, uid
from pydicom.dataset import Dataset

from spleen_tf.imaging.intensity import Modality
from spleen_tf.io.dicom import demographics, elements, streams

# What an image must be to be read, and the modality that its class says.
MODALITY_OF_CLASS: dict[str, Modality] = {
    uid.CTImageStorage: "CT",
    uid.EnhancedCTImageStorage: "CT",
    uid.LegacyConvertedEnhancedCTImageStorage: "CT",
    uid.MRImageStorage: "MR",
    uid.EnhancedMRImageStorage: "MR",
    uid.LegacyConvertedEnhancedMRImageStorage: "MR",
}
_CLASS_OF_MODALITY = {
    ("CT", False): uid.CTImageStorage,
    ("CT", True): uid.EnhancedCTImageStorage,
    ("MR", False): uid.MRImageStorage,
    ("MR", True): uid.EnhancedMRImageStorage,
}

# Those of images that a series may be mistaken for (PS3.3 C.7.3.1.1.1), and what some write.
_MODALITIES = (
    *("CT", "MR", "PT", "NM", "US", "CR", "DX", "MG", "RF", "XA", "XC", "OT", "RTDOSE", "SEG"),
)
_OTHER_NAMES = {"MRI": "MR", "PET": "PT"}

_READ = (
    *("SOPClassUID", "SOPInstanceUID", "Modality", "StudyInstanceUID", "SeriesInstanceUID"),
    *("SeriesDescription", "FrameOfReferenceUID", "ImageType"),
    *("NumberOfFrames", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
    *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"),
    *("RescaleSlope", "RescaleIntercept", "ModalityLUTSequence"),
    *("Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
    *demographics.KEYWORDS,
)
_PIXEL_DATA_TAGS = {"little": b"\xe0\x7f\x10\x00", "big": b"\x7f\xe0\x00\x10"}
_UNDEFINED_LENGTH = 0xFFFFFFFF


@dataclasses.dataclass(frozen=True)
class PixelPlace:
    """Where the value of PixelData stands in a file.

    Attributes:
        start: of its first byte.
        num_bytes: its length; None where it is undefined, as for compressed pixels.
    """

    start: int
    num_bytes: int | None


@dataclasses.dataclass(frozen=True, eq=False)
class Header:
    """The header of a DICOM file.

    Attributes:
        path: the file.
        sop_class: its SOPClassUID. Of an image that has none, or one of no standard (anonymizers
            remove it or make one up), the class that follows from its Modality.
        states_class: whether the file itself says sop_class.
        modality: of an image that can be read; None for every other object.
        stated_modality: what Modality says, in capitals; '' where it says nothing known.
        instance_uid, series_uid, description: its SOPInstanceUID, SeriesInstanceUID and
            SeriesDescription; '' where the file does not say.
        is_localizer: it was made for planning others (PS3.3 C.8.2.1.1.1, C.8.3.1.1.1).
        num_frames: 1, or more for a multi-frame file.
        transfer_syntax: how pixels are encoded.
        pixels: None in a file that was deflated as a whole, and for an object that is no image.
        dataset: the elements that `frames_of` needs.
    """

    path: str
    sop_class: str
    states_class: bool
    modality: Modality | None
    stated_modality: str
    instance_uid: str
    series_uid: str
    description: str
    is_localizer: bool
    num_frames: int
    transfer_syntax: str
    pixels: PixelPlace | None
    dataset: Dataset

    @property
    def kind(self) -> str:
        """The name of its class."""
        return uid_name(self.sop_class)


def uid_name(text: str) -> str:
    """The standard's name of a UID; the UID itself where the standard has none."""
    return uid.UID(text, validation_mode=config.IGNORE).name


def read_header(path: str | os.PathLike[str]) -> Header | None:
    """The header of a DICOM file; None for a DICOMDIR, which lists other files (PS3.3 F).

    Raises:
        VolumeError: if the file cannot be read, is cut short or is damaged, or if an element that
            says what it is holds something else.
    """
    path = str(path)
    with streams.readable(path) as stream:
        dataset = streams.parsed(stream, path, _READ)
        syntax = _transfer_syntax(dataset, path)
        is_deflated = syntax == uid.DeflatedExplicitVRLittleEndian
        pixels = None if is_deflated else _pixel_place(stream, dataset)
    if _meta(dataset, "MediaStorageSOPClassUID", path) == uid.MediaStorageDirectoryStorage:
        return None
    has_pixels = is_deflated or pixels is not None
    stated = elements.text(dataset, "SOPClassUID", path)
    stated = stated or _meta(dataset, "MediaStorageSOPClassUID", path)
    states_class = uid_name(stated) != stated
    sop_class = stated if states_class else _inferred_class(dataset, stated, path)
    modality = MODALITY_OF_CLASS.get(sop_class)
    if not has_pixels and (modality or not sop_class):
        # pydicom takes the end of a file for that of its header.
        raise elements.refusal(
            path,
            elements.name("PixelData"),
            "the file's end: it is damaged, cut short or without pixels",
            "copy it again",
        )
    if not sop_class:
        raise elements.refusal(
            path,
            f"{elements.name('SOPClassUID')}, or {elements.name('Modality')} of CT or MR",
            f"none and {elements.text(dataset, 'Modality', path)!r}"
            if _stated_modality(dataset, path)
            else "neither",
        )
    return Header(
        path=path,
        sop_class=sop_class,
        states_class=states_class,
        modality=modality,
        stated_modality=_stated_modality(dataset, path),
        instance_uid=elements.text(dataset, "SOPInstanceUID", path)
        or _meta(dataset, "MediaStorageSOPInstanceUID", path),
        series_uid=elements.text(dataset, "SeriesInstanceUID", path),
        description=elements.text(dataset, "SeriesDescription", path),
        is_localizer="LOCALIZER" in elements.values(dataset, "ImageType", path),
        num_frames=_num_frames(dataset, path) if modality else 1,
        transfer_syntax=syntax,
        pixels=pixels,
        dataset=dataset,
    )


def _meta(dataset: Dataset, keyword: str, path: str) -> str:
    """An element of the file meta information (PS3.10 7.1); '' where it is absent."""
    return elements.text(dataset.file_meta, keyword, path)


def _transfer_syntax(dataset: Dataset, path: str) -> str:
    """As the file says, else as it was parsed: files without preamble do not say."""
    if stated := _meta(dataset, "TransferSyntaxUID", path):
        return stated
    implicit, _ = dataset.original_encoding
    return uid.ImplicitVRLittleEndian if implicit else uid.ExplicitVRLittleEndian


def _pixel_place(stream: BinaryIO, dataset: Dataset) -> PixelPlace | None:
    """Where the pixels are of a file whose header was read to its end; None if there are none.

    Before the value stand tag, value representation and length (PS3.5 7.1.2, 7.1.3).
    """
    implicit, is_little = dataset.original_encoding
    byte_order: Literal["little", "big"] = "little" if is_little else "big"
    start = stream.tell()
    lead = stream.read(8 if implicit else 12)
    if lead[:4] != _PIXEL_DATA_TAGS[byte_order] or len(lead) < (8 if implicit else 12):
        return None
    num_bytes = int.from_bytes(lead[-4:], byte_order)
    return PixelPlace(start + len(lead), None if num_bytes == _UNDEFINED_LENGTH else num_bytes)


def _inferred_class(dataset: Dataset, stated: str, path: str) -> str:
    """The class of an image that states none of the standard, from its Modality."""
    if "Rows" not in dataset:
        return stated  # Makers have classes of their own for what is no image.
    is_multi_frame = "PerFrameFunctionalGroupsSequence" in dataset
    modality = _stated_modality(dataset, path)
    return _CLASS_OF_MODALITY.get((modality, is_multi_frame), stated)


def _stated_modality(dataset: Dataset, path: str) -> str:
    stated = elements.text(dataset, "Modality", path).upper()
    return stated if stated in _MODALITIES else _OTHER_NAMES.get(stated, "")


def _num_frames(dataset: Dataset, path: str) -> int:
    count = elements.whole(dataset, "NumberOfFrames", path, default=1)
    if count < 1:
        raise elements.refusal(path, f"{elements.name('NumberOfFrames')} above 0", f"{count}")
    return count
