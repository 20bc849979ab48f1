"""The figures of a prediction's page: what they are called, and what is to be said of them."""

from __future__ import annotations

from spleen_tf.inference.prediction import PredictionRecord
from spleen_tf.quality.reference import Reference
from spleen_tf.reporting import gauge
from spleen_tf.reporting.page import KeyFigure, Notice


def verdict(record: PredictionRecord) -> Notice:
    """What a reader of a prediction has to see first."""
    if record.review:
        return Notice("Review this result before you use it", record.reasons, "alert")
    if record.predicted_dice is None:
        return Notice(
            "Nothing unusual was found, but the quality is not estimated",
            ("These models, used like this, have no calibration: the error is unknown.",),
        )
    if record.predicted_dice_note:
        return Notice(
            "Nothing unusual was found, but the expected Dice may not hold for this image",
            (record.predicted_dice_note,),
        )
    return Notice("Nothing unusual was found in this result", kind="calm")


def of_prediction(record: PredictionRecord) -> list[KeyFigure]:
    """Volume, expected Dice, size, intensity and pieces, each with what it is compared with."""
    figures = [KeyFigure("Volume", f"{record.volume_ml:.1f} mL", _volume_remark(record))]
    figures.append(_expected_dice(record))
    if record.length_mm is not None:
        figures += _sizes(record)
    if intensity := record.intensity:
        spread = f"{intensity.p5:.4g} to {intensity.p95:.4g} in nine of ten voxels"
        unit = " HU" if record.modality == "CT" else ""
        mean = f"{intensity.mean:.1f} ± {intensity.sd:.1f}{unit}"
        figures.append(
            KeyFigure("Mean intensity", mean, f"median {intensity.median:.4g}; {spread}")
        )
    components = "in the whole volume, before any was dropped"
    return [*figures, KeyFigure("Components", str(record.components), components)]


def gauge_note(reference: Reference) -> str:
    """What the picture of the volume shows of a population, and where that is published."""
    shown = "Band" if reference.high_ml is not None else "Dashed line"
    what = f"{gauge.range_text(reference)}, {reference.population}"
    return f"{shown}: {what} ({reference.source})."


def _volume_remark(record: PredictionRecord) -> str:
    remarks = []
    if record.complete is False:
        remarks.append("a lower bound: the volume cuts the organ")
    if interval_ml := record.volume_ml_interval:
        remarks.append(f"90% interval {interval_ml[0]:.0f} to {interval_ml[1]:.0f} mL")
    elif record.voxels:
        remarks.append("the interval is not known")
    if reference := record.volume_reference:
        place = f"{reference.place} what is usual: " if reference.place else ""
        remarks.append(f"{place}{gauge.range_text(reference)} in {reference.population}")
    return "; ".join(remarks)


def _sizes(record: PredictionRecord) -> list[KeyFigure]:
    """Length, width × thickness, and the splenic index, in the units of radiologists' reports."""
    reference = record.volume_reference
    bound = ""
    if reference and reference.high_length_mm is not None:
        bound = f"; up to {reference.high_length_mm / 10:.1f} cm in {reference.population}"
    length_cm, width_cm, thickness_cm = (
        (mm or 0.0) / 10 for mm in (record.length_mm, record.width_mm, record.thickness_mm)
    )
    across = f"{width_cm:.1f} × {thickness_cm:.1f} cm"
    return [
        KeyFigure("Length", f"{length_cm:.1f} cm", f"head to foot{bound}"),
        KeyFigure("Width × thickness", across, "on the widest axial slice, at right angles"),
        KeyFigure(
            "Splenic index", f"{record.splenic_index_ml or 0:.0f} mL", "the product of these"
        ),
    ]


def _expected_dice(record: PredictionRecord) -> KeyFigure:
    name = "Expected Dice"
    if record.predicted_dice is None or record.predicted_dice_interval is None:
        why = "no calibration for this use of the models" if record.voxels else "no spleen found"
        return KeyFigure(name, "not known", why)
    low, high = record.predicted_dice_interval
    remarks = [f"overlap with an expert's mask; 90% interval {low:.2f} to {high:.2f}"]
    if record.predicted_dice_note:
        remarks.append(record.predicted_dice_note)
    elif record.calibrated_on:
        remarks.append(f"calibrated on {record.calibrated_on}")
    return KeyFigure(name, f"{record.predicted_dice:.2f}", "; ".join(remarks))
