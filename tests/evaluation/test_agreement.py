"""Bias and limits of agreement by hand."""

import math

import numpy as np
import pytest

from spleen_tf.evaluation.agreement import limits_of_agreement


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
