"""How well quality control tells failures from successes, measured on held-out cases.

Each case is corrupted in every way that quality.corruptions has for its modality, and segmented by
the models of the fold that held it out. A calibration is learnt from all of them; every figure is
of predictions of which neither the models nor the calibration knew the patient.
"""

from __future__ import annotations

import collections
import dataclasses
import pathlib
import warnings
import zlib
from collections.abc import Mapping, Sequence

import msgspec
import numpy as np
import numpy.typing as npt
import tqdm

from spleen_tf.core import files
from spleen_tf.core.files import InputError, InputWarning
from spleen_tf.datasets import cases
from spleen_tf.datasets.layouts import Case
from spleen_tf.evaluation import metrics
from spleen_tf.evaluation.held_out import CrossValidation
from spleen_tf.imaging.intensity import Modality
from spleen_tf.imaging.volume import Volume
from spleen_tf.inference import runtimes
from spleen_tf.inference.family import Family
from spleen_tf.inference.prediction import Options
from spleen_tf.quality import calibration_fit, corruptions
from spleen_tf.quality.calibration import FAILURE_DICE, Calibration
from spleen_tf.quality.calibration_fit import Judgement
from spleen_tf.quality.corruptions.shared import Corruption
from spleen_tf.quality.evidence import Evidence

UNCORRUPTED = "none"
_REMEDY = "remove it, and it is measured again"


class Measurement(msgspec.Struct, frozen=True):
    """One prediction of the study: an element of the list in measured/CASE.json.

    Attributes:
        case: whose volume it is.
        corruption: what was done to the volume.
        dice: with the truth; None if both are empty.
        mirrored_ml: see `Prediction.mirrored_ml`.
        reasons: why `predict` would ask for a review, without a calibration.
        evidence: of quality; None for an empty mask; `signs` in the file.
        second_opinion: whether the mask is that of the models that are asked second.
        known_brightness: the brightness of the true spleen, as the network sees it; None without.
    """

    case: str
    corruption: str
    dice: float | None
    mirrored_ml: dict[str, tuple[float, float]]
    reasons: tuple[str, ...]
    evidence: Evidence | None = msgspec.field(name="signs")
    second_opinion: bool
    known_brightness: float | None


@dataclasses.dataclass(frozen=True)
class Judged:
    """A prediction, and what is said of it by a calibration that did not know the patient.

    Attributes:
        measurement: the prediction.
        modality: of the case.
        judgement: None for an empty mask and for a second opinion, which have no predicted Dice.
    """

    measurement: Measurement
    modality: Modality
    judgement: Judgement | None

    @property
    def true_dice(self) -> float:
        """The true Dice: 1 if nothing was found where there is no spleen."""
        return 1.0 if self.measurement.dice is None else self.measurement.dice

    @property
    def is_failure(self) -> bool:
        """Whether a person ought to be warned of it."""
        return self.true_dice < FAILURE_DICE

    @property
    def is_flagged(self) -> bool:
        """Whether a review would be asked for."""
        by_dice = self.judgement is not None and self.judgement.review
        return by_dice or bool(self.measurement.reasons)

    def row(self) -> dict[str, object]:
        """The row of study.csv."""
        judgement, evidence = self.judgement, self.measurement.evidence
        predicted = {}
        if judgement:
            predicted = {"predicted": judgement.dice, "low": judgement.low, "high": judgement.high}
        return {
            "case": self.measurement.case,
            "modality": self.modality,
            "corruption": self.measurement.corruption,
            "dice": self.measurement.dice,
            "second_opinion": self.measurement.second_opinion,
            "flagged": self.is_flagged,
            "reasons": "; ".join(self.measurement.reasons),
            **predicted,
            **(msgspec.structs.asdict(evidence) if evidence else {}),
        }


