"""A report of measurements: what it says, in which codes, and what it refers to."""

import dicom_files
import highdicom
import numpy as np
import pydicom
import pytest
from pydicom import uid
from pydicom.sr.codedict import codes

from spleen_tf.core.files import InputError
from spleen_tf.imaging.volume import Volume
from spleen_tf.io.dicom import measurements, segmentation, series

FINDINGS = measurements.Findings(
    volume_ml=182.5,
    volume_ml_interval=(170.0, 200.5),
    length_mm=105.0,
    width_mm=98.0,
    thickness_mm=40.0,
    splenic_index_ml=411.6,
    reasons=("complete: cut off", "components: two"),
)
NONE_FOUND = measurements.Findings(0.0, None, None, None, None, None, ("nothing found",))


@pytest.fixture
def image(tmp_path):
    dicom_files.write_series(tmp_path / "scan", dicom_files.ramp())
    return series.read(tmp_path / "scan")


def mask():
    inside = np.zeros((8, 6, 5), bool)
    inside[2:5, 1:3, 1:3] = True
    return inside


def written(folder, findings, image, segmented=None):
    """The report as highdicom reads it, and its only group of measurements."""
    path = folder / "sr.dcm"
    measurements.write(path, findings, image, "spleen_ct", "1.2.0", segmented)
    report = highdicom.sr.srread(path)
    find = {
        True: report.content.get_volumetric_roi_measurement_groups,
        False: report.content.get_image_measurement_groups,
    }[segmented is not None]
    (group,) = find()
    return report, group


def test_it_has_each_measure_with_its_unit(tmp_path, image):
    _, group = written(tmp_path, FINDINGS, image)
    found = {item.name.meaning: (item.value, item.unit.value) for item in group.get_measurements()}
    assert found == {
        "Volume": (182.5, "mL"),
        "Length": (105.0, "mm"),
        "Width": (98.0, "mm"),
        "Thickness": (40.0, "mm"),
        "Splenic index": (411.6, "mL"),
    }
    assert group.finding_type == codes.SCT.Spleen
    assert group.finding_sites[0].topographical_modifier is None
    assert group.finding_sites[0].value == codes.SCT.Spleen


def test_the_interval_is_the_volumes_uncertainty_upwards_and_downwards(tmp_path, image):
    """200.5 - 182.5 = 18.0; 182.5 - 170.0 = 12.5."""
    _, group = written(tmp_path, FINDINGS, image)
    (volume,) = group.get_measurements(name=codes.SCT.Volume)
    properties = {
        item.ConceptNameCodeSequence[0].CodeMeaning: item.MeasuredValueSequence[0]
        for item in volume[0].ContentSequence
    }
    upper = properties["+, range of upper measurement uncertainty"]
    lower = properties["-, range of lower measurement uncertainty"]
    assert (upper.NumericValue, lower.NumericValue) == (18.0, 12.5)
    for measured in (upper, lower):
        assert measured.MeasurementUnitsCodeSequence[0].CodeValue == "mL"


def test_an_empty_mask_has_a_volume_of_0_and_no_lengths(tmp_path, image):
    _, group = written(tmp_path, NONE_FOUND, image)
    assert [(m.name.meaning, m.value) for m in group.get_measurements()] == [("Volume", 0.0)]
    assert "ContentSequence" not in group.get_measurements()[0][0]


@pytest.mark.parametrize(
    ("reasons", "answer"), [((), codes.SCT.No), (("components: two",), codes.SCT.Yes)]
)
def test_the_review_is_a_qualitative_evaluation_with_its_reasons(tmp_path, image, reasons, answer):
    findings = measurements.Findings(1.0, None, 1.0, 1.0, 1.0, 1.0, reasons)
    report, group = written(tmp_path, findings, image)
    evaluations = {item.name.meaning: item.value for item in group.get_qualitative_evaluations()}
    assert evaluations["Review by a person needed"] == answer
    (container,) = report.content.get_image_measurement_groups()
    texts = [item.TextValue for item in container[0].ContentSequence if item.ValueType == "TEXT"]
    assert [text for text in texts if text in reasons] == list(reasons)


