"""From the evidence of a prediction to the Dice to expect, learnt from cross-validation.

A line through the evidence predicts the Dice; how far it was off on cases that it did not see gives
the interval, by split-conformal prediction with residuals scaled by how much Dice is missing (Lei
et al., 2018, section 5.2). A calibration belongs to one make of members: it is kept beside their
model card as quality.json, and applies to no other.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import Literal

import msgspec

from spleen_tf.core import files
from spleen_tf.core.files import InputError
from spleen_tf.imaging.intensity import Modality
from spleen_tf.quality.evidence import Evidence
from spleen_tf.quality.volume_interval import Doubt, VolumeInterval

FILE_NAME = "quality.json"
EVIDENCE_KEYS = Evidence.__struct_fields__
COVERAGE = 0.9
# A result below this Dice is a failure that ought to be flagged.
FAILURE_DICE = 0.8
_LEAST_SCALE = 0.05
# A brightness so many standard deviations off is as strange as any.
_FAR_SDS = 5.0
# Of what is missing from 1 to evidence without any trouble; less tells nothing more.
_LEAST_MISSING = 1e-3
# From an agreement of 0.98 to one of 0.96, twice as much is missing: the factor is what counts.
_LOGARITHMIC = ("certainty", "agreement", "weakest", "main_share")

Scale = Literal["linear", "logarithmic"]


class Calibration(msgspec.Struct, frozen=True):
    """What cross-validation has taught of a family's members: the content of quality.json.

    Attributes:
        members: how many models were fused.
        brightness: mean and standard deviation of the brightness of the patients' spleens.
        keys: of Evidence, in the order of weights; `signs` in the file.
        weights: of each of them.
        offset: the Dice that is predicted where all evidence is 0.
        scaled_error: the interval's half width, in units of 1 - predicted Dice + 0.05.
        review_below: a predicted Dice below this asks for a review.
        modality: of the cases that it was learnt from; None (earlier files: '') if not known, or
            both.
        patients: how many of these there were; None if not known.
        patients_by_modality: the same, by modality; empty in files before 0.3.
        volume_intervals: by modality, what the cases say of the error of a volume; empty in files
            before 0.3, and without a modality of which there were too few cases.
        scale: of the evidence that the weights are for; linear in files before 0.3.
    """

    members: int
    brightness: tuple[float, float]
    keys: tuple[str, ...] = msgspec.field(name="signs")
    weights: tuple[float, ...]
    offset: float
    scaled_error: float
    review_below: float
    modality: Modality | Literal[""] | None = None
    patients: int | None = None
    patients_by_modality: dict[Modality, int] = {}
    volume_intervals: dict[Modality, VolumeInterval] = {}
    scale: Scale = "linear"

    @property
    def basis(self) -> str:
        """The cases that it was learnt from, such as '18 CT and 14 MR cases'."""
        if self.patients_by_modality:
            counts = [f"{count} {name}" for name, count in self.patients_by_modality.items()]
            return f"{' and '.join(counts)} cases"
        if self.modality and self.patients:
            return f"{self.patients} {self.modality} cases"
        return f"{self.modality or 'cases of a modality that was not recorded'}"

    def note(self, modality: Modality) -> str | None:
        """Why the interval is not valid for a case of some modality; None if it is."""
        if not self.modality or self.modality == modality:
            return None
        return f"calibrated on {self.modality}; the interval is not valid for {modality}"

    def predict(self, evidence: Evidence) -> tuple[float, tuple[float, float]]:
        """The Dice to expect, and its 90% interval; all within 0..1."""
        values = on_scale(evidence, self.brightness, self.scale)
        line = self.offset + sum(
            weight * values[key] for key, weight in zip(self.keys, self.weights, strict=True)
        )
        dice = min(1.0, max(0.0, line))
        return dice, self.interval(dice)

    def interval_ml(
        self,
        modality: Modality,
        volume_ml: float,
        nested_ml: tuple[float, float] | None,
        evidence: Evidence,
    ) -> tuple[float, float] | None:
        """The 90% interval of a volume; None without one for the modality."""
        interval = self.volume_intervals.get(modality)
        if interval is None:
            return None
        return interval.predict(volume_ml, Doubt(nested_ml, evidence.agreement))

    def interval(self, dice: float) -> tuple[float, float]:
        """The 90% interval of a predicted Dice, within 0..1."""
        half = self.scaled_error * scale_of_error(dice)
        return max(0.0, dice - half), min(1.0, dice + half)


def read(path: str | os.PathLike[str]) -> Calibration:
    """Reads a quality.json.

    Raises:
        InputError: if it is not one.
    """
    remedy = "make it again with tools/study_quality.py"
    calibration = files.read_record(path, Calibration, remedy)
    keys = calibration.keys
    if len(keys) != len(calibration.weights) or not set(keys) <= set(EVIDENCE_KEYS):
        raise InputError(
            f"{path}: expected a weight for each of some of {', '.join(EVIDENCE_KEYS)}, found "
            f"{', '.join(keys)}; {remedy}."
        )
    return calibration


def write(path: str | os.PathLike[str], calibration: Calibration, **notes: object) -> None:
    """Writes a quality.json, with notes on how it came about."""
    files.write_json(path, {**msgspec.to_builtins(calibration), **notes})


def add_volume_intervals(
    path: str | os.PathLike[str], intervals: Mapping[Modality, VolumeInterval]
) -> None:
    """Puts the intervals of volumes into a quality.json, which keeps what else is in it.

    Raises:
        InputError: if it is not one, or cannot be written.
    """
    read(path)
    content = files.read_json(path)
    assert isinstance(content, dict)
    files.write_json(path, {**content, "volume_intervals": dict(intervals)})


def on_scale(evidence: Evidence, brightness: tuple[float, float], scale: Scale) -> dict[str, float]:
    """Evidence by key, each from 0 (trouble) to 1 (none).

    The brightness is 1 where it is that of the patients' spleens, and 0 far off.
    """
    values: dict[str, float] = msgspec.structs.asdict(evidence)
    mean, sd = brightness
    apart = abs(evidence.brightness - mean) / max(sd, 1e-3)
    values["brightness"] = 1.0 - min(apart, _FAR_SDS) / _FAR_SDS
    if scale == "logarithmic":
        for key in _LOGARITHMIC:
            missing = max(1.0 - values[key], _LEAST_MISSING)
            values[key] = math.log(missing) / math.log(_LEAST_MISSING)
    return values


def scale_of_error(dice: float) -> float:
    """How far off a predicted Dice may be, up to a factor: more where more is missing from 1."""
    return 1.0 - dice + _LEAST_SCALE
