"""Bland–Altman: the numbers by hand, and what the plot names."""

import math

import numpy as np
import pytest
from matplotlib import image as png

from spleen_tf.core.files import InputError
from spleen_tf.reporting import plots


def test_bias_and_limits_of_agreement_by_hand():
    """Differences 1, 2, 3: mean 2, standard deviation 1 (n − 1), limits 2 ∓ 1.96."""
    agreement = plots.limits_of_agreement([100, 200, 300], [101, 202, 303])
    assert agreement.mean_ml.tolist() == [100.5, 201, 301.5]
    assert agreement.difference_ml.tolist() == [1, 2, 3]
    assert agreement.bias_ml == 2
    assert agreement.limits_ml == pytest.approx((0.04, 3.96))


def test_one_case_has_a_bias_and_no_limits():
    agreement = plots.limits_of_agreement([100], [90])
    assert agreement.bias_ml == -10
    assert all(map(math.isnan, agreement.limits_ml))
    assert agreement.outside.tolist() == []


def test_no_cases_have_neither():
    agreement = plots.limits_of_agreement([], [])
    assert math.isnan(agreement.bias_ml)
    assert agreement.outside.tolist() == []


def test_cases_outside_the_limits_are_told_the_farthest_first():
    """18 zeros, 20 and −30: bias −0.5, SD 8.26, limits −16.7 and 15.7."""
    pred = np.full(20, 100.0)
    pred[4] += 20
    pred[11] -= 30
    assert plots.limits_of_agreement(np.full(20, 100.0), pred).outside.tolist() == [11, 4]


def test_equal_differences_are_no_outliers_despite_rounding():
    truth = np.linspace(100, 200, 7)
    assert plots.limits_of_agreement(truth, truth + 0.1).outside.tolist() == []


def plotted(path, differences, cases):
    truth = np.linspace(100, 200, len(differences))
    plots.bland_altman(path, truth, truth + differences, cases)
    return path.read_bytes()


def test_the_outlier_is_named_and_no_other_case(tmp_path):
    differences = np.zeros(20)
    differences[7] = 50
    names = [f"case_{n:02}" for n in range(20)]
    other_inlier = ["renamed", *names[1:]]
    other_outlier = [*names[:7], "renamed", *names[8:]]
    plot = plotted(tmp_path / "a.png", differences, names)
    assert plot == plotted(tmp_path / "b.png", differences, other_inlier)
    assert plot != plotted(tmp_path / "c.png", differences, other_outlier)


def test_one_case_is_named(tmp_path):
    assert plotted(tmp_path / "a.png", [3.0], ["a"]) != plotted(tmp_path / "b.png", [3.0], ["b"])


@pytest.mark.parametrize("number", [0, 1, 2, 3])
def test_few_cases_that_agree_are_plotted_without_a_warning(tmp_path, recwarn, number):
    plotted(tmp_path / "a.png", np.zeros(number), ["$a_b^{"] * number)
    assert png.imread(tmp_path / "a.png").shape[:2] == (650, 1000)
    assert [str(warning.message) for warning in recwarn] == []


def test_neither_date_nor_program_nor_path_is_in_the_file(tmp_path):
    content = plotted(tmp_path / "a.png", np.arange(5.0), list("abcde"))
    for chunk in (b"tEXt", b"iTXt", b"zTXt", b"tIME", b"eXIf", b"atplotlib"):
        assert chunk not in content


def test_other_formats_are_refused_and_leave_nothing(tmp_path):
    with pytest.raises(InputError, match=r"a.jpg: expected an output name that ends in .png"):
        plots.bland_altman(tmp_path / "a.jpg", [1.0], [1.0], ["a"])
    assert list(tmp_path.iterdir()) == []
