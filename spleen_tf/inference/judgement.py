"""What a finding is worth: its measurements, what a calibration expects, reasons for a review."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from spleen_tf.core import versions
from spleen_tf.imaging.intensity import Modality
from spleen_tf.inference.finding import Case, Finding
from spleen_tf.inference.member import Member
from spleen_tf.inference.prediction import PredictionRecord, Size, joined
from spleen_tf.quality import checks, reference
from spleen_tf.quality.calibration import Calibration
from spleen_tf.quality.measurements import Measurements, measure


class _Expected(msgspec.Struct, frozen=True, kw_only=True):
    """The keys of a record that a calibration fills; None without one."""

    volume_ml_interval: tuple[float, float] | None = None
    predicted_dice: float | None = None
    predicted_dice_interval: tuple[float, float] | None = None
    predicted_dice_note: str | None = None
    calibrated_on: str | None = None


class _Models(msgspec.Struct, frozen=True, kw_only=True):
    """The keys of a record that say which models made it."""

    model: str
    model_sha256: str
    image_size: Size | str
    learning_rate: float | str
    version: str
    runtime: str


def judge(
    case: Case,
    finding: Finding,
    members: Sequence[Member],
    calibration: Calibration | None = None,
    weighs_pieces: bool = True,
    is_second_opinion: bool = False,
) -> PredictionRecord:
    """The record of a finding.

    Args:
        case: that was segmented.
        finding: in it.
        members: that found it.
        calibration: of these; None: no Dice is predicted.
        weighs_pieces: without a calibration, several pieces are a reason for a review.
        is_second_opinion: the members are the fallback models.
    """
    image, taken = case.image, case.taken
    measurements = measure(image, finding.mask_ijk)
    expected = _Expected()
    if calibration:
        expected = _expected(calibration, finding, taken.modality, measurements)
    reasons = checks.reasons_for_review(
        image,
        measurements,
        predicted_dice=expected.predicted_dice,
        review_below=calibration.review_below if calibration else 0.0,
        flipped=checks.flipped_directions(finding.mirrored_ml),
        modality_doubt=taken.doubt,
        place_doubt=finding.doubt,
        main_share=(measurements.voxels / max(1, finding.voxels_above) if weighs_pieces else 1.0),
        evidence=finding.evidence,
        is_second_opinion=is_second_opinion,
    )
    patient = image.demographics.with_given(case.options.demographics)
    return PredictionRecord(
        **msgspec.structs.asdict(measurements),
        **msgspec.structs.asdict(expected),
        **msgspec.structs.asdict(_models(members)),
        volume_ml_nested=finding.nested_ml,
        volume_reference=reference.of(measurements, patient),
        components=finding.components,
        modality=taken.modality,
        modality_reason=taken.reason,
        evidence=finding.evidence,
        review=bool(reasons),
        reasons=tuple(reasons),
        software=versions.SOFTWARE,
    )


def runtime(members: Iterable[Member]) -> str:
    """What runs members."""
    return " + ".join(dict.fromkeys(member.runtime.name for member in members))


def _expected(
    calibration: Calibration, finding: Finding, modality: Modality, measurements: Measurements
) -> _Expected:
    if finding.evidence is None:
        return _Expected()
    dice, interval = calibration.predict(finding.evidence)
    return _Expected(
        volume_ml_interval=calibration.interval_ml(
            modality, measurements.volume_ml, finding.nested_ml, finding.evidence
        ),
        predicted_dice=dice,
        predicted_dice_interval=interval,
        predicted_dice_note=calibration.note(modality),
        calibrated_on=calibration.basis,
    )


def _models(members: Sequence[Member]) -> _Models:
    infos = [member.info for member in members]
    rates: list[float] = [info.learning_rate for info in infos]
    sizes: list[Size] = [info.image_size for info in infos]
    return _Models(
        model=joined([info.name for info in infos]),
        model_sha256=joined([member.sha256 for member in members]),
        image_size=sizes[0] if len(set(sizes)) == 1 else joined(map(_size_text, sizes)),
        learning_rate=rates[0] if len(set(rates)) == 1 else joined(map(str, rates)),
        version=joined([info.version for info in infos]),
        runtime=runtime(members),
    )


def _size_text(size: Size) -> str:
    return str(size if isinstance(size, int) else list(size))
