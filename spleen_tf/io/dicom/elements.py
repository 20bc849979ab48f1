"""Elements of a DICOM header as numbers and texts; messages name the element that is wrong."""

from __future__ import annotations

import math
import re
import struct
import zlib
from collections.abc import MutableSequence, Sequence

from pydicom.charset import convert_encodings
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.values import convert_value

from spleen_tf.imaging.volume import VolumeError

# What pydicom raises on bytes that break the standard; few of these are errors of its own.
PYDICOM_ERRORS = (
    *(BytesLengthException, InvalidDicomError),
    *(ValueError, TypeError, KeyError, IndexError, AttributeError, NotImplementedError),
    *(EOFError, OverflowError, RecursionError, struct.error, zlib.error),
)

# A message may quote what looks like this, and nothing else: other texts may name the patient.
_QUOTABLE = re.compile(r"[-+0-9eE.,; \\]{0,60}|nan|inf")
# Value representations of text (PS3.5 6.2).
_TEXTS = (
    *("AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI"),
    *("UR", "UT"),
)
_REMEDY = "correct the element, or export the series again"


def name(keyword: str) -> str:
    """An element's keyword and tag, such as 'Rows (0028,0010)'."""
    tag = tag_for_keyword(keyword)
    assert tag is not None
    return f"{keyword} ({tag >> 16:04X},{tag & 0xFFFF:04X})"


def refusal(path: str, expected: str, found: str, remedy: str = _REMEDY) -> VolumeError:
    """What to raise about an element of a file."""
    return VolumeError(f"{path}: expected {expected}, found {found}; {remedy}.")


def values(dataset: Dataset, keyword: str, path: str) -> list[object]:
    """An element's values; none where it is absent or empty.

    Raises:
        VolumeError: if its bytes are no values of its value representation.
    """
    try:
        return decoded(dataset, keyword)
    except PYDICOM_ERRORS as error:
        raise refusal(path, name(keyword), "bytes that cannot be decoded") from error


def decoded(dataset: Dataset, keyword: str) -> list[object]:
    """An element's values, of any value representation: texts for numbers in decimal, too.

    pydicom, asked for them, would warn of texts that break their value representation, and quote
    what may name the patient.

    Raises:
        ValueError: and others of PYDICOM_ERRORS.
    """
    element = dataset.get_item(keyword)
    value: object = element.value if element is not None else None
    if isinstance(element, RawDataElement):
        vr = element.VR if element.VR and element.VR != "UN" else dictionary_VR(keyword)
        if vr == "SQ":
            value = _items(dataset, keyword)
        else:
            encodings = convert_encodings(dataset.original_character_set)
            as_text = vr in _TEXTS and vr != "PN"
            value = convert_value("LO" if as_text else vr, element, encodings)
    if isinstance(value, bytes | bytearray) and value:
        raise TypeError(f"bytes for {keyword}")
    several = value if isinstance(value, MutableSequence) else [value]
    stripped = [item.strip(" \0") if isinstance(item, str) else item for item in several]
    return [] if stripped in ([None], [""], [b""]) else stripped


def _items(dataset: Dataset, keyword: str) -> object:
    try:
        return dataset[keyword].value
    except OSError as error:  # Of pydicom, for items that are cut short; no file is read here.
        raise EOFError from error


def numbers(dataset: Dataset, keyword: str, count: int, path: str) -> tuple[float, ...] | None:
    """An element of `count` finite numbers; None where it is absent or empty.

    Where one number is expected and the same one is repeated, it counts once.

    Raises:
        VolumeError: if it holds anything else.
    """
    parts = values(dataset, keyword, path)
    if not parts:
        return None
    try:
        parsed = tuple(float(str(part)) for part in parts)
    except ValueError:
        parsed = ()
    if count == 1 and len(set(parsed)) == 1:
        parsed = parsed[:1]
    if len(parsed) != count or not all(map(math.isfinite, parsed)):
        expected = f"{name(keyword)} of {count} finite number{'s' if count > 1 else ''}"
        raise refusal(path, expected, _quoted(parts))
    return parsed


def required_numbers(dataset: Dataset, keyword: str, count: int, path: str) -> tuple[float, ...]:
    """As `numbers`, but an element that is absent or empty is refused, too."""
    parsed = numbers(dataset, keyword, count, path)
    if parsed is None:
        raise refusal(path, name(keyword), "none")
    return parsed


def whole(dataset: Dataset, keyword: str, path: str, default: int | None = None) -> int:
    """An element of one whole number.

    Raises:
        VolumeError: if it holds anything else, or is absent or empty and there is no default.
    """
    if default is not None and not values(dataset, keyword, path):
        return default
    (number,) = required_numbers(dataset, keyword, 1, path)
    if not number.is_integer():
        raise refusal(path, f"{name(keyword)} of one whole number", f"{number:g}")
    return int(number)


def text(dataset: Dataset, keyword: str, path: str) -> str:
    """An element of one text, in printable letters; '' where it is absent or empty."""
    joined = "\\".join(map(str, values(dataset, keyword, path)))
    return "".join(letter if letter.isprintable() else "?" for letter in joined.strip(" \0"))


def _quoted(parts: Sequence[object]) -> str:
    joined = "\\".join(map(str, parts))
    return f"'{joined}'" if _QUOTABLE.fullmatch(joined) else "something else"
