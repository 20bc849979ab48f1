"""How far a yes or no that is made of a volume can be trusted, from cases whose truth is known."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

# The largest of 140 spleens without disease, measured on CT (mean 214.6 mL, smallest 107.2 mL):
# Prassopoulos et al., Eur Radiol 7:246–248 (1997).
SPLENOMEGALY_ML = 314.5

_Z95 = 1.959963984540054  # The 97.5th percentile of the normal distribution.


class Estimate(NamedTuple):
    """A value and its 95% interval (low, high); NaN where undefined."""

    value: float
    ci95: tuple[float, float]


_UNDEFINED = Estimate(math.nan, (math.nan, math.nan))


@dataclasses.dataclass(frozen=True)
class Table:
    """Cases by decision and truth; positive is a volume above the threshold.

    Attributes:
        true_positive, false_positive: cases that are called positive.
        false_negative, true_negative: cases that are called negative.
    """

    true_positive: int
    false_positive: int
    false_negative: int
    true_negative: int

    @property
    def positives(self) -> int:
        """Cases that truly are positive."""
        return self.true_positive + self.false_negative

    @property
    def negatives(self) -> int:
        """Cases that truly are negative."""
        return self.true_negative + self.false_positive

    @property
    def cases(self) -> int:
        """All cases."""
        return self.positives + self.negatives

    @property
    def prevalence(self) -> float:
        """The share of truly positive cases, (TP+FN) / cases; NaN without cases."""
        return self.positives / self.cases if self.cases else math.nan

    @property
    def has_zero_cell(self) -> bool:
        """Whether one of the four counts is 0."""
        return not all(dataclasses.astuple(self))

    def proportions(self) -> dict[str, Estimate]:
        """Shares of cases with Wilson's intervals, by name; NaN where nothing is divided by.

        sensitivity TP / (TP+FN), specificity TN / (TN+FP), accuracy (TP+TN) / cases, ppv
        TP / (TP+FP) and npv TN / (TN+FN): the predictive values hold at the prevalence of these
        cases only.
        """
        right = self.true_positive + self.true_negative
        return {
            "sensitivity": proportion(self.true_positive, self.positives),
            "specificity": proportion(self.true_negative, self.negatives),
            "accuracy": proportion(right, self.cases),
            "ppv": proportion(self.true_positive, self.true_positive + self.false_positive),
            "npv": proportion(self.true_negative, self.true_negative + self.false_negative),
        }

    def likelihood_ratios(self) -> tuple[Estimate, Estimate]:
        """LR+ = sensitivity / (1 - specificity) and LR- = (1 - sensitivity) / specificity.

        With intervals by the logarithm (Simel, Samsa & Matchar, J Clin Epidemiol 44:763, 1991):
        LR exp(∓ 1.96 s), where s² = 1/a - 1/(TP+FN) + 1/b - 1/(TN+FP), and (a, b) is (TP, FP) for
        LR+ and (FN, TN) for LR-. If a count is 0, then 0.5 is added to all four, for both ratios
        (Haldane, 1956; Anscombe, 1956). NaN if no case is truly positive, or none negative.
        """
        if not (self.positives and self.negatives):
            return _UNDEFINED, _UNDEFINED
        added = 0.5 if self.has_zero_cell else 0.0
        positives, negatives = self.positives + 2 * added, self.negatives + 2 * added
        ratios = []
        for a, b in (
            (self.true_positive + added, self.false_positive + added),
            (self.false_negative + added, self.true_negative + added),
        ):
            ratio = (a / positives) / (b / negatives)
            reach = math.exp(_Z95 * math.sqrt(1 / a - 1 / positives + 1 / b - 1 / negatives))
            ratios.append(Estimate(ratio, (ratio / reach, ratio * reach)))
        return ratios[0], ratios[1]


def table(truth_ml: Sequence[float], pred_ml: Sequence[float], threshold_ml: float) -> Table:
    """Counts cases by whether their volume is above a threshold, in truth and as predicted.

    Args:
        truth_ml: (N,) volumes.
        pred_ml: (N,) volumes of the same cases.
        threshold_ml: a volume of just this much is not above it.
    """
    pairs = [
        (truth > threshold_ml, pred > threshold_ml)
        for truth, pred in zip(truth_ml, pred_ml, strict=True)
    ]
    return Table(
        true_positive=pairs.count((True, True)),
        false_positive=pairs.count((False, True)),
        false_negative=pairs.count((True, False)),
        true_negative=pairs.count((False, False)),
    )


def proportion(count: int, total: int) -> Estimate:
    """count / total with the score interval (Wilson, J Am Stat Assoc 22:209, 1927).

    (p + z²/2n ∓ z √(p(1-p)/n + z²/4n²)) / (1 + z²/n), with z = 1.96; NaN if the total is 0.
    """
    if not total:
        return _UNDEFINED
    p, z2 = count / total, _Z95**2
    middle = p + z2 / (2 * total)
    reach = _Z95 * math.sqrt(p * (1 - p) / total + z2 / (4 * total**2))
    scale = 1 + z2 / total
    # At the ends the formula gives 0 and 1, but for rounding.
    low = (middle - reach) / scale if count else 0.0
    high = (middle + reach) / scale if count < total else 1.0
    return Estimate(p, (low, high))


def posterior(prior: float, ratio: Estimate) -> dict[str, Any]:
    """What a result makes of a prior probability: posterior odds = prior odds × LR (Bayes).

    Args:
        prior: in (0, 1), taken as exact; NaN if unknown.
        ratio: the likelihood ratio of the result.

    Returns:
        odds; probability = odds / (1 + odds); and ci95 of the probability, from the interval of
        the ratio. NaN where prior or ratio is.
    """
    odds, low, high = (prior / (1 - prior) * value for value in (ratio.value, *ratio.ci95))
    return {
        "odds": odds,
        "probability": odds / (1 + odds),
        "ci95": [low / (1 + low), high / (1 + high)],
    }


def assess(
    truth_ml: Sequence[float],
    pred_ml: Sequence[float],
    threshold_ml: float | None = None,
    prior: float | None = None,
) -> dict[str, Any]:
    """All that is said of the decision "splenomegaly": a volume above a threshold.

    Args:
        truth_ml: (N,) volumes.
        pred_ml: (N,) volumes of the same cases.
        threshold_ml: SPLENOMEGALY_ML by default.
        prior: the probability of splenomegaly before the measurement, in (0, 1); by default the
            prevalence among the cases.

    Returns:
        `decision`, `threshold_ml`, `cases`, the counts of Table; `sensitivity`, `specificity`,
        `accuracy`, `ppv`, `npv`, `lr_positive`, `lr_negative`, each with `value` and `ci95`;
        `zero_cell_correction` (0 or 0.5, in the ratios); `prior`, `prior_source`;
        `posterior_positive` and `posterior_negative` (see `posterior`); and `notes`, which say in
        words why something is NaN or corrected.
    """
    threshold_ml = SPLENOMEGALY_ML if threshold_ml is None else threshold_ml
    counts = table(truth_ml, pred_ml, threshold_ml)
    lr_positive, lr_negative = counts.likelihood_ratios()
    estimates = counts.proportions() | {"lr_positive": lr_positive, "lr_negative": lr_negative}
    is_defined = bool(counts.positives and counts.negatives)
    given = counts.prevalence if prior is None else prior
    usable = given if 0 < given < 1 else math.nan
    return {
        "decision": "splenomegaly",
        "threshold_ml": threshold_ml,
        "cases": counts.cases,
        **dataclasses.asdict(counts),
        **{name: {"value": e.value, "ci95": list(e.ci95)} for name, e in estimates.items()},
        "zero_cell_correction": 0.5 if is_defined and counts.has_zero_cell else 0.0,
        "prior": given,
        "prior_source": "prevalence among the cases" if prior is None else "--prior",
        "posterior_positive": posterior(usable, lr_positive),
        "posterior_negative": posterior(usable, lr_negative),
        "notes": _notes(counts),
    }


def _notes(counts: Table) -> list[str]:
    notes = []
    for kind, number, undefined in (
        ("positive", counts.positives, "sensitivity"),
        ("negative", counts.negatives, "specificity"),
    ):
        if not number:
            notes.append(
                f"No case is truly {kind}: {undefined}, likelihood ratios and posteriors are "
                "undefined."
            )
    for called, number, undefined in (
        ("positive", counts.true_positive + counts.false_positive, "ppv"),
        ("negative", counts.true_negative + counts.false_negative, "npv"),
    ):
        if not number:
            notes.append(f"No case is called {called}: {undefined} is undefined.")
    if counts.has_zero_cell and counts.positives and counts.negatives:
        notes.append(
            "A count is 0: for likelihood ratios and posteriors, 0.5 is added to all four counts "
            "(Haldane–Anscombe)."
        )
    return notes
