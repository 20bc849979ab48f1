"""What was measured, as a DICOM structured report by the template of measurements (TID 1500)."""

from __future__ import annotations

import dataclasses
import os
import uuid

import highdicom
from highdicom import sr
from highdicom.coding_schemes import CodingSchemeIdentificationItem
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

import spleen_tf
from spleen_tf.core import files, versions
from spleen_tf.imaging.intensity import Modality
from spleen_tf.imaging.volume import Volume
from spleen_tf.io.dicom import sources

_FLAG = "--dicom_sr"
_SERIES_NUMBER = 7701
_LO, _UT_REASONS = 64, 1024  # Characters.

# What no public scheme has a code for; such schemes begin with 99 (PS3.16 8).
_SCHEME = "99SPLEENTF"
_SPLENIC_INDEX = sr.CodedConcept("splenic-index", _SCHEME, "Splenic index")
_REVIEW = sr.CodedConcept("review", _SCHEME, "Review by a person needed")
_REASON = sr.CodedConcept("review-reason", _SCHEME, "Reason for the review")
_ML = sr.CodedConcept("mL", "UCUM", "milliliter")
_PROCEDURES: dict[Modality, Code] = {
    "CT": codes.LN.CTUnspecifiedBodyRegion,
    "MR": codes.LN.MRIUnspecifiedBodyRegion,
}
_Group = (
    sr.MeasurementsAndQualitativeEvaluations | sr.VolumetricROIMeasurementsAndQualitativeEvaluations
)
# The same for every report: it names the program, not a machine.
_DEVICE_UID = f"2.25.{uuid.uuid5(uuid.NAMESPACE_URL, 'spleen_tf.predict').int}"


@dataclasses.dataclass(frozen=True)
class Findings:
    """What a report says of a spleen.

    Attributes:
        volume_ml: its volume; 0 where none is found.
        volume_ml_interval: the 90% interval of the volume; None where there is none.
        length_mm: head to foot; this and the next are None where no spleen is found.
        width_mm, thickness_mm: on an axial slice, at right angles.
        splenic_index_ml: length × width × thickness.
        reasons: for a review by a person; () for none.
    """

    volume_ml: float
    volume_ml_interval: tuple[float, float] | None
    length_mm: float | None
    width_mm: float | None
    thickness_mm: float | None
    splenic_index_ml: float | None
    reasons: tuple[str, ...]


def write(
    path: str | os.PathLike[str],
    findings: Findings,
    like: Volume,
    name: str,
    version: str,
    segmentation: Dataset | None = None,
) -> Dataset:
    """Writes a measurement report (Comprehensive 3D SR, TID 1500) on the spleen.

    It is preliminary and unverified, belongs to patient and study of the images, and names them as
    evidence. With a segmentation, it refers to its segment and has the tracking identifier of that
    (TID 1411); without, the measurements stand alone (TID 1501).

    Args:
        path: .dcm; replaced only when the new file is whole.
        findings: what it says.
        like: the volume, as `series.read` gave it.
        name, version: of the model.
        segmentation: what `segmentation.write` gave for the same volume.

    Returns:
        What was written.

    Raises:
        InputError: if it cannot be written, or the images lack what it must refer to.
    """
    images = sources.sources_of(like, _FLAG)
    evidence = images.references()
    if segmentation is not None:
        evidence.append(segmentation)
    group = _group(findings, _algorithm(name, version, findings), evidence[0], segmentation)
    report = sr.MeasurementReport(
        observation_context=_observer(),
        procedure_reported=_PROCEDURES[like.modality or "CT"],
        imaging_measurements=[group],
    )
    document = sr.Comprehensive3DSR(
        evidence=evidence,
        content=report,
        series_instance_uid=highdicom.UID(),
        series_number=_SERIES_NUMBER,
        sop_instance_uid=highdicom.UID(),
        instance_number=1,
        manufacturer="spleen_tf",
        is_complete=True,
        manufacturer_model_name="spleen_tf.predict",
        software_versions=spleen_tf.__version__,
        series_description="Spleen, automatic: measurements, for research",
        coding_schemes=[CodingSchemeIdentificationItem(_SCHEME, name="spleen_tf")],
    )
    with files.replacing(path) as partial:
        document.save_as(partial)
    return document


