"""A predicted Dice and its interval: what is learnt, how honest it is, and where it applies."""

import json

import numpy as np
import pytest

from spleen_tf import calibration
from spleen_tf.calibration import Calibration
from spleen_tf.files import InputError


def drawn(rng, patients=40, each=5, error=0.05):
    """Rows, truth and groups in which the Dice is 0.2 + 0.7 · agreement, give or take an error."""
    count = patients * each
    agreement, nothing = rng.uniform(0.2, 1, count), rng.uniform(0, 1, count)
    truth = np.clip(0.2 + 0.7 * agreement + rng.normal(0, error, count), 0, 1)
    rows = [{"agreement": a, "nothing": n} for a, n in zip(agreement, nothing, strict=True)]
    return rows, truth, [f"patient {number // each}" for number in range(count)]


@pytest.fixture(scope="module")
def fitted():
    return calibration.fit(
        *drawn(np.random.default_rng(0)), members=3, tta=False, brightness=(0.5, 0.1)
    )


def test_the_line_that_made_the_dice_is_found(fitted):
    known, _ = fitted
    weights = dict(zip(known.signs, known.weights, strict=True))
    assert weights["agreement"] == pytest.approx(0.7, abs=0.03)
    assert weights["nothing"] == pytest.approx(0, abs=0.03)
    assert known.offset == pytest.approx(0.2, abs=0.03)


def test_the_interval_holds_nine_of_ten_predictions_that_were_not_learnt_from(fitted):
    known, _ = fitted
    rows, truth, _ = drawn(np.random.default_rng(1), patients=200)
    intervals = [known.predict(row)[1] for row in rows]
    inside = [low <= y <= high for (low, high), y in zip(intervals, truth, strict=True)]
    assert 0.86 < np.mean(inside) < 0.94


def test_a_patient_s_own_predictions_do_not_teach_what_is_said_of_them():
    rows, truth, groups = drawn(np.random.default_rng(2), patients=3, each=4)
    _, before = calibration.fit(rows, truth, groups, members=1, tta=False, brightness=(0.5, 0.1))
    changed = truth.copy()
    changed[:4] = 0.0  # The first patient's.
    _, after = calibration.fit(rows, changed, groups, members=1, tta=False, brightness=(0.5, 0.1))
    assert [j.dice for j in before[:4]] == [j.dice for j in after[:4]]
    assert all(b.dice != a.dice for b, a in zip(before[4:], after[4:], strict=True))


def test_nineteen_of_twenty_failures_lie_below_the_bound(fitted):
    known, judgements = fitted
    _, truth, _ = drawn(np.random.default_rng(0))
    failures = np.array([j.dice for j in judgements])[truth < calibration.FAILURE_DICE]
    assert 0.95 <= np.mean(failures < known.review_below) < 0.97


def test_a_judgement_holds_what_a_calibration_of_the_other_patients_says():
    rows, truth, groups = drawn(np.random.default_rng(4), patients=5)
    _, judgements = calibration.fit(rows, truth, groups, 1, False, (0.5, 0.1))
    # The interval and the bound are those of a fit in which the first patient's truth is unknown.
    changed = truth.copy()
    changed[:5] = 0.0
    _, again = calibration.fit(rows, changed, groups, 1, False, (0.5, 0.1))
    for judgement in judgements:
        assert 0 <= judgement.low <= judgement.dice <= judgement.high <= 1
    assert [j.dice for j in judgements[:5]] == [j.dice for j in again[:5]]


def test_by_hand():
    known = Calibration(2, False, (0.5, 0.1), ("a", "b"), (0.5, 0.25), 0.1, 0.5, 0.8)
    dice, (low, high) = known.predict({"a": 0.8, "b": 0.4})
    assert dice == pytest.approx(0.1 + 0.4 + 0.1)
    # Half a width of 0.5 · (1 − 0.6 + 0.05).
    assert (low, high) == (pytest.approx(0.375), pytest.approx(0.825))


@pytest.mark.parametrize(("brightness", "dice"), [(0.6, 1.0), (0.7, 0.8), (0.35, 0.5), (5.0, 0.0)])
def test_a_brightness_counts_by_how_far_it_is_from_known_spleens(brightness, dice):
    """Known are 0.6 ± 0.1; five standard deviations are as strange as any number of them."""
    known = Calibration(1, False, (0.6, 0.1), ("brightness",), (1.0,), 0.0, 0.5, 0.8)
    assert known.predict({"brightness": brightness})[0] == pytest.approx(dice)


@pytest.mark.parametrize(("signs", "dice"), [({"a": 9.0}, 1.0), ({"a": -9.0}, 0.0)])
def test_dice_and_interval_stay_within_0_and_1(signs, dice):
    predicted, (low, high) = Calibration(
        1, False, (0.5, 0.1), ("a",), (1.0,), 0.0, 2.0, 0.8
    ).predict(signs)
    assert predicted == dice
    assert 0 <= low <= predicted <= high <= 1


def test_a_sign_that_never_varies_does_no_harm():
    rows, truth, groups = drawn(np.random.default_rng(3))
    known, _ = calibration.fit(
        [{**row, "same": 1.0} for row in rows],
        truth,
        groups,
        members=1,
        tta=False,
        brightness=(0.5, 0.1),
    )
    assert dict(zip(known.signs, known.weights, strict=True))["same"] == pytest.approx(0, abs=1e-9)


def test_two_patients_are_too_few():
    rows, truth, groups = drawn(np.random.default_rng(0), patients=2)
    with pytest.raises(ValueError, match="expected 3 patients or more, found 2"):
        calibration.fit(rows, truth, groups, members=1, tta=False, brightness=(0.5, 0.1))


def test_what_was_written_is_read(fitted, tmp_path):
    path = tmp_path / "quality.json"
    calibration.write(path, fitted[0], patients=40)
    assert calibration.read(path) == fitted[0]
    assert json.loads(path.read_text())["patients"] == 40


@pytest.mark.parametrize("content", ["[]", '{"members": 3}'])
def test_another_file_is_refused(tmp_path, content):
    path = tmp_path / "quality.json"
    path.write_text(content)
    with pytest.raises(InputError, match=r"quality\.json: expected the keys brightness, members, "):
        calibration.read(path)
