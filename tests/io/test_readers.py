"""What a path names, NIfTI or DICOM, and that both are read alike."""

import hashlib

import dicom_files
import numpy as np
import pytest

from spleen_tf.core.files import InputError
from spleen_tf.io import nifti, nifti_header, readers


def test_a_path_is_dicom_by_what_it_holds(tmp_path, tiny_nifti):
    dicom_files.write_series(tmp_path / "series" / "below", dicom_files.ramp())
    dicom_files.write_enhanced(tmp_path / "enhanced", dicom_files.ramp())
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty.dcm").touch()
    for path in ("series", "series/below", "enhanced", "empty.dcm"):
        assert readers.is_dicom(tmp_path / path), path
    for path in (tiny_nifti, tmp_path / "empty", tmp_path / "absent"):
        assert not readers.is_dicom(path), path
    (tmp_path / "series" / "._a.nii").touch()  # Hidden files count for nothing.
    assert readers.is_dicom(tmp_path / "series")
    (tmp_path / "series" / "a.nii").touch()
    assert not readers.is_dicom(tmp_path / "series")


def test_nifti_and_dicom_are_read_alike(tmp_path, tiny_nifti):
    series = tmp_path / "series"
    dicom_files.write_series(series, dicom_files.ramp(), modality="MR")
    for path, modality in ((tiny_nifti, None), (series, "MR")):
        image, geometry = readers.read(path), readers.read_geometry(path)
        np.testing.assert_array_equal(image.array_ijk, dicom_files.ramp())
        assert geometry.shape == image.shape
        assert (image.source, image.modality) == (str(path), modality)
        assert readers.modality(path) == modality
    assert readers.from_dicom(image)


def test_a_nifti_files_digest_is_that_of_its_bytes(tiny_nifti):
    expected = hashlib.sha256(tiny_nifti.read_bytes()).hexdigest()
    assert readers.sha256(readers.read(tiny_nifti)) == expected


def test_a_series_uid_is_refused_for_nifti(tiny_nifti):
    for read in (readers.read, readers.read_geometry):
        with pytest.raises(InputError, match="expected DICOM where a series_uid is given"):
            read(tiny_nifti, "1.2.3")


def test_storage_is_that_of_the_files(tmp_path, tiny_nifti):
    dicom_files.write_series(
        tmp_path / "a", dicom_files.ramp(dtype=np.uint16), BitsStored=12, HighBit=11
    )
    assert readers.storage(readers.read(tmp_path / "a")) == {
        "bits_per_voxel": 12,
        "stored_as": "uint12",
        "space_unit": "mm",
        "time_unit": "unknown",
    }
    image = nifti.read(tiny_nifti)
    assert readers.storage(image) == nifti_header.storage(image.header)