def _observer() -> sr.ObservationContext:
    device = sr.DeviceObserverIdentifyingAttributes(
        uid=_DEVICE_UID,
        name="spleen_tf",
        manufacturer_name="spleen_tf",
        model_name="spleen_tf.predict",
        serial_number=spleen_tf.__version__,
    )
    return sr.ObservationContext(
        observer_device_context=sr.ObserverContext(
            codes.DCM.Device, observer_identifying_attributes=device
        )
    )


def _algorithm(name: str, version: str, findings: Findings) -> sr.AlgorithmIdentification:
    parameters = [versions.SOFTWARE, "for research only"]
    if findings.volume_ml_interval:
        parameters.append("uncertainty of the volume: 90% interval")
    return sr.AlgorithmIdentification(name[:_LO], version[:_LO], parameters)


def _group(
    findings: Findings,
    algorithm: sr.AlgorithmIdentification,
    image: Dataset,
    segmentation: Dataset | None,
) -> (
    sr.MeasurementsAndQualitativeEvaluations | sr.VolumetricROIMeasurementsAndQualitativeEvaluations
):
    """The measurements of the one finding."""
    needs_review = codes.SCT.Yes if findings.reasons else codes.SCT.No
    content = {
        "finding_category": codes.SCT.AnatomicalStructure,
        "finding_type": codes.SCT.Spleen,
        "finding_sites": [sr.FindingSite(codes.SCT.Spleen)],
        "algorithm_id": algorithm,
        "measurements": _measurements(findings),
        "qualitative_evaluations": [sr.QualitativeEvaluation(_REVIEW, needs_review)],
    }
    if segmentation is None:
        tracking = sr.TrackingIdentifier(highdicom.UID(), "Spleen")
        group: _Group = sr.MeasurementsAndQualitativeEvaluations(
            tracking_identifier=tracking, **content
        )
    else:
        (segment,) = segmentation.SegmentSequence
        series = sr.SourceSeriesForSegmentation(image.SeriesInstanceUID)
        group = sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
            tracking_identifier=sr.TrackingIdentifier(segment.TrackingUID, segment.TrackingID),
            referenced_segment=sr.ReferencedSegment(
                sop_class_uid=segmentation.SOPClassUID,
                sop_instance_uid=segmentation.SOPInstanceUID,
                segment_number=segment.SegmentNumber,
                source_series=series,
            ),
            **content,
        )
    for reason in findings.reasons:
        group[0].ContentSequence.append(
            sr.TextContentItem(_REASON, reason[:_UT_REASONS], sr.RelationshipTypeValues.CONTAINS)
        )
    return group


def _measurements(findings: Findings) -> list[sr.Measurement]:
    volume = sr.Measurement(
        codes.SCT.Volume,
        round(findings.volume_ml, 3),
        _ML,
        properties=_uncertainty_ml(findings),
    )
    lengths_mm = {
        codes.SCT.Length: findings.length_mm,
        codes.SCT.Width: findings.width_mm,
        codes.LN.Thickness: findings.thickness_mm,
    }
    measured = [volume]
    for concept, length_mm in lengths_mm.items():
        if length_mm is not None:
            measured.append(sr.Measurement(concept, round(length_mm, 2), codes.UCUM.Millimeter))
    if (index_ml := findings.splenic_index_ml) is not None:
        measured.append(sr.Measurement(_SPLENIC_INDEX, round(index_ml, 3), _ML))
    return measured


def _uncertainty_ml(findings: Findings) -> sr.MeasurementProperties | None:
    """How far the volume's interval reaches above and below it (TID 310), in mL.

    highdicom itself would write these without their unit.
    """
    if findings.volume_ml_interval is None:
        return None
    low_ml, high_ml = findings.volume_ml_interval
    properties = sr.MeasurementProperties()
    for concept, reach_ml in (
        (codes.SCT.RangeOfUpperMeasurementUncertainty, high_ml - findings.volume_ml),
        (codes.SCT.RangeOfLowerMeasurementUncertainty, findings.volume_ml - low_ml),
    ):
        properties.append(
            sr.NumContentItem(
                concept,
                round(reach_ml, 3),
                _ML,
                relationship_type=sr.RelationshipTypeValues.HAS_PROPERTIES,
            )
        )
    return properties