def test_it_names_model_version_and_device(tmp_path, image):
    report, _ = written(tmp_path, FINDINGS, image)
    said = {
        item.ConceptNameCodeSequence[0].CodeMeaning: item.TextValue
        for item in all_items(report)
        if item.ValueType == "TEXT"
    }
    assert (said["Algorithm Name"], said["Algorithm Version"]) == ("spleen_ct", "1.2.0")
    assert said["Device Observer Name"] == "spleen_tf"
    assert (report.PreliminaryFlag, report.VerificationFlag) == ("PRELIMINARY", "UNVERIFIED")


def all_items(dataset):
    for item in dataset.get("ContentSequence", []):
        yield item
        yield from all_items(item)


def test_with_a_segmentation_it_refers_to_the_segment_and_shares_its_tracking(tmp_path, image):
    seg = segmentation.write(tmp_path / "seg.dcm", mask(), image, "spleen_ct", "1.2.0")
    report, group = written(tmp_path, FINDINGS, image, seg)
    on_disk = pydicom.dcmread(tmp_path / "seg.dcm")
    assert group.tracking_uid == on_disk.SegmentSequence[0].TrackingUID
    assert group.tracking_identifier == on_disk.SegmentSequence[0].TrackingID == "Spleen"
    (reference,) = [i for i in all_items(report) if i.ValueType == "IMAGE"]
    (segment,) = reference.ReferencedSOPSequence
    assert segment.ReferencedSOPInstanceUID == on_disk.SOPInstanceUID
    assert segment.ReferencedSegmentNumber == 1
    assert evidence(report)[on_disk.SeriesInstanceUID] == {on_disk.SOPInstanceUID}


@pytest.mark.parametrize("kind", ["classic", "enhanced"])
def test_it_names_all_images_as_evidence_by_their_class(tmp_path, kind):
    write = dicom_files.write_series if kind == "classic" else dicom_files.write_enhanced
    write(tmp_path / "scan" / "a", dicom_files.ramp(), modality="MR")
    image = series.read(tmp_path / "scan")
    report, _ = written(tmp_path, FINDINGS, image)
    instances = {pydicom.dcmread(path).SOPInstanceUID for path in image.header.paths}
    assert evidence(report) == {dicom_files.SERIES_UID: instances}
    classes = {"classic": uid.MRImageStorage, "enhanced": uid.EnhancedMRImageStorage}
    (study,) = report.CurrentRequestedProcedureEvidenceSequence
    item = study.ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
    assert item.ReferencedSOPClassUID == classes[kind]
    procedures = [i for i in all_items(report) if i.get("ConceptCodeSequence")]
    meanings = [item.ConceptCodeSequence[0].CodeMeaning for item in procedures]
    assert "MRI unspecified body region" in meanings


def evidence(report):
    """By series, the instances that a report has been made from."""
    (study,) = report.CurrentRequestedProcedureEvidenceSequence
    return {
        item.SeriesInstanceUID: {one.ReferencedSOPInstanceUID for one in item.ReferencedSOPSequence}
        for item in study.ReferencedSeriesSequence
    }


def test_it_belongs_to_the_images_patient_and_study(tmp_path, image):
    report, _ = written(tmp_path, FINDINGS, image)
    source = pydicom.dcmread(image.header.paths[0])
    for keyword in ("PatientName", "PatientID", "StudyInstanceUID", "AccessionNumber"):
        assert report[keyword].value == source[keyword].value
    assert report.SeriesInstanceUID != source.SeriesInstanceUID
    assert report.SOPClassUID == uid.Comprehensive3DSRStorage


def test_a_volume_that_is_not_dicom_is_refused(tmp_path):
    image = Volume(dicom_files.ramp(), np.eye(4), "scan.nii.gz")
    with pytest.raises(InputError, match=r"scan\.nii\.gz: expected DICOM for --dicom_sr, found N"):
        measurements.write(tmp_path / "sr.dcm", FINDINGS, image, "spleen_ct", "1.2.0")
