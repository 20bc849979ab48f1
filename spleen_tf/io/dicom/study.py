"""Patient and study elements of images, fit to be repeated in objects that belong to the images."""

from __future__ import annotations

import logging
import re
import warnings

import pydicom
from pydicom import config
from pydicom.datadict import dictionary_VR, keyword_for_tag
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from spleen_tf.core.files import InputWarning
from spleen_tf.io.dicom import elements, headers

# Groups whose elements describe the patient and the clinical trial, and those that describe the
# study in another (PS3.3 C.7.2.1).
_GROUPS = (0x0010, 0x0012)
_OF_STUDY = (
    *("StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName", "StudyID"),
    *("StudyDescription", "PhysiciansOfRecord", "NameOfPhysiciansReadingStudy"),
    *("ReferencedStudySequence", "ProcedureCodeSequence", "AdmittingDiagnosesDescription"),
)
# Elements of type 2: an object must have them, and they may be empty (PS3.3 C.7.1.1, C.7.2.1).
_MAY_BE_EMPTY = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber"),
    *("StudyID", "StudyDate", "StudyTime", "ReferringPhysicianName"),
)
# Texts are repeated even where they are longer than allowed: archives match objects by them.
_TEXTS = ("LO", "SH", "LT", "ST", "UT", "UC", "PN", "UI")
_BINARY = ("US", "SS", "UL", "SL", "FL", "FD")
_CHARACTER_SET = "ISO_IR 192"  # UTF-8.
_SEXES = ("M", "F", "O")

_log = logging.getLogger(__name__)


def elements_of(path: str) -> Dataset:
    """The elements of an image's patient and study, in Unicode.

    Values that break their value representation are left empty or, where the standard lets an
    element be absent, left out, with a warning that names the elements.

    Args:
        path: the image's file.

    Returns:
        A Dataset with SpecificCharacterSet ISO_IR 192, all elements that may be empty, and those of
        patient and study that the image has.

    Raises:
        VolumeError: if the file cannot be parsed.
    """
    with headers.readable(path) as stream:
        try:
            source = pydicom.dcmread(stream, stop_before_pixels=True, force=True)
        except elements.PYDICOM_ERRORS as error:
            raise headers.damaged(path) from error
    repeated, odd = Dataset(), []
    for keyword in _MAY_BE_EMPTY:
        setattr(repeated, keyword, "")
    for tag in list(source.keys()):  # Elements are decoded one by one.
        keyword = keyword_for_tag(tag)
        if not keyword or (tag.group not in _GROUPS and keyword not in _OF_STUDY):
            continue
        try:
            element = _sound(source, keyword)
        except elements.PYDICOM_ERRORS as error:
            _log.info("%s: %s: %s", path, elements.name(keyword), error)
            odd.append(elements.name(keyword))
        else:
            if element is not None:
                repeated[keyword] = element
    # The first of several character sets may be empty, which not every program reads.
    repeated.SpecificCharacterSet = _CHARACTER_SET
    if odd:
        warnings.warn(
            f"{path}: the values of {', '.join(odd)} break the standard; what is written for the "
            "series leaves them out",
            InputWarning,
            stacklevel=2,
        )
    return repeated


def _sound(source: Dataset, keyword: str) -> DataElement | None:
    """An element of the dictionary's value representation; None where it is empty.

    Raises:
        ValueError: and others of PYDICOM_ERRORS, if it cannot be that.
    """
    values, vr = elements.decoded(source, keyword), dictionary_VR(keyword)
    if not values:
        return None
    if vr == "SQ":
        element = source[keyword]
    else:
        if keyword in _MAY_BE_EMPTY:
            values = values[:1]
        if vr in ("DA", "TM"):
            values = [_of_acr_nema(str(value)) for value in values]
        elif vr not in _BINARY:
            values = [str(value) for value in values]
        if keyword == "PatientSex" and values[0] not in _SEXES:
            raise ValueError(values[0])
        mode = config.IGNORE if vr in _TEXTS else config.RAISE
        value = values if len(values) > 1 else values[0]
        element = DataElement(keyword, vr, value, validation_mode=mode)
    alone = Dataset()
    alone.SpecificCharacterSet = _CHARACTER_SET
    alone[keyword] = element
    with DicomBytesIO() as stream:  # Whatever cannot be written shows itself here.
        stream.is_little_endian, stream.is_implicit_VR = True, False
        write_dataset(stream, alone)
    return element


def _of_acr_nema(text: str) -> str:
    """A date or time in today's form: the older standard wrote 2020.01.31 and 10:20:30, and
    fractions of a second may have six digits."""
    parts = re.fullmatch(r"(\d{4})\.(\d\d)\.(\d\d)|(\d\d):(\d\d)(?::(\d\d(?:\.\d+)?))?", text)
    if parts:
        text = "".join(part for part in parts.groups() if part)
    return re.sub(r"(\.\d{6})\d+$", r"\1", text)
