"""The figures of a study of quality control: study.json and study.md."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
import numpy as np
from scipy import stats

from spleen_tf.evaluation import tables
from spleen_tf.evaluation.quality_study import UNCORRUPTED, Judged
from spleen_tf.evaluation.risk_coverage import RiskCoverage, risk_coverage
from spleen_tf.imaging.intensity import MODALITIES, Modality
from spleen_tf.quality.calibration import COVERAGE, FAILURE_DICE, Calibration
from spleen_tf.quality.volume_interval import VolumeInterval

_COVERAGES = (0.1, 0.25, 0.5, 0.75, 0.9, 1.0)


class Share(msgspec.Struct, frozen=True):
    """So many of so many."""

    count: int
    total: int

    def __str__(self) -> str:
        """As a percentage with the counts; 'none' of nothing."""
        if not self.total:
            return "none"
        return f"{self.count / self.total:.1%} ({self.count} of {self.total})"


class Figures(msgspec.Struct, frozen=True):
    """How well quality control did on some predictions.

    Attributes:
        predictions, patients: their numbers.
        failures_flagged: of the predictions whose Dice is below FAILURE_DICE.
        false_alarms: of the successes on volumes that were not corrupted.
        coverage: of the predictions with an interval, those whose Dice lies in it.
        rank_correlation: of predicted and true Dice (Spearman); None where it is undefined.
        risk_coverage: of the predictions with a predicted Dice; None without any.
    """

    predictions: int
    patients: int
    failures_flagged: Share
    false_alarms: Share
    coverage: Share
    rank_correlation: float | None
    risk_coverage: RiskCoverage | None


class Study(msgspec.Struct, frozen=True):
    """study.json.

    Attributes:
        failure_dice: a Dice below it is a failure.
        review_below: a predicted Dice below it asks for a review.
        all: figures of all predictions.
        by_modality: figures of each modality, where the study has both; else empty.
        volume_intervals: those of the calibration, with their coverage.
    """

    failure_dice: float
    review_below: float
    all: Figures
    by_modality: dict[Modality, Figures]
    volume_intervals: dict[Modality, VolumeInterval]


def study(judged: Sequence[Judged], calibration: Calibration) -> Study:
    """The figures over all predictions and, where there are CT and MR, over each."""
    of_modality = {m: [j for j in judged if j.modality == m] for m in MODALITIES}
    has_both = all(of_modality.values())
    return Study(
        failure_dice=FAILURE_DICE,
        review_below=calibration.review_below,
        all=figures(judged),
        by_modality={m: figures(some) for m, some in of_modality.items()} if has_both else {},
        volume_intervals=calibration.volume_intervals,
    )


def figures(judged: Sequence[Judged]) -> Figures:
    """The figures of some predictions."""
    failures = [j.is_flagged for j in judged if j.is_failure]
    sound = [
        j.is_flagged for j in judged if not j.is_failure and j.measurement.corruption == UNCORRUPTED
    ]
    with_dice = [(j.judgement, j.true_dice) for j in judged if j.judgement]
    predicted, truth = [j.dice for j, _ in with_dice], [dice for _, dice in with_dice]
    return Figures(
        predictions=len(judged),
        patients=len({j.measurement.case for j in judged}),
        failures_flagged=Share(sum(failures), len(failures)),
        false_alarms=Share(sum(sound), len(sound)),
        coverage=Share(sum(j.low <= dice <= j.high for j, dice in with_dice), len(with_dice)),
        rank_correlation=_rank_correlation(predicted, truth),
        risk_coverage=risk_coverage(predicted, truth),
    )


def page(result: Study, judged: Sequence[Judged]) -> str:
    """study.md: figures, the risk-coverage curve, then a line per corruption."""
    columns = {"all": result.all, **{str(m): f for m, f in result.by_modality.items()}}
    lines = [
        ["predictions", *(str(f.predictions) for f in columns.values())],
        ["patients", *(str(f.patients) for f in columns.values())],
        ["failures flagged", *(str(f.failures_flagged) for f in columns.values())],
        [
            "false alarms on uncorrupted successes",
            *(str(f.false_alarms) for f in columns.values()),
        ],
        [f"coverage of the {COVERAGE:.0%} interval", *(str(f.coverage) for f in columns.values())],
        [
            "rank correlation of predicted and true Dice",
            *(tables.number(f.rank_correlation, 2) for f in columns.values()),
        ],
        ["AURC (ideal)", *(_area(f.risk_coverage) for f in columns.values())],
    ]
    parts = [
        "# Quality control",
        f"A failure is a Dice below {result.failure_dice:g}; a review is asked for below a "
        f"predicted Dice of {result.review_below:.2f}.",
        tables.markdown(["measure", *columns], lines),
    ]
    if result.volume_intervals:
        intervals = result.volume_intervals.items()
        parts += ["## Volumes", "\n".join(f"- {name}: {interval}." for name, interval in intervals)]
    if curve := result.all.risk_coverage:
        parts += ["## Risk and coverage", _CURVE_NOTE, _curve_table(curve)]
    return "\n\n".join([*parts, "## Corruptions", _corruption_table(judged)]) + "\n"


_CURVE_NOTE = (
    "The risk is the mean of 1 − Dice over the share (coverage) of predictions with the highest "
    "predicted Dice (Geifman & El-Yaniv, NeurIPS 2017); the ideal is the risk had they been sorted "
    "by their true Dice. AURC is the area under the curve (Geifman, Uziel & El-Yaniv, ICLR 2019). "
    "Predictions without a predicted Dice, which are empty masks and second opinions, are left out."
)


def _curve_table(curve: RiskCoverage) -> str:
    lines = []
    for coverage in _COVERAGES:
        risk, ideal = curve.at(coverage)
        lines.append([f"{coverage:.0%}", f"{risk:.3f}", f"{ideal:.3f}"])
    lines.append(["AURC", f"{curve.aurc:.3f}", f"{curve.ideal_aurc:.3f}"])
    return tables.markdown(["coverage", "risk", "ideal"], lines)


def _corruption_table(judged: Sequence[Judged]) -> str:
    lines = []
    for corruption in dict.fromkeys(j.measurement.corruption for j in judged):
        those = [j for j in judged if j.measurement.corruption == corruption]
        failed = [j.is_flagged for j in those if j.is_failure]
        others = [j.is_flagged for j in those if not j.is_failure]
        lines.append(
            [
                corruption.replace("_", " "),
                f"{np.mean([j.true_dice for j in those]):.3f}",
                str(sum(j.measurement.second_opinion for j in those)),
                str(len(failed)),
                str(sum(failed)),
                f"{sum(others)} of {len(others)}",
            ]
        )
    header = ["corruption", "mean Dice", "second opinions", "failures", "of them flagged"]
    return tables.markdown([*header, "others flagged"], lines)


def _area(curve: RiskCoverage | None) -> str:
    return f"{curve.aurc:.3f} ({curve.ideal_aurc:.3f})" if curve else tables.ABSENT


def _rank_correlation(predicted: Sequence[float], truth: Sequence[float]) -> float | None:
    if len(set(predicted)) < 2 or len(set(truth)) < 2:
        return None
    statistic = float(stats.spearmanr(predicted, truth).statistic)
    return None if math.isnan(statistic) else statistic
