"""A predicted Dice and its interval: what is learnt, how honest it is, and where it applies."""

import json
import pathlib

import msgspec
import numpy as np
import pytest

from spleen_tf.core.files import InputError
from spleen_tf.quality import calibration, calibration_fit
from spleen_tf.quality.calibration import Calibration
from spleen_tf.quality.evidence import Evidence
from spleen_tf.quality.volume_interval import VolumeInterval


def evidence(**values):
    """Evidence that is 0.5 but for what the test says."""
    return Evidence(**{**dict.fromkeys(calibration.EVIDENCE_KEYS, 0.5), **values})


def drawn(rng, patients=40, each=5, error=0.05):
    """Evidence, truth and groups: the Dice is 0.2 + 0.7 · u, give or take an error.

    From the agreement, 1/1000 to the power of u is missing; from the certainty, to a random one.
    """
    count = patients * each
    u, nothing = rng.uniform(0.2, 1, count), rng.uniform(0, 1, count)
    truth = np.clip(0.2 + 0.7 * u + rng.normal(0, error, count), 0, 1)
    missing = zip(0.001**u, 0.001**nothing, strict=True)
    rows = [evidence(agreement=1 - a, certainty=1 - n) for a, n in missing]
    return rows, truth, [f"patient {number // each}" for number in range(count)]


@pytest.fixture(scope="module")
def fitted():
    return calibration_fit.fit(*drawn(np.random.default_rng(0)), members=3, brightness_of={})


def test_the_line_that_made_the_dice_is_found(fitted):
    known, _ = fitted
    weights = dict(zip(known.keys, known.weights, strict=True))
    assert weights["agreement"] == pytest.approx(0.7, abs=0.03)
    assert weights["certainty"] == pytest.approx(0, abs=0.03)
    assert known.offset == pytest.approx(0.2, abs=0.03)


def test_on_a_logarithmic_scale_a_tenth_of_what_is_missing_counts_as_much_as_the_next_tenth():
    """Of 1/1000: 0.9 lacks its cube root, 0.99 its square and 1 no less than 1/1000 itself."""
    known = Calibration(1, (0.5, 0.1), ("agreement",), (0.9,), 0.0, 0.5, 0.8, scale="logarithmic")
    dice = [known.predict(evidence(agreement=value))[0] for value in (0.0, 0.9, 0.99, 0.999, 1.0)]
    assert dice == pytest.approx([0.0, 0.3, 0.6, 0.9, 0.9])


def test_the_interval_holds_nine_of_ten_predictions_that_were_not_learnt_from(fitted):
    known, _ = fitted
    rows, truth, _ = drawn(np.random.default_rng(1), patients=200)
    intervals = [known.predict(row)[1] for row in rows]
    inside = [low <= y <= high for (low, high), y in zip(intervals, truth, strict=True)]
    assert 0.86 < np.mean(inside) < 0.94


def test_a_patient_s_own_predictions_teach_nothing_of_what_is_said_of_them():
    """Neither line nor interval nor bound nor the brightness of known spleens."""
    rows, truth, patients = drawn(np.random.default_rng(2), patients=6, each=4)
    rows = [msgspec.structs.replace(row, brightness=row.certainty) for row in rows]
    known = {f"patient {number}": 0.3 + 0.1 * number for number in range(6)}
    _, before = calibration_fit.fit(rows, truth, patients, 1, known)
    changed = truth.copy()
    changed[:4] = 0.0  # The first patient's.
    _, after = calibration_fit.fit(rows, changed, patients, 1, {**known, "patient 0": 9.0})
    assert before[:4] == after[:4]
    assert all(b != a for b, a in zip(before[4:], after[4:], strict=True))


def test_nineteen_of_twenty_failures_are_flagged_by_what_other_patients_taught(fitted):
    _, judgements = fitted
    _, truth, _ = drawn(np.random.default_rng(0))
    flagged = np.array([judgement.review for judgement in judgements])
    assert 0.9 <= np.mean(flagged[truth < calibration.FAILURE_DICE]) <= 1.0
    assert np.mean(flagged[truth > 0.85]) < 0.3


def test_by_hand():
    known = Calibration(2, (0.5, 0.1), ("agreement", "weakest"), (0.5, 0.25), 0.1, 0.5, 0.8)
    dice, (low, high) = known.predict(evidence(agreement=0.8, weakest=0.4))
    assert dice == pytest.approx(0.1 + 0.4 + 0.1)
    # Half a width of 0.5 · (1 − 0.6 + 0.05).
    assert (low, high) == (pytest.approx(0.375), pytest.approx(0.825))


@pytest.mark.parametrize(("brightness", "dice"), [(0.6, 1.0), (0.7, 0.8), (0.35, 0.5), (5.0, 0.0)])
def test_a_brightness_counts_by_how_far_it_is_from_known_spleens(brightness, dice):
    """Known are 0.6 ± 0.1; five standard deviations are as strange as any number of them."""
    known = Calibration(1, (0.6, 0.1), ("brightness",), (1.0,), 0.0, 0.5, 0.8)
    assert known.predict(evidence(brightness=brightness))[0] == pytest.approx(dice)


