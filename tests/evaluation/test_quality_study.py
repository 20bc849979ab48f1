"""A study of quality control: what is measured of a case, who judges it, and the figures."""

import dataclasses
import json

import numpy as np
import pytest

from spleen_tf.core import files
from spleen_tf.core.files import InputError
from spleen_tf.datasets import cases
from spleen_tf.evaluation import quality_figures, quality_study
from spleen_tf.evaluation.held_out import CrossValidation, Record
from spleen_tf.evaluation.quality_study import Judged, Measurement
from spleen_tf.imaging.volume import Volume
from spleen_tf.inference import loading
from spleen_tf.quality import corruptions
from spleen_tf.quality.calibration_fit import Judgement
from spleen_tf.quality.evidence import Evidence
from spleen_tf.quality.volume_interval import VolumeInterval

SOME = ("none", "noise", "no_spleen")
EVIDENCE = Evidence(
    certainty=0.9, agreement=0.9, weakest=0.8, main_share=1.0, smoothness=0.9, brightness=0.5
)


def measurement(case="a", corruption="none", dice=0.9, **changes):
    values = {"mirrored_ml": {}, "reasons": (), "evidence": EVIDENCE, "second_opinion": False}
    values |= {"known_brightness": 0.5}
    return Measurement(case=case, corruption=corruption, dice=dice, **values | changes)


def judged(dice, predicted, *, modality="MR", corruption="none", review=False, case="a", **changes):
    low, high = predicted - 0.1, predicted + 0.1
    judgement = Judgement(predicted, low, high, review)
    return Judged(measurement(case, corruption, dice, **changes), modality, judgement)


def blob():
    """A spleen of 100 % of the MR grey scale in a dark body, on the patient's left."""
    array = np.zeros((24, 20, 12), np.int16)
    array[4:20, 3:17] = 20
    array[5:10, 5:12, 3:9] = 200
    return Volume(array, np.diag([8.0, 8.0, 10.0, 1.0]), "blob.nii"), array == 200


@pytest.fixture(scope="module")
def measured(exported):
    """What the model of the tests, which calls spleen what is bright, makes of a bright spleen."""
    models = loading.resolve([exported["MR"]])
    image, truth = blob()
    some = {name: corruptions.of("MR")[name] for name in SOME}
    return quality_study.corrupted(models, "a", image, truth, some, seed=1)


def test_a_case_is_measured_under_every_corruption(measured):
    assert [m.corruption for m in measured] == [*SOME]
    by_name = {m.corruption: m for m in measured}
    assert by_name["none"].dice > 0.9
    assert by_name["none"].known_brightness == pytest.approx(1.0, abs=0.05)
    # Where there is no spleen, there is no truth to be bright.
    assert by_name["no_spleen"].known_brightness is None


def test_a_measured_case_comes_back_from_its_file_and_is_not_measured_again(
    make_dataset, exported, tmp_path
):
    make_dataset(tmp_path / "data", "a", modality="MR")
    case_of = {case.name: case for case in cases.load(tmp_path / "data")}
    saved = tmp_path / "cv" / "models" / "fold_0" / "coronal"
    saved.mkdir(parents=True)
    (saved / "saved_model").symlink_to(exported["MR"])
    record = Record(num_folds=2, seed=0, recipes={"coronal": {}}, folds={"0": ("a",)})
    validated = CrossValidation(tmp_path / "cv", record)
    files.write_json(tmp_path / "a.json", [measurement(), measurement(dice=None, evidence=None)])
    again = quality_study.measure(validated, None, case_of, tmp_path)
    assert again == [measurement(), measurement(dice=None, evidence=None)]


def test_nobody_judges_a_patient_by_itself():
    """Patient e alone has a Dice of 0.2 at the same evidence, which the others cannot know."""
    dices = {"a": 0.9, "b": 0.9, "c": 0.9, "d": 0.9, "e": 0.2}
    measurements = [measurement(case, dice=dice) for case, dice in dices.items()]
    modality_of = dict.fromkeys(dices, "MR")
    learnt, rows = quality_study.calibrate(measurements, modality_of, 1, "cv")
    assert learnt.modality == "MR"
    predicted = {row.measurement.case: row.judgement.dice for row in rows}
    assert predicted["e"] == pytest.approx(0.9)
    assert predicted["a"] == pytest.approx((3 * 0.9 + 0.2) / 4)


def test_empty_masks_and_second_opinions_have_no_predicted_dice():
    names = "abcd"
    measurements = [measurement(name) for name in names]
    measurements += [measurement("a", "dark_spleen", dice=0.0, evidence=None)]
    measurements += [measurement("b", "dark_spleen", second_opinion=True)]
    _, rows = quality_study.calibrate(measurements, dict.fromkeys(names, "CT"), 1, "cv")
    assert [row.judgement is None for row in rows] == [False] * 4 + [True, True]
    assert rows[4].row()["dice"] == 0.0
    assert "predicted" not in rows[4].row()


