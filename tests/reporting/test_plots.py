"""The Bland–Altman plot: what it names, and what is in its file."""

import numpy as np
import pytest
from matplotlib import image as png

from spleen_tf.core.files import InputError
from spleen_tf.reporting import plots


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
