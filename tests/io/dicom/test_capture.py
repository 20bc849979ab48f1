"""A picture as Secondary Capture: its pixels, its warnings, and what it belongs to."""

import dicom_files
import numpy as np
import pydicom
import pytest
from pydicom import uid

from spleen_tf.core.files import InputError
from spleen_tf.imaging.volume import Volume
from spleen_tf.io.dicom import capture, series


def picture(height=3, width=4):
    """Different in every pixel and channel."""
    return np.arange(height * width * 3, dtype=np.uint8).reshape(height, width, 3)


@pytest.fixture
def image(tmp_path):
    dicom_files.write_series(tmp_path / "scan", dicom_files.ramp(), modality="MR")
    return series.read(tmp_path / "scan")


def test_its_pixels_are_the_pictures(tmp_path, image):
    capture.write(tmp_path / "sc.dcm", picture(), image)
    written = pydicom.dcmread(tmp_path / "sc.dcm")
    np.testing.assert_array_equal(written.pixel_array, picture())
    assert (written.PhotometricInterpretation, written.Rows, written.Columns) == ("RGB", 3, 4)


def test_it_says_that_text_is_burnt_in_and_that_it_is_synthetic(tmp_path, image):
    capture.write(tmp_path / "sc.dcm", picture(), image)
    written = pydicom.dcmread(tmp_path / "sc.dcm")
    assert written.SOPClassUID == uid.SecondaryCaptureImageStorage
    assert (written.BurnedInAnnotation, written.ConversionType) == ("YES", "SYN")
    assert list(written.ImageType)[:2] == ["DERIVED", "SECONDARY"]
    assert written.PatientOrientation == ""


def test_it_belongs_to_the_study_and_names_all_images_as_sources(tmp_path, image):
    capture.write(tmp_path / "sc.dcm", picture(), image)
    written = pydicom.dcmread(tmp_path / "sc.dcm")
    first = pydicom.dcmread(image.header.paths[0])
    for keyword in ("PatientName", "PatientID", "StudyInstanceUID"):
        assert written[keyword].value == first[keyword].value
    assert written.SeriesInstanceUID != first.SeriesInstanceUID
    sources = [item.ReferencedSOPInstanceUID for item in written.SourceImageSequence]
    assert sources == [pydicom.dcmread(path).SOPInstanceUID for path in image.header.paths]


def test_a_volume_that_is_not_dicom_is_refused(tmp_path):
    image = Volume(dicom_files.ramp(), np.eye(4), "scan.nii.gz")
    with pytest.raises(InputError, match=r"scan\.nii\.gz: expected DICOM for --dicom_sc, found N"):
        capture.write(tmp_path / "sc.dcm", picture(), image)
