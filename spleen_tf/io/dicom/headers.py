"""What a DICOM file says of itself, apart from its pixels; damage is told in words, not quoted."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import warnings
from collections.abc import Iterator

import pydicom
from pydicom import uid
from pydicom.dataset import Dataset

from spleen_tf.imaging.intensity import Modality
from spleen_tf.imaging.volume import VolumeError

# What an image must be to be read, and the modality that its class says.
MODALITY_OF_CLASS: dict[str, Modality] = {
    uid.CTImageStorage: "CT",
    uid.EnhancedCTImageStorage: "CT",
    uid.LegacyConvertedEnhancedCTImageStorage: "CT",
    uid.MRImageStorage: "MR",
    uid.EnhancedMRImageStorage: "MR",
    uid.LegacyConvertedEnhancedMRImageStorage: "MR",
}

_READ = (
    *("SOPClassUID", "SeriesInstanceUID", "SeriesDescription", "FrameOfReferenceUID", "ImageType"),
    *("NumberOfFrames", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
    *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"),
    *("RescaleSlope", "RescaleIntercept", "ModalityLUTSequence"),
    *("Rows", "Columns", "SamplesPerPixel"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
)


@dataclasses.dataclass(frozen=True)
class Header:
    """What a DICOM file says of itself, apart from its pixels.

    Attributes:
        path: the file.
        kind: the name of its SOP class.
        modality: of an image that can be read; None for every other object.
        series_uid, description: of its series; '' where the file does not say.
        is_localizer: it was made for planning others (PS3.3 C.8.2.1.1.1, C.8.3.1.1.1).
        num_frames: 1, or more for a multi-frame file.
        dataset: the elements that `frames_of` needs.
    """

    path: str
    kind: str
    modality: Modality | None
    series_uid: str
    description: str
    is_localizer: bool
    num_frames: int
    dataset: Dataset


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silences what DICOM libraries say of odd elements: they quote values, which name patients."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def is_dicom(path: str | os.PathLike) -> bool:
    """Whether a file's first bytes are DICOM's, be it with or without its preamble (PS3.10 7.1).

    Raises:
        VolumeError: if it is there and cannot be read: it may be a slice.
    """
    if not os.path.isfile(path):
        return False
    try:
        with open(path, "rb") as stream:
            start = stream.read(132)
    except OSError as error:
        raise VolumeError(f"{path}: expected a readable file, found: {error.strerror}.") from None
    # Old files start at once with group 0002 or 0008, little endian, and an even element below 256.
    bare = start[:2] in (b"\x02\x00", b"\x08\x00") and start[3:4] == b"\x00"
    return start[128:] == b"DICM" or bare


def read_header(path: str | os.PathLike) -> Header | None:
    """What a DICOM file says of itself; None for a DICOMDIR, which lists other files (PS3.3 F).

    Raises:
        VolumeError: if the file cannot be read, is cut short or is damaged.
    """
    with damage_in_words(path):
        dataset = pydicom.dcmread(
            path, stop_before_pixels=True, force=True, specific_tags=list(_READ)
        )
        if dataset.file_meta.get("MediaStorageSOPClassUID") == uid.MediaStorageDirectoryStorage:
            return None
        modality = MODALITY_OF_CLASS.get(dataset.SOPClassUID)
        if modality and "Rows" not in dataset:
            raise EOFError  # pydicom takes the end of a file for that of its header.
        return Header(
            str(path),
            uid.UID(dataset.SOPClassUID).name,
            modality,
            _text(dataset, "SeriesInstanceUID"),
            _text(dataset, "SeriesDescription"),
            "LOCALIZER" in (dataset.get("ImageType") or ()),
            int(dataset.get("NumberOfFrames") or 1),
            dataset,
        )


@contextlib.contextmanager
def damage_in_words(path) -> Iterator[None]:
    """Turns what pydicom raises on damaged files, which may be anything, into a VolumeError.

    Its own words are dropped: they quote the file.
    """
    try:
        with quiet():
            yield
    except VolumeError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.strerror:
            raise VolumeError(
                f"{path}: expected a readable file, found: {error.strerror}."
            ) from None
        raise VolumeError(
            f"{path}: expected a whole DICOM file, found one that is damaged or cut short; copy it "
            "again."
        ) from None


def _text(dataset: Dataset, keyword: str) -> str:
    value = str(dataset.get(keyword) or "")
    return "".join(letter if letter.isprintable() else "?" for letter in value)
