"""Bias and limits of agreement by hand."""

import math

import numpy as np
import pytest

from spleen_tf.evaluation.agreement import (
    MeasurementError,
    limits_of_agreement,
    limits_of_change,
)


def test_bias_and_limits_of_agreement_by_hand():
    """Differences 1, 2, 3: mean 2, standard deviation 1 (n − 1), limits 2 ∓ 1.96."""
    agreement = limits_of_agreement([100, 200, 300], [101, 202, 303])
    assert agreement.mean_ml.tolist() == [100.5, 201, 301.5]
    assert agreement.difference_ml.tolist() == [1, 2, 3]
    assert agreement.bias_ml == 2
    assert agreement.limits_ml == pytest.approx((0.04, 3.96))


def test_one_case_has_a_bias_and_no_limits():
    agreement = limits_of_agreement([100], [90])
    assert agreement.bias_ml == -10
    assert all(map(math.isnan, agreement.limits_ml))
    assert agreement.outside.tolist() == []


def test_no_cases_have_neither():
    agreement = limits_of_agreement([], [])
    assert math.isnan(agreement.bias_ml)
    assert agreement.outside.tolist() == []


def test_cases_outside_the_limits_are_told_the_farthest_first():
    """18 zeros, 20 and −30: bias −0.5, SD 8.26, limits −16.7 and 15.7."""
    pred = np.full(20, 100.0)
    pred[4] += 20
    pred[11] -= 30
    assert limits_of_agreement(np.full(20, 100.0), pred).outside.tolist() == [11, 4]


def test_equal_differences_are_no_outliers_despite_rounding():
    truth = np.linspace(100, 200, 7)
    assert limits_of_agreement(truth, truth + 0.1).outside.tolist() == []


def test_an_unchanged_organ_changes_by_the_square_root_of_two_times_the_error():
    """1.96 √2 0.05 = 0.1386; e^-0.1386 = 0.8706 and e^0.1386 = 1.1487."""
    error = MeasurementError(bias_percent=0.0, sd_percent=5.0)
    assert limits_of_change(error, error) == pytest.approx((-12.94, 14.87), abs=0.01)


def test_the_bias_of_one_make_of_models_cancels():
    """Half as much is found each time: the SD of 5% of the truth is 10% of what is found."""
    half = MeasurementError(bias_percent=-50.0, sd_percent=5.0)
    whole = MeasurementError(bias_percent=0.0, sd_percent=10.0)
    assert limits_of_change(half, half) == pytest.approx(limits_of_change(whole, whole))


def test_between_two_makes_the_limits_lie_about_their_difference():
    """The second finds 20% more: without spread, an unchanged organ grows by 20%."""
    first, second = MeasurementError(0.0, 0.0), MeasurementError(20.0, 0.0)
    assert limits_of_change(first, second) == pytest.approx((20.0, 20.0))


def test_limits_hold_nineteen_of_twenty_pairs_of_an_unchanged_organ():
    rng = np.random.default_rng(0)
    before, after = 100 * (1 + rng.normal(0.02, 0.06, (2, 20_000)))
    low, high = limits_of_change(MeasurementError(2.0, 6.0), MeasurementError(2.0, 6.0))
    percent = 100 * (after - before) / before
    assert np.mean((percent < low) | (percent > high)) == pytest.approx(0.05, abs=0.005)
