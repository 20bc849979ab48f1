"""What is said of a change, on volumes by hand."""

import json

import msgspec
import pytest

from spleen_tf.comparison import change
from spleen_tf.comparison.change import Registration
from spleen_tf.comparison.family_error import FamilyError
from spleen_tf.comparison.timepoints import TimePoint
from spleen_tf.evaluation.agreement import MeasurementError

# Two measurements with an SD of 10% each: ln(later / earlier) has the SD 0.1 √2, and 1.96 of it is
# 0.2772; e^-0.2772 = 0.7579 and e^0.2772 = 1.3194.
TEN_PERCENT = FamilyError(MeasurementError(0.0, 10.0), "14 cases")


def spleen(volume_ml, complete=True, **rest):
    return TimePoint("mask.nii.gz", volume_ml, complete, **rest)


def compared(before, after, error=TEN_PERCENT):
    return change.compare("a", before, after, error)


def test_a_change_is_in_ml_and_in_percent_of_the_earlier_volume():
    changed = compared(spleen(200.0), spleen(250.0))
    assert changed.change_ml == 50.0
    assert changed.change_percent == 25.0


def test_limits_are_in_percent_and_in_ml_of_the_earlier_volume():
    changed = compared(spleen(200.0), spleen(250.0))
    assert changed.limits_percent == pytest.approx((-24.21, 31.94), abs=0.01)
    assert changed.limits_ml == pytest.approx((-48.42, 63.88), abs=0.02)


@pytest.mark.parametrize(
    ("before_ml", "after_ml", "beyond"),
    [(200, 263, False), (200, 265, True), (263, 200, False), (265, 200, True), (200, 200, False)],
)
def test_a_change_and_its_reverse_get_the_same_verdict(before_ml, after_ml, beyond):
    """200 mL times 1.3194 is 263.9 mL."""
    assert compared(spleen(before_ml), spleen(after_ml)).beyond_limits is beyond


@pytest.mark.parametrize(
    ("before", "after", "note"),
    [
        (spleen(0.0, None), spleen(200.0), "the earlier mask is empty"),
        (spleen(200.0), spleen(0.0, None), "the later mask is empty"),
        (
            spleen(200.0),
            spleen(900.0, False),
            "the later volume is a lower bound: the mask touches",
        ),
    ],
)
def test_an_empty_or_a_cut_mask_is_not_judged(before, after, note):
    changed = compared(before, after)
    assert changed.beyond_limits is None
    assert changed.notes[0].startswith(note)
    assert note in change.sentence(changed)


def test_from_an_empty_mask_there_is_no_change_in_percent():
    changed = compared(spleen(0.0, None), spleen(200.0))
    assert (changed.change_ml, changed.change_percent) == (200.0, None)


def test_masks_of_unknown_origin_have_no_limits():
    changed = compared(spleen(200.0), spleen(400.0), error=None)
    assert (changed.limits_percent, changed.limits_ml, changed.beyond_limits) == (None, None, None)
    assert change.verdict(changed) == (
        "not judged: no measurement error is known for a mask without JSON"
    )


def test_a_mask_that_was_edited_is_noted():
    changed = compared(spleen(200.0), spleen(210.0, is_edited=True))
    assert changed.notes == ("the later mask is not the one that the JSON beside it describes",)


def test_the_sentence_says_change_verdict_and_where_the_limits_come_from():
    assert change.sentence(compared(spleen(200.0), spleen(300.0))) == (
        "a: 200.0 to 300.0 mL, +100.0 mL (+50.0%); beyond the limits of agreement, -24.2% to "
        "+31.9% (14 cases)"
    )


def test_the_sentence_ends_with_what_may_be_wrong_with_a_mask():
    edited = compared(spleen(200.0), spleen(210.0, is_edited=True))
    assert change.sentence(edited).endswith(f"(14 cases); {edited.notes[0]}")
    empty = change.sentence(compared(spleen(200.0), spleen(0.0, None)))
    assert empty.endswith("; not judged: the later mask is empty")


def test_the_files_hold_every_case_and_the_counts(tmp_path):
    moved = Registration(rotation_degrees=3.0, shift_mm=12.0, dice=0.9)
    within = msgspec.structs.replace(compared(spleen(200.0), spleen(210.0)), registration=moved)
    beyond = compared(spleen(200.0), spleen(300.0))
    unknown = compared(spleen(200.0), spleen(300.0), error=None)
    change.write(tmp_path, change.summarize([within, beyond, unknown]))
    content = json.loads((tmp_path / "compare.json").read_text())
    assert (content["beyond_limits"], content["not_judged"]) == (1, 1)
    assert [one["beyond_limits"] for one in content["changes"]] == [False, True, None]
    assert content["changes"][0]["registration"]["shift_mm"] == 12.0
    header, first, *_ = (tmp_path / "compare.csv").read_text().splitlines()
    cells = dict(zip(header.split(","), first.split(","), strict=True))
    assert (cells["change_ml"], cells["beyond_limits"], cells["dice"]) == ("10.0", "False", "0.9")
    assert float(cells["limits_percent_high"]) == pytest.approx(31.94, abs=0.01)
