"""Elements of the CT and MR image modules, each broken in several ways, against SimpleITK.

What is read has SimpleITK's voxels and affine; else the refusal names the element. DELIBERATE lists
where we differ on purpose. Where SimpleITK itself cannot read, the sound series is what to expect.
"""

import struct
import warnings

import dicom_files
import numpy as np
import pytest
import SimpleITK
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.multival import MultiValue
from pydicom.tag import Tag

from spleen_tf.core.files import InputError
from spleen_tf.io.dicom import series

# Values that are wrong by a little and by a lot.
WRONG = {
    # What the image is.
    "SOPClassUID": ("1.2.840.10008.5.1.4.1.1.2.99", "none"),
    "SOPInstanceUID": ("1.2.3.4", "none"),
    "StudyInstanceUID": ("1.2.03.4", "none"),
    "SeriesInstanceUID": ("1.2.03.4", "none"),
    "FrameOfReferenceUID": ("1.2.03.4", "none"),
    "Modality": ("OT", "none of these"),
    "ImageType": ("DERIVED", "x"),
    "SeriesNumber": ("0", "x"),
    "InstanceNumber": ("0", "x"),
    "AcquisitionNumber": ("0", "x"),
    "SpecificCharacterSet": ("ISO_IR 100", "none"),
    "PatientName": ("A", "^=^=^" * 20),
    "PatientID": ("A", "A" * 90),
    "PatientBirthDate": ("19000001", "x"),
    "StudyDate": ("2020.01.01", "x"),
    "StudyTime": ("10:20", "x"),
    # Where it lies.
    "ImagePositionPatient": ([-90.0, 40.0, 700.0], [1.0, 2.0]),
    "ImageOrientationPatient": ([1, 1e-5, 0, 0, 1, 0], [0, 0, 0, 0, 0, 0]),
    "PixelSpacing": ([0.71, 0.8], [0.7, -0.8]),
    "PixelAspectRatio": ([7, 8], [0, 0]),
    "SliceThickness": ("5.1", "-3"),
    "SpacingBetweenSlices": ("5.1", "0"),
    "SliceLocation": ("1", "x"),
    "GantryDetectorTilt": ("5", "x"),
    "PatientPosition": ("HFP", "x"),
    "Laterality": ("L", "x"),
    # What its numbers mean.
    "Rows": (5, 6000),
    "Columns": (9, 0),
    "NumberOfFrames": ("2", "x"),
    "SamplesPerPixel": (3, 0),
    "PhotometricInterpretation": ("MONOCHROME1", "none"),
    "PlanarConfiguration": (1, 7),
    "BitsAllocated": (12, 64),
    "BitsStored": (15, 40),
    "HighBit": (14, 40),
    "PixelRepresentation": (2, 99),
    "RescaleSlope": ("2", "0"),
    "RescaleIntercept": ("-1", "x"),
    "RescaleType": ("HU", "x"),
    "WindowCenter": ("1", "x"),
    "WindowWidth": ("0", "x"),
    "PixelPaddingValue": (0, 1),
    "SmallestImagePixelValue": (1, 2),
    "LossyImageCompression": ("01", "x"),
    "KVP": ("120", "x"),
    "EchoTime": ("5", "x"),
}
KINDS = ("absent", "empty", "text", "bytes", "double", "little", "lot")
NOT_WRITTEN = {  # By pydicom.
    *(("SOPClassUID", "double"), ("SOPInstanceUID", "double")),
    *(("SpecificCharacterSet", "double"), ("SpecificCharacterSet", "bytes")),
}
CASES = [
    (modality, keyword, kind)
    for modality in ("CT", "MR")
    for keyword in WRONG
    for kind in KINDS
    if (keyword, kind) not in NOT_WRITTEN
]

# What is read otherwise than by SimpleITK: as the sound series, and why.
DELIBERATE = {
    ("PhotometricInterpretation", "little"): "MONOCHROME1 says how to display; SimpleITK inverts",
    ("PhotometricInterpretation", "double"): "as above: SimpleITK takes what it cannot read for it",
}


def broken(keyword, kind):
    """A change of an element of all slices, to bytes that pydicom would not write."""
    vr, tag = dictionary_VR(keyword), Tag(keyword)
    vr = "US" if " or " in vr else vr

    def change(k, dataset):
        dataset["PixelData"].VR = "OW"  # What BitsAllocated would say, if it is there.
        present = dataset.get(keyword)
        parts = list(present) if isinstance(present, MultiValue | list) else [present]
        if keyword in dataset:
            del dataset[keyword]
        if kind == "absent":
            return
        written_as, value = vr, b""
        if kind in ("little", "lot"):
            value = encoded(WRONG[keyword][kind == "lot"], vr)
        elif kind == "text":
            written_as, value = "LT", encoded("\\".join(map(str, parts)), "LT")
        elif kind == "bytes":
            written_as, value = "OB", b"\1\2\3\4"
        elif kind == "double":  # The same numbers, where it holds numbers.
            numbers = [float(p) if isinstance(p, float | int) else 1.0 for p in parts]
            written_as, value = "FD", encoded(numbers, "FD")
        raw = RawDataElement(tag, written_as, len(value), value, 0, False, True)
        dataset._dict[tag] = raw

    return change


def encoded(value, vr):
    """Bytes of a value, in explicit little endian."""
    values = value if isinstance(value, list) else [value]
    if vr in ("US", "FD"):
        return b"".join(struct.pack({"US": "<H", "FD": "<d"}[vr], v) for v in values)
    text = "\\".join(map(str, values)).encode()
    return text + b" " * (len(text) % 2)


def by_simpleitk(paths):
    """Voxels and affine; None where SimpleITK cannot read the files."""
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames([str(path) for path in paths])
    try:
        image = reader.Execute()
    except RuntimeError:
        return None
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return SimpleITK.GetArrayFromImage(image).transpose(), dicom_files.LPS @ affine


def read(folder):
    """The volume, or None and the refusal."""
    try:
        return series.read(folder), ""
    except InputError as error:
        return None, str(error)


def check(folder, modality, keyword, kind):
    stored = dicom_files.ramp((8, 6, 4))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        paths = dicom_files.write_series(
            folder, stored, modality=modality, change=broken(keyword, kind)
        )
        image, message = read(folder)
    if image is None:
        assert f"{keyword} (" in message
        assert "damaged or cut short" not in message
        return
    expected = stored, dicom_files.affine_of()
    if (keyword, kind) not in DELIBERATE:
        expected = by_simpleitk(paths) or expected
    np.testing.assert_array_equal(image.array_ijk, expected[0])
    np.testing.assert_allclose(image.affine, expected[1], atol=1e-4)


@pytest.mark.parametrize(("modality", "keyword", "kind"), CASES[::13])
def test_a_sample_of_broken_elements(tmp_path, modality, keyword, kind):
    check(tmp_path, modality, keyword, kind)


@pytest.mark.stress
@pytest.mark.parametrize(("modality", "keyword", "kind"), CASES)
def test_broken_elements(tmp_path, modality, keyword, kind):
    check(tmp_path, modality, keyword, kind)
