"""Risk-coverage curves by hand."""

import numpy as np
import pytest

from spleen_tf.evaluation.risk_coverage import risk_coverage

# Errors 0.1, 0.2, 0.3 and 0.6; predicted in the order 0.2, 0.1, 0.6, 0.3.
TRUE = (0.9, 0.8, 0.7, 0.4)
PREDICTED = (0.8, 0.9, 0.5, 0.6)


def test_risk_is_the_mean_error_of_what_is_predicted_best():
    curve = risk_coverage(PREDICTED, TRUE)
    assert curve.coverage == (0.25, 0.5, 0.75, 1.0)
    assert curve.risk == pytest.approx((0.2, 0.3 / 2, 0.9 / 3, 1.2 / 4))
    assert curve.ideal_risk == pytest.approx((0.1, 0.3 / 2, 0.6 / 3, 1.2 / 4))
    assert curve.aurc == pytest.approx((0.2 + 0.15 + 0.3 + 0.3) / 4)
    assert curve.ideal_aurc == pytest.approx((0.1 + 0.15 + 0.2 + 0.3) / 4)


def test_a_perfect_prediction_is_ideal_and_an_inverted_one_is_worse_than_chance():
    perfect, inverted = risk_coverage(TRUE, TRUE), risk_coverage(-np.array(TRUE), TRUE)
    assert perfect.aurc == perfect.ideal_aurc
    chance = 1.2 / 4  # The mean error at any coverage.
    assert perfect.aurc < chance < inverted.aurc


def test_equal_predictions_count_with_their_mean_error():
    curve = risk_coverage((0.5, 0.5, 0.5, 0.9), TRUE)
    # The last, 0.6, comes first; then thrice the mean of 0.1, 0.2 and 0.3.
    assert curve.risk == pytest.approx((0.6, 0.8 / 2, 1.0 / 3, 1.2 / 4))
    same = risk_coverage((0.9, 0.5, 0.5, 0.5), (0.4, 0.7, 0.9, 0.8))
    assert same.risk == pytest.approx(curve.risk)


def test_the_curve_is_read_at_the_coverage_that_is_reached():
    curve = risk_coverage(PREDICTED, TRUE)
    assert curve.at(0.5) == pytest.approx((0.15, 0.15))
    assert curve.at(0.6) == pytest.approx((0.3, 0.2))
    assert curve.at(1.0) == pytest.approx((0.3, 0.3))


def test_without_predictions_there_is_no_curve():
    assert risk_coverage([], []) is None
