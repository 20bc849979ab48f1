"""How far two measurements of the same volumes agree."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt


@dataclasses.dataclass(frozen=True)
class BlandAltman:
    """How far two measurements of the same cases agree.

    Attributes:
        mean_ml: (N,) float64, the mean of truth and prediction.
        difference_ml: (N,) float64, prediction − truth.
        bias_ml: the mean difference; NaN without cases.
        limits_ml: the 95% limits of agreement, bias ∓ 1.96 SD; NaN with fewer than two cases.
    """

    mean_ml: npt.NDArray[np.float64]
    difference_ml: npt.NDArray[np.float64]
    bias_ml: float
    limits_ml: tuple[float, float]

    @property
    def outside(self) -> npt.NDArray[np.intp]:
        """(M,) int: the cases outside the limits, the farthest from the bias first."""
        from_bias_ml = np.abs(self.difference_ml - self.bias_ml)
        farthest_first = np.argsort(-from_bias_ml, kind="stable")
        # A millionth of a mL more, lest rounding make outliers of equal differences.
        reach_ml = (self.limits_ml[1] - self.limits_ml[0]) / 2 + 1e-6
        outside: npt.NDArray[np.intp] = farthest_first[from_bias_ml[farthest_first] > reach_ml]
        return outside


def limits_of_agreement(truth_ml: Sequence[float], pred_ml: Sequence[float]) -> BlandAltman:
    """Bias and 95% limits of agreement (Bland & Altman, Lancet 1986; 327: 307–310).

    Args:
        truth_ml: (N,) volumes in mL; N may be 0.
        pred_ml: (N,) volumes of the same cases.
    """
    truth, pred = np.asarray(truth_ml, np.float64), np.asarray(pred_ml, np.float64)
    difference = pred - truth
    bias = float(difference.mean()) if len(difference) else math.nan
    sd = float(difference.std(ddof=1)) if len(difference) > 1 else math.nan
    return BlandAltman((truth + pred) / 2, difference, bias, (bias - 1.96 * sd, bias + 1.96 * sd))


@dataclasses.dataclass(frozen=True)
class MeasurementError:
    """How far measured volumes lie from the true ones.

    Attributes:
        bias_percent: the mean error, in percent of the true volume.
        sd_percent: its standard deviation between patients.
    """

    bias_percent: float
    sd_percent: float

    @property
    def log_bias(self) -> float:
        """The bias of the logarithm of a measured volume."""
        return math.log1p(self.bias_percent / 100)

    @property
    def log_sd(self) -> float:
        """The standard deviation of the logarithm of a measured volume, to first order."""
        return self.sd_percent / (100 + self.bias_percent)


def limits_of_change(before: MeasurementError, after: MeasurementError) -> tuple[float, float]:
    """The 95% limits of agreement of two independent measurements of an unchanged organ.

    Errors of volume grow with the volume, so that ratios are compared and not differences (Bland &
    Altman, Stat Methods Med Res 1999; 8: 135-160, section 3.1): the logarithm of later / earlier
    has the SD √(s₁² + s₂²), which for two measurements of one make is √2·s. Earlier and later
    exchanged give the same verdict.

    Returns:
        The lowest and the highest change to expect without a true one, in percent of the earlier
        volume.
    """
    shift = after.log_bias - before.log_bias
    reach = 1.96 * math.hypot(before.log_sd, after.log_sd)
    return 100 * math.expm1(shift - reach), 100 * math.expm1(shift + reach)
