"""What a DICOM header says of the patient's sex, age and size (PS3.3 C.7.1.1, C.7.2.2).

None of it is needed to read a volume: what is missing, wrong or implausible is not known.
"""

from __future__ import annotations

import re

from pydicom.dataset import Dataset

from spleen_tf.imaging.demographics import Demographics, Sex
from spleen_tf.io.dicom import elements

KEYWORDS = ("PatientSex", "PatientAge", "PatientSize", "PatientWeight")

_SEXES: dict[str, Sex] = {"F": "F", "M": "M"}
_YEARS_OF = {"D": 1 / 365.25, "W": 7 / 365.25, "M": 1 / 12, "Y": 1.0}
# Some write the size in cm, which the standard has in metres.
_HEIGHTS_M, _WEIGHTS_KG, _OLDEST_YEARS = (0.3, 2.6), (0.3, 500.0), 130.0


def of(dataset: Dataset) -> Demographics:
    """What an image's header says of its patient.

    Args:
        dataset: with the elements of KEYWORDS, where the file has them.
    """
    sex, age, size, weight = (_text(dataset, keyword) for keyword in KEYWORDS)
    height_m = _number(size, *_HEIGHTS_M)
    return Demographics(
        sex=_SEXES.get(sex),
        age_years=_years(age),
        height_cm=None if height_m is None else 100 * height_m,
        weight_kg=_number(weight, *_WEIGHTS_KG),
    )


def _text(dataset: Dataset, keyword: str) -> str:
    try:
        values = elements.decoded(dataset, keyword)
    except elements.PYDICOM_ERRORS:
        return ""
    return str(values[0]).strip().upper() if values else ""


def _years(age: str) -> float | None:
    match = re.fullmatch(r"(\d{1,3})([DWMY])", age)
    if not match or not int(match[1]):  # Anonymizers write 000Y.
        return None
    years = int(match[1]) * _YEARS_OF[match[2]]
    return years if years <= _OLDEST_YEARS else None


def _number(text: str, low: float, high: float) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if low <= number <= high else None
