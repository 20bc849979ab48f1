"""From signs of trouble in a prediction to the Dice that it deserves, learnt from cross-validation.

A line through the signs predicts the Dice; how far it was off on cases that it did not see gives
the interval, by split-conformal prediction with residuals scaled by how much Dice is missing (Lei
et al., 2018, section 5.2). A calibration belongs to one make of members: it is kept beside their
model card as quality.json, and applies to no other.
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Mapping, Sequence

import numpy as np

from spleen_tf.core import files
from spleen_tf.core.files import InputError

FILE_NAME = "quality.json"
# What `evidence.signs` tells of a prediction.
SIGNS = ("certainty", "agreement", "weakest", "main_share", "smoothness", "brightness")
COVERAGE = 0.9
# A result below this Dice is a failure that ought to be flagged.
FAILURE_DICE = 0.8
# Of fewer, the others of the others would be one.
LEAST_PATIENTS = 4

_RIDGE = 1e-2
_LEAST_SCALE = 0.05
# A brightness so many standard deviations off is as strange as any.
_FAR_SDS = 5.0


@dataclasses.dataclass(frozen=True)
class Calibration:
    """What is known of a make of members.

    Attributes:
        members: how many models were fused.
        brightness: mean and standard deviation of the brightness of known spleens.
        signs: names of the signs, in the order of weights.
        weights: of each sign.
        offset: the Dice that is predicted where all signs are 0.
        scaled_error: the interval's half width, in units of 1 - predicted Dice + 0.05.
        review_below: a predicted Dice below this asks for a review.
        modality: of the cases that all this was learnt from, 'CT' or 'MR'; '' if that is not known.
    """

    members: int
    brightness: tuple[float, float]
    signs: tuple[str, ...]
    weights: tuple[float, ...]
    offset: float
    scaled_error: float
    review_below: float
    modality: str = ""

    def foreign(self, modality: str) -> str:
        """In words, that what is known is of another modality than a case's; '' if it is not."""
        if self.modality in ("", modality):
            return ""
        return f"learnt on {self.modality}: on {modality} the interval promises nothing"

    def predict(self, signs: Mapping[str, float]) -> tuple[float, tuple[float, float]]:
        """The Dice to expect, and its 90% interval; all within 0..1."""
        seen = _familiar(signs, self.brightness)
        line = self.offset + sum(
            weight * seen[name] for name, weight in zip(self.signs, self.weights, strict=True)
        )
        dice = min(1.0, max(0.0, line))
        return dice, self.interval(dice)

    def interval(self, dice: float) -> tuple[float, float]:
        """The 90% interval of a predicted Dice, within 0..1."""
        half = self.scaled_error * _scale(dice)
        return max(0.0, dice - half), min(1.0, dice + half)


