"""Diagnostic measures of a decision, by hand, mostly of 8 true positives, 2 false negatives,
1 false positive and 9 true negatives."""

import math

import msgspec
import pytest

from spleen_tf.evaluation import decision, diagnostics
from spleen_tf.evaluation.decision import Table
from spleen_tf.evaluation.diagnostics import UNDEFINED, Estimate

TABLE = Table(true_positive=8, false_positive=1, false_negative=2, true_negative=9)


def volumes_ml(table, low=200.0, high=400.0):
    """True and predicted volumes that a threshold between low and high turns into a table."""
    pairs = [
        *([(high, high)] * table.true_positive),
        *([(low, high)] * table.false_positive),
        *([(high, low)] * table.false_negative),
        *([(low, low)] * table.true_negative),
    ]
    return [truth for truth, _ in pairs], [pred for _, pred in pairs]


def assessed(table, **options):
    return decision.assess(*volumes_ml(table), **options)


def test_cases_are_counted_by_whether_truth_and_prediction_are_above_the_threshold():
    truth_ml = [100, 100, 400, 400, 400, 314, 315]
    pred_ml = [110, 390, 90, 380, 500, 314, 314]
    # 314 mL is not above 314 mL: the last but one is a true, the last a false negative.
    assert decision.table(truth_ml, pred_ml, 314) == Table(
        true_positive=2, false_positive=1, false_negative=2, true_negative=2
    )


def test_a_case_without_prediction_is_a_mistake_of_the_caller():
    with pytest.raises(ValueError, match="shorter"):
        decision.table([100, 200], [100], 314)


def test_shares_of_the_table_by_hand():
    judged = assessed(TABLE)
    shares = {
        "sensitivity": 8 / 10,
        "specificity": 9 / 10,
        "accuracy": 17 / 20,
        "ppv": 8 / 9,
        "npv": 9 / 11,
    }
    assert {name: getattr(judged, name).value for name in shares} == pytest.approx(shares)


def test_wilsons_interval_of_8_in_10():
    """z² = 3.8415. Middle (0.8 + 3.8415/20) / 1.38415 = 0.71674; reach 1.95996 / 1.38415
    √(0.8·0.2/10 + 3.8415/400) = 0.22658."""
    estimate = diagnostics.proportion(8, 10)
    assert estimate.value == 0.8
    assert estimate.ci95 == pytest.approx((0.71674 - 0.22658, 0.71674 + 0.22658), abs=1e-5)


@pytest.mark.parametrize("total", [1, 3, 10, 49])
def test_an_interval_of_all_or_none_ends_at_1_or_0(total):
    assert diagnostics.proportion(0, total).ci95[0] == 0.0
    assert diagnostics.proportion(total, total).ci95[1] == 1.0


def test_likelihood_ratios_and_their_intervals_by_hand():
    positive, negative = TABLE.likelihood_ratios()
    # LR+ = 0.8 / 0.1; s² = 1/8 − 1/10 + 1/1 − 1/10 = 0.925, and exp(1.95996 √0.925) = 6.5866.
    assert positive.value == pytest.approx(8)
    assert positive.ci95 == pytest.approx((8 / 6.5866, 8 * 6.5866), rel=1e-4)
    # LR− = 0.2 / 0.9; s² = 1/2 − 1/10 + 1/9 − 1/10 = 0.41111, and exp(1.95996 √0.41111) = 3.5138.
    assert negative.value == pytest.approx(2 / 9)
    assert negative.ci95 == pytest.approx((2 / 9 / 3.5138, 2 / 9 * 3.5138), rel=1e-4)


def test_a_zero_cell_adds_one_half_to_all_four_counts():
    positive, negative = Table(10, 0, 0, 10).likelihood_ratios()
    # 10.5, 0.5, 0.5, 10.5: sensitivity and specificity 10.5 / 11.
    assert positive.value == pytest.approx((10.5 / 11) / (0.5 / 11))
    assert negative.value == pytest.approx((0.5 / 11) / (10.5 / 11))
    # s² = 1/10.5 − 1/11 + 1/0.5 − 1/11 = 1.91342 for both.
    reach = math.exp(1.959964 * math.sqrt(1.91342))
    assert positive.ci95 == pytest.approx((21 / reach, 21 * reach), rel=1e-4)
    assert negative.ci95 == pytest.approx((1 / 21 / reach, 1 / 21 * reach), rel=1e-4)


def test_posterior_odds_are_prior_odds_times_the_ratio():
    # Odds 1/9 × 8 = 8/9, so 8/17; the interval's ends 2 and 9 make odds 2/9 and 1.
    posterior = diagnostics.posterior(0.1, Estimate(8, (2, 9)))
    assert posterior.odds == pytest.approx(8 / 9)
    assert posterior.probability == pytest.approx(8 / 17)
    assert posterior.ci95 == pytest.approx((2 / 11, 1 / 2))


