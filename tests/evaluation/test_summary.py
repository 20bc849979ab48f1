"""Statistics over cases: by hand, and the bootstrap interval of a mean."""

import math

import msgspec
import numpy as np
import pytest

from spleen_tf.core import files
from spleen_tf.core.files import InputError
from spleen_tf.evaluation import summary
from spleen_tf.evaluation.metrics import COLUMNS, CaseMetrics
from spleen_tf.evaluation.summary import Statistics


def rows_of(**columns):
    """Cases in which all but the given columns are undefined."""
    number = len(next(iter(columns.values())))
    undefined = dict.fromkeys(COLUMNS, math.nan)
    return [
        CaseMetrics(f"c{n}", **(undefined | {name: values[n] for name, values in columns.items()}))
        for n in range(number)
    ]


def test_statistics_are_over_the_cases_where_a_measure_is_defined():
    whole = summary.summarize(rows_of(dice=[0.5, math.nan, 0.9, 0.7], hd_mm=[3.0] * 4))
    assert whole.cases == 4
    assert tuple(whole.measures) == COLUMNS
    dice = whole.measures["dice"]
    assert dice.mean == pytest.approx(0.7)
    assert dice.sd == pytest.approx(0.2)  # √((0.04 + 0 + 0.04) / 2)
    assert dice.median == pytest.approx(0.7)
    assert (dice.minimum, dice.maximum, dice.undefined) == (0.5, 0.9, 1)
    assert whole.measures["hd_mm"].ci95 == (3.0, 3.0)
    assert whole.measures["hd_mm"].undefined == 0


def test_what_no_case_defines_has_no_statistics():
    measures = summary.summarize(rows_of(dice=[0.5, 0.6])).measures
    assert measures["assd_mm"] == Statistics(None, None, None, None, None, (None, None), 2)


def test_one_case_has_a_mean_but_says_nothing_of_spread():
    dice = summary.summarize(rows_of(dice=[0.8])).measures["dice"]
    assert (dice.mean, dice.minimum, dice.maximum) == (0.8, 0.8, 0.8)
    assert (dice.sd, dice.ci95) == (None, (None, None))


def test_no_cases_are_no_crash():
    whole = summary.summarize([])
    assert whole.cases == 0
    assert whole.measures["dice"].mean is None


def test_a_summary_comes_back_from_its_file(tmp_path):
    whole = summary.summarize(rows_of(dice=[0.5, 0.9], hd_mm=[math.nan, 2.0]))
    summary.write(tmp_path / "summary.json", whole)
    assert summary.read(tmp_path / "summary.json") == whole
    content = files.read_json(tmp_path / "summary.json")
    assert [*content] == ["cases", *COLUMNS]
    assert [*content["dice"]] == [*Statistics.__struct_fields__]


def test_a_summary_without_a_measure_is_refused(tmp_path):
    content = msgspec.to_builtins(summary.summarize(rows_of(dice=[0.5])).content())
    del content["hd_mm"]
    files.write_json(tmp_path / "summary.json", content)
    with pytest.raises(InputError, match=r"summary.json: expected .* found none of 'hd_mm'"):
        summary.read(tmp_path / "summary.json")


def test_bootstrap_of_two_cases_spans_both():
    # A resample holds one of them twice with probability 1/4 each, far above 2.5%.
    assert summary.bootstrap_ci95(np.array([0.2, 0.8])) == pytest.approx((0.2, 0.8))


def test_bootstrap_of_many_cases_is_close_to_the_normal_interval():
    values = np.random.default_rng(7).normal(10, 2, 400)
    low, high = summary.bootstrap_ci95(values)
    half_width = 1.96 * values.std() / math.sqrt(400)
    assert low == pytest.approx(values.mean() - half_width, abs=0.025)
    assert high == pytest.approx(values.mean() + half_width, abs=0.025)


def test_bootstrap_follows_the_skew_of_a_bad_case():
    """19 cases of 0.9 and one of 0.1: the mean of a resample is 0.9 − 0.04 k.

    k, how often the bad case is drawn, is binomial (20, 1/20): P(k ≥ 2) = 0.264, P(k ≥ 1) = 0.642.
    Bias z0 = Φ⁻¹((0.264 + 0.642) / 2) = −0.12; acceleration a = −0.154 by the jackknife. With
    z = z0 − 1.96 = −2.08 the lower end is the quantile Φ(z0 + z / (1 − a z)) = Φ(−3.18) = 0.0007.
    P(k ≥ 6) = 0.0003 and P(k ≥ 5) = 0.0026: k = 5. The percentile 2.5% would be k = 3 only.
    """
    assert summary.bootstrap_ci95(np.array([0.9] * 19 + [0.1])) == pytest.approx((0.7, 0.9))


def test_equal_values_have_an_interval_without_width():
    assert summary.bootstrap_ci95(np.array([0.3, 0.3, 0.3])) == (0.3, 0.3)


def test_values_that_rounding_tells_apart_are_no_crash(recwarn):
    low, high = summary.bootstrap_ci95(np.array([0.1, 0.1, np.nextafter(0.1, 1)]))
    assert low == pytest.approx(0.1)
    assert high == pytest.approx(0.1)
    assert not recwarn.list


def test_bootstrap_is_repeatable_and_follows_its_seed():
    values = np.random.default_rng(7).random(30)
    assert summary.bootstrap_ci95(values, 1) == summary.bootstrap_ci95(values, 1)
    assert summary.bootstrap_ci95(values, 1) != summary.bootstrap_ci95(values, 2)
