"""Overlap and volume, on masks drawn by hand and against SimpleITK."""

import math

import msgspec
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis.extra import numpy as hnp

from spleen_tf.evaluation import metrics
from spleen_tf.imaging.volume import Volume, VolumeError


def mask(*rows):
    return np.array([[character == "#" for character in row] for row in rows])


def volume_of(mask_2d, zooms_mm=(2.0, 1.0, 5.0), source="drawn.nii.gz"):
    """The drawing as the middle one of three slices along k, the others empty."""
    array_ijk = np.zeros((*mask_2d.shape, 3), bool)
    array_ijk[:, :, 1] = mask_2d
    return Volume(array_ijk, np.diag([*zooms_mm, 1.0]), source)


TRUTH = mask(
    ".....",
    ".###.",
    ".###.",
    ".....",
)
PRED = mask(
    ".....",
    "..###",
    ".....",
    "..#..",
)
EMPTY = mask(*["....."] * 4)
FULL = mask(*["#####"] * 4)


def test_counts_of_a_drawn_pair():
    assert metrics.confusion(TRUTH, PRED) == metrics.Confusion(
        true_positive=2, false_positive=2, false_negative=4, true_negative=12
    )


def test_overlap_of_a_drawn_pair():
    counts = metrics.confusion(TRUTH, PRED)
    assert metrics.dice(TRUTH, PRED) == counts.dice == 2 * 2 / (6 + 4)
    assert counts.jaccard == 2 / 8
    assert counts.sensitivity == 2 / 6
    assert counts.specificity == 12 / 14
    assert counts.precision == 2 / 4
    assert counts.accuracy == 14 / 20


def test_likelihood_ratios_of_a_drawn_pair():
    counts = metrics.confusion(TRUTH, PRED)
    # sensitivity / (1 - specificity) = (2/6) / (2/14); (1 - sensitivity) / specificity.
    assert counts.lr_positive == pytest.approx(14 / 6)
    assert counts.lr_negative == pytest.approx((4 / 6) / (12 / 14))


def test_dice_is_half_when_squares_overlap_by_half():
    truth = mask("....", ".##.", ".##.")
    pred = mask("....", "..##", "..##")
    assert metrics.dice(truth, pred) == 0.5


def test_nonzero_is_inside_whatever_the_type():
    assert metrics.dice(TRUTH.astype(np.uint8) * 7, PRED.astype(np.float32) / 2) == 0.4


def test_equal_masks_agree_in_full():
    counts = metrics.confusion(TRUTH, TRUTH)
    assert (counts.dice, counts.jaccard, counts.accuracy) == (1.0, 1.0, 1.0)
    assert counts.lr_negative == 0.0
    assert math.isnan(counts.lr_positive)  # No false positive to divide by.


def test_a_prediction_of_nothing_has_no_precision():
    counts = metrics.confusion(TRUTH, EMPTY)
    assert (counts.dice, counts.jaccard, counts.sensitivity) == (0.0, 0.0, 0.0)
    assert (counts.specificity, counts.accuracy, counts.lr_negative) == (1.0, 14 / 20, 1.0)
    assert math.isnan(counts.precision)
    assert math.isnan(counts.lr_positive)


def test_a_truth_without_organ_has_no_sensitivity():
    counts = metrics.confusion(EMPTY, PRED)
    assert (counts.dice, counts.jaccard, counts.precision) == (0.0, 0.0, 0.0)
    assert (counts.specificity, counts.accuracy) == (16 / 20, 16 / 20)
    assert math.isnan(counts.sensitivity)
    assert math.isnan(counts.lr_positive)
    assert math.isnan(counts.lr_negative)


def test_two_empty_masks_have_no_overlap_to_speak_of():
    counts = metrics.confusion(EMPTY, EMPTY)
    assert (counts.specificity, counts.accuracy) == (1.0, 1.0)
    assert math.isnan(counts.dice)
    assert math.isnan(counts.jaccard)
    assert math.isnan(counts.sensitivity)
    assert math.isnan(counts.precision)


def test_a_truth_without_background_has_no_specificity():
    counts = metrics.confusion(FULL, PRED)
    assert counts.sensitivity == 4 / 20
    assert math.isnan(counts.specificity)
    assert math.isnan(counts.lr_positive)
    assert math.isnan(counts.lr_negative)


def test_counts_beyond_the_reach_of_small_floats_and_integers_are_exact():
    counts = metrics.confusion(np.ones((300, 301), bool), np.ones((300, 301), bool))
    assert counts.true_positive == 90_300
    assert {type(count) for count in vars(counts).values()} == {int}
    # A product of counts of a large volume passes 2**63.
    assert metrics.Confusion(2**32, 2**32, 2**32, 2**32).lr_positive == 1.0


def test_masks_of_two_shapes_are_refused():
    with pytest.raises(VolumeError, match=r"one shape, found \(4, 5\) \(truth\) and \(3, 5\)"):
        metrics.dice(TRUTH, PRED[:3])


