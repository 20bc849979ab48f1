"""Published volumes: which fit a patient, and where a volume lies among them."""

import pytest

from spleen_tf.imaging.demographics import NOTHING_KNOWN, Demographics
from spleen_tf.quality import reference
from spleen_tf.quality.measurements import Measurements


def measured(volume_ml, complete=True):
    return Measurements(
        volume_ml=volume_ml,
        volume_mm3=1000 * volume_ml,
        voxels=round(1000 * volume_ml),
        bounding_box_ijk=None,
        centroid_ras_mm=None,
        complete=complete,
        mean_intensity=None,
    )


def of(volume_ml, complete=True, **patient):
    return reference.of(measured(volume_ml, complete), Demographics(**patient))


@pytest.mark.parametrize(
    ("volume_ml", "place"),
    [(107.1, "below"), (107.2, "within"), (314.5, "within"), (314.6, "above")],
)
def test_of_an_unknown_patient_the_range_is_that_of_adults(volume_ml, place):
    found = of(volume_ml)
    assert (found.low_ml, found.high_ml, found.expected_ml) == (107.2, 314.5, 214.6)
    assert "Prassopoulos" in found.source
    assert found.place == place


@pytest.mark.parametrize(
    ("sex", "height_cm", "high_ml", "high_length_mm"),
    # 7.0996 · 170 - 939.5 mL and 0.0282 · 170 + 7.5526 cm; 4.3803 · 180 - 457.15 mL and
    # 0.0544 · 180 + 3.6693 cm.
    [("F", 170, 267.432, 123.466), ("M", 180, 331.304, 134.613)],
)
def test_of_known_sex_and_height_the_bound_is_the_95th_percentile(
    sex, height_cm, high_ml, high_length_mm
):
    found = of(high_ml - 1, sex=sex, height_cm=height_cm)
    assert found.high_ml == pytest.approx(high_ml)
    assert found.high_length_mm == pytest.approx(high_length_mm)
    assert (found.low_ml, found.place) == (None, "within")
    assert of(high_ml + 1, sex=sex, height_cm=height_cm).place == "above"
    assert f"{height_cm} cm" in found.population


@pytest.mark.parametrize(
    "patient",
    [
        {"sex": "F", "height_cm": 154},
        {"sex": "M", "height_cm": 201},
        {"sex": "M"},
        {"height_cm": 170},
        {"age_years": 18},
    ],
)
def test_beyond_what_was_measured_the_range_is_that_of_adults(patient):
    assert of(200, **patient) == of(200)


def test_a_child_is_compared_by_weight_or_age_and_has_no_range():
    """0.7 + 4.6 · 20 = 92.7 mL; 41.879 · 10^0.411 = 107.9 mL."""
    by_weight = of(400, age_years=6, weight_kg=20, sex="F", height_cm=160)
    assert by_weight.expected_ml == pytest.approx(92.7)
    by_age = of(400, age_years=10)
    assert by_age.expected_ml == pytest.approx(107.9, abs=0.1)
    for found in (by_weight, by_age):
        assert (found.low_ml, found.high_ml, found.place) == (None, None, None)


def test_a_lower_bound_is_neither_below_nor_within():
    assert of(90, complete=False).place is None
    assert of(200, complete=False).place is None
    assert of(400, complete=False).place == "above"


def test_an_empty_mask_is_not_compared():
    assert reference.of(measured(0, complete=None), NOTHING_KNOWN) is None
