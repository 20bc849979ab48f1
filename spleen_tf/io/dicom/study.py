"""Patient and study elements of images, fit to be repeated in objects that belong to the images."""

from __future__ import annotations

import dataclasses
import logging
import re
import warnings

from pydicom import config
from pydicom.charset import python_encoding
from pydicom.datadict import dictionary_VR, keyword_for_tag
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from spleen_tf.core.files import InputWarning
from spleen_tf.io.dicom import elements, streams

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
# ISO 2022 IR 58: pydicom leaves its escape sequence in the text, and some scanners leave it out.
_TO_GB2312, _GB2312 = b"\x1b$)A", "gb18030"
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
    with streams.readable(path) as stream:
        source = streams.parsed(stream, path)
    _to_unicode(source, path)
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


def _to_unicode(source: Dataset, path: str) -> None:
    """Rewrites the texts of patient and study in UTF-8, in place.

    pydicom reads what SpecificCharacterSet says, but for one set that it does not know. Here, texts
    whose bytes are something else are read, too: they would be lost.
    """
    encoding = _Encoding.of(source, path)
    odd: list[str] = []
    for tag in list(source.keys()):
        raw = source.get_item(tag)
        keyword = keyword_for_tag(tag)
        is_text = keyword and dictionary_VR(keyword) in _TEXTS
        is_repeated = tag.group in _GROUPS or keyword in _OF_STUDY
        if not (is_repeated and is_text) or not isinstance(raw, RawDataElement) or not raw.value:
            continue
        codec = encoding.of_other_bytes(raw.value)
        if codec is None:
            continue
        if encoding.is_known and codec != _GB2312:
            odd.append(elements.name(keyword))
        text = raw.value.replace(_TO_GB2312, b"").decode(codec)
        vr = raw.VR or dictionary_VR(keyword)
        element = DataElement(keyword, vr, text, validation_mode=config.IGNORE)
        source[keyword] = element
    if odd:
        warnings.warn(
            f"{path}: {elements.name('SpecificCharacterSet')} does not fit the bytes of "
            f"{', '.join(odd)}; they are taken for UTF-8 where they are that, else for Latin-1",
            InputWarning,
            stacklevel=3,
        )


@dataclasses.dataclass(frozen=True)
class _Encoding:
    """What SpecificCharacterSet says (PS3.3 C.12.1.1.2).

    Attributes:
        codec: Python's name of the only character set; None where there are several.
        is_known: whether the standard has all that it names.
        is_gb2312: whether ISO 2022 IR 58 is among them.
    """

    codec: str | None
    is_known: bool
    is_gb2312: bool

    @classmethod
    def of(cls, source: Dataset, path: str) -> _Encoding:
        names = [str(name) for name in elements.values(source, "SpecificCharacterSet", path)]
        codecs = [python_encoding.get(name) for name in names]
        return cls(
            codecs[0] if len(codecs) == 1 else None,
            any(names) and None not in codecs,
            "ISO 2022 IR 58" in names,
        )

    def of_other_bytes(self, content: bytes) -> str | None:
        """The codec to read bytes by that are not what is stated; None where they are."""
        if self.is_gb2312 and (_TO_GB2312 in content or not content.isascii()):
            return _GB2312 if _decodes(content, _GB2312) else "latin-1"
        if content.isascii():
            return None
        is_utf8 = _decodes(content, "utf-8")
        if not self.is_known:  # pydicom takes this for Latin-1.
            return "utf-8" if is_utf8 else None
        if self.codec == "latin_1":  # No name in Latin-1 happens to be whole UTF-8.
            return "utf-8" if is_utf8 else None
        if self.codec is None or _decodes(content, self.codec):
            return None
        return "utf-8" if is_utf8 else "latin-1"


def _decodes(content: bytes, codec: str) -> bool:
    try:
        content.decode(codec)
    except (UnicodeDecodeError, LookupError):
        return False
    return True


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