def values_of(row):
    """The measures of a case by name."""
    return {column: getattr(row, column) for column in metrics.COLUMNS}


def test_every_column_of_a_drawn_case_in_order():
    truth = volume_of(mask("....", ".##.", ".##.", "...."))
    pred = volume_of(mask("....", ".##.", "....", "...."))
    # 48 voxels of 10 mm³. Rows are 2 mm apart: two of the truth's four surface voxels lie 2 mm
    # from the prediction, all other distances are 0.
    expected = {
        "case": "drawn",
        "dice": 2 * 2 / 6,
        "jaccard": 2 / 4,
        "sensitivity": 2 / 4,
        "specificity": 1.0,
        "precision": 1.0,
        "accuracy": 46 / 48,
        "lr_positive": math.nan,
        "lr_negative": 0.5,
        "truth_mm3": 40.0,
        "pred_mm3": 20.0,
        "volume_error_mm3": -20.0,
        "volume_error_percent": -50.0,
        "abs_volume_error_percent": 50.0,
        "hd_mm": 2.0,
        "hd95_mm": 2.0,  # Of 0, 0, 2, 2.
        "assd_mm": 4 / 6,
        "nsd_1mm": 4 / 6,
        "nsd_2mm": 1.0,
    }
    row = msgspec.structs.asdict(metrics.measure("drawn", truth, pred))
    assert tuple(row) == ("case", *metrics.COLUMNS) == tuple(expected)
    assert row == pytest.approx(expected, nan_ok=True)


def test_an_empty_truth_leaves_the_error_in_mm3_alone():
    row = metrics.measure("drawn", volume_of(EMPTY), volume_of(PRED))
    assert row.volume_error_mm3 == pytest.approx(40.0)
    undefined = {column for column, value in values_of(row).items() if math.isnan(value)}
    assert undefined == {
        *("sensitivity", "lr_positive", "lr_negative"),
        *("volume_error_percent", "abs_volume_error_percent", "hd_mm", "hd95_mm", "assd_mm"),
    }


def test_an_empty_prediction_lacks_all_of_the_volume():
    row = metrics.measure("drawn", volume_of(TRUTH), volume_of(EMPTY))
    assert row.volume_error_mm3 == pytest.approx(-60.0)
    assert row.volume_error_percent == -100.0
    assert row.nsd_2mm == 0.0
    undefined = {column for column, value in values_of(row).items() if math.isnan(value)}
    assert undefined == {"precision", "lr_positive", "hd_mm", "hd95_mm", "assd_mm"}


def test_two_empty_masks_err_by_0_mm3():
    row = metrics.measure("drawn", volume_of(EMPTY), volume_of(EMPTY))
    defined = {column: value for column, value in values_of(row).items() if not math.isnan(value)}
    assert defined == {
        "specificity": 1.0,
        "accuracy": 1.0,
        "truth_mm3": 0.0,
        "pred_mm3": 0.0,
        "volume_error_mm3": 0.0,
    }


def test_grids_that_differ_are_refused_by_name():
    truth = volume_of(TRUTH, source="truth.nii.gz")
    pred = volume_of(PRED, zooms_mm=(2.0, 1.0, 6.0), source="pred.nii.gz")
    with pytest.raises(VolumeError, match=r"^pred.nii.gz: expected the affine of truth.nii.gz"):
        metrics.measure("drawn", truth, pred)


MASKS = hnp.arrays(bool, (3, 4, 2))


@settings(deadline=None, max_examples=50)
@given(MASKS, MASKS)
def test_overlap_is_symmetric_bounded_and_consistent(truth, pred):
    counts, swapped = metrics.confusion(truth, pred), metrics.confusion(pred, truth)
    assert counts.dice == pytest.approx(swapped.dice, nan_ok=True)
    assert counts.sensitivity == pytest.approx(swapped.precision, nan_ok=True)
    assert sum(vars(counts).values()) == truth.size
    if truth.any() or pred.any():
        assert 0 <= counts.jaccard <= counts.dice <= 1
        assert counts.jaccard == pytest.approx(counts.dice / (2 - counts.dice))


@settings(deadline=None, max_examples=50)
@given(MASKS.filter(np.any), MASKS.filter(np.any))
def test_overlap_agrees_with_simpleitk(truth, pred):
    reference = sitk.LabelOverlapMeasuresImageFilter()
    reference.Execute(*(sitk.GetImageFromArray(array.astype(np.uint8)) for array in (truth, pred)))
    counts = metrics.confusion(truth, pred)
    assert counts.dice == pytest.approx(reference.GetDiceCoefficient())
    assert counts.jaccard == pytest.approx(reference.GetJaccardCoefficient())
    # ITK takes its first image for the source, its second for the target: false negatives are
    # counted against the target's size.
    swapped = metrics.confusion(pred, truth)
    assert 1 - swapped.sensitivity == pytest.approx(reference.GetFalseNegativeError())