def test_cases_of_both_modalities_give_a_calibration_of_neither():
    modality_of = {"a": "CT", "b": "CT", "c": "MR", "d": "MR"}
    learnt, _ = quality_study.calibrate([measurement(n) for n in modality_of], modality_of, 1, "cv")
    assert not learnt.modality
    assert learnt.basis == "2 CT and 2 MR cases"


def test_masks_of_too_few_patients_are_refused():
    measurements = [measurement(name) for name in "abc"] + [measurement("d", evidence=None)]
    with pytest.raises(InputError, match=r"^cv: expected a mask for 4 patients .* one for 3"):
        quality_study.calibrate(measurements, dict.fromkeys("abcd", "MR"), 1, "cv")


ROWS = [
    judged(0.9, 0.9, case="a"),  # A success, not flagged.
    judged(0.85, 0.6, case="b", review=True),  # A false alarm, outside its interval.
    judged(0.5, 0.55, case="c", corruption="noise", review=True),  # A failure, flagged.
    judged(0.3, 0.8, case="d", corruption="noise", modality="CT"),  # A failure, missed.
    judged(0.95, 0.9, case="e", modality="CT", reasons=("odd",)),  # Flagged without its Dice.
]
LEARNT = dataclasses.make_dataclass("Learnt", ["review_below", "volume_intervals"])(0.7, {})


def test_figures_by_hand():
    figures = quality_figures.figures(ROWS)
    assert (figures.predictions, figures.patients) == (5, 5)
    assert str(figures.failures_flagged) == "50.0% (1 of 2)"
    assert str(figures.false_alarms) == "66.7% (2 of 3)"
    assert str(figures.coverage) == "60.0% (3 of 5)"
    # Errors by predicted Dice: two of 0.9 with (0.1 + 0.05) / 2 each, then 0.7, 0.15 and 0.5.
    risk = (0.075, 0.075, 0.85 / 3, 1.0 / 4, 1.5 / 5)
    assert figures.risk_coverage.risk == pytest.approx(risk)
    assert figures.risk_coverage.aurc == pytest.approx(sum(risk) / 5)


def test_both_modalities_have_figures_of_their_own():
    study = quality_figures.study(ROWS, LEARNT)
    assert {m: str(f.failures_flagged) for m, f in study.by_modality.items()} == {
        "CT": "0.0% (0 of 1)",
        "MR": "100.0% (1 of 1)",
    }
    assert str(study.by_modality["MR"].false_alarms) == "50.0% (1 of 2)"
    assert str(study.by_modality["CT"].coverage) == "50.0% (1 of 2)"
    assert quality_figures.study(ROWS[:3], LEARNT).by_modality == {}


def test_the_page_and_the_json_hold_the_same_figures(tmp_path):
    study = quality_figures.study(ROWS, LEARNT)
    page = quality_figures.page(study, ROWS)
    assert "| measure | all | CT | MR |\n" in page
    assert "| failures flagged | 50.0% (1 of 2) | 0.0% (0 of 1) | 100.0% (1 of 1) |" in page
    assert "| AURC (ideal) | 0.197 (0.1" in page
    assert "| 100% | 0.300 | 0.300 |\n| AURC | 0.197 |" in page
    # Of noise: two predictions, both failures, one flagged.
    assert page.endswith("| noise | 0.400 | 0 | 2 | 1 | 0 of 0 |\n")
    files.write_json(tmp_path / "study.json", study)
    content = json.loads((tmp_path / "study.json").read_text())
    assert content["all"]["failures_flagged"] == {"count": 1, "total": 2}
    assert content["all"]["risk_coverage"]["aurc"] == pytest.approx(0.19667, abs=1e-5)
    assert [*content["by_modality"]] == ["CT", "MR"]


def test_predictions_without_a_mask_have_no_curve():
    row = Judged(measurement(dice=0.0, evidence=None, reasons=("none",)), "MR", None)
    study = quality_figures.study([row], LEARNT)
    assert study.all.risk_coverage is None
    assert study.all.rank_correlation is None
    page = quality_figures.page(study, [row])
    assert "| AURC (ideal) | – |" in page
    assert "Risk and coverage" not in page


def test_the_interval_of_volumes_is_told_with_its_coverage():
    intervals = {"MR": VolumeInterval(14, 13, ("agreement",), 2.0)}
    learnt = dataclasses.replace(LEARNT, volume_intervals=intervals)
    study = quality_figures.study(ROWS, learnt)
    assert study.volume_intervals == intervals
    line = (
        "- MR: 90% interval of 2.00 × (2% of the volume + (1 - agreement) of the volume), from 14 "
        "cases; 13 lie in the interval that the others give."
    )
    assert line in quality_figures.page(study, ROWS)
