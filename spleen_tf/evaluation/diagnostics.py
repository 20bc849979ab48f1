"""Estimates with 95% intervals: proportions, likelihood ratios and what these make of a prior."""

from __future__ import annotations

import math

import msgspec
from scipy import stats
from scipy.stats import contingency

_Z95 = float(stats.norm.ppf(0.975))

Interval = tuple[float | None, float | None]


class Estimate(msgspec.Struct, frozen=True):
    """A value and its 95% interval (low, high); None where undefined."""

    value: float | None
    ci95: Interval


UNDEFINED = Estimate(None, (None, None))


class Posterior(msgspec.Struct, frozen=True):
    """What a result makes of a prior probability; None where undefined.

    Attributes:
        odds: prior odds × likelihood ratio (Bayes).
        probability: odds / (1 + odds).
        ci95: of the probability, from the interval of the likelihood ratio.
    """

    odds: float | None
    probability: float | None
    ci95: Interval


def proportion(count: int, total: int) -> Estimate:
    """count / total with the score interval (Wilson, J Am Stat Assoc 22:209, 1927).

    Undefined if the total is 0.
    """
    if not total:
        return UNDEFINED
    interval = stats.binomtest(count, total).proportion_ci(0.95, "wilson")
    return Estimate(count / total, (float(interval.low), float(interval.high)))


def posterior(prior: float | None, ratio: Estimate) -> Posterior:
    """What a result makes of a prior probability.

    Args:
        prior: in (0, 1), taken as exact; anything else leaves the posterior undefined.
        ratio: the likelihood ratio of the result.
    """
    low, high = ratio.ci95
    if prior is None or not 0 < prior < 1 or ratio.value is None or low is None or high is None:
        return Posterior(None, None, (None, None))
    odds, low_odds, high_odds = (prior / (1 - prior) * lr for lr in (ratio.value, low, high))
    ci95 = low_odds / (1 + low_odds), high_odds / (1 + high_odds)
    return Posterior(odds, odds / (1 + odds), ci95)


def ratio(a: int, of_a: int, b: int, of_b: int) -> Estimate:
    """(a / of_a) / (b / of_b) with its 95% interval."""
    risk = contingency.relative_risk(a, of_a, b, of_b)
    interval = risk.confidence_interval(0.95)
    return Estimate(float(risk.relative_risk), (float(interval.low), float(interval.high)))


def corrected_ratio(a: int, of_a: int, b: int, of_b: int) -> Estimate:
    """The same with 0.5 added to each count, which SciPy, for whole counts, does not compute.

    The interval is ratio · exp(∓1.96 s), where s² = 1/a - 1/of_a + 1/b - 1/of_b.
    """
    more_a, more_b, more_of_a, more_of_b = a + 0.5, b + 0.5, of_a + 1, of_b + 1
    ratio = (more_a / more_of_a) / (more_b / more_of_b)
    variance = 1 / more_a - 1 / more_of_a + 1 / more_b - 1 / more_of_b
    reach = math.exp(_Z95 * math.sqrt(variance))
    return Estimate(ratio, (ratio / reach, ratio * reach))