@dataclasses.dataclass(frozen=True)
class Judgement:
    """What is said of a prediction by what other patients' predictions taught.

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
    rows: Sequence[Mapping[str, float]],
    truth: Sequence[float],
    patients: Sequence[str],
    members: int,
    brightness_of: Mapping[str, float],
) -> tuple[Calibration, list[Judgement]]:
    """Learns a calibration, and what one of the other patients would have said of each row.

    Args:
        rows: (N,) the signs of each prediction, the same names in each.
        truth: (N,) its Dice.
        patients: (N,) whose it is; all rows of one are left out together.
        members: how many models were fused.
        brightness_of: the brightness of each patient's spleen, where that is known.

    Returns:
        The calibration, and (N,) judgements: nothing in them was learnt from the row's patient.

    Raises:
        ValueError: with fewer patients than LEAST_PATIENTS.
    """
    if len(set(patients)) < LEAST_PATIENTS:
        raise ValueError(f"expected {LEAST_PATIENTS} patients or more, found {len(set(patients))}")
    y, patient = np.asarray(truth, float), np.asarray(patients)
    judgements: dict[int, Judgement] = {}
    for one in np.unique(patient):
        others = np.flatnonzero(patient != one)
        known = _learn(
            [rows[row] for row in others],
            y[others],
            patient[others],
            members,
            [value for name, value in brightness_of.items() if name != one],
        )
        for row in np.flatnonzero(patient == one):
            dice, (low, high) = known.predict(rows[row])
            judgements[row] = Judgement(dice, low, high, dice < known.review_below)
    whole = _learn(rows, y, patient, members, list(brightness_of.values()))
    return whole, [judgements[row] for row in range(len(rows))]


def _learn(
    rows: Sequence[Mapping[str, float]],
    y: np.ndarray,
    patient: np.ndarray,
    members: int,
    known_brightness: Sequence[float],
) -> Calibration:
    """A line through all rows; its errors are those of lines that leave each patient out."""
    brightness = (0.5, 1.0)
    if known_brightness:
        brightness = (float(np.mean(known_brightness)), float(np.std(known_brightness)))
    names = tuple(rows[0])
    x = np.array([[_familiar(row, brightness)[name] for name in names] for row in rows])
    left_out = np.empty(len(y))
    for one in np.unique(patient):
        weights, offset = _line(x[patient != one], y[patient != one])
        left_out[patient == one] = np.clip(x[patient == one] @ weights + offset, 0.0, 1.0)
    weights, offset = _line(x, y)
    return Calibration(
        members,
        brightness,
        names,
        tuple(weights.tolist()),
        float(offset),
        _scaled_error(left_out, y),
        _review_below(left_out, y),
    )


def read(path: str | os.PathLike) -> Calibration:
    """Reads a quality.json.

    Raises:
        InputError: if it is not one.
    """
    content = files.read_json(path)
    fields = {field.name for field in dataclasses.fields(Calibration)} - {"modality"}
    if not isinstance(content, dict) or not fields <= content.keys():
        raise InputError(f"{path}: expected the keys {', '.join(sorted(fields))}, found others.")
    try:
        known = Calibration(
            int(content["members"]),
            (float(content["brightness"][0]), float(content["brightness"][1])),
            tuple(map(str, content["signs"])),
            tuple(map(float, content["weights"])),
            float(content["offset"]),
            float(content["scaled_error"]),
            float(content["review_below"]),
            str(content.get("modality", "")),
        )
    except (TypeError, ValueError, IndexError, KeyError) as error:
        raise InputError(f"{path}: expected numbers in its fields, found: {error}.") from None
    if len(known.signs) != len(known.weights) or not set(known.signs) <= set(SIGNS):
        raise InputError(
            f"{path}: expected a weight for each of some of {', '.join(SIGNS)}, found "
            f"{', '.join(known.signs)}; make it again with tools/study_quality.py."
        )
    return known


def write(path: str | os.PathLike, calibration: Calibration, **notes: object) -> None:
    """Writes a quality.json, with notes on how it came about."""
    files.write_json(path, {**dataclasses.asdict(calibration), **notes})


def _familiar(signs: Mapping[str, float], brightness: tuple[float, float]) -> dict[str, float]:
    """The signs with their brightness as a share: 1 as in known spleens, 0 far from them."""
    seen = dict(signs)
    if "brightness" in seen:
        mean, sd = brightness
        apart = abs(seen["brightness"] - mean) / max(sd, 1e-3)
        seen["brightness"] = 1.0 - min(apart, _FAR_SDS) / _FAR_SDS
    return seen


def _scale(dice: float) -> float:
    return 1.0 - dice + _LEAST_SCALE


def _line(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, float]:
    """Weights and offset by ridge regression."""
    centre, level = x.mean(axis=0), y.mean()
    centred = x - centre
    normal = centred.T @ centred + _RIDGE * np.eye(x.shape[1])
    weights = np.linalg.solve(normal, centred.T @ (y - level))
    return weights, float(level - centre @ weights)


def _scaled_error(predicted: np.ndarray, truth: np.ndarray) -> float:
    """The conformal quantile of errors, each in units of the scale of its prediction."""
    errors = np.sort(np.abs(truth - predicted) / [_scale(dice) for dice in predicted])
    rank = min(len(errors), math.ceil((len(errors) + 1) * COVERAGE))
    return float(errors[rank - 1])


def _review_below(predicted: np.ndarray, truth: np.ndarray) -> float:
    """The lowest bound under which nineteen of twenty failures fall."""
    failures = np.sort(predicted[truth < FAILURE_DICE])
    if not failures.size:
        return FAILURE_DICE
    rank = math.ceil(0.95 * failures.size) - 1
    return float(np.nextafter(failures[rank], 1.0))
