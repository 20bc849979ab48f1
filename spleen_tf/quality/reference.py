"""Where a volume lies among published ones, by what is known of the patient.

Adults, as far as nothing else is known: CT of 140 adults without disease of the spleen, 107.2 to
314.5 mL (mean 214.6 mL), which does not depend on age, sex, height or weight (Prassopoulos et al.,
Eur Radiol 1997; 7: 246-248).

Adults of known sex and height: the 95th percentile of volume and length in 1200 healthy adults by
ultrasound, women of 155 to 180 cm and men of 165 to 200 cm (Chow et al., Radiology 2016; 279:
306-313). Ultrasound volumes are those of an ellipsoid with the spleen's three diameters.

Children: what is to be expected by CT, of the weight (48 children of up to 18 years; Schlesinger
et al., AJR 1993; 160: 1107-1109) or, where that is not known, of the age (49 patients of up to 25
years; Watanabe et al., Surg Today 1997; 27: 726-728). Both state no range in their abstracts.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from spleen_tf.imaging.demographics import Demographics, Sex
from spleen_tf.quality.measurements import Measurements

ADULTS_ML = (107.2, 314.5)
_ADULTS_MEAN_ML = 214.6
_ADULT_YEARS = 18

_PRASSOPOULOS = "Prassopoulos et al., Eur Radiol 1997; 7: 246–248"
_CHOW = "Chow et al., Radiology 2016; 279: 306–313"
_SCHLESINGER = "Schlesinger et al., AJR 1993; 160: 1107–1109"
_WATANABE = "Watanabe et al., Surg Today 1997; 27: 726–728"

# By sex: whom they were measured in, and the line (slope per cm of height, offset) through the 95th
# percentiles of volume in mL and of length in cm.
_HEIGHTS_CM: dict[Sex, tuple[float, float]] = {"F": (155, 180), "M": (165, 200)}
_VOLUME_ML: dict[Sex, tuple[float, float]] = {"F": (7.0996, -939.5), "M": (4.3803, -457.15)}
_LENGTH_CM: dict[Sex, tuple[float, float]] = {"F": (0.0282, 7.5526), "M": (0.0544, 3.6693)}
_ADULTS: dict[Sex, str] = {"F": "women", "M": "men"}

Place = Literal["below", "within", "above"]


class Reference(msgspec.Struct, frozen=True, kw_only=True):
    """A published population, and where a volume lies in it.

    Attributes:
        population: who was measured, and how.
        source: where that is published.
        low_ml, high_ml: the range; None where the source states no such bound.
        expected_ml: the mean or what a formula gives; None where the source states neither.
        high_length_mm: the upper bound of the length; None likewise.
        place: of the volume; None where the source states no range, and where a volume that is a
            lower bound is not above it.
    """

    population: str
    source: str
    low_ml: float | None = None
    high_ml: float | None = None
    expected_ml: float | None = None
    high_length_mm: float | None = None
    place: Place | None = None


def of(measurements: Measurements, patient: Demographics) -> Reference | None:
    """The reference that fits a patient, with the place of a mask's volume in it.

    Args:
        measurements: of the mask.
        patient: what is known of the patient.

    Returns:
        None for an empty mask, which shows no spleen to be compared.
    """
    if not measurements.voxels:
        return None
    reference = _for(patient)
    place = _place(measurements.volume_ml, reference)
    if not measurements.complete and place != "above":
        place = None
    return msgspec.structs.replace(reference, place=place)


def _for(patient: Demographics) -> Reference:
    if patient.age_years is not None and patient.age_years < _ADULT_YEARS:
        return _children(patient.age_years, patient.weight_kg)
    if patient.sex and patient.height_cm is not None:
        low_cm, high_cm = _HEIGHTS_CM[patient.sex]
        if low_cm <= patient.height_cm <= high_cm:
            return _by_height(patient.sex, patient.height_cm)
    return Reference(
        population="140 adults without disease of the spleen, CT",
        source=_PRASSOPOULOS,
        low_ml=ADULTS_ML[0],
        high_ml=ADULTS_ML[1],
        expected_ml=_ADULTS_MEAN_ML,
    )


def _by_height(sex: Sex, height_cm: float) -> Reference:
    (slope_ml, offset_ml), (slope_cm, offset_cm) = _VOLUME_ML[sex], _LENGTH_CM[sex]
    return Reference(
        population=f"healthy {_ADULTS[sex]} of {height_cm:.0f} cm, ultrasound, 95th percentile",
        source=_CHOW,
        high_ml=slope_ml * height_cm + offset_ml,
        high_length_mm=10 * (slope_cm * height_cm + offset_cm),
    )


def _children(age_years: float, weight_kg: float | None) -> Reference:
    if weight_kg is not None:
        return Reference(
            population=f"children of {weight_kg:.0f} kg, CT",
            source=_SCHLESINGER,
            expected_ml=0.7 + 4.6 * weight_kg,
        )
    return Reference(
        population=f"children of {age_years:.2g} years, CT",
        source=_WATANABE,
        expected_ml=41.879 * age_years**0.411,
    )


def _place(volume_ml: float, reference: Reference) -> Place | None:
    if reference.low_ml is None and reference.high_ml is None:
        return None
    if reference.low_ml is not None and volume_ml < reference.low_ml:
        return "below"
    if reference.high_ml is not None and volume_ml > reference.high_ml:
        return "above"
    return "within"