def measure(
    validated: CrossValidation,
    second: CrossValidation | None,
    case_of: Mapping[str, Case],
    folder: pathlib.Path,
    seed: int = 0,
    precision: str = "auto",
) -> list[Measurement]:
    """Measures every held-out case under every corruption, under a progress bar.

    Args:
        validated: the cross-validation.
        second: one with the same folds, whose models are asked second.
        case_of: the cases by name.
        folder: receives CASE.json; a case that has one is not measured again.
        seed: of the corruptions.
        precision: of the networks.

    Raises:
        InputError: if a case or model cannot be read, or a CASE.json is none.
    """
    measurements: list[Measurement] = []
    ways = {name: corruptions.of(case_of[name].modality) for name in validated.names}
    total = sum(map(len, ways.values()))
    with tqdm.tqdm(total=total, desc="study", unit="volume", disable=None) as bar:
        for fold, names in validated.held_out.items():
            family = dataclasses.replace(
                validated.family(fold), second_opinion=second.family(fold) if second else None
            )
            for name in names:
                path = folder / f"{name}.json"
                if not path.is_file():
                    runtimes.setup("auto", precision)
                    image, label = cases.read(case_of[name], validated.label_value)
                    truth_ijk = label.array_ijk.astype(bool)
                    made = corrupted(family, name, image, truth_ijk, ways[name], seed)
                    files.write_json(path, made)
                measurements += files.read_record(path, list[Measurement], _REMEDY)
                bar.update(len(ways[name]))
    return measurements


def corrupted(
    family: Family,
    name: str,
    image: Volume,
    truth_ijk: npt.NDArray[np.bool_],
    ways: Mapping[str, Corruption],
    seed: int = 0,
) -> list[Measurement]:
    """Segments a volume under some corruptions.

    Args:
        family: the models, which did not train on the case.
        name: of the case.
        image: its volume.
        truth_ijk: (I, J, K), True inside.
        ways: the corruptions by name.
        seed: of the corruptions.
    """
    measurements = []
    for number, (corruption, corrupt) in enumerate(ways.items()):
        rng = np.random.default_rng([seed, zlib.crc32(name.encode()), number])
        volume, truth = corrupt(image, truth_ijk, rng)
        prediction = family.segment(volume, Options(with_evidence=True))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", InputWarning)
            dice = metrics.dice(truth, prediction.mask_ijk)
        measurements.append(
            Measurement(
                case=name,
                corruption=corruption,
                dice=dice if np.isfinite(dice) else None,
                mirrored_ml={str(k): ml for k, ml in prediction.mirrored_ml.items()},
                reasons=tuple(prediction.reasons),
                evidence=prediction.record.evidence,
                second_opinion=prediction.is_second_opinion,
                known_brightness=_brightness(volume, prediction.window, truth),
            )
        )
    return measurements


def calibrate(
    measurements: Sequence[Measurement],
    modality_of: Mapping[str, Modality],
    members: int,
    source: str,
) -> tuple[Calibration, list[Judged]]:
    """Learns a calibration, and judges each prediction by one that did not know the patient.

    Args:
        measurements: what `measure` returned.
        modality_of: the modality of each case.
        members: how many models were fused.
        source: the cross-validation's folder, for the message.

    Raises:
        InputError: if masks of too few patients were found.
    """
    usable = [(m, m.evidence) for m in measurements if m.evidence and not m.second_opinion]
    patients = [m.case for m, _ in usable]
    if len(set(patients)) < calibration_fit.LEAST_PATIENTS:
        raise InputError(
            f"{source}: expected a mask for {calibration_fit.LEAST_PATIENTS} patients or more, "
            f"found one for {len(set(patients))}; these models find too little to be calibrated."
        )
    sound = [m for m in measurements if m.corruption == UNCORRUPTED]
    learnt, judgements = calibration_fit.fit(
        [evidence for _, evidence in usable],
        [1.0 if m.dice is None else m.dice for m, _ in usable],
        patients,
        members,
        {m.case: m.known_brightness for m in sound if m.known_brightness is not None},
    )
    counts = collections.Counter(modality_of[name] for name in sorted(set(patients)))
    only = next(iter(counts)) if len(counts) == 1 else None
    learnt = msgspec.structs.replace(learnt, modality=only, patients_by_modality=dict(counts))
    judgement_of = {(m.case, m.corruption): j for (m, _), j in zip(usable, judgements, strict=True)}
    judged = [
        Judged(m, modality_of[m.case], judgement_of.get((m.case, m.corruption)))
        for m in measurements
    ]
    return learnt, judged


def _brightness(
    image: Volume, window: tuple[float, float], truth_ijk: npt.NDArray[np.bool_]
) -> float | None:
    """The mean intensity of the true spleen as the network sees it; None without one."""
    if not truth_ijk.any():
        return None
    mean = float(image.array_ijk[truth_ijk].mean(dtype=np.float64))
    return (mean - window[0]) / (window[1] - window[0])
