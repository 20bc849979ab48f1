"""Sex, age and size of the patient by the DICOM header, where they are there and plausible."""

import dicom_files
import pytest

from spleen_tf.imaging.demographics import NOTHING_KNOWN, Demographics
from spleen_tf.io.dicom import series


def read(folder, **elements):
    dicom_files.write_series(folder, dicom_files.ramp((4, 4, 3)), **elements)
    return series.read(folder).demographics


def test_a_header_s_units_become_years_centimetres_and_kilograms(tmp_path):
    found = read(
        tmp_path, PatientSex="F", PatientAge="062Y", PatientSize="1.65", PatientWeight="58.5"
    )
    assert found == Demographics("F", 62.0, pytest.approx(165.0), 58.5)


@pytest.mark.parametrize(
    ("age", "years"), [("006M", 0.5), ("026W", 0.498), ("036D", 0.0986), ("003Y", 3.0)]
)
def test_an_age_may_stand_in_days_weeks_or_months(tmp_path, age, years):
    assert read(tmp_path, PatientAge=age).age_years == pytest.approx(years, abs=1e-3)


def test_an_age_of_nothing_is_an_anonymizer_s(tmp_path):
    assert read(tmp_path, PatientAge="000Y").age_years is None


def test_a_header_without_them_says_nothing(tmp_path):
    assert read(tmp_path) == NOTHING_KNOWN


def test_what_is_wrong_or_implausible_is_not_known(tmp_path):
    """A sex that the references do not know, an age of 999 years, a height in cm, no weight."""
    wrong = {"PatientSex": "O", "PatientAge": "999Y", "PatientSize": "165", "PatientWeight": "0"}
    assert read(tmp_path, **wrong) == NOTHING_KNOWN


def test_what_is_given_replaces_what_the_header_says():
    header = Demographics(sex="F", age_years=62.0)
    assert header.with_given(Demographics(sex="M", height_cm=180.0)) == Demographics(
        sex="M", age_years=62.0, height_cm=180.0
    )