@pytest.mark.parametrize(("agreement", "expected"), [(9.0, 1.0), (-9.0, 0.0)])
def test_dice_and_interval_stay_within_0_and_1(agreement, expected):
    known = Calibration(1, (0.5, 0.1), ("agreement",), (1.0,), 0.0, 2.0, 0.8)
    predicted, (low, high) = known.predict(evidence(agreement=agreement))
    assert predicted == expected
    assert 0 <= low <= predicted <= high <= 1


def test_the_interval_is_not_valid_for_another_modality():
    known = Calibration(1, (0.5, 0.1), ("agreement",), (1.0,), 0.0, 2.0, 0.8, "MR")
    assert known.note("CT") == "calibrated on MR; the interval is not valid for CT"
    assert known.note("MR") is None


def test_evidence_that_never_varies_does_no_harm(fitted):
    known, _ = fitted
    weights = dict(zip(known.keys, known.weights, strict=True))
    assert weights["main_share"] == pytest.approx(0, abs=1e-9)


def test_the_interval_of_a_volume_is_that_of_its_modality():
    """2% and 1 - 0.9 of 100 mL are a unit of 12 mL, of which the interval reaches 2."""
    intervals = {"MR": VolumeInterval(14, 13, ("agreement",), 2.0)}
    known = Calibration(1, (0.5, 0.1), (), (), 0.9, 0.5, 0.8, volume_intervals=intervals)
    found = evidence(agreement=0.9)
    assert known.interval_ml("MR", 100.0, None, found) == (pytest.approx(76), pytest.approx(124))
    assert known.interval_ml("CT", 100.0, None, found) is None


@pytest.mark.parametrize(
    ("fields", "basis"),
    [
        ({"patients": 14, "modality": "MR"}, "14 MR cases"),
        ({"patients": 32, "patients_by_modality": {"CT": 18, "MR": 14}}, "18 CT and 14 MR cases"),
        ({"modality": "CT"}, "CT"),
        ({"modality": ""}, "cases of a modality that was not recorded"),
    ],
)
def test_a_calibration_says_what_it_was_made_of(fields, basis):
    assert Calibration(1, (0.5, 0.1), (), (), 0.9, 0.5, 0.8, **fields).basis == basis


@pytest.mark.parametrize("family", ["spleen_mr_t2", "spleen_any"])
def test_files_of_version_0_2_are_read(family):
    """They hold no intervals of volumes, or some that were added since."""
    path = pathlib.Path(__file__).parents[2] / "models" / family / "quality.json"
    content = json.loads(path.read_text())
    content.pop("volume_intervals", None)
    known = msgspec.convert(content, Calibration)
    assert (known.basis, known.volume_intervals) == ("14 MR cases", {})


def test_three_patients_are_too_few():
    rows, truth, groups = drawn(np.random.default_rng(0), patients=3)
    with pytest.raises(ValueError, match="expected 4 patients or more, found 3"):
        calibration_fit.fit(rows, truth, groups, members=1, brightness_of={})


def test_what_was_written_is_read(fitted, tmp_path):
    path = tmp_path / "quality.json"
    calibration.write(path, fitted[0], patients=40)
    assert calibration.read(path) == fitted[0]
    assert json.loads(path.read_text())["patients"] == 40


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("members", None, "expected `int` at .*members, found `null`; make it again"),
        ("brightness", 0.5, "expected `array` at .*brightness, found `float`; make it again"),
        ("signs", ["agreement", "mood"], "expected a weight for each of some of certainty, "),
        ("weights", [1.0], "expected a weight for each of some of certainty, "),
    ],
)
def test_a_damaged_file_is_refused(fitted, tmp_path, field, value, sentence):
    path = tmp_path / "quality.json"
    calibration.write(path, fitted[0])
    path.write_text(json.dumps({**json.loads(path.read_text()), field: value}))
    with pytest.raises(InputError, match=sentence):
        calibration.read(path)


@pytest.mark.parametrize(
    ("content", "found"),
    [("[]", "expected `object`, found `array`"), ('{"members": 3}', "expected the key 'brightn")],
)
def test_another_file_is_refused(tmp_path, content, found):
    path = tmp_path / "quality.json"
    path.write_text(content)
    with pytest.raises(InputError, match=rf"quality\.json: {found}"):
        calibration.read(path)


def test_files_of_earlier_versions_are_read(fitted, tmp_path):
    """In them, a modality that is not known is the empty text."""
    path = tmp_path / "quality.json"
    calibration.write(path, fitted[0])
    content = json.loads(path.read_text())
    for modality, note in (
        ("", None),
        ("MR", "calibrated on MR; the interval is not valid for CT"),
    ):
        path.write_text(json.dumps({**content, "modality": modality, "how": "by hand"}))
        assert calibration.read(path).note("CT") == note
    del content["modality"]
    path.write_text(json.dumps(content))
    assert calibration.read(path) == fitted[0]
