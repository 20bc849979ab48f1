"""How a predicted mask agrees with the truth: overlap, surface distance and volume.

Every measure covers the whole volume, never a mean over slices. What is undefined, such as the
Dice of two empty masks or the distance to an empty one, is NaN; `summary` leaves it out of means
and counts it. References for the choice of measures: Taha & Hanbury, BMC Med Imaging 15:29
(2015); Maier-Hein et al., Nature Methods 21:195 (2024).
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from spleen_tf.evaluation import surfaces
from spleen_tf.imaging import volume
from spleen_tf.imaging.volume import Volume


class CaseMetrics(msgspec.Struct, frozen=True):
    """One case's measures: the columns of cases.csv, in their order. NaN where undefined.

    Attributes:
        case: its name.
        dice, jaccard, sensitivity, specificity, precision, accuracy, lr_positive, lr_negative: see
            `Confusion`.
        truth_mm3, pred_mm3: volumes.
        volume_error_mm3: predicted less true volume.
        volume_error_percent: the same, as a percentage of the true volume.
        abs_volume_error_percent: its absolute value.
        hd_mm, hd95_mm, assd_mm, nsd_1mm, nsd_2mm: see `surfaces.SurfaceDistances`.
    """

    case: str
    dice: float
    jaccard: float
    sensitivity: float
    specificity: float
    precision: float
    accuracy: float
    lr_positive: float
    lr_negative: float
    truth_mm3: float
    pred_mm3: float
    volume_error_mm3: float
    volume_error_percent: float
    abs_volume_error_percent: float
    hd_mm: float
    hd95_mm: float
    assd_mm: float
    nsd_1mm: float
    nsd_2mm: float

    @property
    def truth_ml(self) -> float:
        """The true volume in mL."""
        return self.truth_mm3 / 1000

    @property
    def pred_ml(self) -> float:
        """The predicted volume in mL."""
        return self.pred_mm3 / 1000


# The measures of a case, in the order of cases.csv.
COLUMNS = CaseMetrics.__struct_fields__[1:]


@dataclasses.dataclass(frozen=True)
class Confusion:
    """Counts of voxels, as Python integers: no sum overflows and no ratio is rounded twice."""

    true_positive: int
    false_positive: int
    false_negative: int
    true_negative: int

    @property
    def dice(self) -> float:
        """2|T∩P| / (|T|+|P|) (Dice, 1945); 0 if one mask is empty, NaN if both are."""
        doubled = 2 * self.true_positive
        return _ratio(doubled, doubled + self.false_positive + self.false_negative)

    @property
    def jaccard(self) -> float:
        """|T∩P| / |T∪P| (Jaccard, 1912); 0 if one mask is empty, NaN if both are."""
        union = self.true_positive + self.false_positive + self.false_negative
        return _ratio(self.true_positive, union)

    @property
    def sensitivity(self) -> float:
        """TP / (TP+FN), the share of the truth that was found; NaN if the truth is empty."""
        return _ratio(self.true_positive, self.true_positive + self.false_negative)

    @property
    def specificity(self) -> float:
        """TN / (TN+FP), the share of the background left alone; NaN if there is none."""
        return _ratio(self.true_negative, self.true_negative + self.false_positive)

    @property
    def precision(self) -> float:
        """TP / (TP+FP), the share of the prediction that is right; NaN if nothing is predicted."""
        return _ratio(self.true_positive, self.true_positive + self.false_positive)

    @property
    def accuracy(self) -> float:
        """(TP+TN) / voxels. It grows with the background: close to 1 for any small organ."""
        right = self.true_positive + self.true_negative
        return _ratio(right, right + self.false_positive + self.false_negative)

    @property
    def lr_positive(self) -> float:
        """Likelihood ratio of a positive voxel, sensitivity / (1 - specificity).

        NaN if the truth is empty, or if there is no false positive: nothing to divide by.
        """
        truth = self.true_positive + self.false_negative
        background = self.true_negative + self.false_positive
        return _ratio(self.true_positive * background, truth * self.false_positive)

    @property
    def lr_negative(self) -> float:
        """Likelihood ratio of a negative voxel, (1 - sensitivity) / specificity.

        NaN if the truth is empty, or if there is no true negative: nothing to divide by.
        """
        truth = self.true_positive + self.false_negative
        background = self.true_negative + self.false_positive
        return _ratio(self.false_negative * background, truth * self.true_negative)


def measure(case: str, truth: Volume, pred: Volume) -> CaseMetrics:
    """Every measure of one case.

    Args:
        case: its name.
        truth, pred: masks, nonzero inside, on one grid.

    Raises:
        VolumeError: if the grids differ.
    """
    volume.check_same_grid(truth, pred)
    counts = confusion(truth.array_ijk, pred.array_ijk)
    distances = surfaces.distances(truth.array_ijk, pred.array_ijk, truth.affine)
    truth_mm3 = (counts.true_positive + counts.false_negative) * truth.voxel_mm3
    pred_mm3 = (counts.true_positive + counts.false_positive) * truth.voxel_mm3
    percent = volume_error_percent(truth_mm3, pred_mm3)
    return CaseMetrics(
        case=case,
        dice=counts.dice,
        jaccard=counts.jaccard,
        sensitivity=counts.sensitivity,
        specificity=counts.specificity,
        precision=counts.precision,
        accuracy=counts.accuracy,
        lr_positive=counts.lr_positive,
        lr_negative=counts.lr_negative,
        truth_mm3=truth_mm3,
        pred_mm3=pred_mm3,
        volume_error_mm3=pred_mm3 - truth_mm3,
        volume_error_percent=percent,
        abs_volume_error_percent=abs(percent),
        hd_mm=distances.hd_mm,
        hd95_mm=distances.hd95_mm,
        assd_mm=distances.assd_mm,
        nsd_1mm=distances.nsd(1.0),
        nsd_2mm=distances.nsd(2.0),
    )


def dice(truth: npt.NDArray[Any], pred: npt.NDArray[Any]) -> float:
    """Volumetric Dice, 2|T∩P| / (|T|+|P|) (Dice, 1945).

    Args:
        truth: nonzero inside.
        pred: the same, same shape.

    Returns:
        Fraction in [0, 1]; NaN if both are empty.

    Raises:
        VolumeError: if the shapes differ.
    """
    return confusion(truth, pred).dice


def confusion(truth: npt.NDArray[Any], pred: npt.NDArray[Any]) -> Confusion:
    """Counts the voxels of two masks, nonzero inside.

    Raises:
        VolumeError: if the shapes differ.
    """
    truth, pred = surfaces.as_masks(truth, pred)
    both = int(np.count_nonzero(truth & pred))
    false_positive = int(np.count_nonzero(pred)) - both
    false_negative = int(np.count_nonzero(truth)) - both
    return Confusion(
        both, false_positive, false_negative, truth.size - both - false_positive - false_negative
    )


def volume_error_percent(truth_mm3: float, pred_mm3: float) -> float:
    """100 (P - T) / T, below 0 where too little is predicted; NaN if the truth is empty."""
    return _ratio(100.0 * (pred_mm3 - truth_mm3), truth_mm3)


def _ratio(numerator: float, denominator: float) -> float:
    return numerator / denominator if denominator else math.nan
