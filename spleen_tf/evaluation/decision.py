"""How far a yes or no that is made of a volume can be trusted, from cases whose truth is known."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal

import msgspec

from spleen_tf.evaluation.diagnostics import (
    UNDEFINED,
    Estimate,
    Posterior,
    corrected_ratio,
    posterior,
    proportion,
    ratio,
)
from spleen_tf.quality import reference

# The largest of 140 spleens without disease (see `reference`).
SPLENOMEGALY_ML = reference.ADULTS_ML[1]


class Decision(msgspec.Struct, frozen=True):
    """How a decision by volume agrees with the truth: decision.json.

    Attributes:
        decision: its name.
        threshold_ml: a volume above it is positive.
        cases: their number.
        true_positive, false_positive, false_negative, true_negative: counts of cases.
        sensitivity: TP / (TP+FN).
        specificity: TN / (TN+FP).
        accuracy: (TP+TN) / cases.
        ppv, npv: predictive values TP / (TP+FP) and TN / (TN+FN), at the prevalence of these cases.
        lr_positive, lr_negative: likelihood ratios, see `Table.likelihood_ratios`.
        zero_cell_correction: what was added to each count for the ratios: 0 or 0.5.
        prior: the probability before the measurement; None without cases.
        prior_source: where the prior comes from.
        posterior_positive, posterior_negative: what a positive and a negative result make of it.
        notes: why something is undefined or corrected.
    """

    decision: Literal["splenomegaly"]
    threshold_ml: float
    cases: int
    true_positive: int
    false_positive: int
    false_negative: int
    true_negative: int
    sensitivity: Estimate
    specificity: Estimate
    accuracy: Estimate
    ppv: Estimate
    npv: Estimate
    lr_positive: Estimate
    lr_negative: Estimate
    zero_cell_correction: float
    prior: float | None
    prior_source: str
    posterior_positive: Posterior
    posterior_negative: Posterior
    notes: tuple[str, ...]


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
    def called_positive(self) -> int:
        """Cases that are called positive."""
        return self.true_positive + self.false_positive

    @property
    def called_negative(self) -> int:
        """Cases that are called negative."""
        return self.true_negative + self.false_negative

    @property
    def cases(self) -> int:
        """All cases."""
        return self.positives + self.negatives

    @property
    def has_zero_cell(self) -> bool:
        """Whether one of the four counts is 0."""
        return not all(dataclasses.astuple(self))

    def likelihood_ratios(self) -> tuple[Estimate, Estimate]:
        """LR+ = sensitivity / (1 - specificity) and LR- = (1 - sensitivity) / specificity.

        Each is the ratio of two proportions, with the interval by its logarithm (Katz et al.,
        Biometrics 34:469, 1978; Simel, Samsa & Matchar, J Clin Epidemiol 44:763, 1991). If a count
        is 0, then 0.5 is added to all four, for both ratios (Haldane, 1956; Anscombe, 1956).
        Undefined if no case is truly positive, or none negative.
        """
        if not (self.positives and self.negatives):
            return UNDEFINED, UNDEFINED
        of_positive = self.true_positive, self.positives, self.false_positive, self.negatives
        of_negative = self.false_negative, self.positives, self.true_negative, self.negatives
        if self.has_zero_cell:
            return corrected_ratio(*of_positive), corrected_ratio(*of_negative)
        return ratio(*of_positive), ratio(*of_negative)


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


def assess(
    truth_ml: Sequence[float],
    pred_ml: Sequence[float],
    threshold_ml: float | None = None,
    prior: float | None = None,
) -> Decision:
    """Measures the decision "splenomegaly": a volume above a threshold.

    Args:
        truth_ml: (N,) volumes.
        pred_ml: (N,) volumes of the same cases.
        threshold_ml: SPLENOMEGALY_ML by default.
        prior: the probability of splenomegaly before the measurement, in (0, 1); by default the
            prevalence among the cases.
    """
    threshold_ml = SPLENOMEGALY_ML if threshold_ml is None else threshold_ml
    counts = table(truth_ml, pred_ml, threshold_ml)
    prior_source = "prevalence among the cases" if prior is None else "--prior"
    if prior is None and counts.cases:
        prior = counts.positives / counts.cases
    lr_positive, lr_negative = counts.likelihood_ratios()
    is_corrected = lr_positive.value is not None and counts.has_zero_cell
    return Decision(
        decision="splenomegaly",
        threshold_ml=threshold_ml,
        cases=counts.cases,
        true_positive=counts.true_positive,
        false_positive=counts.false_positive,
        false_negative=counts.false_negative,
        true_negative=counts.true_negative,
        sensitivity=proportion(counts.true_positive, counts.positives),
        specificity=proportion(counts.true_negative, counts.negatives),
        accuracy=proportion(counts.true_positive + counts.true_negative, counts.cases),
        ppv=proportion(counts.true_positive, counts.called_positive),
        npv=proportion(counts.true_negative, counts.called_negative),
        lr_positive=lr_positive,
        lr_negative=lr_negative,
        zero_cell_correction=0.5 if is_corrected else 0.0,
        prior=prior,
        prior_source=prior_source,
        posterior_positive=posterior(prior, lr_positive),
        posterior_negative=posterior(prior, lr_negative),
        notes=tuple(_notes(counts)),
    )


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
        ("positive", counts.called_positive, "ppv"),
        ("negative", counts.called_negative, "npv"),
    ):
        if not number:
            notes.append(f"No case is called {called}: {undefined} is undefined.")
    if counts.has_zero_cell and counts.positives and counts.negatives:
        notes.append(
            "A count is 0: for likelihood ratios and posteriors, 0.5 is added to all four counts "
            "(Haldane–Anscombe)."
        )
    return notes
