"""Learns a calibration from predictions whose Dice is known, and judges each by the others."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from spleen_tf.quality.calibration import (
    COVERAGE,
    EVIDENCE_KEYS,
    FAILURE_DICE,
    Calibration,
    on_scale,
    scale_of_error,
)
from spleen_tf.quality.evidence import Evidence

# With fewer, what a left-out patient is judged by would itself be judged by only one patient.
LEAST_PATIENTS = 4

_RIDGE = 1e-2


@dataclasses.dataclass(frozen=True)
class Judgement:
    """What a calibration by other patients says of a prediction.

    Attributes:
        dice: the Dice to expect.
        low, high: its 90% interval.
        review: whether it is so low that a person should look.
    """

    dice: float
    low: float
    high: float
    review: bool


def fit(
    evidence: Sequence[Evidence],
    truth: Sequence[float],
    patients: Sequence[str],
    members: int,
    brightness_of: Mapping[str, float],
) -> tuple[Calibration, list[Judgement]]:
    """Learns a calibration, and what one of the other patients would have said of each prediction.

    Args:
        evidence: (N,) of each prediction.
        truth: (N,) its Dice.
        patients: (N,) whose it is; all predictions of one patient are left out together.
        members: how many models were fused.
        brightness_of: the brightness of each patient's true spleen, where that was measured.

    Returns:
        The calibration, and (N,) judgements: nothing in them was learnt from the row's patient.

    Raises:
        ValueError: with fewer patients than LEAST_PATIENTS.
    """
    if len(set(patients)) < LEAST_PATIENTS:
        raise ValueError(f"expected {LEAST_PATIENTS} patients or more, found {len(set(patients))}")
    y, patient = np.asarray(truth, float), np.asarray(patients)
    judgements: dict[int, Judgement] = {}
    for left_out in np.unique(patient):
        others = np.flatnonzero(patient != left_out)
        by_others = _learn(
            [evidence[row] for row in others],
            y[others],
            patient[others],
            members,
            [value for name, value in brightness_of.items() if name != left_out],
        )
        for row in np.flatnonzero(patient == left_out):
            dice, (low, high) = by_others.predict(evidence[row])
            judgements[int(row)] = Judgement(dice, low, high, dice < by_others.review_below)
    calibration = _learn(evidence, y, patient, members, list(brightness_of.values()))
    calibration = msgspec.structs.replace(calibration, patients=len(set(patients)))
    return calibration, [judgements[row] for row in range(len(evidence))]


def _learn(
    evidence: Sequence[Evidence],
    y: npt.NDArray[Any],
    patient: npt.NDArray[Any],
    members: int,
    brightnesses: Sequence[float],
) -> Calibration:
    """A line through all rows; its errors are those of lines that leave each patient out."""
    brightness = (0.5, 1.0)
    if brightnesses:
        brightness = (float(np.mean(brightnesses)), float(np.std(brightnesses)))
    x = np.array(
        [list(on_scale(row, brightness, "logarithmic").values()) for row in evidence], float
    )
    predicted = np.empty(len(y))
    for left_out in np.unique(patient):
        weights, offset = _line(x[patient != left_out], y[patient != left_out])
        predicted[patient == left_out] = np.clip(
            x[patient == left_out] @ weights + offset, 0.0, 1.0
        )
    weights, offset = _line(x, y)
    return Calibration(
        members,
        brightness,
        EVIDENCE_KEYS,
        tuple(weights.tolist()),
        float(offset),
        _scaled_error(predicted, y),
        _review_below(predicted, y),
        scale="logarithmic",
    )


def _line(x: npt.NDArray[Any], y: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], float]:
    """Weights and offset by ridge regression."""
    centre, level = x.mean(axis=0), y.mean()
    centred = x - centre
    normal = centred.T @ centred + _RIDGE * np.eye(x.shape[1])
    weights = np.linalg.solve(normal, centred.T @ (y - level))
    return weights, float(level - centre @ weights)


def _scaled_error(predicted: npt.NDArray[Any], truth: npt.NDArray[Any]) -> float:
    """The conformal quantile of errors, each in units of the scale of its prediction."""
    errors = np.sort(np.abs(truth - predicted) / [scale_of_error(dice) for dice in predicted])
    rank = min(len(errors), math.ceil((len(errors) + 1) * COVERAGE))
    return float(errors[rank - 1])


def _review_below(predicted: npt.NDArray[Any], truth: npt.NDArray[Any]) -> float:
    """The lowest bound under which nineteen of twenty failures fall."""
    failures = np.sort(predicted[truth < FAILURE_DICE])
    if not failures.size:
        return FAILURE_DICE
    rank = math.ceil(0.95 * failures.size) - 1
    return float(np.nextafter(failures[rank], 1.0))