def test_an_assessment_holds_every_measure_by_name():
    judged = assessed(TABLE, threshold_ml=314, prior=0.1)
    content = msgspec.to_builtins(judged)
    assert [*content] == [
        *("decision", "threshold_ml", "cases"),
        *("true_positive", "false_positive", "false_negative", "true_negative"),
        *("sensitivity", "specificity", "accuracy", "ppv", "npv"),
        *("lr_positive", "lr_negative", "zero_cell_correction", "prior", "prior_source"),
        *("posterior_positive", "posterior_negative", "notes"),
    ]
    counts = ("true_positive", "false_positive", "false_negative", "true_negative")
    assert [content[name] for name in counts] == [8, 1, 2, 9]
    assert (judged.threshold_ml, judged.cases) == (314, 20)
    assert judged.sensitivity.ci95 == pytest.approx((0.490, 0.943), abs=5e-4)
    assert [*content["sensitivity"]] == ["value", "ci95"]
    assert judged.lr_positive.value == pytest.approx(8)
    assert (judged.prior, judged.prior_source) == (0.1, "--prior")
    assert judged.posterior_positive.probability == pytest.approx(8 / 17)
    assert [*content["posterior_positive"]] == ["odds", "probability", "ci95"]
    # Odds 1/9 × 2/9 = 2/81, so 2/83.
    assert judged.posterior_negative.probability == pytest.approx(2 / 83)
    assert (judged.zero_cell_correction, judged.notes) == (0.0, ())


def test_without_a_prior_it_is_the_prevalence_and_posteriors_are_the_predictive_values():
    judged = assessed(Table(8, 1, 2, 29), threshold_ml=314)
    assert (judged.prior, judged.prior_source) == (10 / 40, "prevalence among the cases")
    assert judged.posterior_positive.probability == pytest.approx(judged.ppv.value)
    assert judged.posterior_negative.probability == pytest.approx(1 - judged.npv.value)


def test_the_default_threshold_is_the_largest_normal_spleen_of_prassopoulos_1997():
    judged = decision.assess([314.4, 314.6], [314.4, 314.6])
    assert judged.threshold_ml == 314.5
    assert (judged.true_positive, judged.true_negative) == (1, 1)


def test_a_correction_is_said():
    judged = assessed(Table(10, 0, 3, 10), threshold_ml=314)
    assert judged.zero_cell_correction == 0.5
    assert judged.specificity.value == 1.0  # Shares are not corrected.
    (note,) = judged.notes
    assert note.startswith("A count is 0: for likelihood ratios and posteriors, 0.5 is added")


@pytest.mark.parametrize(
    ("table", "undefined", "note"),
    [
        (Table(0, 1, 0, 9), "sensitivity", "No case is truly positive: sensitivity, likelihood"),
        (Table(8, 0, 2, 0), "specificity", "No case is truly negative: specificity, likelihood"),
    ],
)
def test_without_diseased_or_healthy_cases_ratios_are_undefined_and_the_reason_is_given(
    table, undefined, note
):
    judged = assessed(table, threshold_ml=314, prior=0.1)
    for name in (undefined, "lr_positive", "lr_negative"):
        assert getattr(judged, name) == UNDEFINED
    assert judged.posterior_positive.probability is None
    assert judged.posterior_negative.probability is None
    assert judged.accuracy.value in (0.9, 0.8)
    assert judged.notes[0].startswith(note)
    assert judged.zero_cell_correction == 0.0


@pytest.mark.parametrize(
    ("table", "undefined", "note"),
    [
        (Table(0, 0, 2, 9), "ppv", "No case is called positive: ppv is undefined."),
        (Table(8, 1, 0, 0), "npv", "No case is called negative: npv is undefined."),
    ],
)
def test_a_decision_that_is_never_made_has_no_predictive_value(table, undefined, note):
    judged = assessed(table, threshold_ml=314)
    assert getattr(judged, undefined).value is None
    assert note in judged.notes
    assert judged.lr_positive.value > 0


def test_a_prevalence_of_0_has_no_posterior():
    judged = assessed(Table(0, 1, 0, 9), threshold_ml=314)
    assert judged.prior == 0.0
    assert judged.posterior_positive.odds is None


def test_no_cases_are_no_crash():
    judged = decision.assess([], [], prior=0.5)
    assert judged.accuracy.value is None
    assert len(judged.notes) == 4
    assert decision.assess([], []).prior is None
