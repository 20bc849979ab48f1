"""Whether a predicted Dice puts the worst results last: risk-coverage curves and their area.

Keep only the results that look best, a share (coverage) of all; the risk is the mean error,
1 - Dice, of those that are kept. An estimate of quality is good if the risk stays low until the
coverage is high. The curve: Geifman & El-Yaniv, "Selective classification for deep neural
networks", NeurIPS 2017. The area under it (AURC): Geifman, Uziel & El-Yaniv, "Bias-reduced
uncertainty estimation for deep neural classifiers", ICLR 2019.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
import numpy.typing as npt


class RiskCoverage(msgspec.Struct, frozen=True):
    """A curve and the best one possible.

    Attributes:
        coverage: 1/N, 2/N, …, 1.
        risk: the mean 1 - Dice of that share of results, those of the highest predicted Dice.
        ideal_risk: the same, had the results been sorted by their true Dice.
        aurc: the mean of `risk`, which is the area under it.
        ideal_aurc: the mean of `ideal_risk`.
    """

    coverage: tuple[float, ...]
    risk: tuple[float, ...]
    ideal_risk: tuple[float, ...]
    aurc: float
    ideal_aurc: float

    def at(self, coverage: float) -> tuple[float, float]:
        """Risk and ideal risk at the smallest coverage on the curve that reaches this one."""
        reached = int(np.searchsorted(self.coverage, coverage - 1e-9))
        place = min(reached, len(self.coverage) - 1)
        return self.risk[place], self.ideal_risk[place]


def risk_coverage(
    predicted_dice: Sequence[float], true_dice: Sequence[float]
) -> RiskCoverage | None:
    """The curve of results whose Dice was predicted; None without any.

    Results of equal predicted Dice could be kept in any order: they count with their mean error,
    which is what is to be expected of a random order.

    Args:
        predicted_dice: (N,) what was expected of each result.
        true_dice: (N,) what it was.
    """
    if not len(predicted_dice):
        return None
    errors = 1 - np.asarray(true_dice, np.float64)
    kept = np.arange(1, len(errors) + 1)
    risk = np.cumsum(_sorted(errors, np.asarray(predicted_dice, np.float64))) / kept
    ideal_risk = np.cumsum(np.sort(errors)) / kept
    return RiskCoverage(
        coverage=tuple((kept / len(errors)).tolist()),
        risk=tuple(risk.tolist()),
        ideal_risk=tuple(ideal_risk.tolist()),
        aurc=float(risk.mean()),
        ideal_aurc=float(ideal_risk.mean()),
    )


def _sorted(
    errors: npt.NDArray[np.float64], predicted: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """(N,) errors, the highest prediction first; within ties, their mean."""
    _, group, size = np.unique(-predicted, return_inverse=True, return_counts=True)
    means = np.bincount(group, errors) / size
    return np.repeat(means, size)
