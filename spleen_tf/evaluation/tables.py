"""Results as Markdown: means with intervals, a decision's figures, and the parts pages share."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from spleen_tf.evaluation.decision import Decision
from spleen_tf.evaluation.diagnostics import Interval
from spleen_tf.evaluation.summary import RESAMPLES, Summary

ABSENT = "–"
INTERVAL_NOTE = (
    "In brackets: the 95% interval of the mean, by bias-corrected and accelerated (BCa) bootstrap "
    f"over cases ({RESAMPLES:,} resamples)."
)
# The measures that sum up an evaluation: titles and digits.
HEADLINES = {
    "dice": ("Dice", 3),
    "jaccard": ("Jaccard", 3),
    "hd95_mm": ("HD95 (mm)", 1),
    "nsd_2mm": ("NSD at 2 mm", 3),
    "abs_volume_error_percent": ("volume error (%)", 1),
}


def means(summaries: Mapping[str, Summary], of: str = "cases") -> str:
    """Means, each with its 95% interval where more than one case gives one.

    Args:
        summaries: by what stands in the first column.
        of: the title of that column.
    """
    header = [of, *(title for title, _ in HEADLINES.values()), "worst Dice"]
    lines = []
    for name, summary in summaries.items():
        cells = [
            f"{number(measure.mean, digits)} {in_brackets(measure.ci95, digits)}".rstrip()
            for column, (_, digits) in HEADLINES.items()
            for measure in [summary.measures[column]]
        ]
        lines.append([name, *cells, number(summary.measures["dice"].minimum, 3)])
    return markdown(header, lines)


def left_out(summary: Summary) -> str:
    """A sentence on how many cases each mean leaves out; '' where all means cover all cases.

    The distance to an empty mask is undefined, and so is the Dice of two: cases in which nothing is
    found would better a mean distance in silence.
    """
    lacking = [
        f"{title} of {summary.measures[column].undefined}"
        for column, (title, _) in HEADLINES.items()
        if summary.measures[column].undefined
    ]
    return f"Left out of a mean, since undefined: {', '.join(lacking)}." if lacking else ""


def decision_section(decision: Decision) -> str:
    """The rule of a decision, the counts, the estimates and notes."""
    counts = [list(map(str, row)) for row in decision_counts(decision)]
    return "\n\n".join(
        [
            decision_rule(decision),
            markdown(["", "truly positive", "truly negative"], counts),
            markdown(["measure", "value", "95% interval"], decision_estimates(decision)),
            *decision.notes,
        ]
    )


def decision_rule(decision: Decision) -> str:
    """A sentence on what was decided, in how many cases, with what prior."""
    prior = f"Prior probability {number(decision.prior, 3)} ({decision.prior_source})."
    return (
        f"{decision.decision}: a volume above {decision.threshold_ml:g} mL. "
        f"{counted(decision.cases)}. {prior}"
    )


def decision_counts(decision: Decision) -> list[tuple[str, int, int]]:
    """The counts of cases: a row per call, a column per truth."""
    return [
        ("called positive", decision.true_positive, decision.false_positive),
        ("called negative", decision.false_negative, decision.true_negative),
    ]


def decision_estimates(decision: Decision) -> list[list[str]]:
    """Each estimate as its title, its value and its 95% interval."""
    estimates = [
        ("sensitivity", decision.sensitivity, 3),
        ("specificity", decision.specificity, 3),
        ("accuracy", decision.accuracy, 3),
        ("positive predictive value, at the prevalence of these cases", decision.ppv, 3),
        ("negative predictive value, at the prevalence of these cases", decision.npv, 3),
        ("likelihood ratio of a positive result, LR+", decision.lr_positive, 2),
        ("likelihood ratio of a negative result, LR−", decision.lr_negative, 3),
    ]
    rows = [
        [title, number(estimate.value, digits), _interval(estimate.ci95, digits)]
        for title, estimate, digits in estimates
    ]
    for result, posterior in (
        ("positive", decision.posterior_positive),
        ("negative", decision.posterior_negative),
    ):
        title = f"probability after a {result} result (odds {number(posterior.odds, 3)})"
        rows.append([title, number(posterior.probability, 3), _interval(posterior.ci95, 3)])
    return rows


def counted(cases: int) -> str:
    """'1 case', '14 cases'."""
    return f"{cases} case{'s' * (cases != 1)}"


def in_brackets(ci95: Interval, digits: int) -> str:
    """(low–high) of an interval; '' where too few cases leave it undefined."""
    interval = _interval(ci95, digits)
    return "" if interval == ABSENT else f"({interval})"


def number(value: float | None, digits: int) -> str:
    """'–' for what is undefined."""
    return ABSENT if value is None or math.isnan(value) else f"{value:.{digits}f}"


def cell(text: str) -> str:
    """Text that fits a cell of a Markdown table; '–' for none."""
    return " ".join(text.split()).replace("|", "\\|") or ABSENT


def markdown(header: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A table."""
    rows = [header, ["---"] * len(header), *lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _interval(ci95: Interval, digits: int) -> str:
    low, high = ci95
    return ABSENT if low is None or high is None else f"{low:.{digits}f}–{high:.{digits}f}"
